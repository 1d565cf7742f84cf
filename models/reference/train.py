"""Trains a model from a settings file (YAML or JSON) on a row of token ids (data.py makes it).

    python3 -m models.reference.train --settings models/reference/demo.yaml --data train.npy \
        --out runs/demo [--resume runs/demo/state.pt] [--max-seconds 500]

Written to --out: state.pt (to resume and export), loss.csv and loss.png. The schedule follows the
share of the work done: tokens of `train_tokens`, or seconds of --max-seconds if that share is
larger, so that a run with a time limit ends with its learning rate at the end of the schedule.
"""
import argparse
import csv
import json
import math
import pathlib
import time

import numpy
import torch
import torch.nn.functional as F

from .config import ModelConfig
from .data import TokenStream
from .model import ChelaModel
from .optimizer import build_optimizers
from .transformer import TransformerConfig, TransformerModel

LOG_EVERY = 50
DEFAULTS = {"seed": 1, "schedule": "linear", "warmup_steps": 200, "cooldown": 0.5,
            "clip_norm": 1.0, "precision": "bfloat16", "dropout": 0.0}


def load_settings(path):
    """The settings file as a dict, defaults filled in."""
    text = pathlib.Path(path).read_text(encoding="utf-8")
    if str(path).endswith(".json"):
        data = json.loads(text)
    else:
        import yaml
        data = yaml.safe_load(text)
    return {**DEFAULTS, **data}


def build_model(settings, device):
    activations = getattr(torch, settings["precision"])
    if "transformer" in settings:
        model = TransformerModel(TransformerConfig(**settings["transformer"]), activations,
                                 settings["dropout"])
    else:
        model = ChelaModel(ModelConfig.from_dict(settings["model"]), settings.get("branches"),
                           settings.get("decay"), activations, settings["dropout"])
    return model.to(device)


def learning_rate_share(settings, step, done):
    """The factor of every learning rate. done: share of the work done, in [0, 1].

    linear: warm up, hold, then a line to 0 over the last `cooldown` of the work. cosine: warm up,
    then half a cosine to 0.
    """
    warm = min(1.0, (step + 1) / max(1, settings["warmup_steps"]))
    if settings["schedule"] == "cosine":
        return warm * 0.5 * (1 + math.cos(math.pi * done))
    return warm * min(1.0, max(0.0, 1 - done) / max(settings["cooldown"], 1e-9))


def head_loss(hidden, weight, targets):
    """Mean cross-entropy in nats; logits in the activations' type, their softmax in float32."""
    logits = F.linear(hidden, weight.to(hidden.dtype))
    return F.cross_entropy(logits.flatten(0, 1).float(), targets.flatten())


class Trainer:
    """Owns model, optimisers and position in the data. One thread."""

    def __init__(self, settings, ids, device, compiled):
        torch.manual_seed(settings["seed"])
        self.settings, self.device = settings, device
        self.model = build_model(settings, device)
        self.optimizers = build_optimizers(self.model, settings["optimizer"])
        length = settings["sequence_length"]
        self.stream = TokenStream(ids, length, settings["batch_tokens"] // length,
                                  settings["seed"], device)
        self.step, self.history = 0, []
        self.loss = head_loss
        if compiled:  # layer by layer: all layers share one compiled graph
            for layer in self.model.layers:
                layer.compile()
            self.loss = torch.compile(head_loss)

    @property
    def tokens_per_step(self):
        return self.stream.batch * self.stream.length

    def train_step(self, done):
        """One step; returns the loss as a tensor on the device (no waiting)."""
        share = learning_rate_share(self.settings, self.step, done)
        tokens, targets = self.stream.at(self.step)
        loss = self.loss(self.model(tokens), self.model.head_weight(), targets)
        loss.backward()
        if self.settings["clip_norm"]:
            torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings["clip_norm"])
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = group["initial_lr"] * share
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return loss.detach()

    def state(self):
        return {"settings": self.settings, "step": self.step, "history": self.history,
                "model": self.model.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load(self, state):
        self.step, self.history = state["step"], state["history"]
        self.model.load_state_dict(state["model"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"]):
            optimizer.load_state_dict(saved)


def save_state(trainer, folder):
    """Replaces state.pt only when the new one is complete."""
    path = folder / "state.pt"
    torch.save(trainer.state(), str(path) + ".new")
    pathlib.Path(str(path) + ".new").replace(path)


def write_curve(history, folder):
    """loss.csv, and loss.png if matplotlib is there."""
    with open(folder / "loss.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["step", "tokens", "seconds", "learning_rate_share", "loss_nats"])
        writer.writerows(history)
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot
    figure, axis = pyplot.subplots(figsize=(7, 4))
    axis.plot([row[1] / 1e6 for row in history], [row[4] for row in history])
    axis.set_xlabel("million tokens")
    axis.set_ylabel("training loss, nats a token")
    axis.grid(alpha=0.3)
    figure.savefig(folder / "loss.png", dpi=110, bbox_inches="tight")
    pyplot.close(figure)


def run(trainer, folder, max_seconds=None, save_seconds=120.0):
    """Trains until the work is done; returns the seconds of training after the first step."""
    settings, began = trainer.settings, time.monotonic()
    total = max(1, settings["train_tokens"] // trainer.tokens_per_step)
    losses, first, mark, saved = [], None, (began, trainer.step), began
    while trainer.step < total:
        now = time.monotonic()
        done = trainer.step / total
        if max_seconds and first:
            done = max(done, (now - first) / (max_seconds - (first - began)))
        if done >= 1:
            break
        losses.append(trainer.train_step(done))
        if first is None:
            losses[0].item()  # wait: the first step compiles, and is not counted
            first = time.monotonic()
            mark = (first, trainer.step)
        if trainer.step % LOG_EVERY == 0 or trainer.step == total:
            loss = torch.stack(losses).mean().item()
            now, losses = time.monotonic(), []
            rate = (trainer.step - mark[1]) * trainer.tokens_per_step / max(now - mark[0], 1e-9)
            mark = (now, trainer.step)
            left = (now - first) * (1 - done) / max(done, 1e-9)
            share = learning_rate_share(settings, trainer.step, done)
            tokens = trainer.step * trainer.tokens_per_step
            trainer.history.append([trainer.step, tokens, round(now - first, 2), round(share, 4),
                                    round(loss, 5)])
            print(f"step {trainer.step}  {tokens / 1e6:.1f}M tokens  loss {loss:.4f}  "
                  f"{rate / 1e3:.0f}k tokens/s  ETA {left:.0f} s", flush=True)
            if not math.isfinite(loss):
                raise RuntimeError(f"step {trainer.step}: loss is {loss}")
            if now - saved > save_seconds:
                save_state(trainer, folder)
                saved = now
    if trainer.device != "cpu":
        torch.cuda.synchronize()
    seconds = time.monotonic() - (first or began)
    save_state(trainer, folder)
    write_curve(trainer.history, folder)
    return seconds


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--settings", required=True)
    parser.add_argument("--data", required=True, help="token ids, .npy of uint16")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--resume", help="state.pt to go on from")
    parser.add_argument("--max-seconds", type=float)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--no-compile", action="store_true")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(load_settings(arguments.settings), numpy.load(arguments.data),
                      arguments.device, arguments.device != "cpu" and not arguments.no_compile)
    if arguments.resume:
        trainer.load(torch.load(arguments.resume, map_location=arguments.device))
    seconds = run(trainer, arguments.out, arguments.max_seconds)
    print(f"trained {trainer.step * trainer.tokens_per_step} tokens; {seconds:.1f} s")


if __name__ == "__main__":
    main()
