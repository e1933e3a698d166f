"""Which folders are tasks, and what is said of the others."""

from __future__ import annotations

from fnmatch import fnmatch
from pathlib import Path

import pytest

from pytest_hermes.benchmarks.terminalbench_2.folder_tasks import folder_tasks
from pytest_hermes.dataset.directories import task_directories
from pytest_hermes.dataset.source import open_dataset
from pytest_hermes.errors import UsageError
from tests.services.rows import write_task


def names(folder: Path) -> tuple[list[str], list[str]]:
    found = task_directories(folder)
    return [path.name for path in found.tasks], list(found.others)


def test_an_instruction_and_tests_make_a_task(tmp_path: Path) -> None:
    for name in ("with", "without"):
        write_task(tmp_path / name)
    (tmp_path / "without" / "task.toml").unlink()
    for other in (".git", "__pycache__", "ours.egg-info", "docs"):
        (tmp_path / other).mkdir()
    (tmp_path / "README.md").touch()
    (tmp_path / "lost").symlink_to(tmp_path / "nowhere")
    assert names(tmp_path) == (["with", "without"], ["docs", "lost"])
    tasks, notes = folder_tasks(tmp_path)
    assert notes == ["there is no task in 'docs', 'lost'"]
    assert [task.notes for task in tasks] == [(), ("there is no task.toml, so the defaults apply",)]
    assert {task.prompt for task in tasks} == {"Do it.\n"}


def test_one_task_without_a_file_of_its_own(tmp_path: Path) -> None:
    folder = write_task(tmp_path / "only")
    (folder / "task.toml").rename(folder / "Task.toml")
    assert names(folder) == (["only"], [])
    (task,), notes = folder_tasks(folder)
    assert (task.id, notes) == ("only", [])
    assert task.notes == ("there is no task.toml, so the defaults apply (Task.toml is not read)",)
    assert open_dataset(str(folder)).folder == folder


@pytest.mark.parametrize(
    ("missing", "problem"),
    [
        ("instruction.md", "cannot read */half/instruction.md: *"),
        ("tests/test.sh", "*/half/tests/test.sh: there are no tests"),
    ],
)
def test_what_is_meant_as_a_task_does_not_vanish(tmp_path: Path, missing: str, problem: str) -> None:
    write_task(tmp_path / "whole")
    half = write_task(tmp_path / "half", solution="true\n")
    (half / "task.toml").unlink()
    (half / missing).unlink()
    assert names(tmp_path) == (["half", "whole"], [])
    (task, _), _ = folder_tasks(tmp_path)
    assert fnmatch(task.prompt, problem), task.prompt


def test_parts_of_tasks_alone_are_no_dataset(tmp_path: Path) -> None:
    half = write_task(tmp_path / "half", test=None)
    (half / "task.toml").unlink()
    assert names(tmp_path) == ([], ["half"])
    with pytest.raises(UsageError, match=r"with a task.toml, or with instruction.md and tests/test.sh\) nor rows"):
        open_dataset(str(tmp_path))


def test_many_folders_without_a_task_are_counted(tmp_path: Path) -> None:
    write_task(tmp_path / "task")
    for number in range(12):
        (tmp_path / f"{number:02}").mkdir()
    _, (note,) = folder_tasks(tmp_path)
    assert note.startswith("there is no task in '00', '01'")
    assert note.endswith("'09' and 2 more")
