"""The tokenizer of a checkpoint folder: SentencePiece, or bytes."""
import json
import pathlib


class ByteTokenizer:
    """id = byte value; special ids from 256 on."""

    def __init__(self, config):
        self.bos_id, self.eos_id = config["bos_token_id"], config["eos_token_id"]

    def encode(self, text):
        return list(text.encode())

    def decode(self, ids):
        return bytes(i for i in ids if i < 256).decode(errors="replace")


class SentencePieceTokenizer:
    """tokenizer.model; ids of BOS and EOS from config.json."""

    def __init__(self, path, config):
        import sentencepiece
        self._processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
        self.bos_id, self.eos_id = config["bos_token_id"], config["eos_token_id"]

    def encode(self, text):
        return self._processor.encode(text)

    def decode(self, ids):
        return self._processor.decode([int(i) for i in ids])


def load_tokenizer(folder):
    folder = pathlib.Path(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config.get("tokenizer") == "bytes":
        return ByteTokenizer(config)
    return SentencePieceTokenizer(folder / "tokenizer.model", config)
