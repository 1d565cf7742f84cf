"""Continues a prompt with a checkpoint, token by token.

    python3 -m models.reference.generate --model models/chela-demo --prompt "The door" --seed 1
"""
import argparse
import json
import pathlib

import torch

from .inference import Checkpoint
from .recurrent import Decoder
from .tokenizer import load_tokenizer


def sample(logits, temperature, top_p, generator):
    """One id from softmax(logits / temperature) cut to the smallest set with mass >= top_p."""
    if temperature == 0:
        return int(logits.argmax())
    probabilities, order = torch.softmax(logits.double() / temperature, -1).sort(descending=True)
    before = probabilities.cumsum(-1) - probabilities
    probabilities[before >= top_p] = 0
    return int(order[torch.multinomial(probabilities, 1, generator=generator)])


def generate(checkpoint, tokenizer, prompt, max_tokens, temperature, top_p, seed):
    """The generated ids; ends early at EOS."""
    generator = torch.Generator().manual_seed(seed)
    ids = tokenizer.encode(prompt)
    if checkpoint.config.add_bos_token:
        ids = [tokenizer.bos_id] + ids
    decoder, out = Decoder(checkpoint), []
    for token in ids:
        logits = decoder.step(token)
    while len(out) < max_tokens:
        token = sample(logits.cpu(), temperature, top_p, generator)
        if token == tokenizer.eos_id:
            break
        out.append(token)
        logits = decoder.step(token)
    return out


def sampling_defaults(folder):
    """generation_config.json of a checkpoint folder, or nothing."""
    path = pathlib.Path(folder) / "generation_config.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="checkpoint folder")
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--max-tokens", type=int)
    parser.add_argument("--temperature", type=float)
    parser.add_argument("--top-p", type=float)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    settings = {"max_tokens": 256, "temperature": 1.0, "top_p": 1.0}
    settings.update(sampling_defaults(arguments.model))
    for key in ("max_tokens", "temperature", "top_p"):
        if getattr(arguments, key) is not None:
            settings[key] = getattr(arguments, key)
    checkpoint = Checkpoint.load(arguments.model)
    tokenizer = load_tokenizer(arguments.model)
    ids = generate(checkpoint, tokenizer, arguments.prompt, settings["max_tokens"],
                   settings["temperature"], settings["top_p"], arguments.seed)
    print(arguments.prompt + tokenizer.decode(ids))


if __name__ == "__main__":
    main()
