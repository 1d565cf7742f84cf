"""Texts as token ids.

A text file is UTF-8, plain or .xz. A line that holds only a form feed (U+000C) separates documents:
it goes away together with its own line feed, and the text before it keeps its final line feed.
A document that is left empty counts as none.

    python3 -m models.reference.data --tokenizer DIR --text train.txt --out train.npy
"""
import argparse
import lzma
import multiprocessing

import numpy
import torch

from .tokenizer import load_tokenizer

SEPARATOR = "\f"


def read_text(path):
    """The whole text of a file, byte for byte (no change of line ends)."""
    opener = lzma.open if str(path).endswith(".xz") else open
    with opener(path, "rb") as file:
        return file.read().decode("utf-8")


def split_documents(text):
    """The documents of a text, in order; see the file comment for what goes away."""
    documents, lines = [], []
    for line in text.split("\n"):
        if line == SEPARATOR:
            documents.append("\n".join(lines) + "\n" if lines else "")
            lines = []
        else:
            lines.append(line)
    documents.append("\n".join(lines))
    return [document for document in documents if document]


_worker_tokenizer = None


def _start_worker(folder):
    global _worker_tokenizer  # one tokenizer a process; it cannot be sent with every document
    _worker_tokenizer = load_tokenizer(folder)


def _encode(document):
    ids = [_worker_tokenizer.bos_id] + _worker_tokenizer.encode(document)
    return numpy.array(ids, numpy.uint16)


def encode_documents(documents, tokenizer_folder, workers=1):
    """Each document as uint16 ids, BOS first."""
    if workers == 1:
        _start_worker(tokenizer_folder)
        return [_encode(document) for document in documents]
    with multiprocessing.Pool(workers, _start_worker, (str(tokenizer_folder),)) as pool:
        return pool.map(_encode, documents, chunksize=1)


class TokenStream:
    """Batches of a long row of ids, on the device. Step n always gives the same batch.

    An epoch cuts the row at a new random offset into segments of length + 1 ids (one more than it
    trains on, for the target) and takes them in a new random order. A segment may run from one
    document into the next; the BOS between them says so.
    """

    def __init__(self, ids, length, batch, seed, device):
        if len(ids) < 2 * length + 2:
            raise ValueError(f"training text: {len(ids)} tokens; want at least {2 * length + 2}")
        self.ids = torch.from_numpy(ids.astype(numpy.int32)).to(device)
        self.length, self.batch, self.seed = length, batch, seed
        self.segments = (len(ids) - 1 - length) // length
        self._epoch, self._starts = None, None

    def _segment_starts(self, epoch):
        if epoch != self._epoch:
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + epoch)
            offset = torch.randint(0, self.length, (1,), generator=generator)
            order = torch.randperm(self.segments, generator=generator)
            self._epoch, self._starts = epoch, (offset + order * self.length).to(self.ids.device)
        return self._starts

    def at(self, step):
        """(tokens, targets) of a step, both I64 [batch, length]."""
        first = step * self.batch
        rows = []
        for number in range(first, first + self.batch):
            epoch, index = divmod(number, self.segments)
            rows.append(self._segment_starts(epoch)[index])
        index = torch.stack(rows)[:, None] + torch.arange(self.length + 1, device=self.ids.device)
        segment = self.ids[index].long()
        return segment[:, :-1].contiguous(), segment[:, 1:].contiguous()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tokenizer", required=True, help="checkpoint folder")
    parser.add_argument("--text", nargs="+", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--workers", type=int, default=multiprocessing.cpu_count())
    arguments = parser.parse_args()
    documents = [d for path in arguments.text for d in split_documents(read_text(path))]
    encoded = encode_documents(documents, arguments.tokenizer, arguments.workers)
    ids = numpy.concatenate(encoded)
    numpy.save(arguments.out, ids)
    print(f"{len(documents)} documents, {sum(len(d.encode()) for d in documents)} bytes, "
          f"{len(ids)} tokens")


if __name__ == "__main__":
    main()
