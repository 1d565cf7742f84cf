"""Trains the tokenizers of this folder: python3 train.py TEXT (UTF-8)."""
import io
import sys

import sentencepiece as spm

LINES = [line.rstrip("\n") for line in open(sys.argv[1], encoding="utf-8")]
COMMON = dict(
    normalization_rule_name="identity",
    remove_extra_whitespaces=False,
    max_sentence_length=100000,
    shuffle_input_sentence=False,
    num_threads=1,
)
MODELS = {
    # As most published models: dummy prefix, byte fallback.
    "unigram_prefix": dict(
        model_type="unigram", vocab_size=1500, byte_fallback=True,
        character_coverage=0.9995, add_dummy_prefix=True),
    # Lossless from the first byte on; lines and indents have pieces.
    "bpe_plain": dict(
        model_type="bpe", vocab_size=1500, byte_fallback=True,
        character_coverage=0.9995, add_dummy_prefix=False,
        allow_whitespace_only_pieces=True,
        user_defined_symbols=["\n", "\n\n", "<|turn|>", "==="]),
    # Pieces may cross words, and digits are split.
    "unigram_phrases": dict(
        model_type="unigram", vocab_size=1500, byte_fallback=True,
        character_coverage=0.9995, add_dummy_prefix=False,
        split_by_whitespace=False, split_digits=True,
        allow_whitespace_only_pieces=True, user_defined_symbols=["\n"]),
    # No byte fallback: what has no piece becomes <unk>.
    "bpe_unknown": dict(
        model_type="bpe", vocab_size=600, byte_fallback=False,
        character_coverage=0.99, add_dummy_prefix=True),
}
for name, options in MODELS.items():
    model = io.BytesIO()
    spm.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_writer=model,
        **{**COMMON, **options})
    with open(f"{name}.model", "wb") as out:
        out.write(model.getvalue())
