"""Services that a test needs and that a machine may lack."""

from __future__ import annotations

import os

import pytest

from pytest_hermes.errors import UsageError

#: Names the image that the tests' containers are made from: one with bash, tar and what busybox has.
IMAGE_VARIABLE = "HERMES_TEST_IMAGE"


def require(name: str, problem: str | None) -> None:
    """Skip the test for its problem, or fail it if HERMES_REQUIRE names the service; without a problem, do nothing."""
    if problem is None:
        return
    if name in os.environ.get("HERMES_REQUIRE", "").split(","):
        pytest.fail(f"{name} is required: {problem}")
    pytest.skip(problem)


def docker_problem() -> str | None:
    """Return why containers cannot be used here, None when they can."""
    if not os.environ.get(IMAGE_VARIABLE):
        return f"{IMAGE_VARIABLE} names no image; run the tests by .ci/services, which starts an engine and makes one"
    from pytest_hermes.sandbox.docker.sandbox import DockerSandbox

    try:
        DockerSandbox.describe()
    except UsageError as error:
        return str(error)
    return None
