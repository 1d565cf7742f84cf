"""chela-cli and chela-server as scripts use them: stdout, stderr, exit codes, JSON."""
import json
import math
import os
import pty
import re
import signal
import subprocess
import sys
import time

from running_server import DEMO_MODEL, ROOT, programs, server, start_server  # noqa: F401

PROMPT = "The old man looked at the sea"
TEXT = ROOT / "tests" / "data" / "demo" / "text.txt"


def test_generate_writes_only_the_text_to_stdout(server):
    arguments = ("generate", "--prompt", PROMPT, "--max-tokens", "20", "--seed", "3")
    plain = server.cli(*arguments)
    result = json.loads(server.cli(*arguments, "--json").stdout)
    assert plain.stdout == result["text"]
    assert "tokens/s" in plain.stderr
    assert result["usage"]["generated_tokens"] == len(result["tokens"])
    assert set(result["timing"]) == {"queue_seconds", "prefill_seconds",
                                     "time_to_first_token_seconds", "decode_seconds",
                                     "tokens_per_second"}


def test_the_prompt_may_come_from_standard_input(server):
    flags = ("--max-tokens", "8", "--seed", "1")
    given = server.cli("generate", *flags, "--prompt", PROMPT).stdout
    assert server.cli("generate", *flags, input=PROMPT).stdout == given


def test_a_refused_request_exits_1_with_the_status(server):
    result = server.cli("generate", "--prompt", PROMPT, "--top-p", "2", check=False)
    assert result.returncode == 1
    assert "INVALID_ARGUMENT" in result.stderr
    assert "top_p" in result.stderr
    assert result.stdout == ""


def test_bad_usage_exits_2(server):
    assert server.cli("generate", "--no-such-flag", check=False).returncode == 2
    assert server.cli(check=False).returncode == 2


def test_nobody_there_exits_1_with_unavailable(server):
    result = server.cli("info", "--target", "127.0.0.1:1", "--timeout", "5s", check=False)
    assert result.returncode == 1
    assert "UNAVAILABLE" in result.stderr


def test_info_and_health(server):
    info = json.loads(server.cli("info", "--json").stdout)
    assert info["model"] == DEMO_MODEL.name
    assert info["parameters"] > 0
    assert info["state_slots"] >= 1
    assert server.cli("health").returncode == 0


def test_the_score_of_a_file_does_not_depend_on_how_it_is_given(server, tmp_path):
    one = json.loads(server.cli("score", "--text-file", TEXT, "--json").stdout)
    assert one == json.loads(server.cli("score", "--json", input=TEXT.read_text()).stdout)
    bits = one["nll_nats"] / math.log(2) / one["bytes"]
    assert math.isclose(one["bits_per_byte"], bits, rel_tol=1e-6)
    assert one["bytes"] == TEXT.stat().st_size

    twice = tmp_path / "two.txt"
    document = TEXT.read_text() + "\n"
    one = json.loads(server.cli("score", "--json", input=document).stdout)
    twice.write_text(document + "\x0c\n" + document)
    two = json.loads(server.cli("score", "--text-file", twice, "--json").stdout)
    assert two["bytes"] == 2 * one["bytes"]
    assert two["tokens"] == 2 * one["tokens"]
    assert math.isclose(two["nll_nats"], 2 * one["nll_nats"], rel_tol=1e-9)


def test_the_score_agrees_with_the_reference_model(server, tmp_path):
    text = tmp_path / "text.txt"
    text.write_text(TEXT.read_text() + "\n\x0c\n" + TEXT.read_text())
    served = json.loads(server.cli("score", "--text-file", text, "--json").stdout)
    reference = json.loads(subprocess.run(
        [sys.executable, "-B", "-m", "models.reference.evaluate", "--model", DEMO_MODEL, "--text",
         text, "--device", "cpu"], check=True, capture_output=True, cwd=ROOT, timeout=300).stdout)
    assert served["bytes"] == reference["bytes"]
    assert served["tokens"] == reference["tokens"]
    assert math.isclose(served["bits_per_byte"], reference["bits_per_byte"], rel_tol=0.005)


def test_a_wrong_model_exits_1_with_one_line_that_names_the_file(programs, tmp_path):
    result = subprocess.run(
        [programs / "chela-server", "--model", tmp_path, "--listen", "127.0.0.1:0",
         "--metrics-listen", "127.0.0.1:0"], capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    errors = [line for line in result.stderr.splitlines() if " info " not in line]
    assert len(errors) == 1
    assert str(tmp_path / "config.json") in errors[0]


def test_check_says_what_the_server_would_use(programs):
    result = subprocess.run([programs / "chela-server", "--model", DEMO_MODEL, "--check"],
                            capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
    assert "state" in result.stdout
    resident, bound = re.search(r"memory, resident: ([\d.]+) MiB, bound ([\d.]+) MiB",
                                result.stdout).groups()
    assert 0 < float(resident) <= float(bound)


def test_states_that_do_not_fit_are_refused_before_they_are_allocated(programs):
    result = subprocess.run([programs / "chela-server", "--model", DEMO_MODEL, "--check",
                             "--max-sequences", "65536"],
                            capture_output=True, text=True, timeout=60)
    assert result.returncode == 1
    for part in ("--max-sequences: 65536 states", "bytes are free", "want at most"):
        assert part in result.stderr


def test_sigterm_lets_a_stream_finish_and_exits_0(start_server):
    server = start_server()
    with subprocess.Popen(
            [server.programs / "chela-cli", "generate", "--target", server.target, "--prompt",
             PROMPT, "--max-tokens", "400", "--ignore-eos", "--seed", "1", "--json"],
            stdout=subprocess.PIPE, text=True) as client:
        server.wait_until_running(1)
        assert server.stop() == 0
        output = client.communicate(timeout=30)[0]
    assert client.returncode == 0
    assert json.loads(output)["usage"]["generated_tokens"] == 400


def test_a_second_signal_exits_3_at_once(start_server):
    server = start_server("--drain-timeout", "60s")
    with subprocess.Popen(
            [server.programs / "chela-cli", "generate", "--target", server.target, "--prompt",
             PROMPT, "--max-tokens", "60000", "--ignore-eos"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as client:
        server.wait_until_running(1)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert server.process.poll() is None, "it did not wait for the stream"
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(timeout=5) == 3
        assert client.wait(timeout=10) == 1


def test_score_shows_a_bar_on_a_terminal_only(server, tmp_path):
    path = tmp_path / "text"
    path.write_text("The old captain looked at the sea.\n" * 200, encoding="utf-8")
    plain = server.cli("score", "--json", "--text-file", str(path))
    assert plain.stderr == ""

    terminal, slave = pty.openpty()
    with subprocess.Popen([server.programs / "chela-cli", "score", "--json", "--text-file", path,
                           "--target", server.target], stdout=subprocess.PIPE,
                          stderr=slave) as process:
        os.close(slave)
        shown = b""
        while True:
            try:
                part = os.read(terminal, 4096)
            except OSError:  # its last user closed it
                break
            if not part:
                break
            shown += part
        output = process.stdout.read()
    os.close(terminal)
    assert b"100%" in shown and b"[####" in shown
    assert json.loads(output) == json.loads(plain.stdout)
