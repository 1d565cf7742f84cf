"""Writes expected_ids.json: what the SentencePiece package makes of TEXTS."""
import json
import pathlib

import sentencepiece as spm

from texts import TEXTS

ids = {}
for path in sorted(pathlib.Path(".").glob("*.model")):
    model = spm.SentencePieceProcessor(model_file=str(path))
    ids[path.stem] = [model.encode(text) for text in TEXTS]
with open("expected_ids.json", "w", encoding="utf-8") as out:
    json.dump({"texts": TEXTS, "ids": ids}, out, separators=(",", ":"))
    out.write("\n")
