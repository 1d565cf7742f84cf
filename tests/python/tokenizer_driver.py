"""The server's tokenizers, through the program tests/models/tokenizer_driver.cc."""
import os
import pathlib
import struct
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data" / "tokenizers"


class Driver:
    """The tokenizer of a folder."""

    def __init__(self, program, folder, vocab_size):
        self.process = subprocess.Popen([program, folder, str(vocab_size)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE)

    def ask(self, kind, data):
        self.process.stdin.write(kind + struct.pack("<I", len(data)) + data)
        self.process.stdin.flush()
        count, = struct.unpack("<I", self._read(4))
        return list(struct.unpack(f"<{count}i", self._read(4 * count)))

    def _read(self, size):
        data = self.process.stdout.read(size)
        assert len(data) == size, "the driver ended"
        return data

    def encode(self, text):
        return self.ask(b"e", text.encode())

    def close(self):
        self.process.stdin.close()
        code = self.process.wait(timeout=30)
        self.process.stdout.close()
        assert code == 0


@pytest.fixture(scope="session")
def driver_program():
    folder = pathlib.Path(os.environ.get("CHELA_BIN_DIR", ROOT / "build" / "release" / "bin"))
    program = folder / "tokenizer_driver"
    if not program.exists() and "CHELA_BIN_DIR" not in os.environ:
        pytest.skip(f"{program} is not built: run make test")
    assert program.exists(), program
    return program


@pytest.fixture
def open_driver(driver_program, tmp_path):
    """open_driver(file, name, vocab_size): the tokenizer in `file`, put into a folder as `name`."""
    opened = []

    def start(file, name, vocab_size):
        folder = tmp_path / f"{len(opened)}"
        folder.mkdir()
        (folder / name).symlink_to(file)
        opened.append(Driver(driver_program, folder, vocab_size))
        return opened[-1]

    yield start
    for driver in opened:
        driver.close()
