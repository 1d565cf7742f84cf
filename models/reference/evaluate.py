"""Bits per byte of a checkpoint on a text.

A line that holds only U+000C (a form feed) ends a document. It is removed together with its own
line feed; the text before it keeps its final line feed. Each document starts from an empty state
with BOS (if the checkpoint adds one); every token but BOS is scored with its whole past in the
document as context. Without BOS the first token of a document is not scored. Bytes are the UTF-8
bytes of the documents, that is of the file without the removed lines.

    python3 -m models.reference.evaluate --model models/chela-demo --text valid.txt
"""
import argparse
import json
import math

import torch
import torch.nn.functional as F

from .data import encode_documents, read_text, split_documents
from .inference import Checkpoint

POSITION_BINS = (0, 512, 2048, 8192, 32768, 131072, 1 << 40)


class Score:
    """Sums of -log p, in total and by position in the document."""

    def __init__(self):
        self.nats, self.tokens = 0.0, 0
        self._bins = [[0.0, 0] for _ in POSITION_BINS[1:]]

    def add(self, first_position, losses):
        """losses [T] float: -log p of the tokens at first_position, first_position + 1, ..."""
        losses = losses.double().cpu()
        self.nats += losses.sum().item()
        self.tokens += len(losses)
        for index, (low, high) in enumerate(zip(POSITION_BINS, POSITION_BINS[1:])):
            part = losses[max(0, low - first_position):max(0, high - first_position)]
            self._bins[index][0] += part.sum().item()
            self._bins[index][1] += len(part)

    def result(self, text_bytes):
        by_position = [{"from": low, "tokens": count, "nats_per_token": round(nats / count, 4)}
                       for low, (nats, count) in zip(POSITION_BINS, self._bins) if count]
        return {"bytes": text_bytes, "tokens": self.tokens, "nll_nats": round(self.nats, 3),
                "bits_per_byte": round(self.nats / math.log(2) / text_bytes, 6),
                "perplexity": round(math.exp(self.nats / max(1, self.tokens)), 4),
                "by_position": by_position}


@torch.no_grad()
def score_document(checkpoint, ids, chunk, score):
    """Adds one document to `score`; ids begin with BOS, the state is carried between chunks."""
    ids, states = torch.from_numpy(ids.astype("int64")).to(checkpoint.device), None
    for begin in range(0, len(ids) - 1, chunk):
        inputs = ids[begin:begin + chunk]
        targets = ids[begin + 1:begin + 1 + len(inputs)]
        logits, states = checkpoint.forward(inputs, states)
        score.add(begin, F.cross_entropy(logits[:len(targets)].float(), targets,
                                         reduction="none"))


@torch.no_grad()
def score_document_by_windows(logits_of, ids, window, batch, device, score):
    """The same for a model with a bounded context: windows of `window` tokens, half overlapping.

    Every token but those of the first half window has at least half a window of past.
    logits_of(tokens [n, window]) -> [n, window, vocab].
    """
    half = window // 2
    ids = torch.from_numpy(ids.astype("int64")).to(device)
    padded = F.pad(ids, (0, 2 * window))
    starts = list(range(0, max(1, len(ids) - 1 - half), half))
    for begin in range(0, len(starts), batch):
        part = starts[begin:begin + batch]
        index = torch.tensor(part, device=device)[:, None] + torch.arange(window + 1, device=device)
        segment = padded[index]
        losses = F.cross_entropy(logits_of(segment[:, :-1]).float().transpose(1, 2),
                                 segment[:, 1:], reduction="none")
        for start, row in zip(part, losses):
            skip = 0 if start == 0 else half
            score.add(start + skip, row[skip:len(ids) - 1 - start])


def evaluate(checkpoint, documents, tokenizer_folder, chunk=8192, workers=1):
    """The result object of a list of documents."""
    score = Score()
    for ids in encode_documents(documents, tokenizer_folder, workers):
        if not checkpoint.config.add_bos_token:
            ids = ids[1:]
        score_document(checkpoint, ids, chunk, score)
    return score.result(sum(len(document.encode()) for document in documents))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", required=True, help="checkpoint folder")
    parser.add_argument("--text", required=True, help="UTF-8, plain or .xz")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--chunk", type=int, default=8192, help="tokens at a time")
    arguments = parser.parse_args()
    checkpoint = Checkpoint.load(arguments.model, device=arguments.device)
    documents = split_documents(read_text(arguments.text))
    print(json.dumps(evaluate(checkpoint, documents, arguments.model, arguments.chunk), indent=2))


if __name__ == "__main__":
    main()
