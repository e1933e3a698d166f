"""From the files that tests leave to a reward."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_hermes.verifier.report import Report, read_report
from pytest_hermes.verifier.reward import NoReward, Reward, read_reward


@pytest.mark.parametrize(
    ("files", "exit_code", "reward"),
    [
        (
            {"reward.json": b'{"reward": 0.5, "speed": 3}', "reward.txt": b"1"},
            1,
            Reward(0.5, "reward.json", {"speed": 3}),
        ),
        (
            {"reward.json": b'{"reward": 1, "mean": NaN, "top": -Infinity, "n": 0}'},
            1,
            Reward(1.0, "reward.json", {"n": 0}),
        ),
        ({"reward.json": b'{"reward": 1, "n": 1' + b"0" * 400 + b"}"}, 1, Reward(1.0, "reward.json")),
        ({"reward.json": b'{"accuracy": 1}'}, 1, Reward(1.0, "reward.json")),
        ({"reward.json": b"0.25"}, 1, Reward(0.25, "reward.json")),
        ({"reward.txt": b" 1\n"}, 1, Reward(1.0, "reward.txt")),
        ({"reward.txt": b"0"}, 0, Reward(0.0, "reward.txt")),
        ({"ctrf.json": b"{}"}, 0, Reward(1.0, "exit code")),
        ({}, 3, Reward(0.0, "exit code")),
    ],
)
def test_which_file_counts(files: dict[str, bytes], exit_code: int, reward: Reward) -> None:
    assert read_reward(files, exit_code, by_exit_code=True) == reward


@pytest.mark.parametrize(
    ("files", "problem"),
    [
        ({"reward.txt": b""}, "reward.txt holds '', which is not a finite number"),
        ({"reward.txt": b"nan"}, "reward.txt holds 'nan'"),
        ({"reward.txt": b"inf"}, "reward.txt holds 'inf'"),
        ({"reward.txt": b"passed"}, "reward.txt holds 'passed'"),
        ({"reward.txt": b"1_0"}, "reward.txt holds '1_0'"),
        ({"reward.txt": "\u0661".encode()}, "reward.txt holds '\u0661'"),
        ({"reward.txt": b"1e999"}, "reward.txt holds '1e999'"),
        ({"reward.txt": b"2"}, "reward.txt holds 2 as the reward, which is not from 0 to 1"),
        ({"reward.json": b'{"reward": -0.5}'}, "reward.json holds -0.5 as the reward"),
        ({}, "the tests left neither reward.json nor reward.txt"),
        ({"reward.json": b""}, "reward.json is not JSON"),
        ({"reward.json": b"{}"}, "reward.json has no 'reward' among nothing"),
        ({"reward.json": b'{"a": 1, "b": 0}'}, "reward.json has no 'reward' among 'a', 'b'"),
        ({"reward.json": b'{"reward": "1"}'}, "reward.json holds '1' as 'reward'"),
        ({"reward.json": b'{"reward": NaN}'}, "reward.json holds nan as 'reward'"),
        ({"reward.json": b'{"accuracy": NaN}'}, "reward.json holds nan as 'accuracy'"),
        ({"reward.json": b'{"reward": 1, "a": "x"}'}, "reward.json holds 'x' as 'a'"),
        ({"reward.json": b'{"reward": true}'}, "reward.json holds True as 'reward'"),
        ({"reward.json": b"[1]"}, "reward.json holds"),
        ({"reward.json": b'{"reward": 1' + b"0" * 400 + b"}"}, "which is not a finite number"),
    ],
)
def test_what_is_no_reward(files: dict[str, bytes], problem: str) -> None:
    # The first that is there decides; what a weaker one says does not make up for it.
    with pytest.raises(NoReward, match=problem):
        read_reward({"reward.txt": b"1", **files} if files else {}, 0)


@given(st.binary(max_size=40), st.sampled_from(["reward.json", "reward.txt"]), st.integers(0, 255))
def test_whatever_stands_there_is_a_finite_reward_or_told(content: bytes, name: str, exit_code: int) -> None:
    try:
        reward = read_reward({name: content}, exit_code)
    except NoReward:
        return
    assert 0 <= reward.value <= 1
    assert reward.source == name


@given(st.dictionaries(st.text(max_size=5), st.floats(allow_nan=False, allow_infinity=False), max_size=4))
def test_numbers_are_all_kept(numbers: dict[str, float]) -> None:
    reward = read_reward({"reward.json": json.dumps({**numbers, "reward": 1}).encode()}, 0)
    assert reward.metrics == {name: value for name, value in numbers.items() if name != "reward"}
    assert reward.value == 1


@pytest.mark.parametrize("name", ["reward.json", "reward.txt"])
def test_a_file_that_does_not_count_is_no_reward(name: str) -> None:
    with pytest.raises(NoReward, match=f"^{name} is not a regular file$"):
        read_reward({"reward.txt": b"1"}, 0, unfit={name: "is not a regular file"}, by_exit_code=True)


def test_a_report_of_single_tests() -> None:
    content = {
        "results": {
            "tool": {"name": "pytest"},
            "summary": {"tests": 3, "passed": 1, "failed": 2, "skipped": 0, "start": 1, "stop": 2},
            "tests": [
                {"name": "test_a", "status": "failed"},
                {"name": "test_b", "status": "passed"},
                {"name": "test_c", "status": "failed"},
            ],
        }
    }
    report = read_report(json.dumps(content).encode())
    assert report.counts == {"tests": 3, "tests_passed": 1, "tests_failed": 2, "tests_skipped": 0}
    assert report.failed == ("test_a", "test_c")


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=3),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(st.sampled_from(["results", "summary", "tests", "status"]), inner, max_size=3)
        ),
        max_leaves=8,
    )
)
def test_a_report_that_is_none_decides_nothing(content: object) -> None:
    read_report(json.dumps(content).encode())
    assert read_report(None) == read_report(b"{") == Report()
