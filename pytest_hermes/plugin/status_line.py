"""How a run stands, while it goes on: one line at the bottom of a terminal, or a plain line a minute elsewhere."""

from __future__ import annotations

import math
import time
from collections import Counter
from typing import TYPE_CHECKING, TextIO

import pytest

from ..report.numbers import compact, duration
from ..report.spending import known_cost

if TYPE_CHECKING:
    from ..runs.distributed import DistributedRun
    from ..runs.run import Run

#: Seconds between two plain lines where stdout is not a terminal.
PLAIN_EVERY = 60.0


class StatusLine:
    """Drawn while the session waits for a rollout, and gone before anything else is written."""

    #: Seconds between two looks at the run.
    interval = 0.25

    def __init__(
        self,
        run: Run | DistributedRun,
        total: int,
        reporter: pytest.TerminalReporter | None,
        *,
        at_once: int | None = None,
        terminal: TextIO | None = None,
    ) -> None:
        """`at_once` attempts run side by side; None: as many as the run has in flight.

        `terminal` is where to draw while stdout is captured, which a plain line would be as well.
        """
        self._run = run
        self._total = total
        self._reporter = reporter
        self._started = time.monotonic()
        self._last_plain = self._started
        self._erase = ""
        self._noticed = 0
        self._drawn = ""
        self._at_once = at_once or run.plan.in_flight
        self._captured = terminal is not None
        self._file = terminal
        if terminal is None and reporter is not None and reporter.isatty:
            # Beside the reporter's own writing, which counts columns and must not see the line come and go.
            self._file = getattr(reporter.config.get_terminal_writer(), "_file", None)

    def show(self) -> None:
        """Draw the line, or what has changed of it."""
        if self._reporter is None or self._reporter.verbosity < -1:
            return
        self._run.refresh()
        if not self._captured:
            self._show_notices(self._reporter)
        if self._file is None:
            self._show_plain()
            return
        writer = self._reporter.config.get_terminal_writer()
        text = self.text()[: writer.fullwidth - 1]
        if text == self._drawn:
            return
        if self._drawn:
            self._file.write(f"\r\x1b[2K{text}")
        else:
            column = writer.width_of_current_line
            # Below the line that pytest is in the middle of, and back to where it was.
            self._erase = f"\r\x1b[2K\x1b[1A\x1b[{column + 1}G" if column else "\r\x1b[2K"
            self._file.write(("\n" if column else "") + text)
        self._file.flush()
        self._drawn = text

    def hide(self) -> None:
        """Leave the terminal as if the line had never been there."""
        if self._drawn and self._file is not None:
            self._file.write(self._erase)
            self._file.flush()
        self._drawn = ""

    def _show_notices(self, reporter: pytest.TerminalReporter) -> None:
        """Write each notice once, at once."""
        lines = self._run.progress.notices
        if lines[self._noticed :]:
            self.hide()
            reporter.ensure_newline()
            writer = reporter.config.get_terminal_writer()
            if writer.width_of_current_line:  # with -q there are only dots, which a new line says nothing about
                writer.line()
        for line in lines[self._noticed :]:
            reporter.write_line(f"hermes: {line}", yellow=True)
        self._noticed = len(lines)

    def _show_plain(self) -> None:
        now = time.monotonic()
        if now - self._last_plain >= PLAIN_EVERY and self._reporter is not None:
            self._last_plain = now
            self._reporter.ensure_newline()
            self._reporter.write_line(self.text())

    def text(self) -> str:
        """Return the line: how many are done, how they stand, what runs, what it took, how long it may go on."""
        records = self._run.records
        counts = Counter(record.status for record in records)
        progress = self._run.progress
        cut = "" if progress.calls_cut_to is None else f" (model calls cut to {progress.calls_cut_to})"
        parts = [
            f"{len(records)}/{self._total} done",
            f"{counts['passed']} passing",
            *([f"{counts['error']} error{'s' * (counts['error'] > 1)}"] if counts["error"] else []),
            f"{progress.in_flight} in flight{cut}",
        ]
        if progress.statuses:
            more = f" and {len(progress.statuses) - 1} more" if progress.statuses[1:] else ""
            parts.append(f"{progress.statuses[0]}{more}")
        if tokens := progress.spent.total_tokens:
            parts.append(f"{compact(tokens)} tokens")
        if (cost := known_cost(progress.spent, records)) is not None:
            parts.append(cost)
        left = self._seconds_left(progress.in_flight)
        if left is not None:
            parts.append(f"about {duration(left)} left")
        return f"hermes: {', '.join(parts)} ({duration(time.monotonic() - self._started)})"

    def _seconds_left(self, in_flight: int) -> float | None:
        records = self._run.records
        remaining = self._total - len(records)
        if not records or remaining <= 0:
            return None
        mean = math.fsum(record.seconds.total for record in records) / len(records)
        # Those in flight are half done, on average.
        return mean * max(remaining - in_flight / 2, 0.5) / min(self._at_once, remaining)
