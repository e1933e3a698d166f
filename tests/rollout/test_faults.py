"""Whatever is raised wherever in an attempt, it ends nothing but that attempt, and is told.

The suite finds the sessions by itself: every `await` and `async with` of the engine and of the attempt, and every call
of a benchmark's, a model source's or a tool's code that a healthy attempt makes. Each fault is injected twice: as the
product is, and with the boundary taken out, where the same check has to fail.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from pytest_hermes import Benchmark, Task, Verdict, VerifierSpec
from pytest_hermes.background import BackgroundLoop
from pytest_hermes.config.fields import EnvConfig
from pytest_hermes.core.redact import Redactor
from pytest_hermes.models import completion
from pytest_hermes.models.builtin import NopSource
from pytest_hermes.rollout import attempt as attempt_module
from pytest_hermes.rollout import boundary as boundary_module
from pytest_hermes.rollout import engine as engine_module
from pytest_hermes.rollout import handle as handle_module
from pytest_hermes.rollout.engine import Engine
from pytest_hermes.rollout.handle import Handle
from pytest_hermes.rollout.plan import AttemptPlan, PlannedTask
from pytest_hermes.rollout.record import AttemptRecord
from pytest_hermes.runs.results_file import ResultsFile, read_results
from pytest_hermes.tools.tool import Tool
from pytest_hermes.tools.toolsets import resolve_toolsets
from tests.rollout.injection import CONCERNED, Injection, Point, injected, points_of

MODULES = [engine_module, handle_module, attempt_module]

#: What no attempt goes through: they are for the callers of an engine.
NOT_OF_AN_ATTEMPT = {"Engine.run", "Engine.end", "Engine._prepare_loop"}

POINTS = [point for module in MODULES for point in points_of(module) if point.function not in NOT_OF_AN_ATTEMPT]


MARK = "injected on purpose"
ERRORS = [RuntimeError, SystemExit, asyncio.CancelledError]

#: Seconds that any of the attempts here may take.
PATIENCE = 20


class Odd(Benchmark):
    """A task that faults are for, and one that must not hear of them."""

    name = "faults"

    def tasks(self) -> list[Task]:
        verifier = VerifierSpec(processes="end")
        return [Task(id=id, prompt="p", solution="true", files={"f": "1"}, verifier=verifier) for id in ("odd", "even")]

    async def compute_reward(self, item: Any, result: Any, ctx: Any) -> Verdict:
        assert ctx.read_file("f")["content"] == "1"
        return Verdict(reward=1.0, files={"log": b"1"})


@dataclass
class Outcome:
    handles: dict[str, Handle]
    records: dict[str, AttemptRecord]
    problems: list[str]
    fatal: str | None
    in_flight: int
    #: Sandboxes that nobody has closed.
    left: int


class NoteArguments(BaseModel):
    text: str


async def note(session: Any, arguments: NoteArguments) -> dict[str, Any]:
    return {"noted": arguments.text}


NOTE = Tool("note", "Notes something.", NoteArguments, note)


class Scripted:
    """Calls a tool of the package's and one of a user's, and brings files along."""

    async def equip(self, sandbox: Any) -> None:
        await sandbox.exec("true")

    async def chat_completion(self, *, messages: list[dict[str, Any]], **parameters: Any) -> Any:
        turn = sum(message["role"] == "assistant" for message in messages)
        calls = [("terminal", {"command": "true"}), ("note", {"text": "x"})]
        return completion.call(f"call_{turn}", *calls[turn]) if turn < len(calls) else completion.text("Done.")


class ScriptedSource(NopSource):
    name = "scripted"

    def __init__(self, calls: Calls) -> None:
        self._calls = calls

    def for_task(self, task: Task) -> Any:
        return self._calls.of(Scripted(), "model")


class Calls:
    """Takes down which functions of others an attempt calls, and lets one of them raise, for the odd task alone."""

    def __init__(self, name: str = "", error: BaseException | None = None) -> None:
        self._name = name
        self._error = error
        self.made: set[str] = set()

    def of(self, owner: Any, kind: str) -> Any:
        """Return what passes all calls of the methods of `owner` on."""
        calls = self

        class Watched(type(owner)):  # type: ignore[misc]
            def __getattribute__(self, name: str) -> Any:
                value = getattr(owner, name)
                return calls.function(value, f"{kind}.{name}") if inspect.ismethod(value) else value

        return object.__new__(Watched)

    def function(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def note() -> None:
            if CONCERNED.get():
                self.made.add(name)
                if name == self._name and self._error is not None:
                    raise self._error

        @functools.wraps(function)
        def call(*arguments: Any, **named: Any) -> Any:
            note()
            return function(*arguments, **named)

        @functools.wraps(function)
        async def call_async(*arguments: Any, **named: Any) -> Any:
            note()
            return await function(*arguments, **named)

        return call_async if inspect.iscoroutinefunction(function) else call


def run(tmp_path: Path, injection: Injection, calls: Calls | None = None) -> Outcome:
    """Run both tasks, the odd one with its faults, and return what is left."""
    calls = calls or Calls()
    benchmark = calls.of(Odd(), "benchmark")
    source = calls.of(ScriptedSource(calls), "source")
    env = EnvConfig.model_validate({})
    results = ResultsFile(tmp_path, Redactor([]))
    tools = [*resolve_toolsets(["terminal"]), replace(NOTE, run=calls.function(note, "tool.run"))]
    loop = BackgroundLoop("faults")
    engine = Engine(
        limit=2,
        run_id="r",
        results=results,
        on_record=lambda record: None,
        loop=loop,
        infra_retries=1,
    )
    handles = {}
    with concerned_with_the_odd_one(), injected(MODULES, injection):
        for task in benchmark.tasks():
            plan = AttemptPlan(PlannedTask(benchmark, task, task), 1, source, env, tuple(tools), hold=task.id == "odd")
            handles[task.id] = handle = engine.submit(plan, task.id)
            handle.release()
        try:
            in_flight = settled(engine, handles.values())
        finally:
            engine.stop()
            attempts = [handle.attempt for handle in handles.values() if handle.attempt is not None]
            left = sum(not attempt.session.closed for attempt in attempts)
            for attempt in attempts:
                loop.run(attempt.session.close())
            loop.close()
            results.close()
    records = {record.task: record for record in read_results(tmp_path / "results.jsonl")}
    return Outcome(handles, records, engine.problems, engine.fatal, in_flight, left)


def settled(engine: Engine, handles: Iterable[Handle]) -> int:
    """Wait until all attempts have ended and closed their sandboxes; return how many are in flight even then."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if all(handle.future.done() for handle in handles) and not engine.in_flight:
            break
        time.sleep(0.002)
    return engine.in_flight


@contextmanager
def concerned_with_the_odd_one() -> Iterator[None]:
    original = Engine._run

    async def of_the_odd_one(self: Engine, handle: Handle) -> None:
        CONCERNED.set(handle.plan.planned.task.id == "odd")
        await original(self, handle)

    Engine._run = of_the_odd_one  # type: ignore[method-assign]
    try:
        yield
    finally:
        Engine._run = original  # type: ignore[method-assign]


def check(outcome: Outcome) -> None:
    """Every attempt has its record or the run its reason, the other one is as ever, and the fault is told."""
    for name, handle in outcome.handles.items():
        assert handle.future.done(), f"{name} never ended"
        if handle.future.cancelled():
            assert outcome.fatal, f"{name} left no record, and nobody says why"
        else:
            assert handle.future.result().record.task == name
            assert name in outcome.records, f"the record of {name} is not written"
    even = outcome.records["even"]
    assert (even.status, even.reward) == ("passed", 1.0)
    assert outcome.in_flight == 0, "an attempt holds its slot for ever"
    assert not outcome.left or outcome.problems, "a sandbox is left, and nobody says so"
    odd = outcome.records["odd"]
    told = [odd.error.message if odd.error else "", (odd.error.traceback if odd.error else None) or ""]
    told += [error.message for error in odd.earlier_errors] + [error.error for error in odd.tool_errors]
    assert any(MARK in text or "cancelled" in text for text in [*told, *outcome.problems]), "nobody tells of the fault"


@contextmanager
def without_the_boundary() -> Iterator[None]:
    async def bare(work: Any, stopped: Any) -> Any:
        return await work

    with pytest.MonkeyPatch.context() as patch:
        for module in (boundary_module, engine_module):
            patch.setattr(module, "contain", bare)
        yield


@functools.cache
def reached() -> frozenset[Point]:
    """Return the points that a healthy attempt comes by, one that holds its sandbox."""
    with tempfile.TemporaryDirectory() as folder:
        injection = Injection(None, None)
        outcome = run(Path(folder), injection)
    assert outcome.records["odd"].status == "passed"
    return frozenset(injection.reached)


def faulty(tmp_path: Path, injection: Injection, calls: Calls | None = None, *, boundary: bool = True) -> Outcome:
    with ExitStack() as stack:
        if not boundary:
            stack.enter_context(without_the_boundary())
        return run(tmp_path / f"{boundary}-{len(list(tmp_path.iterdir()))}", injection, calls)


@pytest.mark.parametrize("error", [RuntimeError, asyncio.CancelledError], ids=lambda error: error.__name__)
@pytest.mark.parametrize("point", POINTS, ids=str)
def test_a_fault_at_an_await(point: Point, error: type[BaseException], tmp_path: Path) -> None:
    assert point in reached(), "no attempt comes by here: extend the healthy one"
    injection = Injection(point, error(MARK))
    check(faulty(tmp_path, injection))
    assert injection.raised
    unbounded = faulty(tmp_path, Injection(point, error(MARK)), boundary=False)
    with pytest.raises(AssertionError):
        check(unbounded)


@pytest.mark.parametrize("error", [*ERRORS, KeyboardInterrupt, pytest.skip.Exception], ids=lambda error: error.__name__)
def test_a_fault_in_each_call_of_others_code(error: type[BaseException], tmp_path: Path) -> None:
    healthy = Calls()
    check_healthy(faulty(tmp_path, Injection(None, None), healthy))
    of_benchmark = {f"benchmark.{name}" for name in ("sandbox", "prepare", "format_prompt", "compute_reward")}
    of_others = {"source.for_task", "source.priced", "model.equip", "model.chat_completion", "tool.run"}
    assert of_benchmark | of_others <= healthy.made
    for name in healthy.made:
        calls = Calls(name, error(MARK))
        outcome = faulty(tmp_path, Injection(None, None), calls)
        check(outcome)
        odd = outcome.records["odd"]
        if name == "tool.run" and error is not asyncio.CancelledError:
            assert odd.tool_errors, "what a tool raises is told to the model"
            continue
        assert odd.error is not None, name
        if name in of_benchmark:
            assert odd.error.kind == ("verifier" if name == "benchmark.compute_reward" else "setup"), name
        unbounded = faulty(tmp_path, Injection(None, None), Calls(name, error(MARK)), boundary=False)
        with pytest.raises(AssertionError):
            check(unbounded)


def check_healthy(outcome: Outcome) -> None:
    assert [record.status for record in outcome.records.values()] == ["passed", "passed"]
    assert not outcome.problems
