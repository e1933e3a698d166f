"""The line that says how a run stands, as a terminal and as a log file get it."""

from __future__ import annotations

import json
import re
from typing import Any

import pyte
import pytest

from pytest_hermes.plugin import startup_notice, status_line
from tests.plugin.test_with_pytest import SLEEPS, SLEEPS_ARGS
from tests.services.bench import Bench
from tests.services.model_server import ModelServer, Reply, completion


def shown_on_a_terminal(bench: Bench, *arguments: str) -> tuple[list[str], str]:
    """Return what stands on the screen at the end, and all that was sent to it."""
    child = bench.on_a_terminal(*arguments)
    child.setwinsize(50, 100)
    child.timeout = 60
    text = child.read().decode()
    child.wait()
    screen = pyte.Screen(100, 50)
    pyte.Stream(screen).feed(text)
    return [line.rstrip() for line in screen.display], text


@pytest.mark.parametrize("verbosity", [(), ("-v",)], ids=["plain", "verbose"])
def test_on_a_terminal_it_comes_and_goes_without_a_trace(bench: Bench, verbosity: tuple[str, ...]) -> None:
    bench.file("sleeps.py", SLEEPS)
    screen, sent = shown_on_a_terminal(bench, *SLEEPS_ARGS, "-n3", "--tb=no", *verbosity)
    shown = re.findall(r"hermes: (\d+)/10 done, (\d+) passing, (\d) in flight", sent)
    assert len(shown) > 5
    assert {number for _, _, number in shown} >= {"3"}
    assert [int(done) for done, _, _ in shown] == sorted(int(done) for done, _, _ in shown)
    assert "about" in sent
    assert not any("in flight," in line or "left (" in line for line in screen)
    if verbosity:
        assert sum("sleeps::test_task[" in line and "%]" in line for line in screen) == 10
    else:
        (progress,) = [line for line in screen if line.startswith("sleeps ")]
        assert sorted(progress.split()[1]) == sorted("FFFFF.....")
        assert progress.endswith("[100%]")


def test_elsewhere_there_is_a_plain_line_a_minute(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.file("sleeps.py", SLEEPS)
    monkeypatch.setattr(status_line, "PLAIN_EVERY", 0.5)
    result = bench.run_inside(*SLEEPS_ARGS, "-n2", "--tb=no")
    lines = [line for line in result.outlines if re.match(r"hermes: \d+/10 done, .* in flight", line)]
    assert 2 <= len(lines) <= 10
    assert "\x1b" not in result.stdout.str()


def test_quiet_says_nothing(bench: Bench) -> None:
    bench.file("sleeps.py", SLEEPS)
    _, sent = shown_on_a_terminal(bench, *SLEEPS_ARGS, "-n3", "--tb=no", "-qq")
    assert "in flight" not in sent


def test_it_says_what_the_run_costs_and_that_calls_are_cut(
    bench: Bench, model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four rollouts are refused at once; until the limit has grown back, the line says so."""
    refused: list[int] = []

    def script(body: dict[str, Any]) -> dict[str, Any] | Reply:
        if len(refused) < 4:
            refused.append(1)
            return Reply(429, mood="late", seconds=0.5)
        answer = completion("Done.")
        answer["usage"]["cost"] = 0.25
        return Reply(body=json.dumps(answer), mood="late", seconds=0.5)

    model_server.script = script
    monkeypatch.setattr(status_line, "PLAIN_EVERY", 0.2)
    arguments = (f"--hermes-base-url={model_server.url}", "--hermes-model=tiny", "-n4", "--tb=no")
    result = bench.run_inside("--hermes-bench=terminal_test", *arguments)
    result.stdout.re_match_lines([r"hermes: \d+/16 done, .* in flight \(model calls cut to [23]\)"])
    result.stdout.re_match_lines([r"hermes: \d+/16 done, .* tokens, \$[\d.]+, about"])


def test_it_moves_while_no_item_of_several_processes_ends(
    bench: Bench, model_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the workers have in flight and spend, the process that shows it hears from them."""

    def script(body: dict[str, Any]) -> dict[str, Any] | Reply:
        turns = sum(message["role"] == "assistant" for message in body["messages"])
        answer = completion("Done.") if turns == 8 else completion(None, ("terminal", {"command": "true"}))
        answer["usage"]["cost"] = 0.25
        return Reply(body=json.dumps(answer), mood="late", seconds=0.5)

    model_server.script = script
    monkeypatch.setattr(status_line, "PLAIN_EVERY", 0.5)
    arguments = (f"--hermes-base-url={model_server.url}", "--hermes-model=tiny", "-n2", "--hermes-procs=2", "--tb=no")
    result = bench.run_inside("--hermes-bench=terminal_test", "--hermes-task=create-file,fix-script", *arguments)
    tokens = [
        int(match[1].replace(",", ""))
        for line in result.outlines
        if (match := re.match(r"hermes: 0/2 done, .* 2 in flight, ([\d,]+) tokens, \$[\d.]+ ", line))
    ]
    assert len(set(tokens)) >= 2
    assert tokens == sorted(tokens)


def test_what_takes_long_before_the_first_test_is_named(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(startup_notice, "AFTER", 0.2)
    bench.file("slow.py", SLEEPS + "\n    async def setup(self):\n        await __import__('asyncio').sleep(1)\n")
    result = bench.run_inside("--hermes-bench=slow.py:Sleeps", "--hermes-model=nop", "--hermes-task=nothing")
    assert [line for line in result.errlines if "loading" in line] == ["hermes: loading slow.py:Sleeps …"]


AGENTS = """
import asyncio, pytest

@pytest.mark.parametrize("n", range(2))
def test_agent(hermes_agent, n):
    print("printed by the test")
    asyncio.run(hermes_agent.run("Wait.", solution="sleep 1.7"))
"""


@pytest.mark.parametrize("verbosity", [(), ("-v",)], ids=["plain", "verbose"])
def test_tests_with_an_agent_have_one(bench: Bench, verbosity: tuple[str, ...]) -> None:
    bench.file("test_own.py", AGENTS)
    screen, sent = shown_on_a_terminal(bench, "test_own.py", "--hermes-model=oracle", *verbosity)
    shown = re.findall(r"hermes: (\d)/2 done, (\d) passing, (\d) in flight", sent)
    assert {("0", "0", "1"), ("1", "1", "1")} <= set(shown)
    assert "printed by the test" not in sent
    assert not any("in flight," in line or "left (" in line for line in screen)
    if verbosity:
        assert sum("test_own.py::test_agent[" in line and "PASSED" in line for line in screen) == 2
    else:
        assert any(re.fullmatch(r"test_own.py \.\. +\[100%\]", line) for line in screen)
