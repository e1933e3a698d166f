"""The groups of an environment: which are worked on, which wait to be, and what is noted of those that were sent."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import HermesError
from .ending import RunFailed
from .ledger_file import LedgerFile, Registration, Sample, State

log = logging.getLogger("pytest_hermes.atropos")


@dataclass(eq=False)
class Group:
    """The rollouts of one item that are scored together."""

    item: Any
    id: str
    #: By which it is noted what becomes of it; None: it is not.
    sample: Sample | None = None
    #: Whether it was short before.
    tried: bool = False
    #: Schemas and names of the tools that its rollouts may call, once they were resolved.
    tools: tuple[list[dict[str, Any]], set[str]] | None = None


#: The group that the running code makes or sends.
GROUP: ContextVar[Group | None] = ContextVar("hermes_group", default=None)


class GroupLedger:
    """Which group of which item is whose, also where an environment hands out one object as several items.

    `task_of` returns the task id of an item, by which groups are known in `notes`. `stop` ends the run when they cannot
    be written.
    """

    def __init__(self, task_of: Callable[[Any], str], stop: Callable[[HermesError], None]) -> None:
        #: The notes of what was sent, where a file for them was named.
        self.notes: LedgerFile | None = None
        #: Rows that were sent instead of rollouts that failed.
        self.rows_padded = 0
        self._task_of = task_of
        self._stop = stop
        self._waiting: list[Group] = []
        self._working: dict[Group, asyncio.Task[Any] | None] = {}

    def open_notes(self, path: Path) -> None:
        """Note what is sent in a file, and send nothing that is noted there. Raises UsageError when it cannot."""
        self.notes = LedgerFile(path)
        if len(self.notes):
            log.info(
                "groups recorded in %s, which are not sent again: %s; of these, groups that may not have arrived: %s",
                path, len(self.notes), self.notes.in_doubt,
            )  # fmt: skip

    async def sample(self, next_item: Callable[[], Awaitable[Any]], count: int) -> list[Any]:
        """Return the next items, at most `count`, without those whose groups were noted before this run began."""
        items: list[Any] = []
        while len(items) < count and (item := await next_item()) is not None:
            group = self._numbered(item)
            if group is None:
                await asyncio.sleep(0)
                continue
            self._waiting.append(group)
            items.append(item)
        return items

    @contextmanager
    def worked_on(self, item: Any, *, noted: bool = False) -> Iterator[Group]:
        """Let the code in the block make and send a group of `item`: one that waits for it, or else a new one.

        Broken off before it is noted, it waits again. Within a block for a group it is the same one. `noted`: what
        becomes of it is, if there are notes.
        """
        if (begun := GROUP.get()) is not None:
            yield begun
            return
        group = self._waits_for(item, noted and self.notes is not None)
        task = self._working[group] = asyncio.current_task()
        token = GROUP.set(group)
        done = False
        try:
            yield group
            done = True
        finally:
            GROUP.reset(token)
            if self._working.get(group) is task:  # nobody has taken it over
                del self._working[group]
                if not done and not self._is_noted(group):
                    self._waiting.append(group)

    def try_again(self, group: Group) -> None:
        """Keep a group that came to nothing for the next one to work on its item."""
        group.tried = True
        self._waiting.append(group)

    def _waits_for(self, item: Any, numbered: bool) -> Group:
        for group in self._waiting:
            if group.item is item and (group.sample is not None) == numbered:
                self._waiting.remove(group)
                return group
        for group, task in self._working.items():
            # Its worker was cancelled, and is closing sandboxes.
            cancelled = task is not None and task.cancelling() > 0
            if (
                group.item is item
                and cancelled
                and (group.sample is not None) == numbered
                and not self._is_noted(group)
            ):
                del self._working[group]
                return group
        if not numbered:
            return Group(item, uuid.uuid4().hex[:12])
        while (new := self._numbered(item)) is None:
            pass
        return new

    def _numbered(self, item: Any) -> Group | None:
        """Return the next group of an item's task; None when it was noted before this run began."""
        assert self.notes is not None
        sample = self.notes.sample(self._task_of(item))
        return None if sample is None else Group(item, sample.group, sample)

    def _is_noted(self, group: Group) -> bool:
        return self.notes is not None and group.sample is not None and group.sample in self.notes

    def note(self, state: State) -> None:
        """Write down what becomes of the group that the running code makes or sends, where that is asked for."""
        group = GROUP.get()
        if self.notes is None or group is None or group.sample is None:
            return
        with self._writing(self.notes):
            self.notes.note(group.sample, state)

    def register(self, now: Registration) -> Registration | None:
        """Note a registration, and return the one before if it is to end."""
        if self.notes is None:
            return None
        with self._writing(self.notes):
            return self.notes.register(now)

    @contextmanager
    def _writing(self, notes: LedgerFile) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            # What cannot be noted must not be sent.
            failed = RunFailed(f"cannot record sent groups in {notes.path}: {error.strerror or error}")
            self._stop(failed)
            raise failed from error

    def close(self) -> None:
        if self.notes is not None:
            self.notes.close()
