"""The architecture of a checkpoint: what config.json says, checked.

Names, defaults and rules are those of the checkpoint format (docs: "The model"); every other module
takes its shapes from here.
"""
import dataclasses
import json
import pathlib
import warnings

FEATURE_MAPS = ("elu1", "silu", "identity")
NORMS = ("rmsnorm", "layernorm")
FFNS = ("swiglu", "silu")
DTYPES = ("float32", "bfloat16", "float16")
_OPTIONAL = {"max_position_trained", "tokenizer"}  # written only when set


@dataclasses.dataclass
class ShortConv:
    kernel_size: int


@dataclasses.dataclass
class LongConv:
    """kind "explicit": `length` taps; "hierarchical": length = base_length * 2^levels.

    kind "none" (no long convolution at all) exists for comparison runs and is never exported.
    """
    kind: str
    length: int
    base_length: int = 0

    @property
    def levels(self):
        return (self.length // self.base_length).bit_length() - 1


@dataclasses.dataclass
class ModelConfig:
    vocab_size: int
    hidden_size: int
    num_hidden_layers: int
    num_heads: int
    shared_dim: int
    value_dim: int
    intermediate_size: int
    ffn: str
    norm: str
    norm_eps: float
    feature_map: str
    short_conv: ShortConv
    long_conv: LongConv
    bos_token_id: int
    eos_token_id: int
    add_bos_token: bool
    torch_dtype: str
    embedding_multiplier: float = 1.0
    tie_word_embeddings: bool = False
    max_position_trained: int = None
    tokenizer: str = None  # "bytes", or None when a tokenizer file lies beside config.json

    def __post_init__(self):
        if isinstance(self.short_conv, dict):
            self.short_conv = ShortConv(**self.short_conv)
        if isinstance(self.long_conv, dict):
            self.long_conv = LongConv(**self.long_conv)
        self._check()

    def _check(self):
        for key, allowed in (("feature_map", FEATURE_MAPS), ("norm", NORMS), ("ffn", FFNS),
                             ("torch_dtype", DTYPES)):
            if getattr(self, key) not in allowed:
                raise ValueError(f"{key}: {getattr(self, key)!r}; want one of {', '.join(allowed)}")
        for key in ("shared_dim", "value_dim"):
            if getattr(self, key) % self.num_heads:
                raise ValueError(f"{key}: {getattr(self, key)}; want a multiple of num_heads")
        conv = self.long_conv
        if conv.kind not in ("explicit", "hierarchical", "none"):
            raise ValueError(f"long_conv.kind: {conv.kind!r}; want explicit or hierarchical")
        if conv.kind == "hierarchical":
            if conv.base_length < 4 or conv.base_length % 2:
                raise ValueError(f"long_conv.base_length: {conv.base_length}; want even and >= 4")
            if conv.levels < 1 or conv.length != conv.base_length << conv.levels:
                raise ValueError(f"long_conv.length: {conv.length}; want base_length * 2^S, S >= 1")

    @property
    def key_head_dim(self):
        return self.shared_dim // self.num_heads

    @property
    def value_head_dim(self):
        return self.value_dim // self.num_heads

    @classmethod
    def from_dict(cls, data):
        """Builds a config from the object in config.json; unknown keys give a warning."""
        known = {field.name for field in dataclasses.fields(cls)}
        given = {key: value for key, value in data.items() if key in known}
        ignored = set(data) - known - {"model_type", "architectures"}
        if ignored:
            warnings.warn(f"config.json: unknown keys {sorted(ignored)}")
        if data.get("model_type", "chela") != "chela":
            raise ValueError(f"model_type: {data['model_type']!r}; want 'chela'")
        return cls(**given)

    @classmethod
    def load(cls, folder):
        with open(pathlib.Path(folder) / "config.json", encoding="utf-8") as file:
            return cls.from_dict(json.load(file))

    def to_dict(self):
        data = {"model_type": "chela", "architectures": ["ChelaForCausalLM"]}
        data.update(dataclasses.asdict(self))
        for key in _OPTIONAL:
            if data[key] is None:
                del data[key]
        if self.long_conv.kind != "hierarchical":
            del data["long_conv"]["base_length"]
        return data

    def save(self, folder):
        with open(pathlib.Path(folder) / "config.json", "w", encoding="utf-8") as file:
            json.dump(self.to_dict(), file, indent=2)
            file.write("\n")


def tensor_shapes(config):
    """Every tensor of a checkpoint: name -> shape. `lm_head.weight` only if it is not tied."""
    c = config
    d, z, v, f = c.hidden_size, c.shared_dim, c.value_dim, c.intermediate_size
    norm_parts = ("weight", "bias") if c.norm == "layernorm" else ("weight",)
    shapes = {"model.embed_tokens.weight": (c.vocab_size, d)}
    shapes.update({f"model.norm.{part}": (d,) for part in norm_parts})
    if not c.tie_word_embeddings:
        shapes["lm_head.weight"] = (c.vocab_size, d)
    layer = {f"norm{i}.{part}": (d,) for i in (1, 2) for part in norm_parts}
    layer["short_conv.weight"] = (d, c.short_conv.kernel_size)
    layer["short_conv.bias"] = (d,)
    conv = c.long_conv
    if conv.kind != "none":
        layer["long_conv.skip"] = (d,)
    if conv.kind == "explicit":
        layer["long_conv.kernel"] = (d, conv.length)
    if conv.kind == "hierarchical":
        layer["long_conv.taps0"] = (d, conv.base_length)
        layer["long_conv.taps"] = (conv.levels, d, conv.base_length // 2)
    for name, rows in (("shared_proj", z), ("value_proj", v), ("reset_gate", v), ("update_gate", d),
                       ("candidate_proj", d)):
        layer[f"attention.{name}.weight"] = (rows, d)
        layer[f"attention.{name}.bias"] = (rows,)
    for name in ("q_scale", "q_bias", "k_scale", "k_bias"):
        layer[f"attention.{name}"] = (z,)
    layer["attention.norm.weight"] = (v,)
    layer["attention.decay"] = (c.num_heads,)  # optional in a file
    layer["attention.out_proj.weight"] = (d, v)
    if c.ffn == "swiglu":
        layer["ffn.gate_proj.weight"] = (f, d)
    layer["ffn.up_proj.weight"] = (f, d)
    layer["ffn.down_proj.weight"] = (d, f)
    for index in range(c.num_hidden_layers):
        shapes.update({f"model.layers.{index}.{name}": shape for name, shape in layer.items()})
    return shapes
