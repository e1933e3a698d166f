"""How a session ends that cannot go on: exit code, and one line at the very end."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import pytest

#: A refused key or model is to be put right in the command; after the others the same command goes on.
_EXIT_CODES = {"refused": pytest.ExitCode.USAGE_ERROR}

_TOLD = "hermes_abort_reason"

#: The kind and the message of what ended it.
AbortReason = tuple[str, str]


class AbortReasons:
    """A plugin of every process of a session."""

    def __init__(self) -> None:
        self._parts: list[Callable[[], AbortReason | None]] = []
        #: What a worker told this process, its controller.
        self._told: AbortReason | None = None

    def add(self, part: Callable[[], AbortReason | None]) -> None:
        """Let `part` be asked, at the end of the session, what ended it early: None when nothing did."""
        self._parts.append(part)

    def _reason(self) -> AbortReason | None:
        return self._told or next((reason for part in self._parts if (reason := part()) is not None), None)

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        told = getattr(node, "workeroutput", {}).get(_TOLD)
        if told is not None and self._told is None:
            self._told = tuple(told)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        reason = self._reason()
        if reason is None:
            return
        output = getattr(session.config, "workeroutput", None)
        if output is not None:
            output[_TOLD] = reason
        else:
            session.exitstatus = _EXIT_CODES.get(reason[0], pytest.ExitCode.INTERRUPTED)

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self, config: pytest.Config) -> None:
        reason = self._reason()
        if reason is not None and not hasattr(config, "workerinput"):
            # Last of all, where one looks: above it may stand a hundred lines.
            line = f"hermes: stopped: {reason[1]}"
            if config.pluginmanager.hasplugin("terminalreporter"):
                config.get_terminal_writer().line(line, red=True, bold=True)
            else:
                print(line, file=sys.stderr)


_ABORT_REASONS: pytest.StashKey[AbortReasons] = pytest.StashKey()


def abort_reasons_of(config: pytest.Config) -> AbortReasons:
    """Return the session's one, registered at first use."""
    if _ABORT_REASONS not in config.stash:
        config.stash[_ABORT_REASONS] = AbortReasons()
        config.pluginmanager.register(config.stash[_ABORT_REASONS], "hermes-abort-reasons")
    return config.stash[_ABORT_REASONS]
