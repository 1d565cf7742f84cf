"""One run from settings to bits per byte: train, export, evaluate, and a result in JSON.

    python3 -m models.reference.experiment --settings models/reference/demo.yaml \
        --set optimizer.matrix_lr=0.01 --data train.npy --valid valid.txt --test test.txt \
        --tokenizer models/chela-demo --out runs/lower-rate

--set changes one key of the settings (dots go down, the value is JSON or a plain word).
"""
import argparse
import datetime
import json
import pathlib

import numpy
import torch
import torch.nn.functional as F

from . import train
from .data import encode_documents, read_text, split_documents
from .evaluate import Score, evaluate, score_document_by_windows
from .export import export, stored
from .inference import Checkpoint

WINDOW_BATCH = 16


def apply_change(settings, change):
    """Applies "a.b=value" in place."""
    path, _, text = change.partition("=")
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        value = text
    *parents, key = path.split(".")
    for name in parents:
        settings = settings.setdefault(name, {})
    settings[key] = value


def score_model(trainer, path, tokenizer_folder, workers):
    """Bits per byte of the trained model on one file, as its checkpoint would give them."""
    documents, model = split_documents(read_text(path)), trainer.model.eval()
    if "transformer" not in trainer.settings:
        checkpoint = Checkpoint(model.config, stored(model.config, model.merged_tensors()),
                                device=trainer.device)
        return evaluate(checkpoint, documents, tokenizer_folder, workers=workers)
    score = Score()

    def logits_of(tokens):
        hidden = model(tokens)
        return F.linear(hidden, model.head_weight().to(hidden.dtype))

    for ids in encode_documents(documents, tokenizer_folder, workers):
        score_document_by_windows(logits_of, ids, trainer.settings["sequence_length"], WINDOW_BATCH,
                                  trainer.device, score)
    return score.result(sum(len(document.encode()) for document in documents))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--settings", required=True)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--data", required=True)
    parser.add_argument("--valid")
    parser.add_argument("--test")
    parser.add_argument("--tokenizer", required=True, help="folder with config.json and tokenizer")
    parser.add_argument("--out", required=True, type=pathlib.Path)
    parser.add_argument("--resume")
    parser.add_argument("--max-seconds", type=float)
    parser.add_argument("--save-seconds", type=float, default=120.0)
    parser.add_argument("--export", action="store_true", help="write OUT/checkpoint")
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    arguments = parser.parse_args()
    settings = train.load_settings(arguments.settings)
    for change in arguments.set:
        apply_change(settings, change)
    arguments.out.mkdir(parents=True, exist_ok=True)
    trainer = train.Trainer(settings, numpy.load(arguments.data), arguments.device,
                            arguments.device != "cpu")
    if arguments.resume:
        trainer.load(torch.load(arguments.resume, map_location=arguments.device))
    began = trainer.step
    seconds = train.run(trainer, arguments.out, arguments.max_seconds, arguments.save_seconds)
    if arguments.export:
        export(trainer.model, arguments.out / "checkpoint", arguments.tokenizer)
    tokens = trainer.step * trainer.tokens_per_step
    result = {
        "settings": settings, "tokens": tokens, "seconds": round(seconds, 1),
        "tokens_per_second": round((trainer.step - began - 1) * trainer.tokens_per_step / seconds),
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "date": datetime.date.today().isoformat()}
    for split in ("valid", "test"):
        path = getattr(arguments, split)
        if path:
            result[split] = score_model(trainer, path, arguments.tokenizer, arguments.workers)
            print(f"{split}: {result[split]['bits_per_byte']} bits per byte", flush=True)
        with open(arguments.out / "result.json", "w", encoding="utf-8") as file:
            json.dump(result, file, indent=2)


if __name__ == "__main__":
    main()
