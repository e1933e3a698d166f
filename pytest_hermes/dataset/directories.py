"""Which folders are task directories in the Harbor layout, and which are not."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

#: What a task says about itself, what its agent is told, and what tests it.
TASK_FILE, INSTRUCTION, TESTS = "task.toml", "instruction.md", "tests/test.sh"

#: A folder with any of these is meant as a task.
_PARTS = (TASK_FILE, INSTRUCTION, TESTS, "solution/solve.sh", "environment/Dockerfile")

#: Folders that programs make, besides hidden ones.
_BY_PROGRAMS = ("__pycache__", "node_modules")


@dataclass(frozen=True)
class TaskDirectories:
    """What a folder of task directories holds, in the order of the names."""

    #: Those that are tasks, or are meant as such: what they lack is found when they are read.
    tasks: tuple[Path, ...] = ()
    #: Names of the other folders, but for those that programs make.
    others: tuple[str, ...] = ()


def task_directories(folder: Path) -> TaskDirectories:
    """Return the task directories in a folder, or the folder itself, if it is one.

    A task directory has a `task.toml`, or else an instruction and tests. Where there is one, folders beside it that
    have at least one of a task's files count as well. Raises OSError when the folder cannot be read.
    """
    if _is_task(folder):
        return TaskDirectories((folder,))
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if not _is_by_programs(entry.name) and _is_folder(entry))
    if not any(_is_task(folder / name) for name in names):
        return TaskDirectories(others=tuple(names))
    meant = [name for name in names if any((folder / name / part).is_file() for part in _PARTS)]
    return TaskDirectories(
        tuple(folder / name for name in meant), tuple(name for name in names if name not in set(meant))
    )


def _is_task(folder: Path) -> bool:
    return (folder / TASK_FILE).is_file() or all((folder / part).is_file() for part in (INSTRUCTION, TESTS))


def _is_by_programs(name: str) -> bool:
    return name.startswith(".") or name in _BY_PROGRAMS or name.endswith(".egg-info")


def _is_folder(entry: os.DirEntry[str]) -> bool:
    # A symlink that leads nowhere may have led to a task.
    return entry.is_dir() or (entry.is_symlink() and not os.path.exists(entry.path))
