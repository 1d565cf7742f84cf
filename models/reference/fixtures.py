"""Writes the reference cases that every implementation of the model is tested against.

Each case is a folder: a small checkpoint with seeded random values, and expected.safetensors with
`tokens` (I64 [T]) and `logits` (F32 [T, vocab]; row t is the distribution of token t + 1). Logits
are computed in float64 with the roundings of 16-bit checkpoints, in one run over all tokens.

    python3 -m models.reference.fixtures                 # tests/data/reference
    python3 -m models.reference.fixtures --demo          # tests/data/demo, of models/chela-demo
"""
import argparse
import itertools
import math
import pathlib
import shutil

import torch

from .config import ModelConfig, tensor_shapes
from .export import stored
from .inference import Checkpoint
from .safetensors_io import save_checkpoint, save_file

ROOT = pathlib.Path(__file__).resolve().parents[2]
BOS, EOS = 256, 257
TEXT = ("It was a bright, cold morning; the ferryman -- Ørsted by name -- had not slept. "
        "\"We leave at 6:45,\" he said, \"or we do not leave at all.\"\n\nNobody answered. ")
DEMO_TEXT = (
    "The inn stood where the two roads met, a low white house with a lamp over the door. Mr. "
    "Harding had slept there once, as a boy of eleven, on the night his father sold the farm; he "
    "remembered the smell of wet straw, and a woman's voice singing in the kitchen. Now he was "
    "sixty-two, and he stood before the same door with his hat in his hand, and could not bring "
    "himself to knock.\n\n\"You will take cold, sir,\" said somebody behind him.\n\nHe turned. A "
    "girl with a basket on her arm was looking at him, not unkindly, as one looks at an old horse "
    "that has stopped in the middle of the lane.\n\n\"I was thinking,\" he said, \"that it used to "
    "be larger.\"\n\n\"Everything did,\" said the girl, and she laughed, and pushed the door open "
    "with her foot. Inside there was a fire, and a clock that struck five, though it was barely "
    "four; nobody had wound it properly since the old landlord died in 1871.")
DEMO_ROWS = 24  # positions of the demo text whose logits are kept

# name: (long convolution, short taps, phi, norm, ffn, decay, tied, dtype, T, other config keys)
_H, _E = "hierarchical", "explicit"
CASES = {
    "hierarchical_b4_s1": (
        (_H, 8, 4), 4, "elu1", "rmsnorm", "swiglu", True, True, "float32", 70, {}),
    "hierarchical_b4_s3": (
        (_H, 32, 4), 1, "silu", "layernorm", "silu", False, False, "float32", 70, {}),
    "hierarchical_b6_s2": (
        (_H, 24, 6), 3, "identity", "rmsnorm", "silu", True, False, "float32", 67, {}),
    "hierarchical_b8_s2": (
        (_H, 32, 8), 7, "identity", "layernorm", "swiglu", False, True, "float32", 70, {}),
    "hierarchical_b8_s3": (
        (_H, 64, 8), 2, "elu1", "layernorm", "silu", True, True, "bfloat16", 130, {"embedding_multiplier": 4.0}),
    "hierarchical_b16_s3": (
        (_H, 128, 16), 7, "elu1", "rmsnorm", "swiglu", False, False, "bfloat16", 140, {}),
    "hierarchical_b16_s4_window_open": (
        (_H, 256, 16), 5, "silu", "rmsnorm", "swiglu", True, True, "float32", 96, {"hidden_size": 24}),
    "hierarchical_f16": (
        (_H, 32, 8), 6, "silu", "layernorm", "swiglu", True, False, "float16", 70, {}),
    "hierarchical_f16_identity": (
        (_H, 16, 4), 4, "identity", "rmsnorm", "silu", True, True, "float16", 66, {"embedding_multiplier": 0.5}),
    "hierarchical_sharded": (
        (_H, 64, 8), 4, "elu1", "rmsnorm", "swiglu", True, True, "bfloat16", 70, {}),
    "hierarchical_one_head": (
        (_H, 32, 4), 3, "elu1", "rmsnorm", "swiglu", True, True, "float32", 66, {"num_heads": 1}),
    "hierarchical_four_heads": (
        (_H, 32, 4), 3, "silu", "rmsnorm", "silu", True, True, "bfloat16", 66, {"num_heads": 4}),
    "explicit_n16": (
        (_E, 16, 0), 4, "elu1", "rmsnorm", "swiglu", False, True, "float32", 70, {}),
    "explicit_n128_window_open": (
        (_E, 128, 0), 7, "elu1", "layernorm", "swiglu", True, True, "bfloat16", 70, {}),
    "explicit_n64": (
        (_E, 64, 0), 2, "identity", "layernorm", "silu", True, True, "float32", 130, {}),
    "explicit_n40": (
        (_E, 40, 0), 5, "silu", "rmsnorm", "silu", False, True, "bfloat16", 96, {"embedding_multiplier": 2.0}),
    "explicit_n1": (
        (_E, 1, 0), 1, "silu", "rmsnorm", "swiglu", True, True, "float32", 66, {}),
    "explicit_f16": (
        (_E, 32, 0), 6, "elu1", "layernorm", "swiglu", False, False, "float16", 70, {}),
}
SHARD_BYTES = {"hierarchical_sharded": 10_000}


def case_config(name):
    """The config of one case: 2 layers, byte tokenizer."""
    (kind, length, base), taps, phi, norm, ffn, _, tied, dtype, _, other = CASES[name]
    keys = dict(
        vocab_size=260, hidden_size=16, num_hidden_layers=2, num_heads=2, shared_dim=8,
        value_dim=24, intermediate_size=20, ffn=ffn, norm=norm, norm_eps=1e-5, feature_map=phi,
        short_conv={"kernel_size": taps},
        long_conv={"kind": kind, "length": length, "base_length": base},
        tie_word_embeddings=tied, bos_token_id=BOS, eos_token_id=EOS, add_bos_token=True,
        torch_dtype=dtype, tokenizer="bytes")
    keys.update(other)
    return ModelConfig(**keys)


def _random_tensor(name, shape, generator):
    """Values as a trained model might have them; nothing is left at a neutral 0 or 1."""
    noise = torch.randn(shape, generator=generator)
    if name.endswith("attention.decay"):
        spread = torch.linspace(0.55, 0.999, shape[0]) if shape[0] > 1 else torch.tensor([0.9])
        return spread
    if name.endswith(("norm.weight", "norm1.weight", "norm2.weight", "_scale")):
        return 1 + 0.3 * noise
    if name.endswith(("bias",)):
        return 0.2 * noise
    if "_conv.skip" in name:
        return 0.7 + 0.3 * noise
    if "_conv." in name:
        return noise * (0.8 / math.sqrt(shape[-1]))
    if "embed_tokens" in name or "lm_head" in name:
        return 0.6 * noise
    return noise / math.sqrt(shape[-1])


def random_tensors(config, seed, with_decay=True):
    """{name: F32 tensor} for every tensor of the config."""
    generator = torch.Generator().manual_seed(seed)
    return {name: _random_tensor(name, shape, generator)
            for name, shape in tensor_shapes(config).items()
            if with_decay or not name.endswith("attention.decay")}


def case_tokens(length, seed):
    """BOS, then text, then random bytes: ids a byte tokenizer can make, and all of them."""
    generator = torch.Generator().manual_seed(seed)
    text = torch.tensor(list(TEXT.encode()[:length // 2]))
    noise = torch.randint(0, 256, (length - 1 - len(text),), generator=generator)
    return torch.cat([torch.tensor([BOS]), text, noise])


def write_case(name, folder, seed):
    config = case_config(name)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    tensors = stored(config, random_tensors(config, seed, with_decay=CASES[name][5]))
    config.save(folder)
    save_checkpoint(tensors, folder, SHARD_BYTES.get(name, 16_000_000))
    tokens = case_tokens(CASES[name][8], seed)
    logits, _ = Checkpoint(config, tensors, compute=torch.float64).forward(tokens)
    save_file({"tokens": tokens, "logits": logits.float()}, folder / "expected.safetensors")


def write_demo(model_folder, folder):
    """tokens I64 [T], positions I64 [R] and logits F32 [R, vocab]: the rows at these positions."""
    from .tokenizer import load_tokenizer
    tokenizer = load_tokenizer(model_folder)
    tokens = torch.tensor([tokenizer.bos_id] + tokenizer.encode(DEMO_TEXT))
    checkpoint = Checkpoint.load(model_folder, compute=torch.float64)
    logits, _ = checkpoint.forward(tokens)
    positions = torch.linspace(0, len(tokens) - 1, DEMO_ROWS).round().long()
    folder.mkdir(parents=True, exist_ok=True)
    save_file({"tokens": tokens, "positions": positions, "logits": logits[positions].float()},
              folder / "expected.safetensors")
    (folder / "text.txt").write_bytes(DEMO_TEXT.encode())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--demo", action="store_true", help="only tests/data/demo")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "tests/data")
    arguments = parser.parse_args()
    if arguments.demo:
        write_demo(ROOT / "models/chela-demo", arguments.out / "demo")
        return
    for name, seed in zip(CASES, itertools.count(1)):
        write_case(name, arguments.out / "reference" / name, seed)
        print(name)


if __name__ == "__main__":
    main()
