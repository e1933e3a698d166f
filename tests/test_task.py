from __future__ import annotations

import pytest

from pytest_hermes import Limits, SandboxSpec, Task


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


def test_out_of_range_values_name_the_field() -> None:
    with pytest.raises(ValueError, match="turns must be greater than 0, not 0"):
        Limits(turns=0)
    with pytest.raises(ValueError, match="cpus"):
        SandboxSpec(cpus=-1)
    with pytest.raises(ValueError, match="pids must be at least 1, not 0"):
        SandboxSpec(pids=0)
    with pytest.raises(ValueError, match="storage 'much' is not a size"):
        SandboxSpec(storage="much")
