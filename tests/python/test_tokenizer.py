"""SentencePiece: the bundled tokenizer gives back every text; the server gives the package's ids."""
import pathlib
import random
import time
from collections import Counter

import pytest

from fuzz_texts import fuzz_bytes, fuzz_texts
from models.reference.tokenizer import load_tokenizer
from tokenizer_driver import DATA, driver_program, open_driver  # noqa: F401

sentencepiece = pytest.importorskip("sentencepiece", reason="sentencepiece is not installed")
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


SERVED = [DATA / f"{name}.model" for name in ("unigram_prefix", "bpe_plain", "unigram_phrases", "bpe_unknown")] + [
    FOLDER / "tokenizer.model"]


@pytest.fixture(params=SERVED, ids=lambda path: path.parent.name + "/" + path.stem)
def pair(request, open_driver):
    """The package's tokenizer and the server's for one model."""
    package = sentencepiece.SentencePieceProcessor(model_file=str(request.param))
    return package, open_driver(request.param, "tokenizer.model", 8192)


def scores_differ_by_rounding(package, ours, theirs):
    """Whether a float32 sum, as the package's, can't tell the two paths of a unigram model apart."""
    def score(ids):
        return sum(package.get_score(token) for token in ids.elements())

    only_ours, only_theirs = Counter(ours) - Counter(theirs), Counter(theirs) - Counter(ours)
    # Each of the path's additions rounds a sum of at most so many scores, none below -30 (an unknown character).
    rounding = len(theirs) * 2.0**-24 * 30 * len(theirs)
    return abs(score(only_ours) - score(only_theirs)) <= rounding


def test_served_ids_are_those_of_the_package(pair, request):
    package, ours = pair
    near_ties = 0
    for text in fuzz_texts(1, 4000):
        # The package takes U+2581 for a space; what NUL and it become here is the header's business.
        text = text.replace("\u2581", "").replace("\0", "")
        got, want = ours.encode(text), package.encode(text)
        if got == want:
            continue
        assert "bpe" not in request.node.name, repr(text)
        assert package.decode(got) == package.decode(want), repr(text)
        assert scores_differ_by_rounding(package, got, want), repr(text)
        near_ties += 1
    assert near_ties <= 80


def test_served_text_comes_back_whatever_its_bytes(pair):
    package, ours = pair
    if package.piece_to_id("<0x00>") == package.unk_id():
        pytest.skip("without byte fallback characters are lost")
    for data in fuzz_bytes(2, 2000):
        assert bytes(ours.ask(b"d", data)) == data


def test_served_long_runs_take_time_in_proportion(pair):
    _, ours = pair
    for text in ("a" * 300_000, " " * 300_000, "\n " * 150_000, "the" * 100_000, "\u0301" * 150_000,
                 "中" * 100_000, "=" * 300_000):
        begin = time.monotonic()
        ours.encode(text)
        assert time.monotonic() - begin < 10, repr(text[:10])
