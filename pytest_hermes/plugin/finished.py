"""Reports of attempts that are finished, without the protocol around a test: of 10,000 it takes half a minute."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import pytest

from .items import FinishedItem
from .outcomes import PlainText, describe_error, describe_failure, properties_of

#: pytest's are the names of an item and its collectors. One object is enough for all.
_KEYWORDS: Mapping[str, Literal[1]] = {"hermes": 1}


def is_reported_at_once(item: pytest.Item) -> bool:
    """Return whether nothing but the record of an item decides: no marker says otherwise."""
    return isinstance(item, FinishedItem) and len(item.own_markers) == 1


def report_at_once(item: FinishedItem, redacted: Callable[[str], str]) -> None:
    """Report an item as if it had been run; `redacted` takes secrets out of texts."""
    hook, nodeid = item.config.hook, item.nodeid
    hook.pytest_runtest_logstart(nodeid=nodeid, location=item.location)
    for report in _reports(item, redacted):
        hook.pytest_runtest_logreport(report=report)
    hook.pytest_runtest_logfinish(nodeid=nodeid, location=item.location)


def _reports(item: FinishedItem, redacted: Callable[[str], str]) -> Iterator[pytest.TestReport]:
    record, now = item.record, time.time()

    def report(when: Any, outcome: Any = "passed", longrepr: Any = None) -> pytest.TestReport:
        scored = record.status in ("passed", "failed")
        return pytest.TestReport(
            nodeid=identity,
            location=item.location,
            keywords=_KEYWORDS,
            outcome=outcome,
            longrepr=longrepr,
            when=when,
            duration=record.seconds.total if when == ("call" if scored else "setup") else 0.0,
            start=now,
            stop=now,
            user_properties=properties,
        )

    properties = properties_of(record)
    # pytest >= 9.1 makes a structured id of the text for each report, unless it gets one.
    identity = getattr(item, "id", item.nodeid)
    if record.status == "error":
        yield report("setup", "failed", PlainText(redacted(describe_error(record))))
    elif record.status == "skipped":
        path, line, _ = item.reportinfo()
        yield report("setup", "skipped", (str(path), line + 1, f"Skipped: {record.reason or ''}"))
    else:
        failure = PlainText(redacted(describe_failure(record))) if record.status == "failed" else None
        yield report("setup")
        yield report("call", "failed" if failure else "passed", failure)
    yield report("teardown")
