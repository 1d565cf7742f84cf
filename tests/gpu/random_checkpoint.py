"""A checkpoint of a named size with random weights and a tokenizer, for serving benchmarks.

    python3 tests/gpu/random_checkpoint.py FOLDER [--size 350m] [--seed 1]

The sizes are those of `chela-bench engine --size` (docs/performance.md), hierarchical kernel, bf16; the weights are
distributed as its random ones are. The tokenizer is a byte-level BPE whose merges are random strings of letters of 2
to 12 bytes, so that every token has text. A server loads the folder as any other. Needs NumPy.
"""
import argparse
import json
import pathlib
import random

import numpy as np

SIZES = {  # hidden, layers, heads, shared, value, intermediate, vocabulary
    "31m": (512, 8, 4, 128, 1024, 768, 8192),
    "125m": (768, 12, 3, 192, 1536, 1536, 32768),
    "350m": (1024, 24, 4, 256, 2048, 1408, 32768),
    "1.3b": (2048, 24, 8, 512, 4096, 2688, 32768),
}
TAPS, LENGTH, BASE, LEVELS = 7, 8192, 16, 9
SPECIALS = ["<s>", "</s>"]
LONGEST = 12  # bytes of a token


def config(size):
    hidden, layers, heads, shared, value, intermediate, vocab = size
    return {
        "model_type": "chela", "architectures": ["ChelaForCausalLM"], "vocab_size": vocab,
        "hidden_size": hidden, "num_hidden_layers": layers, "num_heads": heads,
        "shared_dim": shared, "value_dim": value, "intermediate_size": intermediate,
        "ffn": "swiglu", "norm": "rmsnorm", "norm_eps": 1e-5, "feature_map": "elu1",
        "short_conv": {"kernel_size": TAPS},
        "long_conv": {"kind": "hierarchical", "length": LENGTH, "base_length": BASE},
        "tie_word_embeddings": True, "bos_token_id": vocab - 2, "eos_token_id": vocab - 1,
        "add_bos_token": True, "torch_dtype": "bfloat16",
    }


def shapes(size):
    """(name, shape) of every tensor; those of two dimensions that are no convolution are matrices."""
    d, layers, heads, z, v, f, vocab = size
    yield "model.embed_tokens.weight", (vocab, d)
    yield "model.norm.weight", (d,)
    for layer in range(layers):
        at = f"model.layers.{layer}."
        yield at + "norm1.weight", (d,)
        yield at + "norm2.weight", (d,)
        yield at + "short_conv.weight", (d, TAPS)
        yield at + "short_conv.bias", (d,)
        yield at + "long_conv.skip", (d,)
        yield at + "long_conv.taps0", (d, BASE)
        yield at + "long_conv.taps", (LEVELS, d, BASE // 2)
        for name, rows in (("shared_proj", z), ("value_proj", v), ("reset_gate", v),
                           ("update_gate", d), ("candidate_proj", d)):
            yield f"{at}attention.{name}.weight", (rows, d)
            yield f"{at}attention.{name}.bias", (rows,)
        for name in ("q_scale", "q_bias", "k_scale", "k_bias"):
            yield at + "attention." + name, (z,)
        yield at + "attention.norm.weight", (v,)
        yield at + "attention.out_proj.weight", (d, v)
        yield at + "attention.decay", (heads,)
        yield at + "ffn.gate_proj.weight", (f, d)
        yield at + "ffn.up_proj.weight", (f, d)
        yield at + "ffn.down_proj.weight", (d, f)


def is_matrix(name, shape):
    return len(shape) == 2 and "_conv." not in name


def to_bf16(values):
    bits = values.view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)


def values(name, shape, generator):
    if name.endswith("decay"):
        return np.array([1 - 2.0 ** -(5 + 2 * h) for h in range(shape[0] - 1)] + [1.0], np.float32)
    if len(shape) == 1:
        return np.full(shape, 0.0 if name.endswith("bias") else 1.0, np.float32)
    edge = (3 / shape[-1]) ** 0.5
    drawn = (generator.random(shape, dtype=np.float32) * 2 - 1) * np.float32(edge)
    return to_bf16(drawn) if is_matrix(name, shape) else drawn


def write_weights(path, size, seed):
    header, end = {}, 0
    for name, shape in shapes(size):
        matrix = is_matrix(name, shape)
        length = int(np.prod(shape)) * (2 if matrix else 4)
        header[name] = {"dtype": "BF16" if matrix else "F32", "shape": list(shape),
                        "data_offsets": [end, end + length]}
        end += length
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    generator = np.random.default_rng(seed)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes(size):
            file.write(values(name, shape, generator).tobytes())


def byte_characters():
    """Those that stand for the 256 bytes in a byte-level vocabulary."""
    plain = [b for b in range(256) if 0x21 <= b <= 0x7E or (b >= 0xA1 and b != 0xAD)]
    others = [b for b in range(256) if b not in plain]
    return {**{b: chr(b) for b in plain}, **{b: chr(0x100 + i) for i, b in enumerate(others)}}


def tokenizer(vocab, seed):
    characters = byte_characters()
    tokens = [characters[b] for b in range(256)]
    parts = [characters[b] for b in b" abcdefghijklmnopqrstuvwxyz"]
    known, merges = set(tokens), []
    draw = random.Random(seed)
    while len(tokens) < vocab - len(SPECIALS):
        left, right = draw.choice(parts), draw.choice(parts)
        if len(left + right) > LONGEST or left + right in known:
            continue
        merges.append([left, right])
        for group in (tokens, parts):
            group.append(left + right)
        known.add(left + right)
    added = [{"id": len(tokens) + i, "content": text, "single_word": False, "lstrip": False,
              "rstrip": False, "normalized": False, "special": True}
             for i, text in enumerate(SPECIALS)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
                  "use_regex": True}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
            "normalizer": None, "pre_tokenizer": byte_level, "post_processor": None,
            "decoder": byte_level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None,
                      "continuing_subword_prefix": None, "end_of_word_suffix": None,
                      "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                      "vocab": {token: i for i, token in enumerate(tokens)}, "merges": merges}}


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--size", choices=SIZES, default="350m")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    size = SIZES[arguments.size]
    arguments.folder.mkdir(parents=True, exist_ok=True)
    (arguments.folder / "config.json").write_text(json.dumps(config(size), indent=1))
    (arguments.folder / "tokenizer.json").write_text(
        json.dumps(tokenizer(size[-1], arguments.seed), ensure_ascii=False))
    write_weights(arguments.folder / "model.safetensors", size, arguments.seed)


if __name__ == "__main__":
    main()
