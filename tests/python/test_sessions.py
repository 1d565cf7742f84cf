"""Sessions with the bundled model, as a Python client uses them."""
import grpc
import pytest

from running_server import messages, programs, server, session_messages  # noqa: F401
from session_client import Client

PROMPT = "The old man looked at the sea"


@pytest.fixture(scope="module")
def client(server, messages, session_messages):
    one = Client(server.target, messages, session_messages)
    yield one
    one.channel.close()


def test_a_text_goes_on_as_if_it_had_never_stopped(client):
    client.create("chat")
    first = client.generate(PROMPT, 30, seed=7, session="chat")
    second = client.generate("", 30, session="chat")
    whole = client.generate(PROMPT, 60, seed=7)
    assert (first.revision, second.revision) == (1, 2)
    assert first.text + second.text == whole.text
    assert list(first.tokens.ids) + list(second.tokens.ids) == list(whole.tokens.ids)
    assert second.finish.usage.prompt_tokens == 0


def test_forks_of_a_prompt_that_was_only_read(client):
    client.create("read")
    client.generate(PROMPT, 0, session="read")
    for seed in range(3):
        request = client.sessions.ForkSessionRequest(session="read")
        request.settings.id = f"fork{seed}"
        client.session("ForkSession", request)
        fork = client.generate("", 20, seed=seed, session=f"fork{seed}")
        assert fork.text == client.generate(PROMPT, 20, seed=seed).text


def test_an_expected_revision_that_has_passed_is_refused(client):
    client.create("strict")
    client.generate(PROMPT, 5, session="strict", expected_revision=0)
    client.generate(" And", 5, session="strict", expected_revision=1)
    client.generate(" And", 5, session="strict", expected_revision=1)  # Replaces it.
    with pytest.raises(grpc.RpcError) as error:
        client.generate(" And", 5, session="strict", expected_revision=2)
    assert error.value.code() == grpc.StatusCode.FAILED_PRECONDITION
