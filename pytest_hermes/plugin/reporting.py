"""What a run says on the terminal and in reports."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from ..errors import UsageError
from ..report.spending import judge_usages, unrecorded_text, usages
from ..report.summary import summary_lines
from ..report.validation import flaky_tasks, validation_lines
from ..runs.resume import is_unfinished, key_of
from ..runs.verifier_modes import keep
from .header import header_lines
from .items import AttemptItem
from .outcomes import AttemptFailed, AttemptNotScored, PlainText
from .rollouts import ROLLOUT

if TYPE_CHECKING:
    from ..rollout.record import AttemptRecord
    from ..runs.distributed import DistributedRun
    from ..runs.run import Run

#: Problems beside the records that are listed.
_PROBLEMS = 5


class BenchReport:
    """Header, durations, sections and summary of a run of benchmarks."""

    def __init__(
        self, run: Run | DistributedRun, processes: int = 1, planned: Counter[tuple[str, str]] | None = None
    ) -> None:
        """`planned` is how many items each benchmark has with each model; None: as many as this session collects."""
        self._run = run
        self._plan = run.plan
        self._processes = processes
        self._planned = planned

    def pytest_report_header(self) -> list[str]:
        return header_lines(self._plan, self._processes)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        if self._planned is None:
            self._planned = Counter(
                (item.attempt.planned.benchmark.name, item.attempt.loaded.source.name)
                for item in session.items
                if isinstance(item, AttemptItem)
            )

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[Any]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        excinfo = call.excinfo
        own = excinfo if excinfo is not None and isinstance(excinfo.value, (AttemptFailed, AttemptNotScored)) else None
        if own is not None:
            # What happened in a rollout has no traceback in the test. pytest would parse the sources of one, and before
            # Python 3.11.8 and 3.12.2 that fails while another thread parses some as well, for a traceback of its own.
            own.traceback = type(own.traceback)([])
        report = yield
        if own is not None:
            report.longrepr = PlainText(self._plan.redactor.text(str(own.value)))  # type: ignore[assignment]
        rollout = item.stash.get(ROLLOUT, None)
        if rollout is not None:
            # The item only waited for its rollout, and that mostly before it was its turn.
            scored = rollout.record.status in ("passed", "failed")
            if report.when == ("call" if scored else "setup"):
                report.duration = rollout.record.seconds.total
        return report

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
        run = self._run
        run.refresh()
        if config.option.collectonly or run.results_path is None:
            return
        for title, lines in self._validations() if self._plan.options.validate else self._summaries():
            terminalreporter.write_sep("=", title, bold=True)
            for line in lines:
                terminalreporter.write_line(line)
        finished = self._plan.folder.finished if self._plan.folder is not None else {}
        paid = [record for record in run.records if key_of(record) not in finished]
        progress = run.progress
        for whose, spent, of in (("", progress.spent, usages), ("judge: ", progress.spent_by_judge, judge_usages)):
            if (unrecorded := unrecorded_text(spent, paid, of)) is not None:
                terminalreporter.write_line(f"also used {whose}{unrecorded}")
        for line in progress.adaptations:
            terminalreporter.write_line(f"adapted   {self._plan.redactor.text(line)}")
        problems = progress.problems
        for problem in problems[:_PROBLEMS]:
            terminalreporter.write_line(f"problem   {self._plan.redactor.text(problem)}", yellow=True)
        if len(problems) > _PROBLEMS:
            terminalreporter.write_line(f"problem   and {len(problems) - _PROBLEMS} more", yellow=True)
        for lines in config.hook.pytest_hermes_summary(config=config, records=run.records):
            for line in [lines] if isinstance(lines, str) else lines or ():
                terminalreporter.write_line(line)
        terminalreporter.write_line(f"results   {shortest(run.results_path)}")
        if (how := self._how_to_go_on(run.results_path.parent)) is not None:
            terminalreporter.write_line(f"continue  with {how}")

    def _how_to_go_on(self, folder: Path) -> str | None:
        """Return what runs the attempts that came to no result, None when a new run would do as well."""
        options = self._plan.options
        records = [record for record in self._run.records if not is_unfinished(record)]
        errors = any(record.status == "error" for record in records)
        finished = any(record.status != "error" for record in records)
        unfinished = self._planned is not None and len(records) < self._planned.total()
        if options.validate or not finished or not (errors or unfinished):
            return None
        how = "the same command"
        if options.resume is None:
            instead = " instead of --hermes-run-dir" if options.run_dir is not None else ""
            how += f", --hermes-resume={shortest(folder)}{instead}"
        if errors and not options.retry_errors:
            how += ", --hermes-retry-errors"
        return how

    def _summaries(self) -> Iterator[tuple[str, Iterable[str]]]:
        planned = self._planned or Counter()
        for loaded in self._plan.benchmarks:
            name, model = loaded.benchmark.name, loaded.source.name
            records = [record for record in self._run.records if record.benchmark == name]
            yield f"{name}, {model}", summary_lines(records, planned[name, model])

    def _validations(self) -> Iterator[tuple[str, Iterable[str]]]:
        for name in dict.fromkeys(loaded.benchmark.name for loaded in self._plan.benchmarks):
            records = [record for record in self._run.records if record.benchmark == name]
            yield f"{name}, validation", [*validation_lines(records), *self._kept(name, records)]

    def _kept(self, name: str, records: Sequence[AttemptRecord]) -> Iterator[str]:
        """Write down what a validation found out for later runs, and yield what to do with it."""
        try:
            kept = [
                path
                for loaded in self._plan.benchmarks
                if loaded.benchmark.name == name and loaded.source.name.startswith("oracle")
                if (path := keep(loaded, [record for record in records if record.model == loaded.source.name]))
            ]
        except UsageError as error:
            kept = []
            yield f"problem       {error}"
        if kept:
            yield f"kept          {shortest(kept[0])}: later runs skip tasks whose own solution cannot pass"
        if (flaky := flaky_tasks(records)) and self._run.results_path is not None:
            path = self._run.results_path.with_name(f"flaky-{name}.txt")
            try:
                path.write_text("".join(f"{task}\n" for task in flaky), encoding="utf-8")
            except OSError as error:
                yield f"problem       cannot write {path}: {error.strerror}"
                return
            yield f"              leave out the flaky ones with --hermes-skip-task=@{shortest(path)}"


def shortest(path: Path) -> str:
    """Return the path as it is shortest to paste from where the user is."""
    relative = os.path.relpath(path)
    return relative if not relative.startswith("..") else str(path)
