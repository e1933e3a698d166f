from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_hermes.tools.content import as_content, cut_middle

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), json_values))
def test_what_fits_is_kept_as_it_is(result: dict[str, Any]) -> None:
    assert json.loads(as_content(result)) == result


@given(st.dictionaries(st.text(max_size=20), st.text(), max_size=5), st.integers(0, 5), st.sampled_from("a\n\x01é\\"))
def test_a_long_result_is_json_within_the_limit(result: dict[str, Any], long: int, character: str) -> None:
    for number in range(long):
        result[f"long {number}"] = character * 10_000
    text = as_content(result, 5000)
    assert len(text) <= 5000
    assert isinstance(json.loads(text), dict)


def test_long_text_keeps_head_and_tail_and_says_what_is_missing() -> None:
    answer = json.loads(as_content({"output": "head" + "x" * 10_000 + "tail", "exit_code": 3}, 4000))
    assert answer["exit_code"] == 3
    assert answer["output"].startswith("headxxx")
    assert answer["output"].endswith("xxxtail")
    missing = int(answer["output"].split("[… ")[1].split(" ")[0])
    shown = answer["output"].replace(f"\n[… {missing} characters left out …]\n", "")
    assert len(shown) + missing == 10_008


def test_many_small_parts_are_replaced_by_a_note() -> None:
    answer = json.loads(as_content({"numbers": list(range(10_000))}, 4000))
    assert answer["error"].startswith("the result is too long: ")
    assert answer["beginning"].startswith('{"numbers": [0, 1, 2')


def test_non_ascii_is_written_as_it_is_and_half_characters_are_replaced() -> None:
    assert as_content({"text": "é語"}) == '{"text": "é語"}'
    assert as_content({"text": "a\udcffb"}) == '{"text": "a?b"}'


@pytest.mark.parametrize("value", [object(), float("nan"), b"bytes"])
def test_what_is_not_json_is_refused(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        as_content({"value": value})


@given(st.text(), st.integers(0, 100))
def test_cut_middle(text: str, keep: int) -> None:
    cut = cut_middle(text, keep)
    if len(text) <= keep:
        assert cut == text
    else:
        assert cut.startswith(text[: keep - keep // 2])
        assert cut.endswith(text[len(text) - keep // 2 :])
        assert f"{len(text) - keep} characters left out" in cut
