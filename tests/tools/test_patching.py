from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_hermes.tools.patching import replace
from pytest_hermes.tools.tool import ToolProblem

short = st.text("ab\n", min_size=1, max_size=3)


def occurrences(text: str, find: str) -> int:
    return sum(text.startswith(find, position) for position in range(len(text)))


@given(st.text("ab\n", max_size=12), short, st.text("abc\n", max_size=3))
def test_the_only_occurrence_is_replaced(text: str, old: str, new: str) -> None:
    if old != new and occurrences(text, old) == 1:
        patched = replace(text.encode(), old, new, replace_all=False)
        assert patched.data.decode() == text.replace(old, new, 1)
        assert patched.replacements == 1
        assert patched.first_line == text[: text.index(old)].count("\n") + 1
    else:
        with pytest.raises(ToolProblem):
            replace(text.encode(), old, new, replace_all=False)


@given(st.text("ab\n", max_size=12), short, st.text("abc\n", max_size=3))
def test_all_occurrences_are_replaced(text: str, old: str, new: str) -> None:
    if old != new and old in text:
        patched = replace(text.encode(), old, new, replace_all=True)
        assert patched.data.decode() == text.replace(old, new)
        assert patched.replacements == text.count(old)
    else:
        with pytest.raises(ToolProblem):
            replace(text.encode(), old, new, replace_all=True)


@given(st.binary(), st.binary())
def test_what_is_not_utf_8_stays_as_it_is(before: bytes, after: bytes) -> None:
    data = before + b"<<here>>" + after
    if data.count(b"<<here>>") == 1:
        assert replace(data, "<<here>>", "é", replace_all=False).data == before + "é".encode() + after


def test_plain_line_ends_match_those_of_windows() -> None:
    patched = replace(b"a\r\nb\r\nc\r\n", "a\nb", "x\ny\nz", replace_all=False)
    assert patched.data == b"x\r\ny\r\nz\r\nc\r\n"


def test_an_exact_match_goes_before_line_ends() -> None:
    assert replace(b"a\r\na\nb\r\n", "a\nb", "x", replace_all=False).data == b"a\r\nx\r\n"


def test_occurrences_that_overlap_are_told_apart() -> None:
    with pytest.raises(ToolProblem, match=r"2 times \(lines 1, 1\)"):
        replace(b"aaa", "aa", "b", replace_all=False)


def test_several_occurrences_are_listed() -> None:
    with pytest.raises(ToolProblem, match=r"12 times \(lines 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, …\).*replace_all"):
        replace(b"x = 1\n" * 12, "x = 1", "x = 2", replace_all=False)


def test_the_closest_line_is_named_when_there_is_none() -> None:
    with pytest.raises(ToolProblem, match=r"not in the file; the closest line is 2: '    return total / 2'"):
        replace(b"def f():\n    return total / 2\n", "  return total/2", "", replace_all=False)


def test_no_line_is_named_when_none_is_close() -> None:
    with pytest.raises(ToolProblem, match=r"not in the file$"):
        replace(b"abc\n", "something quite different", "", replace_all=False)


def test_the_same_text_is_refused() -> None:
    with pytest.raises(ToolProblem, match="nothing to change"):
        replace(b"a", "a", "a", replace_all=False)
