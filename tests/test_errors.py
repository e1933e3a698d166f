"""The words for how attempts end are in one module."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest_hermes
from pytest_hermes.errors import ERROR_KINDS, STOP_REASONS

ROOT = Path(pytest_hermes.__file__).parent


def words(name: str) -> Iterator[str]:
    """Yield every text that the package gives to an argument or an attribute of this name."""
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.keyword) and node.arg == name:
                value: ast.expr | None = node.value
            elif isinstance(node, ast.Assign) and any(getattr(target, "attr", "") == name for target in node.targets):
                value = node.value
            else:
                continue
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                yield value.value


def test_every_kind_and_every_stop_reason_is_explained() -> None:
    kinds, reasons = set(words("kind")), set(words("stop_reason"))
    assert {"endpoint", "sandbox", "verifier"} <= kinds
    assert {"time", "context"} <= reasons
    assert kinds <= set(ERROR_KINDS)
    assert reasons <= set(STOP_REASONS)
