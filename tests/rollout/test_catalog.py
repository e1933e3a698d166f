from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from pytest_hermes import Task
from pytest_hermes.errors import UsageError
from pytest_hermes.runs.catalog import load_benchmark
from pytest_hermes.runs.tasks import enumerate_tasks, select

GOOD = """
from pytest_hermes import Benchmark, Task

class Mine(Benchmark):
    name = "mine"
    def tasks(self):
        yield Task(id="one", prompt="1")
        yield {"task_name": "two", "instruction": "2"}
    async def compute_reward(self, item, result, ctx):
        return 1.0

class Nameless(Mine):
    name = "has space"

class NoReward(Benchmark):
    name = "no_reward"
    def tasks(self):
        return []

class Twice(Mine):
    name = "twice"
    def tasks(self):
        return [Task(id="a", prompt=""), Task(id="a", prompt="")]

class Empty(Mine):
    def tasks(self):
        return []

class NoId(Mine):
    def tasks(self):
        return [{"prompt": "x"}]

class BadId(Mine):
    def tasks(self):
        return [Task(id="a b", prompt="x")]

NotOne = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.py"
    path.write_text(GOOD)
    return path


def test_an_installed_benchmark_is_found_by_name(tmp_path: Path) -> None:
    assert load_benchmark("terminal_test", tmp_path).name == "terminal_test"


async def test_an_own_one_is_found_by_file_and_class(file: Path) -> None:
    benchmark = load_benchmark("mine.py:Mine", file.parent)
    assert [task.task.id for task in await enumerate_tasks(benchmark)] == ["one", "two"]
    assert [task.task.prompt for task in await enumerate_tasks(benchmark)] == ["1", "2"]
    # The same class again, not a copy of it.
    assert type(load_benchmark(f"{file}:Mine", Path("/"))) is type(benchmark)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("terminal_tst", r"unknown benchmark 'terminal_tst'; did you mean 'terminal_test'\? known: .*file\.py:Class"),
        ("gone.py:Mine", r"no such file: gone\.py"),
        ("mine.py:Mien", r"mine\.py: unknown class 'Mien'; did you mean 'Mine'\?"),
        ("mine.py", r"also name the class, mine\.py:Mine"),
        ("mine.py:NotOne", "is not a subclass of pytest_hermes.Benchmark"),
        ("mine.py:Nameless", "its `name` is 'has space'"),
        ("mine.py:NoReward", r"does not define compute_reward\(\)"),
    ],
)
def test_what_is_wrong_with_a_name_is_said(file: Path, spec: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_benchmark(spec, file.parent)


def test_a_file_that_does_not_import_names_the_line(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("x = 1\nimport no_such_module_at_all\n")
    with pytest.raises(UsageError, match=r"broken\.py:2: ModuleNotFoundError: No module named"):
        load_benchmark("broken.py:X", tmp_path)
    (tmp_path / "syntax.py").write_text("x = 1\ndef :\n")
    with pytest.raises(UsageError, match=r"syntax\.py:2: SyntaxError"):
        load_benchmark("syntax.py:X", tmp_path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Twice", "two tasks with the id 'a'"),
        ("Empty", "has no tasks"),
        ("NoId", "none of the keys id, task_id, task_name, name"),
        ("BadId", "task id 'a b' cannot be used"),
    ],
)
async def test_what_is_wrong_with_tasks_is_said(file: Path, name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        await enumerate_tasks(load_benchmark(f"mine.py:{name}", file.parent))


async def test_tasks_are_chosen_by_ids_and_globs(tmp_path: Path) -> None:
    tasks = await enumerate_tasks(load_benchmark("terminal_test", tmp_path))

    def ids(wanted: list[str], skipped: list[str]) -> list[str]:
        return [task.task.id for task in select(tasks, wanted, skipped)]

    assert ids(["create-file"], []) == ["create-file"]
    assert ids(["edit-*", "create-file"], ["*json"]) == ["create-file", "edit-one-line"]
    with pytest.raises(UsageError, match="unknown task 'create-fil'; did you mean 'create-file'"):
        ids(["create-fil"], [])
    with pytest.raises(UsageError, match="unknown task 'nope\\*'"):
        ids([], ["nope*"])
    with pytest.raises(UsageError, match="together exclude all of them"):
        ids(["create-file"], ["create-*"])


async def test_items_come_again_and_again(file: Path) -> None:
    benchmark = load_benchmark("mine.py:Mine", file.parent)
    items = [await benchmark.get_next_item() for _ in range(5)]
    assert items[0] == items[2] == items[4]
    assert items[1] == {"task_name": "two", "instruction": "2"}


async def test_items_of_asynchronous_tasks_come_again_and_again_as_well(tmp_path: Path) -> None:
    (tmp_path / "later.py").write_text(LATER)
    for name in ("Returns", "Yields"):
        benchmark = load_benchmark(f"later.py:{name}", tmp_path)
        assert [planned.task.id for planned in await enumerate_tasks(benchmark)] == ["a", "b"]
        # Several may ask for their first one at once.
        items = await asyncio.gather(*(benchmark.get_next_item() for _ in range(5)))
        assert [item["id"] for item in items if not isinstance(item, Task)] == ["a", "b", "a", "b", "a"]


LATER = """
import asyncio
from pytest_hermes import Benchmark

class Returns(Benchmark):
    name = "later"
    async def tasks(self):
        await asyncio.sleep(0)
        return iter([{"id": "a", "prompt": ""}, {"id": "b", "prompt": ""}])
    async def compute_reward(self, item, result, ctx):
        return 1.0

class Yields(Returns):
    async def tasks(self):
        for name in "ab":
            await asyncio.sleep(0)
            yield {"id": name, "prompt": ""}
"""
