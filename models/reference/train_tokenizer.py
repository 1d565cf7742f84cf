"""Trains the SentencePiece tokenizer of a checkpoint.

The tokenizer must give back every text exactly, so nothing is normalised away: no rule table, no
whitespace removal, no dummy prefix (then Encode(a) + Encode(b) is a valid encoding of a + b, which
is what continuing a session does), bytes for what no piece covers. A line feed and a blank line are
pieces of their own, since SentencePiece would never learn them: it trains on single lines.

The one text it cannot give back is U+2581, which SentencePiece itself uses for the space.

    python3 -m models.reference.train_tokenizer --text train.txt --model-prefix out/tokenizer
"""
import argparse
import random

import sentencepiece

MAX_LINE_BYTES = 16384  # the longest paragraph that is still used for training


def sample_lines(paths, max_bytes, seed):
    """Lines of the files in random order, without blank ones and separators, up to max_bytes."""
    lines = []
    for path in paths:
        with open(path, encoding="utf-8", newline="") as file:
            lines += [line for line in file.read().split("\n") if line.strip()]
    random.Random(seed).shuffle(lines)
    total = 0
    for line in lines:
        total += len(line.encode()) + 1
        if total > max_bytes:
            return
        yield line


def train(paths, model_prefix, vocab_size=8192, max_bytes=20_000_000, seed=1):
    """Writes MODEL_PREFIX.model and .vocab: ids 0 unk, 1 BOS, 2 EOS, then the two line feeds."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=sample_lines(paths, max_bytes, seed),
        model_prefix=model_prefix,
        model_type="unigram",
        vocab_size=vocab_size,
        character_coverage=0.9999,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=False,
        allow_whitespace_only_pieces=True,
        split_digits=True,
        byte_fallback=True,
        user_defined_symbols=["\n", "\n\n"],
        unk_id=0, bos_id=1, eos_id=2, pad_id=-1,
        max_sentence_length=MAX_LINE_BYTES,
        num_threads=2,
        minloglevel=1,
    )


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--text", nargs="+", required=True, help="UTF-8 files")
    parser.add_argument("--model-prefix", required=True)
    parser.add_argument("--vocab-size", type=int, default=8192)
    parser.add_argument("--max-bytes", type=int, default=20_000_000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    train(arguments.text, arguments.model_prefix, arguments.vocab_size, arguments.max_bytes,
          arguments.seed)


if __name__ == "__main__":
    main()
