"""Trains the tokenizer.json files of this folder: python3 train_json.py.

The text is the repository's own: the licence, the demo's sample, the texts of expect.py.
"""
import json
import pathlib

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from texts import TEXTS

FOLDER = pathlib.Path(__file__).resolve().parent
ROOT = FOLDER.parents[2]
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|"
          r" ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
FLAGS = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
         "special": False}


def lines():
    for path in (ROOT / "LICENSE", ROOT / "tests" / "data" / "demo" / "text.txt"):
        yield from path.read_text(encoding="utf-8").splitlines(keepends=True)
    yield from TEXTS * 2


def split(pattern):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def train(pre_tokenizer, specials=(), normalizer=None, tokens=1100):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = pre_tokenizer
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(lines(), trainers.BpeTrainer(
        vocab_size=tokens, special_tokens=list(specials), show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet())))
    return json.loads(tokenizer.to_str())


def add(file, content, **flags):
    tokens = file["added_tokens"]
    known = file["model"]["vocab"].get(content)
    after = max([len(file["model"]["vocab"]) - 1] + [token["id"] for token in tokens]) + 1
    tokens.append({"id": after if known is None else known, "content": content, **FLAGS, **flags})


def merges_as_strings(file):
    file["model"]["merges"] = [" ".join(pair) for pair in file["model"]["merges"]]


def gpt2():
    """As GPT-2's own file: no model type, one special token inside the vocabulary."""
    file = train(pre_tokenizers.ByteLevel(add_prefix_space=False), ["<|endoftext|>"])
    merges_as_strings(file)
    del file["model"]["type"], file["pre_tokenizer"]["use_regex"]
    file["post_processor"] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return file


def flags():
    """A space in front, and added tokens with every flag."""
    file = train(pre_tokenizers.ByteLevel(add_prefix_space=True), tokens=700)
    add(file, "<mask>", lstrip=True, special=True)
    add(file, "<end>", rstrip=True, special=True)
    add(file, "<both>", lstrip=True, rstrip=True)
    add(file, "word", single_word=True)
    add(file, "wörd!", single_word=True, normalized=True)
    add(file, "<a", normalized=True)
    add(file, "<a>")
    add(file, "<a><b>")
    return file


def llama3():
    """Pairs, ignore_merges (the last words have no merges), a template that puts BOS in front."""
    file = train(split(LLAMA3))
    for word in ("Hello", "Ġunreachable", "世界"):
        token = pre_tokenizers.ByteLevel(add_prefix_space=False).pre_tokenize_str(word)
        name = word if word.startswith("Ġ") else token[0][0]
        file["model"]["vocab"][name] = len(file["model"]["vocab"])
    file["model"]["ignore_merges"] = True
    for content in ("<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"):
        add(file, content, special=True)
    bos = file["added_tokens"][0]["id"]
    file["post_processor"] = {"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
        {"type": "TemplateProcessing",
         "single": [{"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 0}},
                    {"Sequence": {"id": "A", "type_id": 0}}],
         "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
         "special_tokens": {"<|begin_of_text|>": {
             "id": "<|begin_of_text|>", "ids": [bos], "tokens": ["<|begin_of_text|>"]}}}]}
    return file


def qwen2():
    """NFC, single digits, merges as strings, an added token that is found in normalised text."""
    file = train(split(QWEN2), normalizer=normalizers.NFC())
    merges_as_strings(file)
    for content in ("<|endoftext|>", "<|im_start|>", "<|im_end|>"):
        add(file, content, special=True)
    add(file, "<tool_call>")
    add(file, "café", normalized=True)
    return file


if __name__ == "__main__":
    for make in (gpt2, flags, llama3, qwen2):
        path = FOLDER / f"{make.__name__}.json"
        path.write_text(json.dumps(make(), ensure_ascii=False, separators=(",", ":")) + "\n",
                        encoding="utf-8")
        print(path.name, path.stat().st_size)
