from __future__ import annotations

import math
import re
from typing import Any

import pytest

from pytest_hermes import Verdict


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "Verdict needs exactly one of reward and error, but neither is given"),
        ({"reward": 1.0, "error": "no"}, "Verdict needs exactly one of reward and error, but both are given"),
        ({"error": " "}, "Verdict.error must be a non-empty string or None, not ' '"),
        ({"reward": "1"}, "Verdict.reward must be a finite number or None, not '1'"),
        ({"reward": math.nan}, "Verdict.reward must be a finite number or None, not nan"),
        ({"reward": -math.inf}, "Verdict.reward must be a finite number or None, not -inf"),
        ({"metrics": {"a": "fast"}}, "Verdict.metrics['a'] must be a finite number, not 'fast'"),
        ({"metrics": {"a": None}}, "Verdict.metrics['a'] must be a finite number, not None"),
        ({"metrics": {"a": math.nan}}, "Verdict.metrics['a'] must be a finite number, not nan"),
        ({"metrics": {1: 1.0}}, "Verdict.metrics: each name must be a string, not 1"),
        ({"metrics": [1.0]}, "Verdict.metrics must be a mapping of names to numbers, not [1.0]"),
        ({"failed_tests": [1]}, 'Verdict.failed_tests must be strings such as ("a", "b"), not [1]'),
        (
            {"failed_tests": "test_a"},
            'Verdict.failed_tests must be strings such as ("a", "b"), not the string \'test_a\'',
        ),
        ({"files": {"x": "text"}}, "Verdict.files['x'] must be bytes, not 'text'; encode it"),
        ({"files": {"x": None}}, "Verdict.files['x'] must be bytes, not None"),
        ({"files": [b"x"]}, "Verdict.files must be a mapping of relative paths to bytes, not [b'x']"),
        ({"mode": "other"}, "Verdict.mode must be 'same' or 'strict' or 'fresh' or 'both', not 'other'"),
        ({"exit_code": "0"}, "Verdict.exit_code must be a whole number or None, not '0'"),
        ({"exit_code": True}, "Verdict.exit_code must be a whole number or None, not True"),
        ({"output": b"x"}, "Verdict.output must be a string, not b'x'; decode it"),
        ({"source": None}, "Verdict.source must be a string, not None"),
    ],
)
def test_what_does_not_fit_is_named(values: dict[str, Any], message: str) -> None:
    values = values if values.keys() & {"reward", "error"} or not values else {"reward": 1.0, **values}
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        Verdict(**values)


@pytest.mark.parametrize("name", ["../x", "/x", "", ".", "..", "a/../../x", "a//b", "a/", "./a", "a\0b", "\ud800", 3])
def test_files_stay_in_their_folder(name: Any) -> None:
    with pytest.raises(ValueError, match=r"files: each path must be relative, such as logs/x\.txt") as caught:
        Verdict(reward=1.0, files={name: b""})
    assert repr(name) in str(caught.value)


def test_values_are_kept_in_the_form_of_their_fields() -> None:
    files: dict[str, Any] = {"logs/x.txt": bytearray(b"x"), ".hidden": b"", "a b…": b""}
    verdict = Verdict(
        reward=True,
        metrics={"all": True, "size": 3},
        failed_tests=["a"],  # type: ignore[arg-type]
        files=files,
    )
    assert (verdict.reward, type(verdict.reward), float(verdict)) == (1.0, float, 1.0)
    assert dict(verdict.metrics) == {"all": 1.0, "size": 3.0}
    assert all(type(value) is float for value in verdict.metrics.values())
    assert verdict.failed_tests == ("a",)
    assert verdict.files == {"logs/x.txt": b"x", ".hidden": b"", "a b…": b""}
    assert Verdict(error="no tests").reward is None
