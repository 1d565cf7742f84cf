"""The bundled tokenizer gives back every text."""
import pathlib
import random

import pytest

from models.reference.tokenizer import load_tokenizer

pytest.importorskip("sentencepiece", reason="sentencepiece is not installed")
FOLDER = pathlib.Path(__file__).resolve().parents[2] / "models" / "chela-demo"
TEXTS = ["", "hello", " hello", "  a  b   c ", "\n", "\n\n", "\n\n\n\n\n", "a\r\nb\tc", "12345 3.14",
         "Ünïcödé 日本語 العربية 한국어 русский", "😀👩‍👩‍👧‍👦🇩🇪", "\x00\x01\x7f", "\u00a0\u2003\u3000 x",
         "<s></s><unk><0x41>", "ﬁ ½ Å é e\u0301", "\f", "   ", "\u200b\ufeff"]


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(FOLDER)


@pytest.mark.parametrize("text", TEXTS)
def test_text_comes_back(tokenizer, text):
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_random_characters_come_back_in_any_two_parts(tokenizer):
    generator = random.Random(1)
    for _ in range(200):
        # Everything but surrogates and U+2581, which SentencePiece uses for the space.
        codes = [generator.choice((generator.randrange(32, 127), generator.randrange(1, 0xD800)))
                 for _ in range(20)]
        text = "".join(chr(code) for code in codes if code != 0x2581)
        cut = generator.randrange(len(text) + 1)
        ids = tokenizer.encode(text[:cut]) + tokenizer.encode(text[cut:])
        assert tokenizer.decode(ids) == text


def test_a_line_feed_and_a_blank_line_are_one_token_each(tokenizer):
    assert len(tokenizer.encode("\n")) == len(tokenizer.encode("\n\n")) == 1
