"""Writes expected_json_ids.json: what the tokenizers package makes of TEXTS and of fuzz texts."""
import json
import pathlib
import sys

from tokenizers import Tokenizer

from texts import TEXTS

FOLDER = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(FOLDER.parents[1] / "python"))
from fuzz_texts import fuzz_texts  # noqa: E402

NAMES = ["gpt2", "flags", "llama3", "qwen2"]
texts = TEXTS + fuzz_texts(2026, 100)
ids = {}
for name in NAMES:
    tokenizer = Tokenizer.from_file(str(FOLDER / f"{name}.json"))
    ids[name] = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
with open(FOLDER / "expected_json_ids.json", "w", encoding="utf-8") as out:
    json.dump({"texts": texts, "ids": ids}, out, separators=(",", ":"))
    out.write("\n")
