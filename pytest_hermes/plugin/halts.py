"""How a session ends that cannot go on: exit code, and one line at the very end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

#: A refused key or model is to be put right in the command; after the others the same command goes on.
_EXIT_CODES = {"refused": pytest.ExitCode.USAGE_ERROR}

_TOLD = "hermes_halted"

#: The kind and the message of what ended it.
Halt = tuple[str, str]


class Halts:
    """A plugin of every process of a session."""

    def __init__(self) -> None:
        self._parts: list[Callable[[], Halt | None]] = []
        #: What a worker told this process, its controller.
        self._told: Halt | None = None

    def add(self, part: Callable[[], Halt | None]) -> None:
        """Let `part` be asked, at the end of the session, what ended it early: None when nothing did."""
        self._parts.append(part)

    def _halt(self) -> Halt | None:
        return self._told or next((halt for part in self._parts if (halt := part()) is not None), None)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        told = getattr(node, "workeroutput", {}).get(_TOLD)
        if told is not None and self._told is None:
            self._told = tuple(told)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        halt = self._halt()
        if halt is None:
            return
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[_TOLD] = halt
        else:
            session.exitstatus = _EXIT_CODES.get(halt[0], pytest.ExitCode.INTERRUPTED)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self, config: pytest.Config) -> None:
        halt = self._halt()
        if halt is not None and not hasattr(config, "workerinput"):
            # Last of all, where one looks: above it may stand a hundred lines.
            line = f"hermes: stopped: {halt[1]}"
            if config.pluginmanager.hasplugin("terminalreporter"):
                config.get_terminal_writer().line(line, red=True, bold=True)
            else:
                print(line, file=sys.stderr)


_HALTS: pytest.StashKey[Halts] = pytest.StashKey()


def halts_of(config: pytest.Config) -> Halts:
    """Return the session's one, registered at first use."""
    if _HALTS not in config.stash:
        config.stash[_HALTS] = Halts()
        config.pluginmanager.register(config.stash[_HALTS], "hermes-halts")
    return config.stash[_HALTS]
