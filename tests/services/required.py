"""Services that a test needs and that a machine may lack."""

from __future__ import annotations

import os

import pytest

from pytest_hermes.errors import UsageError

# Read before any test changes them.
_IMAGE = os.environ.get("HERMES_TEST_IMAGE")
_REQUIRED = os.environ.get("HERMES_REQUIRE", "").split(",")


def require(name: str, problem: str | None) -> None:
    """Skip the test for its problem, or fail it if HERMES_REQUIRE names the service; without a problem, do nothing."""
    if problem is None:
        return
    if name in _REQUIRED:
        pytest.fail(f"{name} is required: {problem}")
    pytest.skip(problem)


def container_image() -> str:
    """Return the image that the tests' containers are made from: one with bash, tar and what busybox has."""
    assert _IMAGE is not None
    return _IMAGE


def docker_problem() -> str | None:
    """Return why containers cannot be used here, None when they can."""
    if not _IMAGE:
        return "HERMES_TEST_IMAGE names no image; run the tests by .ci/services, which starts an engine and makes one"
    from pytest_hermes.sandbox.docker.sandbox import DockerSandbox

    try:
        DockerSandbox.describe()
    except UsageError as error:
        return str(error)
    return None
