"""The rollouts of a session's items: submitted, taken by the item's fixture, let go at its teardown."""

from __future__ import annotations

from collections.abc import Generator
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING

import pytest

from .items import TaskItem

if TYPE_CHECKING:
    from ..rollout.attempt import Rollout
    from ..runs.run import Handle, Run


class Rollouts:
    """A plugin that knows which item waits for which rollout."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._handles: dict[TaskItem, Handle] = {}

    def submit(self, item: TaskItem) -> Handle:
        """Queue the item's rollout; one that this run finished already, in a worker that died, is not run again."""
        handle = self._submit(item)
        self._handles[item] = handle
        return handle

    def _submit(self, item: TaskItem) -> Handle:
        return self._run.submit(item.attempt, item.nodeid, hold=item.holds_sandbox)

    def is_submitted(self, item: TaskItem) -> bool:
        return item in self._handles

    def handle_of(self, item: TaskItem) -> Handle:
        """Return the item's handle; an item that is run again gets a fresh rollout."""
        return self._handles.get(item) or self.submit(item)

    @property
    def unfinished(self) -> int:
        return sum(not handle.future.done() for handle in self._handles.values())

    def take(self, item: TaskItem) -> Rollout:
        """Return the finished rollout of an item, waiting for it if need be."""
        handle = self.handle_of(item)
        try:
            return handle.future.result()
        except CancelledError:
            reason = self._run.plan.redactor.text(self._run.engine.fatal or "the run was stopped")
            pytest.exit(reason, returncode=pytest.ExitCode.INTERRUPTED)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item: pytest.Item) -> Generator[None, object, object]:
        """Let go of the item's sandbox, after the fixtures that may have looked into it, whatever they raise."""
        try:
            return (yield)
        finally:
            handle = self._handles.pop(item, None) if isinstance(item, TaskItem) else None
            if handle is not None:
                handle.release()
            if ROLLOUT in item.stash:
                # The conversations and the verifiers' files of a whole session may be gigabytes.
                del item.stash[ROLLOUT]

    def _start_engine(self) -> None:
        from ..errors import UsageError

        try:
            self._start()
        except UsageError as error:
            raise pytest.UsageError(str(error)) from None

    def _start(self) -> None:
        self._run.start()


LOOP: pytest.StashKey[Rollouts] = pytest.StashKey()

#: Of an item that runs, once its rollout is there.
ROLLOUT: pytest.StashKey[Rollout] = pytest.StashKey()
