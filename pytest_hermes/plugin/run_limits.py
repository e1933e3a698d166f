"""What a run is held to, and how it ends when it cannot go on: exit code, and one line at the very end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from ..report.numbers import duration
from ..result import dollars
from ..rollout.budget import BudgetLimits

if TYPE_CHECKING:
    from .bench_run import BenchRun
    from .options import Options

#: A refused key or model is to be put right in the command; after the others the same command goes on.
_EXIT_CODES = {"refused": pytest.ExitCode.USAGE_ERROR}

_TOLD = "hermes_halted"


def budget_limits(options: Options) -> BudgetLimits:
    """Return what the whole run may use."""
    return BudgetLimits(
        cost=options.max_cost, tokens=options.max_tokens, turns=options.max_turns, seconds=options.max_seconds
    )


def _in_words(limits: BudgetLimits) -> str:
    said = [dollars(limits.cost)] if limits.cost is not None else []
    said += [f"{limits.tokens:,} tokens"] if limits.tokens is not None else []
    said += [f"{limits.turns:,} turns"] if limits.turns is not None else []
    said += [duration(limits.seconds)] if limits.seconds is not None else []
    return " and ".join([*([", ".join(said[:-1])] if said[1:] else []), *said[-1:]])


class RunLimits:
    """A plugin of every process of a run."""

    def __init__(self, run: BenchRun) -> None:
        self._run = run
        #: What a worker told this process, its controller.
        self._told: tuple[str, str] | None = None

    def pytest_report_header(self) -> list[str]:
        lines = []
        if any(loaded.source.calls is not None for loaded in self._run.benchmarks):
            lines.append(f"hermes: at most {self._run.in_flight} model calls in flight, fewer after a 429 or 503")
        if limits := _in_words(budget_limits(self._run.options)):
            lines.append(f"hermes: at most {limits} for the run")
        return lines

    def _halted(self) -> tuple[str, str] | None:
        """Return the kind and the message of what ended the run early, None when nothing did."""
        return self._told or self._run.halted

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        told = getattr(node, "workeroutput", {}).get(_TOLD)
        if told is not None and self._told is None:
            self._told = tuple(told)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        halted = self._halted()
        if halted is None:
            return
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[_TOLD] = halted
        else:
            session.exitstatus = _EXIT_CODES.get(halted[0], pytest.ExitCode.INTERRUPTED)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self, config: pytest.Config) -> None:
        halted = self._halted()
        if halted is not None and not hasattr(config, "workerinput"):
            # Last of all, where one looks: above it may stand a hundred lines.
            line = self._run.redactor.text(f"hermes: stopped: {halted[1]}")
            config.get_terminal_writer().line(line, red=True, bold=True)
