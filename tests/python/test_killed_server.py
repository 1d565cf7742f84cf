"""kill -9 of the whole server at any moment: the session is whole, and at most one turn further
than its client knows. CHELA_CRASH_ROUNDS sets how often (5)."""
import os
import random
import shutil
import socket
import subprocess
import threading
import time

import grpc
import pytest

from running_server import messages, programs, session_messages, start_server  # noqa: F401
from session_client import Client

PROMPT = "The old captain looked at the sea and"
TURN = 3  # tokens
ROUNDS = int(os.environ.get("CHELA_CRASH_ROUNDS", "5"))
# Turns of a round are far fewer; then a new text begins.
LONGEST = 3000


def redis(folder):
    """A redis-server that keeps what it has acknowledged, and its URL."""
    path = os.path.join(folder, "socket")
    server = subprocess.Popen(
        ["redis-server", "--port", "0", "--unixsocket", path, "--dir", folder, "--save", "",
         "--appendonly", "yes", "--appendfsync", "always"], stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 10
    while True:
        try:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.connect(path)
            return server, f"unix://{path}"
        except OSError:
            assert time.monotonic() < deadline and server.poll() is None, "redis-server"
            time.sleep(0.05)


@pytest.fixture(params=["folder", "redis"])
def store(request, tmp_path):
    if request.param == "folder":
        yield str(tmp_path / "sessions")
        return
    if shutil.which("redis-server") is None:
        assert "CHELA_REQUIRE_REDIS" not in os.environ
        pytest.skip("no redis-server")
    server, url = redis(str(tmp_path))
    yield url
    server.kill()
    server.wait()


class Text:
    """A session that goes on by turns of three tokens, and what all of it must be."""

    def __init__(self, client):
        self.turns = 0  # acknowledged
        self.want = list(client.generate(PROMPT, LONGEST, seed=3).tokens.ids)
        self.begin(client)

    def begin(self, client):
        client.create("text")
        answer = client.generate(PROMPT, TURN, seed=3, session="text")
        self.prompt_tokens = answer.finish.usage.prompt_tokens
        self.revision = answer.revision

    def go_on_until(self, client, process):
        """Turn after turn until the server is gone."""
        killer = threading.Timer(random.random() * 0.25, process.kill)
        killer.start()
        try:
            while True:
                self.revision = client.generate(tokens=TURN, session="text").revision
                self.turns += 1
        except grpc.RpcError as error:
            assert error.code() == grpc.StatusCode.UNAVAILABLE, error
        killer.join()
        process.wait()

    def check(self, client):
        """Of a restarted server: how many turns it has beyond the acknowledged ones."""
        request = client.sessions.ListSessionsRequest()
        (found,) = client.session("ListSessions", request).sessions
        beyond = found.revision - self.revision
        assert beyond in (0, 1)
        self.revision = found.revision
        at = found.tokens - self.prompt_tokens
        assert at % TURN == 0
        fork = client.sessions.ForkSessionRequest(session="text")
        fork.settings.id = "fork"
        client.session("ForkSession", fork)
        assert list(client.generate(tokens=TURN, session="fork").tokens.ids) == self.want[at:at + TURN]
        client.session("DeleteSession", client.sessions.DeleteSessionRequest(session="fork"))
        if at > LONGEST // 2:
            client.session("DeleteSession", client.sessions.DeleteSessionRequest(session="text"))
            self.begin(client)
        return beyond


def test_a_killed_server_leaves_a_whole_session(start_server, messages, session_messages, store):
    def start():
        server = start_server("--session-store", store, "--max-sequences", "4")
        return server, Client(server.target, messages, session_messages)

    server, client = start()
    text = Text(client)
    beyond = 0
    for _ in range(ROUNDS):
        text.go_on_until(client, server.process)
        client.channel.close()
        server, client = start()
        beyond += text.check(client)
    client.channel.close()
    print(f"{ROUNDS} kills, {text.turns} acknowledged turns, {beyond} were stored without")
    assert text.turns > ROUNDS / 4
