"""Byte-level BPE gives the ids of the Hugging Face tokenizers package, and keeps every byte."""
import random
import time
import unicodedata

import pytest

from fuzz_texts import fuzz_bytes, fuzz_texts
from tokenizer_driver import DATA, driver_program, open_driver  # noqa: F401

tokenizers = pytest.importorskip("tokenizers", reason="tokenizers is not installed")
NAMES = ["gpt2", "flags", "llama3", "qwen2"]
TEXTS = 4000


@pytest.fixture
def pair(open_driver):
    """pair(name): the package's tokenizer and ours for a file of tests/data/tokenizers."""

    def start(name):
        path = DATA / f"{name}.json"
        package = tokenizers.Tokenizer.from_file(str(path))
        return package, open_driver(path, "tokenizer.json", package.get_vocab_size())

    return start


def ids_of(package, text):
    return package.encode(text, add_special_tokens=False).ids


@pytest.mark.parametrize("name", NAMES)
def test_ids_are_those_of_the_package(pair, name):
    package, ours = pair(name)
    for text in fuzz_texts(1, TEXTS):
        assert ours.encode(text) == ids_of(package, text), repr(text)


@pytest.mark.parametrize("name", NAMES)
def test_ids_of_single_characters_are_those_of_the_package(pair, name):
    package, ours = pair(name)
    ranges = [(0, 0x36F), (0x384, 0x38A), (0x400, 0x52F), (0x180E, 0x180E), (0x2000, 0x2064), (0x3000, 0x30FF),
              (0x4E00, 0x4EFF), (0xFE00, 0xFE6B)]
    for low, high in ranges:
        for code in range(low, high + 1):
            text = f"a{chr(code)}b {chr(code)} \n{chr(code)}1"
            assert ours.encode(text) == ids_of(package, text), hex(code)


def test_composition_is_that_of_unicode_for_every_character(pair):
    ours = pair("qwen2")[1]
    codes = [code for code in range(0x20, 0x110000) if not 0xD800 <= code < 0xE000
             and unicodedata.ucd_3_2_0.category(chr(code)) != "Cn"]
    for marks in ("", "\u0301\u0323", "\u1161\u11a8", "\u11a7", "\u3099\u094d"):
        for begin in range(0, len(codes), 4096):
            text = " ".join(chr(code) + marks for code in codes[begin:begin + 4096])
            assert bytes(ours.ask(b"d", text.encode())).decode() == unicodedata.normalize("NFC", text)


@pytest.mark.parametrize("name", NAMES)
def test_long_runs_take_time_in_proportion(pair, name):
    package, ours = pair(name)
    generator = random.Random(3)
    runs = ["a" * 200_000, " " * 200_000, "\n " * 100_000, "the" * 70_000, "!" * 200_000, "0" * 200_000,
            "".join(generator.choice("etaoin") for _ in range(200_000)), "<|" * 100_000,
            "\u0301\u0316" * 50_000, " " * 200_000 + "x", "中" * 60_000]
    for text in runs:
        begin = time.monotonic()
        ids = ours.encode(text)
        assert time.monotonic() - begin < 5, repr(text[:10])
        assert ids == ids_of(package, text), repr(text[:10])


@pytest.mark.parametrize("name", ["gpt2", "llama3"])
def test_any_bytes_come_back(pair, name):
    package, ours = pair(name)
    special = [token.content for token in package.get_added_tokens_decoder().values() if token.special]
    for data in fuzz_bytes(5, TEXTS):
        while any(content.encode() in data for content in special):  # They stand for no text.
            for content in special:
                data = data.replace(content.encode(), b"")
        assert bytes(ours.ask(b"d", data)) == data


@pytest.mark.parametrize("name", ["gpt2", "llama3", "qwen2"])
def test_broken_bytes_are_tokens_of_their_own_between_texts(pair, name):
    package, ours = pair(name)
    byte_names = {0x80: "Ģ", 0xC3: "Ã", 0xE4: "ä", 0xF0: "ð", 0xFF: "ÿ"}
    for broken in (b"\xff", b"\x80\x80", b"\xc3", b"\xe4\x80", b"\xf0\xff"):
        for before, after in zip(fuzz_texts(8, 200), fuzz_texts(9, 200)):
            want = [*ids_of(package, before), *(package.token_to_id(byte_names[byte]) for byte in broken),
                    *ids_of(package, after)]
            assert ours.ask(b"e", before.encode() + broken + after.encode()) == want


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_in_random_pieces_gives_the_ids_of_the_whole(pair, name):
    package, ours = pair(name)
    generator = random.Random(7)
    for text in fuzz_texts(11, 400):
        data, rest, ids = text.encode(), b"", []
        kind = b"e"
        while data:
            size = generator.randint(1, 12)
            rest, data = rest + data[:size], data[size:]
            stable = ours.ask(b"s", rest)[0] if data else len(rest)
            if stable:
                ids += ours.ask(kind, rest[:stable])
                rest, kind = rest[stable:], b"c"
        assert ids == ids_of(package, text), repr(text)
