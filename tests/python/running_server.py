"""Fixtures of the tests that drive the built server: programs, messages, running servers."""
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import urllib.request

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEMO_MODEL = ROOT / "models" / "chela-demo"
LISTENING = re.compile(r"listening on (\S+) \(gRPC\) and (\S+) \(metrics\)")
START_SECONDS = 60


@pytest.fixture(scope="session")
def programs():
    """The folder with chela-server and chela-cli."""
    folder = pathlib.Path(os.environ.get("CHELA_BIN_DIR", ROOT / "build" / "release" / "bin"))
    missing = [name for name in ("chela-server", "chela-cli") if not (folder / name).exists()]
    if missing and "CHELA_BIN_DIR" not in os.environ:
        pytest.skip(f"{folder} has no {', '.join(missing)}: run make first")
    assert not missing, f"{folder} has no {', '.join(missing)}"
    return folder


@pytest.fixture(scope="session")
def messages(tmp_path_factory):
    """The modules that protoc generates from proto/: (generation_pb2, error_details_pb2)."""
    out = tmp_path_factory.mktemp("generated")
    subprocess.run(["protoc", f"--proto_path={ROOT / 'proto'}", f"--python_out={out}",
                    "chela/v1/generation.proto", "chela/v1/session.proto",
                    "google/rpc/error_details.proto"], check=True)
    # google is a package of the protobuf library already, so ours is loaded by itself.
    sys.path[:0] = [str(out), str(out / "google" / "rpc")]
    try:
        import error_details_pb2
        from chela.v1 import generation_pb2
        import chela.v1.session_pb2  # noqa: F401
    finally:
        del sys.path[:2]
    return generation_pb2, error_details_pb2


@pytest.fixture(scope="session")
def session_messages(messages):
    """The same of session.proto."""
    return sys.modules["chela.v1.session_pb2"]


class RunningServer:
    """A chela-server with the bundled model on free ports of the loopback."""

    def __init__(self, programs, log_path, *flags):
        self.programs = programs
        self.log_path = log_path
        with open(log_path, "w", encoding="utf-8") as log:
            self.process = subprocess.Popen(
                [programs / "chela-server", "--model", DEMO_MODEL, "--listen", "127.0.0.1:0",
                 "--metrics-listen", "127.0.0.1:0", "--drain-grace", "0s", *flags], stderr=log)
        self.target, self.metrics = self._wait_until_ready()

    def _wait_until_ready(self):
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self.process.poll() is None:
            match = LISTENING.search(self.log())
            if match and self.cli("health", "--target", match[1], check=False).returncode == 0:
                return match[1], match[2]
            time.sleep(0.05)
        self.process.kill()
        raise AssertionError("the server did not start:\n" + self.log())

    def log(self):
        return self.log_path.read_text(encoding="utf-8")

    def cli(self, *arguments, check=True, **options):
        target = [] if "--target" in arguments else ["--target", self.target]
        return subprocess.run([self.programs / "chela-cli", *arguments, *target], check=check,
                              capture_output=True, text=True, timeout=120, **options)

    def metric(self, start, label=""):
        """The sum of the series whose line starts with `start` and holds `label`."""
        with urllib.request.urlopen(f"http://{self.metrics}/metrics", timeout=10) as page:
            lines = page.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines
                   if line.startswith(start) and label in line)

    def wait_until_running(self, requests):
        deadline = time.monotonic() + 10
        while self.metric("chela_requests_running") != requests:
            assert time.monotonic() < deadline, f"never {requests} running"
            time.sleep(0.01)

    def stop(self):
        """SIGTERM; the exit code."""
        self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise


@pytest.fixture(scope="module")
def server(programs, tmp_path_factory):
    running = RunningServer(programs, tmp_path_factory.mktemp("server") / "log")
    yield running
    assert running.stop() == 0, running.log()


@pytest.fixture
def start_server(programs, tmp_path):
    """start_server(*flags): a server of a test's own, which the test may stop."""
    started = []

    def start(*flags):
        started.append(RunningServer(programs, tmp_path / f"log{len(started)}", *flags))
        return started[-1]

    yield start
    for running in started:
        if running.process.poll() is None:
            running.process.kill()
            running.process.wait()
