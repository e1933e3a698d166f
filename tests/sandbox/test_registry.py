"""Backends by name."""

from __future__ import annotations

import pytest

from pytest_hermes.errors import UsageError
from pytest_hermes.sandbox.local import LocalSandbox
from pytest_hermes.sandbox.registry import sandbox_class, sandbox_names
from pytest_hermes.task import SandboxSpec

from .backends import PROBLEMS


def test_backends_are_found_by_name() -> None:
    assert sandbox_class("local") is LocalSandbox
    assert "local" in sandbox_names()
    assert sandbox_class("local")(SandboxSpec(), name="x").backend == "local"


def test_every_installed_backend_can_describe_itself() -> None:
    for name in set(sandbox_names()) - {backend for backend in PROBLEMS if PROBLEMS[backend]()}:
        assert sandbox_class(name).describe().startswith(name)


def test_a_misspelt_backend_is_answered_with_the_right_one() -> None:
    with pytest.raises(UsageError, match=r"^unknown sandbox 'locla'; did you mean 'local'\? known: .*local"):
        sandbox_class("locla")


def test_a_backend_that_is_still_to_come_is_said_to_be() -> None:
    missing = [name for name in ("modal", "daytona", "ssh", "singularity") if name not in sandbox_names()]
    for name in missing:
        with pytest.raises(UsageError, match=f"this version has no sandbox '{name}' yet; known: .*local"):
            sandbox_class(name)
