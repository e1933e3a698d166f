from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from pytest_hermes.core.source import defined_at, raised_at, shown_path
from pytest_hermes.task import parse_size

OWN = """\
import asyncio, functools, json

def fails():
    raise KeyError("x")

def in_the_library():
    json.loads("{")

def in_the_package(parse_size):
    return parse_size("much")

async def later():
    await asyncio.sleep(0)
    await asyncio.to_thread(json.loads, "{")

def decorated(function):
    @functools.wraps(function)
    def wrapper():
        return function()
    return wrapper

@decorated
def wrapped():
    pass

class Own:
    def method(self):
        pass
"""


def imported(path: Path, text: str, name: str = "of_a_user") -> ModuleType:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.chdir(tmp_path)
    module = imported(tmp_path / "own.py", OWN)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    return module


def error_of(call: Callable[[], object]) -> BaseException:
    with pytest.raises(Exception) as caught:  # noqa: PT011  any will do
        call()
    # As if it were caught where this package calls it: without this test's own frames.
    trace = caught.value.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    return caught.value.with_traceback(trace)


def test_the_line_that_raised(own: ModuleType) -> None:
    assert raised_at(error_of(own.fails)) == "own.py:4"


def test_what_a_library_raises_is_told_by_the_line_that_called_it(own: ModuleType) -> None:
    assert raised_at(error_of(own.in_the_library)) == "own.py:7"
    assert raised_at(error_of(lambda: own.in_the_package(parse_size))) == "own.py:10"
    assert raised_at(error_of(lambda: asyncio.run(own.later()))) == "own.py:14"


def test_a_file_that_cannot_be_read_names_its_line(own: ModuleType, tmp_path: Path) -> None:
    assert raised_at(error_of(lambda: imported(tmp_path / "broken.py", "x = 1\ndef :\n"))) == "broken.py:2"
    # Not of a file: the caller's line.
    compiles = imported(tmp_path / "compiles.py", "def run():\n    compile('def :', '<text>', 'exec')\n")
    assert raised_at(error_of(compiles.run)) == "compiles.py:2"


def test_of_installed_code_it_is_where_that_was_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    library = imported(tmp_path / "site-packages" / "library.py", "def fails():\n    raise ValueError\n", "library")
    bench = imported(tmp_path / "site-packages" / "bench.py", "def tasks(fails):\n    return fails()\n", "bench")
    assert raised_at(error_of(lambda: bench.tasks(library.fails))) == "site-packages/bench.py:2"
    # A benchmark of this package's own counts as a user's, wherever it is installed.
    bundled = imported(
        tmp_path / "site-packages" / "bundled.py",
        "def tasks():\n    raise OSError\n",
        "pytest_hermes.benchmarks.bundled",
    )
    assert raised_at(error_of(bundled.tasks)) == "site-packages/bundled.py:2"


def test_without_any_code_of_a_user_it_is_the_deepest_line() -> None:
    assert "json" in raised_at(error_of(lambda: json.loads("{")))
    assert raised_at(ValueError("never raised")) == ""


def test_where_things_are_defined(own: ModuleType) -> None:
    assert defined_at(own.fails) == "own.py:3"
    assert defined_at(own.Own.method) == defined_at(own.Own().method) == "own.py:27"
    assert defined_at(own.wrapped) == "own.py:22"
    assert defined_at(own.Own) == "own.py:26"
    assert defined_at(len) == defined_at(int) == defined_at(3) == ""


def test_a_path_is_relative_where_that_is_shorter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    below = tmp_path / "a" / "b" / "c" / "d" / "e" / "f"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    assert shown_path(below / "x.py") == "x.py"
    assert shown_path("/x.py") == "/x.py"
    below.rmdir()
    assert shown_path("/x.py") == "/x.py"
