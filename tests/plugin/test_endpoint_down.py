"""An endpoint that is down, cannot be asked at all, or sends what nobody wants to read."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Mapping
from typing import Any

import pytest

from pytest_hermes.models import retry
from pytest_hermes.plugin import status_line
from tests.services.bench import Bench
from tests.services.model_server import ModelServer, Reply, completion

from .test_endpoint_faults import DONE, KEY, MINE, WORK, run, turn

WHOLE = json.dumps(DONE)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take the minute that an endpoint gets to work for the first time down to less than a second."""
    policy = retry.RetryPolicy(tries=40, base=0.05, longest_wait=0.2, first_contact=0.7, longest_answer=2**20)
    monkeypatch.setattr(retry, "DEFAULT", policy)
    monkeypatch.setattr(status_line, "PLAIN_EVERY", 0.2)


@pytest.mark.parametrize("fault", [Reply(503), Reply(mood="hang")], ids=["503", "hang"])
def test_an_endpoint_that_never_works_ends_the_run_with_one_line(
    bench: Bench, model_server: ModelServer, fault: Reply
) -> None:
    model_server.play(fault)
    result = run(bench, model_server, "-n", "8", tasks=100)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.assert_outcomes()
    lines = [line for line in result.outlines if line.strip()]
    assert lines[-1].startswith(f"hermes: stopped: {model_server.url} ")
    assert lines[-1].endswith("and not one worked)")
    assert sum("and not one worked" in line for line in lines) == 1
    result.stdout.fnmatch_lines(["stopped   100 of 100 attempts did not finish and are not counted"])
    result.stdout.re_match_lines([r"hermes: 0/100 done, .* 8 in flight.*, waiting for the endpoint: http://127.*"])
    assert bench.records() == []
    assert len(model_server.requests) < 24


def test_nobody_who_listens_ends_it_too(bench: Bench, model_server: ModelServer) -> None:
    url = model_server.url
    model_server.close()
    try:
        result = run(bench, model_server, tasks=3)
    finally:
        model_server.__init__()  # type: ignore[misc]  # the fixture closes it once more
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    last = [line for line in result.outlines if line.strip()][-1]
    assert last.startswith(f"hermes: stopped: cannot reach {url}: Connection refused (")


def test_an_outage_is_waited_out_by_one_request_at_a_time(bench: Bench, model_server: ModelServer) -> None:
    """Each of eight attempts has worked before; all of them end well."""
    worked: set[str] = set()
    while_down: list[float] = []

    def script(body: dict[str, Any]) -> dict[str, Any] | Reply:
        if turn(body) == 0:
            worked.add(str(body["messages"][0]["content"]))
            return Reply(body=json.dumps(WORK), mood="late", seconds=0.2)
        now = time.monotonic()
        if while_down and now > while_down[0] + 1:
            return DONE
        while_down.append(now)
        return Reply(500, mood="late", seconds=0.05)

    model_server.script = script
    result = run(bench, model_server, "-n", "8", "--hermes-request-timeout=30", tasks=8)
    result.assert_outcomes(passed=8)
    assert len(worked) == 8
    # Eight fail at once; without an agreement, each of them would ask as often.
    assert 8 < len(while_down) <= 8 + 20
    assert {record["stop_reason"] for record in bench.records()} == {"finished"}


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (
            Reply(307, headers={"Location": "http://elsewhere.invalid/v1"}),
            "redirects to another host, http://elsewhere.*",
        ),
        (Reply(302, headers={"Location": "/login"}), "redirects to http://127.0.0.1:*/login: name that as *"),
        (Reply(307, headers={"Location": "/v1/chat/completions"}), "redirects more than 6 times"),
        (Reply(headers={"X-Long": "x" * 100_000}), "sent headers that are too long: *"),
    ],
    ids=["another host", "login", "circle", "headers"],
)
def test_what_is_not_the_endpoint_ends_the_run_at_its_first_answer(
    bench: Bench, model_server: ModelServer, reply: Reply, problem: str
) -> None:
    model_server.play(reply)
    result = run(bench, model_server, "-n", "1", tasks=9)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stdout.fnmatch_lines([f"hermes: stopped: {model_server.url} {problem}"])
    assert len(model_server.requests) <= 6


def packed(body: bytes, encoding: str = "gzip") -> Reply:
    return Reply(body=body.decode("latin-1"), headers={"Content-Encoding": encoding}, encoding="latin-1")


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        (packed(gzip.compress(bytes(2**24))), "cannot be read: it is longer than 1 MB"),
        (Reply(body=json.dumps(completion("x" * 2**20))), "cannot be read: it is longer than 1 MB"),
        (packed(b"nothing of the kind"), "cannot be read: it is not gzip, as it claims to be"),
        (packed(b"\x0b\x02\x80", "br"), "cannot be read: it is compressed by 'br', which was not asked for*"),
        (packed(b"\xff\xfe{}", ""), "is not a chat completion: *"),
    ],
    ids=["bomb", "long", "gzip", "br", "bytes"],
)
def test_an_answer_that_cannot_be_read_is_the_endpoint_s_fault_and_not_asked_for_again(
    bench: Bench, model_server: ModelServer, reply: Reply, problem: str
) -> None:
    model_server.play(WORK, reply)
    result = run(bench, model_server, tasks=1)
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"endpoint error: the answer of {model_server.url} {problem}"])
    assert len(model_server.requests) == 2


def test_what_an_endpoint_says_does_nothing_to_a_terminal(bench: Bench, model_server: ModelServer) -> None:
    message = "\x1b[2J\x1b]0;owned\x07bad \x1b[31mrequest\x1b[0m\x00"
    model_server.play(WORK, Reply(400, json.dumps({"error": {"message": message}})))
    result = run(bench, model_server, tasks=1)
    (record,) = bench.records()
    assert record["error"]["message"] == f"{model_server.url} answered 400: bad request"
    result.stdout.fnmatch_lines([f"endpoint error: {model_server.url} answered 400: bad request"])
    assert "owned" not in result.stdout.str()


@pytest.mark.parametrize(
    ("environ", "problem"),
    [
        (
            {"PYTEST_HERMES_API_KEY": f"{KEY}\u200b"},
            "*the key in PYTEST_HERMES_API_KEY has characters that no *",
        ),
        ({"PYTEST_HERMES_API_KEY": f"{KEY}\n{KEY}"}, "*the key in PYTEST_HERMES_API_KEY has characters that no *"),
        ({"ALL_PROXY": "socks5://127.0.0.1:1080"}, "*ALL_PROXY names a SOCKS proxy, which model calls cannot use: *"),
        ({"HTTP_PROXY": "nonsense://"}, "*HTTP_PROXY is not the address of a proxy, such as *"),
        ({"SSL_CERT_FILE": "/missing.pem"}, "*SSL_CERT_FILE: cannot read /missing.pem: No such file or directory"),
    ],
    ids=["key that is not ASCII", "key of two lines", "SOCKS", "proxy", "certificates"],
)
def test_what_cannot_work_is_told_before_the_run(bench: Bench, environ: Mapping[str, str], problem: str) -> None:
    bench.env(**environ)
    scheme = "https" if "SSL_CERT_FILE" in environ else "http"
    result = bench.run_inside(
        "--hermes-bench=terminal_test", f"--hermes-base-url={scheme}://model.example/v1", "--hermes-model=tiny"
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: {problem}"])
    assert KEY not in result.stdout.str() + result.stderr.str()
    result.stdout.no_fnmatch_line("*Traceback*")


def test_white_space_around_a_key_does_not_belong_to_it(bench: Bench, model_server: ModelServer) -> None:
    model_server.play(WORK, DONE)
    bench.file("mine.py", MINE.replace("N)", "1)"))
    bench.env(PYTEST_HERMES_API_KEY=f"  {KEY}\r\n")
    result = bench.run_inside(
        "--hermes-bench=mine.py:Mine", f"--hermes-base-url= {model_server.url} ", "--hermes-model=tiny"
    )
    result.assert_outcomes(passed=1)
    assert {request.headers["authorization"] for request in model_server.requests} == {f"Bearer {KEY}"}


def test_a_dead_proxy_is_named(bench: Bench) -> None:
    bench.env(HTTP_PROXY="http://user:secret@127.0.0.1:9")
    result = bench.run_inside(
        "--hermes-bench=terminal_test", "--hermes-base-url=http://model.example/v1", "--hermes-model=tiny"
    )
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    by = "by the proxy http://127.0.0.1:9 (HTTP_PROXY)"
    result.stdout.fnmatch_lines([f"hermes: stopped: cannot reach http://model.example/v1 {by}: Connection refused (*"])
    assert "secret" not in result.stdout.str() + result.stderr.str()
