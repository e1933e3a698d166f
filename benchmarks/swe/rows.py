"""From a dataset's rows to tasks: a prompt, tests, and maybe the end of the program that the prompt begins.

The fields are those of HumanEvalPack (https://huggingface.co/datasets/bigcode/humanevalpack).
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pytest_hermes.dataset.rows import list_rows
from pytest_hermes.errors import UsageError
from pytest_hermes.task import Task

from .check import SOLUTION

#: Fields that may hold the tests; the first one that is there counts.
_TESTS = ("test", "test_code", "tests")
_IDS = ("task_id", "id", "name", "instance_id")
#: What a code block of another language begins with in a prompt says that these tests cannot run here.
_PYTHON = re.compile(r"^\s*(from \w|import \w|def \w|class \w|async def )", re.MULTILINE)

_COMPLETE = """\
Complete this Python program and write all of it, with what is given here, to {solution} in the current directory:

```python
{prompt}
```

It will be imported and tested there.
"""

_SOLVE = """\
{prompt}

Write your program to {solution} in the current directory. It will be imported and tested there.
"""


def read_tasks(path: Path, source: str, prompt_field: str) -> list[Task]:
    """Return the tasks of a file of rows, of which messages speak as `source`.

    Raises UsageError with the row and the field when one lacks what a task needs.
    """
    tasks = []
    for number, row in enumerate(list_rows(path, source, ()), start=1):
        if row.problem is not None:
            raise UsageError(row.problem)
        tasks.append(_task(row.values, f"row {number} of {source}", number, prompt_field))
    return tasks


def _task(row: Mapping[str, Any], label: str, number: int, prompt_field: str) -> Task:
    prompt = row.get(prompt_field) or row.get("prompt")
    if not isinstance(prompt, str) or not prompt.strip():
        raise UsageError(f"{label} has no {prompt_field!r}; env.prompt_field names the field of the prompt")
    tests = next((row[name] for name in _TESTS if row.get(name)), None)
    if tests is None:
        raise UsageError(f"{label} has none of the fields {', '.join(_TESTS)}")
    text = tests if isinstance(tests, str) else "\n".join(str(line) for line in tests)
    setup = row.get("test_setup")
    if isinstance(setup, str) and setup.strip():
        text = f"{setup}\n{text}"
    _check_tests(text, label)
    name = next((str(row[field]) for field in _IDS if row.get(field)), str(number))
    code = bool(_PYTHON.search(prompt))
    return Task(
        id=re.sub(r"[^A-Za-z0-9_.+=,/-]+", "-", name).lstrip("-.+=,/") or str(number),
        prompt=(_COMPLETE if code else _SOLVE).format(prompt=prompt.strip("\n"), solution=SOLUTION),
        category=_text(row, "category"),
        difficulty=_text(row, "difficulty"),
        tags=tuple(_list(row.get("tags"))),
        solution=_solution(row, prompt if code else ""),
        metadata={"tests": text, "entry_point": _text(row, "entry_point")},
    )


def _check_tests(text: str, label: str) -> None:
    """Raise UsageError for tests that no program could pass here."""
    try:
        compile(text, label, "exec")
        statements = ast.parse(text).body
    except (SyntaxError, ValueError) as error:
        raise UsageError(
            f"{label}: its tests are not Python ({error}); tests in other languages cannot be run"
        ) from None
    for function in statements:
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and function.name.startswith("test"):
            given = function.args
            if len(given.posonlyargs + given.args) > len(given.defaults) or None in given.kw_defaults:
                raise UsageError(f"{label}: its test {function.name} takes arguments, but tests are called without any")


def _solution(row: Mapping[str, Any], given: str) -> str | None:
    """Return a script that writes the reference solution, where the row has one: the end of what the prompt begins."""
    end = row.get("canonical_solution")
    if not isinstance(end, str) or not end.strip():
        return None
    return f"cat > {SOLUTION} <<'END_OF_SOLUTION'\n{given}{end}\nEND_OF_SOLUTION\n"


def _text(row: Mapping[str, Any], name: str) -> str | None:
    value = row.get(name)
    return value if isinstance(value, str) and value else None


def _list(value: object) -> Iterable[str]:
    return [str(entry) for entry in value] if isinstance(value, list) else []
