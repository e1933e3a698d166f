from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_hermes.core.one_line import described, first_line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\n \n  the first\nthe second", "the first"),
        ("a\tb", "a b"),
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b[2J\x1b[1;1H\x1b[0K\nkept", "kept"),
        ("title\x1b]0;gone\x07 kept", "title kept"),
        ("link \x1b]8;;http://gone\x1b\\kept\x1b]8;;\x1b\\", "link kept"),
        ("never ended \x1b]0;gone", "never ended"),
        ("a\x00b\x08c\x7fd\x9be", "abcde"),
        ("\x1b(Bcharset\x1bc", "charset"),
        ("turned \u202egnp.exe", "turned gnp.exe"),
        ("naïve 🎈 語", "naïve 🎈 語"),
    ],
)
def test_a_line_of_others_is_shown_without_what_a_terminal_acts_on(text: str, line: str) -> None:
    assert first_line(text) == line
    assert described(ValueError(text)) == f"ValueError: {line}"


PARTS = st.sampled_from(["\x1b", "[", "]", "0;", "m", "\x07", "\\", "x", "\x9b", "\t", "\n", "é"])


@given(st.lists(PARTS).map("".join))
def test_whatever_is_said_it_is_one_line_without_control_characters(text: str) -> None:
    line = first_line(text)
    assert not any(unicodedata.category(character) == "Cc" for character in line)
    assert first_line(line) == line


def test_a_long_line_is_cut() -> None:
    assert first_line("x" * 400) == "x" * 300 + "…"
