"""A client as anyone would write it: protoc's messages and grpcio's generic calls."""
import threading
import time

import grpc
import pytest

from running_server import messages, programs, server  # noqa: F401

PROMPT = "The old man looked at the sea"


class Client:
    """GenerationService without generated stubs, so that any protoc will do."""

    def __init__(self, target, messages):
        self.pb, self.errors = messages
        self.channel = grpc.insecure_channel(target)

    def _method(self, kind, name, request, response):
        return getattr(self.channel, kind)(
            f"/chela.v1.GenerationService/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString)

    def unary(self, name, request):
        response = getattr(self.pb, name + "Response")
        return self._method("unary_unary", name, type(request), response)(request, timeout=60)

    def stream(self, prompt, timeout=60, **sampling):
        request = self.pb.GenerateStreamRequest()
        request.request.prompt = prompt
        for name, value in sampling.items():
            field = getattr(request.request.sampling, name)
            if isinstance(value, list):
                field.extend(value)
            else:
                setattr(request.request.sampling, name, value)
        return self._method("unary_stream", "GenerateStream", type(request),
                            self.pb.GenerateStreamResponse)(request, timeout=timeout)

    def generate(self, prompt, **sampling):
        """(text, token ids, finish, number of messages) of a stream."""
        replies = list(self.stream(prompt, **sampling))
        ids = [token for reply in replies for token in reply.tokens.ids]
        return "".join(reply.text for reply in replies), ids, replies[-1].finish, len(replies)

    def free_slots(self):
        return self.unary("GetLoad", self.pb.GetLoadRequest()).state_slots_free


@pytest.fixture(scope="module")
def client(server, messages):
    one = Client(server.target, messages)
    yield one
    one.channel.close()


def test_streams_text_and_tokens_and_ends_with_the_usage(client):
    text, ids, finish, count = client.generate(PROMPT, max_tokens=40, seed=1, ignore_eos=True)
    assert len(ids) == 40
    assert count > 1
    assert text
    assert finish.reason == client.pb.FINISH_REASON_LENGTH
    assert finish.usage.generated_tokens == 40
    assert finish.usage.prompt_tokens > 1
    assert finish.usage.time_to_first_token_seconds > 0


def test_tokens_of_a_stream_are_the_text_that_came_with_them(client):
    text, ids, finish, _ = client.generate(PROMPT, max_tokens=30, seed=5, ignore_eos=True)
    prompt = client.unary("Tokenize", client.pb.TokenizeRequest(text=PROMPT))
    whole = client.unary("Detokenize", client.pb.DetokenizeRequest(
        tokens=client.pb.TokenIds(ids=list(prompt.tokens.ids) + ids)))
    assert finish.truncated_bytes == 0
    assert whole.text == PROMPT + text


def test_a_seed_gives_the_same_tokens_beside_other_requests(client):
    alone = client.generate(PROMPT, max_tokens=32, seed=11, temperature=0.9, ignore_eos=True)[1]
    others = [threading.Thread(target=client.generate, args=(f"Noise {i}",),
                               kwargs={"max_tokens": 48, "seed": i}) for i in range(4)]
    for thread in others:
        thread.start()
    beside = client.generate(PROMPT, max_tokens=32, seed=11, temperature=0.9, ignore_eos=True)[1]
    for thread in others:
        thread.join()
    other_seed = client.generate(PROMPT, max_tokens=32, seed=12, temperature=0.9,
                                 ignore_eos=True)[1]
    assert alone == beside
    assert alone != other_seed


def test_without_a_seed_one_is_returned_that_repeats_the_text(client):
    text, _, finish, _ = client.generate(PROMPT, max_tokens=16)
    assert client.generate(PROMPT, max_tokens=16, seed=finish.seed)[0] == text


def test_a_stop_string_ends_the_text_before_it(client):
    whole = client.generate(PROMPT, max_tokens=40, seed=3, ignore_eos=True)[0]
    stop = whole[len(whole) // 2:len(whole) // 2 + 4]
    text, _, finish, _ = client.generate(PROMPT, max_tokens=40, seed=3, ignore_eos=True,
                                         stop=[stop])
    assert text == whole[:whole.index(stop)]
    assert finish.reason == client.pb.FINISH_REASON_STOP
    assert finish.stop == stop


def test_unary_and_streaming_agree(client):
    text, ids, _, _ = client.generate(PROMPT, max_tokens=20, seed=8)
    request = client.pb.GenerateRequest(prompt=PROMPT)
    request.sampling.max_tokens = 20
    request.sampling.seed = 8
    reply = client.unary("Generate", request)
    assert (reply.text, list(reply.tokens.ids)) == (text, ids)


def test_every_bad_field_is_named_in_the_details(client):
    with pytest.raises(grpc.RpcError) as caught:
        client.generate(PROMPT, max_tokens=0, top_p=1.5, temperature=-1)
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    trailers = dict(caught.value.trailing_metadata())
    status = client.errors.Status.FromString(trailers["grpc-status-details-bin"])
    assert status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
    bad = client.errors.BadRequest()
    assert len(status.details) == 1
    assert status.details[0].type_url.endswith("google.rpc.BadRequest")
    bad.ParseFromString(status.details[0].value)
    described = {v.field.split(".")[-1]: v.description for v in bad.field_violations}
    assert set(described) == {"max_tokens", "top_p", "temperature"}
    assert "1.5" in described["top_p"]


def test_a_request_without_a_prompt_is_refused(client):
    with pytest.raises(grpc.RpcError) as caught:
        client.unary("Generate", client.pb.GenerateRequest())
    assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_a_cancelled_stream_gives_its_state_back(client):
    free = client.free_slots()
    stream = client.stream(PROMPT, max_tokens=60000, ignore_eos=True)
    next(stream)
    assert client.free_slots() == free - 1
    stream.cancel()
    deadline = time.monotonic() + 5
    while client.free_slots() != free:
        assert time.monotonic() < deadline, "the state was not freed"
        time.sleep(0.01)


def test_a_deadline_ends_a_stream(client):
    free = client.free_slots()
    with pytest.raises(grpc.RpcError) as caught:
        list(client.stream(PROMPT, timeout=0.3, max_tokens=60000, ignore_eos=True))
    assert caught.value.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    deadline = time.monotonic() + 5
    while client.free_slots() != free:
        assert time.monotonic() < deadline, "the state was not freed"
        time.sleep(0.01)


def test_scores_add_up_to_the_log_probability_of_the_generation(client):
    request = client.pb.GenerateRequest(prompt=PROMPT)
    request.sampling.max_tokens = 12
    request.sampling.seed = 4
    request.sampling.ignore_eos = True
    request.sampling.logprobs = 0
    generated = client.unary("Generate", request)
    score = client.pb.ScoreRequest(prefix=PROMPT)
    score.continuations.add().tokens.ids.extend(generated.tokens.ids)
    scored = client.unary("Score", score).scores[0]
    assert scored.scored_tokens == 12
    assert scored.log_probability == pytest.approx(sum(t.logprob for t in scored.tokens), abs=1e-4)
    # The generation read its tokens one by one, the score in one chunk: with bf16 products the
    # logits of both agree within a relative 1e-2.
    generated_sum = sum(entry.chosen.logprob for entry in generated.logprobs)
    assert scored.log_probability == pytest.approx(generated_sum, rel=1e-2)


def test_metrics_count_the_requests(client, server):
    def finished():
        return server.metric("chela_finished_total", 'reason="length"')

    before = finished()
    client.generate(PROMPT, max_tokens=3, ignore_eos=True)
    assert finished() == before + 1
