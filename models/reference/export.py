"""Writes a checkpoint folder from a training state.

Matrices get the type of config.json's torch_dtype, one-dimensional and convolution tensors stay
float32; the tokenizer is copied beside them.

    python3 -m models.reference.export --state runs/demo/state.pt --tokenizer DIR --out DIR
"""
import argparse
import pathlib
import shutil

import torch

from .config import ModelConfig
from .inference import check_tensors
from .model import ChelaModel
from .safetensors_io import save_checkpoint

_TOKENIZER_FILES = ("tokenizer.model", "tokenizer.json")


def stored(config, tensors):
    """The tensors in the types of a checkpoint."""
    narrow = getattr(torch, config.torch_dtype)
    return {name: tensor.float() if tensor.dim() == 1 or "_conv." in name else tensor.to(narrow)
            for name, tensor in tensors.items()}


def export(model, folder, tokenizer_folder=None):
    """Writes config.json, the weights and the tokenizer of a trained ChelaModel."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if model.config.long_conv.kind == "none":
        raise ValueError("long_conv.kind: none is for comparison runs; no server can load it")
    tensors = stored(model.config, model.merged_tensors())
    check_tensors(model.config, tensors)
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor.float()).all():
            raise ValueError(f"{name}: NaN or Inf")
    for old in folder.glob("model*.safetensors*"):
        old.unlink()
    model.config.save(folder)
    save_checkpoint(tensors, folder)
    for name in _TOKENIZER_FILES:
        source = pathlib.Path(tokenizer_folder or folder) / name
        if source.exists() and source.parent.resolve() != folder.resolve():
            shutil.copyfile(source, folder / name)


def model_from_state(state):
    """The ChelaModel of a training state (what train.py saves)."""
    settings = state["settings"]
    model = ChelaModel(ModelConfig.from_dict(settings["model"]), settings.get("branches"),
                       settings.get("decay"))
    model.load_state_dict(state["model"])
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--state", required=True, help="state.pt of train.py")
    parser.add_argument("--tokenizer", help="folder with the tokenizer file")
    parser.add_argument("--out", required=True)
    arguments = parser.parse_args()
    state = torch.load(arguments.state, map_location="cpu")
    export(model_from_state(state), arguments.out, arguments.tokenizer)


if __name__ == "__main__":
    main()
