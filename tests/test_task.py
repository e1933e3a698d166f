from __future__ import annotations

import dataclasses
import math
import pickle
import re
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_hermes import Limits, SandboxSpec, Solution, Task, Verdict, VerifierSpec


@pytest.mark.parametrize("task_id", ["a", "create-file", "django__django-1234", "org/repo-1", "seed=3,x+y", "1.2"])
def test_ids_that_can_be_pasted(task_id: str) -> None:
    assert Task(id=task_id, prompt="").id == task_id


@pytest.mark.parametrize("task_id", ["", "a b", "a::b", "a[1]", "-x", "a@2", "é", "a\n", "a'b"])
def test_ids_that_cannot(task_id: str) -> None:
    with pytest.raises(ValueError, match="cannot be used"):
        Task(id=task_id, prompt="")


@pytest.mark.parametrize(
    ("text", "size"), [(5, 5), ("512", 512), ("1k", 1024), ("2g", 2 << 30), ("1.5 GiB", 3 << 29), ("10MB", 10 << 20)]
)
def test_sizes(text: int | str, size: int) -> None:
    assert SandboxSpec(memory=text, storage=text).memory_bytes == size
    assert SandboxSpec(storage=text).storage_bytes == size


@pytest.mark.parametrize("text", ["lots", "2x", "-1g", 0, ""])
def test_what_is_no_memory_size(text: int | str) -> None:
    with pytest.raises(ValueError, match="memory"):
        SandboxSpec(memory=text)


class Number:
    """A number as numpy has them."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __float__(self) -> float:
        return self.value

    def __repr__(self) -> str:
        return f"Number({self.value})"


class Unspeakable:
    def __repr__(self) -> str:
        raise RuntimeError("no")


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("difficulty", 2, "difficulty must be a string or None, not 2"),
        ("category", 3, "category must be a string or None, not 3"),
        ("category", b"x", "category must be a string or None, not b'x'; decode it"),
        ("tags", "a b", 'tags must be strings such as ("a", "b"), not the string \'a b\''),
        ("tags", (1,), 'tags must be strings such as ("a", "b"), not (1,)'),
        ("tags", None, 'tags must be strings such as ("a", "b"), not None'),
        ("tags", {"a": 1}, 'tags must be strings such as ("a", "b"), not {\'a\': 1}'),
        ("threshold", "high", "threshold must be a finite number, not 'high'"),
        ("threshold", "1", "threshold must be a finite number, not '1'"),
        ("threshold", None, "threshold must be a finite number, not None"),
        ("threshold", True, "threshold must be a finite number, not True"),
        ("threshold", math.nan, "threshold must be a finite number, not nan"),
        ("threshold", Number(math.inf), "threshold must be a finite number, not Number(inf)"),
        ("threshold", 10**400, "threshold must be a finite number, not 1000"),
        ("prompt", None, "prompt must be a string, not None"),
        ("prompt", ["x"], "prompt must be a string, not ['x']"),
        ("prompt", "x" * 500, None),
        ("files", [("a", "b")], "files must be a mapping of paths to strings, not [('a', 'b')]"),
        ("files", {"a.bin": b"x"}, "files['a.bin'] must be a string, not b'x'; decode it"),
        ("files", {1: "x"}, "files: each path must be a non-empty string, not 1"),
        ("files", {"": "x"}, "files: each path must be a non-empty string, not ''"),
        ("solution", 3, "solution must be a shell script as a string, a Solution or None, not 3"),
        ("solution", Path("s"), "solution must be a shell script as a string, a Solution or None, not PosixPath('s')"),
        ("metadata", None, "metadata must be a mapping, not None"),
        ("metadata", [1], "metadata must be a mapping, not [1]"),
        ("sandbox", {"image": "x"}, "sandbox must be a SandboxSpec, not {'image': 'x'}"),
        ("sandbox", None, "sandbox must be a SandboxSpec, not None"),
        ("verifier", "keep", "verifier must be a VerifierSpec, not 'keep'"),
        ("limits", Unspeakable(), "limits must be Limits, not <Unspeakable instance at 0x"),
    ],
)
def test_a_value_that_does_not_fit_names_task_field_and_value(field: str, value: Any, message: str | None) -> None:
    values = {"id": "odd", "prompt": "", field: value}
    if message is None:
        assert getattr(Task(**values), field) == value
        return
    with pytest.raises(ValueError, match="^" + re.escape(f"task 'odd': {message}")) as caught:
        Task(**values)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("make", "field", "value", "message"),
    [
        (Limits, "turns", 0, "must be a whole number of at least 1 or None, not 0"),
        (Limits, "turns", "5", "must be a whole number of at least 1 or None, not '5'"),
        (Limits, "turns", 2.5, "must be a whole number of at least 1 or None, not 2.5"),
        (Limits, "turns", True, "must be a whole number of at least 1 or None, not True"),
        (Limits, "tokens", math.inf, "must be a whole number of at least 1 or None, not inf"),
        (Limits, "agent_seconds", "60", "must be a number greater than 0 or None, not '60'"),
        (Limits, "agent_seconds", math.nan, "must be a number greater than 0 or None, not nan"),
        (Limits, "verifier_seconds", -1, "must be a number greater than 0 or None, not -1"),
        (Limits, "verifier_seconds", True, "must be a number greater than 0 or None, not True"),
        (Limits, "cost", "1", "must be a number of dollars greater than 0 or None, not '1'"),
        (Limits, "cost", Decimal("NaN"), "must be a number of dollars greater than 0 or None, not Decimal('NaN')"),
        (SandboxSpec, "cpus", -1, "must be a finite number greater than 0 or None, not -1"),
        (SandboxSpec, "cpus", "2", "must be a finite number greater than 0 or None, not '2'"),
        (SandboxSpec, "cpus", math.inf, "must be a finite number greater than 0 or None, not inf"),
        (SandboxSpec, "pids", 0, "must be a whole number of at least 1 or None, not 0"),
        (SandboxSpec, "pids", True, "must be a whole number of at least 1 or None, not True"),
        (SandboxSpec, "memory", True, "True is not a size"),
        (SandboxSpec, "memory", [1], "[1] is not a size"),
        (SandboxSpec, "storage", "much", "'much' is not a size"),
        (SandboxSpec, "image", " ", "must be a non-empty string or None, not ' '"),
        (SandboxSpec, "image", 3, "must be a non-empty string or None, not 3"),
        (SandboxSpec, "workdir", 3, "must be a non-empty string or None, not 3"),
        (SandboxSpec, "network", "none", "must be True or False or None, not 'none'"),
        (SandboxSpec, "network", 0, "must be True or False or None, not 0"),
        (SandboxSpec, "force_build", None, "must be True or False, not None"),
        (SandboxSpec, "build_context", 3, "must be a path or None, not 3"),
        (SandboxSpec, "build_context", "", "must be a path or None, not ''"),
        (SandboxSpec, "env", ["A=1"], "must be a mapping of strings to strings, not ['A=1']"),
        (SandboxSpec, "env", {"A=B": "1"}, ": each name must be a name without '=', not 'A=B'"),
        (SandboxSpec, "env", {"PORT": 80}, "['PORT'] must be a string, not 80"),
        (VerifierSpec, "processes", "kill", "must be 'keep' or 'end' or None, not 'kill'"),
        (VerifierSpec, "processes", True, "must be 'keep' or 'end' or None, not True"),
        (VerifierSpec, "reward", "exit code", "must be 'file' or 'exit_code', not 'exit code'"),
        (VerifierSpec, "reward", None, "must be 'file' or 'exit_code', not None"),
        (Solution, "folder", None, "must be a path, not None"),
        (Solution, "script", "", "must be a non-empty string, not ''"),
        (Solution, "env", None, "must be a mapping of strings to strings, not None"),
    ],
)
def test_likewise_what_a_task_needs(make: Any, field: str, value: Any, message: str) -> None:
    values = {"folder": ".", field: value} if make is Solution else {field: value}
    with pytest.raises(ValueError, match="^" + re.escape(f"{make.__name__}.{field}") + " ?" + re.escape(message)):
        make(**values)


def test_values_are_kept_in_the_form_of_their_fields() -> None:
    task = Task(
        id="a",
        prompt="",
        tags=["x", "y"],  # type: ignore[arg-type]
        threshold=Number(0.5),  # type: ignore[arg-type]
        sandbox=SandboxSpec(build_context="some/folder", cpus=2),  # type: ignore[arg-type]
        limits=Limits(turns=5.0, agent_seconds=math.inf, tokens=Number(7.0), cost=0.1),  # type: ignore[arg-type]
        solution=Solution("there"),  # type: ignore[arg-type]
    )
    assert task.tags == ("x", "y")
    assert (task.threshold, type(task.threshold)) == (0.5, float)
    assert task.sandbox.build_context == Path("some/folder")
    assert (task.limits.turns, type(task.limits.turns), task.limits.tokens) == (5, int, 7)
    assert (task.limits.agent_seconds, task.limits.cost) == (math.inf, Decimal("0.1"))
    assert isinstance(task.solution, Solution)
    assert task.solution.folder == Path("there")
    assert Limits(cost=Fraction(1, 4)).cost == Decimal("0.25")  # type: ignore[arg-type]
    assert pickle.loads(pickle.dumps(task)) == task == dataclasses.replace(task)


@pytest.mark.parametrize("make", [Task, SandboxSpec, Limits, Solution, Verdict, VerifierSpec])
def test_every_field_is_checked(make: Any) -> None:
    """Nothing is of this class, so that a field that takes it is one that nobody checks."""

    class Nothing:
        pass

    valid: dict[str, object] = (
        {"id": "a", "prompt": ""} if make is Task else {"folder": "."} if make is Solution else {}
    )
    valid |= {"reward": 1.0} if make is Verdict else {}
    for field in dataclasses.fields(make):
        with pytest.raises(ValueError, match=field.name):
            make(**{**valid, field.name: Nothing()})


@given(
    st.fixed_dictionaries(
        {},
        optional={
            field.name: st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.text())
            for field in dataclasses.fields(Task)
        },
    )
)
def test_whatever_is_entered_is_a_task_or_one_line(values: dict[str, Any]) -> None:
    try:
        task = Task(**{"id": "a", "prompt": "", **values})
    except ValueError as error:
        message = str(error)
        assert "task" in message
        assert "\n" not in message
    else:
        assert all(isinstance(tag, str) for tag in task.tags)
        assert math.isfinite(task.threshold)
