"""How far the server's float32 is from float64 after a long text.

    python3 -m models.reference.long_accuracy --json long.json
    python3 -m models.reference.long_accuracy --model models/chela-demo --text test.txt.xz

Without --model: random models of every kernel kind, with a decay below 1 in every head and with
lambda = 1, fed random tokens. With it: that checkpoint, its matrices widened to float32, fed the
text. Runs build/release/bin/long_run_driver (or --driver) and the equations in float64 over the
same tokens; at each position it prints relative L2 distances: of the logits of the last 256 rows
(the median row and the worst), of the attention state (the worst layer and head) and, for the
hierarchical kernel, of the blocks in its rings (the worst layer and level).
"""
import argparse
import json
import lzma
import pathlib
import subprocess
import tempfile

import torch

from .config import ModelConfig
from .fixtures import random_tensors
from .inference import Checkpoint
from .safetensors_io import load_checkpoint, save_checkpoint
from .tokenizer import load_tokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
ROWS = 256
CHUNK = 4096  # of the float64 run; it gives the same numbers for any
DECAYS = (1 - 1 / 32, 1 - 1 / 128, 1 - 1 / 512, 1 - 1 / 2048)


def random_model(kind, decays, folder, seed=1):
    """Writes a random float32 checkpoint of practical width; decays: one a head, or None for 1."""
    config = ModelConfig(
        vocab_size=512, hidden_size=128, num_hidden_layers=4, num_heads=4, shared_dim=64,
        value_dim=256, intermediate_size=192, ffn="swiglu", norm="rmsnorm", norm_eps=1e-5,
        feature_map="elu1", short_conv={"kernel_size": 7},
        long_conv={"kind": kind, "length": 2048, "base_length": 16}, tie_word_embeddings=True,
        bos_token_id=256, eos_token_id=257, add_bos_token=True, torch_dtype="float32",
        tokenizer="bytes")
    tensors = random_tensors(config, seed, with_decay=decays is not None)
    for name in tensors:
        if name.endswith("attention.decay"):
            tensors[name] = torch.tensor(decays)
    config.save(folder)
    save_checkpoint(tensors, folder, max_shard_bytes=1 << 30)


def widened_copy(model, folder):
    """The same checkpoint with float32 matrices: no left operand is rounded."""
    config = ModelConfig.load(model)
    tensors = {name: tensor.float() for name, tensor in load_checkpoint(model).items()}
    config.torch_dtype = "float32"
    config.save(folder)
    save_checkpoint(tensors, folder, max_shard_bytes=1 << 30)


def distance(got, want):
    """Relative L2 over the last axis."""
    return (got.double() - want).norm(dim=-1) / want.norm(dim=-1)


class Float32Run:
    """What the driver left in a folder."""

    def __init__(self, driver, model, tokens, positions, folder):
        self.folder, self.config = folder, ModelConfig.load(model)
        (folder / "tokens").write_bytes(tokens.to(torch.int32).numpy().tobytes())
        command = [driver, model, folder / "tokens", folder, ROWS, *positions]
        done = subprocess.run([str(word) for word in command], check=True, stdout=subprocess.PIPE)
        self.attention, self.long, self.layer = map(int, done.stdout.split())

    def _read(self, name):
        return torch.frombuffer(bytearray((self.folder / name).read_bytes()), dtype=torch.float32)

    def logits(self, position):
        return self._read(f"{position}.logits").reshape(ROWS, -1)

    def layers(self, position):
        """[layers, floats of a layer]"""
        return self._read(f"{position}.state").reshape(-1, self.layer)


def attention_distance(run, layer, state):
    """The worst head of one layer. state [H, dk, dv]."""
    got = layer[run.attention:run.attention + state.numel()].reshape(state.shape[0], -1)
    return distance(got, state.flatten(1)).max().item()


def ring_distance(run, layer, state, position):
    """The worst level of one layer's rings. They lie as kernels/long_convolution.h says.

    `state` holds the B - 1 newest blocks of each level; a ring of level 1 and coarser begins at
    age B/2 - 1, so that all but its oldest are among them.
    """
    base, width = run.config.long_conv.base_length, run.config.hidden_size
    rows = layer[run.long:].reshape(-1, width)
    worst, begin = 0.0, 0
    for level, blocks in enumerate(state[1]):
        ring = base if level == 0 else base // 2 + 1
        ages = range(0 if level == 0 else base // 2 - 1, base - 1)
        newest = (position >> level) - 1
        got = torch.stack([rows[begin + (newest - age) % ring] for age in ages])
        want = torch.stack([blocks[len(blocks) - 1 - age] for age in ages])
        worst = max(worst, distance(got.flatten(), want.flatten()).item())
        begin += ring
    return worst


def compare(run, checkpoint, tokens, positions):
    """One row of figures a position."""
    states, begin, rows = None, 0, []
    for position in positions:
        while begin < position:
            end = min(begin + CHUNK, position)
            logits, states = checkpoint.forward(tokens[begin:end], states)
            begin = end
        logits = distance(run.logits(position), logits[-ROWS:])
        figures = {"position": position, "logits_median": logits.median().item(),
                   "logits_worst": logits.max().item(), "attention_worst": 0.0}
        for layer, (_, long, attention) in zip(run.layers(position), states):
            figures["attention_worst"] = max(figures["attention_worst"],
                                             attention_distance(run, layer, attention))
            if run.config.long_conv.kind == "hierarchical":
                figures["rings_worst"] = max(figures.get("rings_worst", 0.0),
                                             ring_distance(run, layer, long, position))
        rows.append(figures)
        print("  " + "  ".join(f"{key} {value:.3g}" if isinstance(value, float) else f"{value:>8}"
                               for key, value in figures.items()), flush=True)
    return rows


def measure(name, model, tokens, positions, driver):
    print(name, flush=True)
    with tempfile.TemporaryDirectory() as folder:
        run = Float32Run(driver, model, tokens, positions, pathlib.Path(folder))
        checkpoint = Checkpoint.load(model, compute=torch.float64)
        return {"case": name, "rows": compare(run, checkpoint, tokens, positions)}


def measure_random(positions, driver):
    results = []
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(0, 512, (positions[-1],), generator=generator)
    for kind in ("hierarchical", "explicit"):
        for name, decays in (("decays below 1", DECAYS), ("lambda = 1", None)):
            with tempfile.TemporaryDirectory() as folder:
                random_model(kind, decays, pathlib.Path(folder))
                results.append(measure(f"{kind}, {name}", folder, tokens, positions, driver))
    return results


def measure_model(model, text, positions, driver):
    opener = lzma.open if str(text).endswith(".xz") else open
    with opener(text, "rt", encoding="utf-8") as file:
        words = file.read(8 * positions[-1])
    tokenizer = load_tokenizer(model)
    tokens = torch.tensor(([tokenizer.bos_id] + tokenizer.encode(words))[:positions[-1]])
    if len(tokens) < positions[-1]:
        raise SystemExit(f"{text}: {len(tokens)} tokens; want {positions[-1]}")
    with tempfile.TemporaryDirectory() as folder:
        widened_copy(model, pathlib.Path(folder))
        return [measure(f"{model} in float32", folder, tokens, positions, driver)]


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--model", help="a checkpoint folder; needs --text")
    parser.add_argument("--text", help="UTF-8, or .xz of it")
    parser.add_argument("--positions", default="8192,32768,131072")
    parser.add_argument("--driver", default=ROOT / "build" / "release" / "bin" / "long_run_driver")
    parser.add_argument("--json", help="a file for the figures")
    options = parser.parse_args(arguments)
    if bool(options.model) != bool(options.text):
        parser.error("--model and --text go together")
    positions = [int(word) for word in options.positions.split(",")]
    results = (measure_model(options.model, options.text, positions, options.driver)
               if options.model else measure_random(positions, options.driver))
    if options.json:
        pathlib.Path(options.json).write_text(json.dumps(results, indent=1) + "\n")
    return results


if __name__ == "__main__":
    main()
