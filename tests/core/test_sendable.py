"""Values that JSON in UTF-8 cannot hold, as they are sent and as they are written down."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from pytest_hermes.core.sendable import recordable, sendable

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
)


def test_half_a_character_is_replaced_where_it_is_sent_and_escaped_where_it_is_written_down() -> None:
    value = {"a\udc00": ["broken \ud83d", {"b": "\ud83d\ud83d!"}], "whole": "😀"}
    assert sendable(value) == {"a\ufffd": ["broken \ufffd", {"b": "\ufffd\ufffd!"}], "whole": "😀"}
    assert recordable(value) == {"a\\udc00": ["broken \\ud83d", {"b": "\\ud83d\\ud83d!"}], "whole": "😀"}


def test_two_halves_are_one_character() -> None:
    """As they come in two chunks of a stream."""
    assert sendable("\ud83d" + "\ude00") == recordable("\ud83d" + "\ude00") == "😀"


def test_numbers_that_json_does_not_have() -> None:
    assert sendable([float("nan"), float("inf"), 1.5]) == recordable([float("nan"), float("inf"), 1.5])
    assert sendable([float("nan"), float("inf"), 1.5]) == [None, None, 1.5]


@given(values)
def test_any_value_can_be_sent_and_written_down(value: Any) -> None:
    for changed in (sendable(value), recordable(value)):
        json.dumps(changed, ensure_ascii=False, allow_nan=False).encode()
        try:
            json.dumps(value, ensure_ascii=False, allow_nan=False).encode()
        except ValueError:
            continue
        # Most values need no copy.
        assert changed is value
