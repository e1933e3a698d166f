"""Tasks from the rows of a dataset.

Columns: `task_name`, `instruction`, `docker_image`, `category`, `environment_tar` and `tests_tar` (base64 of a tar.gz),
`test_sh`; where present also `difficulty`, `tags`, `agent_timeout_sec` and `test_timeout_sec`.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any, BinaryIO, TypeVar, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from pytest_hermes.dataset.archive import ArchiveError, repack, unpacked
from pytest_hermes.dataset.line_ends import line_end_notes, mended
from pytest_hermes.dataset.rows import DatasetError, Row, RowRef, list_rows
from pytest_hermes.task import Limits, SandboxSpec, Task
from pytest_hermes.verifier.tests_run import TaskTests

from .material import SCRIPT, Material, malformed, task_tests

T = TypeVar("T")

#: Not read before a task starts.
_LARGE = frozenset({"environment_tar", "tests_tar"})


def _tags(value: object) -> object:
    """A list, or a text that holds one as JSON, or with commas."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            if isinstance(listed := json.loads(value), list | None):
                value = listed
    if isinstance(value, str):
        return [tag.strip() for tag in value.split(",") if tag.strip()]
    return () if value is None else value


def _nothing(value: object) -> object:
    """A table has NaN where it has no number, and JSON made from one as well."""
    return None if value in ("", None) or value != value else value


_Text = Annotated[str | None, BeforeValidator(_nothing)]
_Seconds = Annotated[
    Annotated[float, Field(gt=0, allow_inf_nan=False)] | None,  # numbers may stand there as texts
    BeforeValidator(_nothing),
]


class _Columns(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    task_name: Annotated[str, Field(min_length=1)]
    instruction: Annotated[str, Field(min_length=1)]
    docker_image: _Text = None
    category: _Text = None
    difficulty: _Text = None
    tags: Annotated[tuple[str, ...], BeforeValidator(_tags)] = ()
    agent_timeout_sec: _Seconds = None
    test_timeout_sec: _Seconds = None


def row_tasks(path: Path, source: str) -> list[Task]:
    """Return the tasks in a file of JSON lines that came from `source`.

    A row that cannot be a task becomes one that ends in an error, which names row and column.
    """
    tasks: dict[str, Task] = {}
    for number, row in enumerate(list_rows(path, source, _LARGE), start=1):
        try:
            task = _task(row)
            if task.id in tasks:
                raise DatasetError(f"{row.ref.label}: column 'task_name': an earlier row has the task {task.id!r} too")
        except DatasetError as problem:
            task = malformed(str(problem), row.values.get("task_name"), f"row-{number}", tasks)
        tasks[task.id] = task
    return list(tasks.values())


def _task(row: Row) -> Task:
    if row.problem is not None:
        raise DatasetError(row.problem)
    try:
        columns = _Columns.model_validate(row.values)
    except ValidationError as error:
        problem = error.errors()[0]
        raise DatasetError(
            f"{row.ref.label}: column {problem['loc'][0]!r}: {problem['msg']}"
            + ("" if problem["type"] == "missing" else f", not {problem['input']!r:.80}")
        ) from error
    if "test_sh" not in row.present:
        raise DatasetError(f"{row.ref.label}: column 'test_sh': there are no tests")
    script = row.values["test_sh"]
    if not isinstance(script, str):
        raise DatasetError(f"{row.ref.label}: column 'test_sh' is not a string")
    if columns.docker_image is None and "environment_tar" not in row.present:
        raise DatasetError(f"{row.ref.label}: columns 'docker_image' and 'environment_tar' are both empty")
    try:
        return Task(
            id=columns.task_name,
            prompt=columns.instruction,
            category=columns.category,
            difficulty=columns.difficulty,
            tags=columns.tags,
            sandbox=SandboxSpec(image=columns.docker_image),
            limits=Limits(agent_seconds=columns.agent_timeout_sec, verifier_seconds=columns.test_timeout_sec),
            notes=tuple(line_end_notes("test_sh", _encoded(script))),
            metadata={"material": RowMaterial(row.ref, columns.docker_image)},
        )
    except ValueError as error:
        raise DatasetError(f"{row.ref.label}: column 'task_name': {error}") from error


def _encoded(script: str) -> bytes:
    # JSON can hold half a character, which then counts for none.
    return script.encode(errors="replace")


def _script(columns: Mapping[str, Any]) -> bytes:
    return mended(_encoded(columns["test_sh"]))


@dataclass(frozen=True)
class RowMaterial(Material):
    """The large columns of a row."""

    ref: RowRef
    image: str | None

    def sandbox(self, *, force_build: bool) -> SandboxSpec:
        columns = self.ref.read()
        # A damaged archive should be found before an agent has worked for an hour.
        with tempfile.TemporaryFile(prefix="hermes-") as nobody_reads_it:
            self._write_tests(columns, cast(BinaryIO, nobody_reads_it))
        context = None
        if columns.get("environment_tar"):
            context = self._column(
                "environment_tar",
                lambda: unpacked(columns["environment_tar"], top="environment", name=str(columns["task_name"])),
            )
            if not (context / "Dockerfile").is_file():
                context = None
        if self.image is None and context is None:
            raise DatasetError(f"{self.ref.label}: column 'environment_tar': there is no Dockerfile in it")
        return SandboxSpec(image=self.image, build_context=context, force_build=force_build and context is not None)

    def tests(self) -> TaskTests:
        columns = self.ref.read()
        return task_tests(_script(columns), partial(self._write_tests, columns))

    def _write_tests(self, columns: dict[str, Any], target: BinaryIO) -> None:
        files = {SCRIPT: _script(columns)}
        # Tests may be one script and nothing else.
        text = columns.get("tests_tar") or ""
        self._column("tests_tar", lambda: repack(text, target, top="tests", files=files))

    def _column(self, name: str, read: Callable[[], T]) -> T:
        try:
            return read()
        except ArchiveError as problem:
            raise DatasetError(f"{self.ref.label}: column {name!r}: {problem}") from problem
        except (TypeError, AttributeError) as problem:
            raise DatasetError(f"{self.ref.label}: column {name!r} is not a string") from problem
