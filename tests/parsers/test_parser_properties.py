"""What holds for every text of every format."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from pytest_hermes.parsers import ToolCallParser, get_parser

from .parser_cases import BARE_TEXT, FORMATS, NO_ESCAPES, TOOLS, Calls, Format, openai, plain

every_format = pytest.mark.parametrize("fmt", FORMATS.values(), ids=FORMATS)
# There are many formats; a longer search is a matter of raising this.
some = settings(max_examples=40, deadline=None)

TAGS = (
    "<tool_call>",
    "</tool_call>",
    "<function=f>",
    "</function>",
    "<parameter=a>",
    "</parameter>",
    "<arg_key>",
    "</arg_value>",
    "[TOOL_CALLS]",
    "<think>",
    "</think>",
    "```",
    '{"name": "f", "arguments": {}}',
    "\n",
    '"',
    "\\",
    "'",
    "}",
    "{",
    "]",
)
strings = st.text(max_size=20) | st.lists(st.sampled_from(TAGS) | st.text(max_size=4), max_size=6).map("".join)
names = st.from_regex(r"[A-Za-z_][A-Za-z0-9_.\-]{0,12}", fullmatch=True)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | strings,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(strings, inner, max_size=3),
    max_leaves=8,
)


def calls_of(fmt: Format) -> st.SearchStrategy[Calls]:
    """Calls the format can carry without a schema: bare text is always a string."""
    bare = fmt.name in BARE_TEXT
    arguments = st.dictionaries(names, strings if bare else values, max_size=4)
    return st.lists(st.tuples(names, arguments), max_size=4)


def rendered(parser: ToolCallParser, calls: Calls, content: str = "") -> str:
    try:
        text: str = parser.render(openai(calls), content)
    except ValueError:
        assume(parser.name not in NO_ESCAPES)
        raise
    return text


@every_format
@some
@given(data=st.data())
def test_what_is_rendered_is_read_back(fmt: Format, data: st.DataObject) -> None:
    """And alike where broken calls are repaired: nothing of these is."""
    parser = get_parser(fmt.name)
    calls = data.draw(calls_of(fmt))
    text = rendered(parser, calls)
    content, tool_calls = parser.parse(text)
    assert plain(tool_calls) == calls
    assert content == ""
    assert plain(parser.parse(parser.render(tool_calls))[1]) == calls
    _, tool_calls = get_parser(fmt.name, repair=True).parse(text)
    assert plain(tool_calls) == calls
    assert not any(call.repaired for call in tool_calls)


@every_format
@some
@given(data=st.data())
def test_values_come_back_with_the_types_of_the_schema(fmt: Format, data: st.DataObject) -> None:
    by_type = {
        "string": strings,
        "integer": st.integers(),
        "number": st.integers() | st.floats(allow_nan=False, allow_infinity=False),
        "boolean": st.booleans(),
        "object": st.dictionaries(strings, values, max_size=3),
        "array": st.lists(values, max_size=3),
        "null": st.none(),
    }
    types = data.draw(st.dictionaries(names, st.sampled_from(sorted(by_type)), max_size=5))
    arguments = {key: data.draw(by_type[type_], label=key) for key, type_ in types.items()}
    schema = {"type": "object", "properties": {key: {"type": type_} for key, type_ in types.items()}}
    parser = get_parser(fmt.name, [{"type": "function", "function": {"name": "f", "parameters": schema}}])
    _, tool_calls = parser.parse(rendered(parser, [("f", arguments)]))
    [(_, read)] = plain(tool_calls)
    assert json.dumps(read) == json.dumps(arguments)


def check_prefixes(parser: ToolCallParser, text: str, settled_at: int) -> None:
    """Once the reasoning is settled, finished calls and the content before them only grow."""
    before: list[Any] = []
    spoken = ""
    for end in range(len(text) + 1):
        content, tool_calls = parser.parse(text[:end])
        calls = plain(tool_calls)
        if end < settled_at:
            continue
        assert calls[: len(before)] == before
        if not calls:
            assert content == text[:end]
        elif before:
            assert content.startswith(spoken)
        else:
            spoken = content
            assert text.startswith(spoken) or not spoken.strip()
        before = calls


@every_format
@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_prefixes_of_calls_with_text_around(fmt: Format, data: st.DataObject) -> None:
    parser = get_parser(fmt.name)
    # Inside a value of the XML-like formats, what looks like a whole call is only told from one by its end.
    prose = st.text(alphabet="ab <>{}\"'[]é\n", max_size=12)
    bare = fmt.name in BARE_TEXT
    calls = data.draw(
        st.lists(st.tuples(names, st.dictionaries(names, prose if bare else values, max_size=3)), max_size=3)
    )
    thought = data.draw(st.sampled_from(["", "<think>hm</think>", "hm</think>", f"<think>{fmt.normal}</think>\n"]))
    text = thought + data.draw(prose) + rendered(parser, calls) + data.draw(prose)
    # Without a closed thought, any closing tag may still turn out to be the one that settles the reasoning.
    assume(thought or "</think>" not in text)
    check_prefixes(parser, text, len(thought))


@every_format
def test_prefixes_of_the_cases(fmt: Format) -> None:
    parser = get_parser(fmt.name, TOOLS)
    for text in (
        fmt.normal,
        fmt.parallel,
        fmt.code,
        fmt.nested,
        *fmt.malformed,
        fmt.opener * 3 + fmt.parallel,
    ):
        if len(text) < 2000:
            check_prefixes(parser, f"Well.\n{text}\n{fmt.no_arguments}\nDone.", 0)


def soup(fmt: Format) -> st.SearchStrategy[str]:
    """Texts made of whole, half and broken pieces of the format."""
    cut = st.builds(
        lambda text, at: text[: at % (len(text) + 1)],
        st.sampled_from([fmt.parallel, fmt.code]),
        st.integers(0),
    )
    rest = st.builds(
        lambda text, at: text[at % (len(text) + 1) :],
        st.sampled_from([fmt.parallel, fmt.nested]),
        st.integers(0),
    )
    whole = st.sampled_from([fmt.normal, fmt.no_arguments, fmt.opener, *fmt.malformed[:6]])
    return st.lists(cut | rest | whole | strings, max_size=6).map("".join)


@every_format
@some
@given(data=st.data())
def test_no_text_is_too_broken(fmt: Format, data: st.DataObject) -> None:
    text = data.draw(soup(fmt))
    for repair in (False, True):
        content, tool_calls = get_parser(fmt.name, TOOLS, repair=repair).parse(text)
        plain(tool_calls)
        assert (content == text) or tool_calls
        position = 0
        for char in content:
            position = text.index(char, position) + 1


@every_format
@some
@given(text=st.text())
@example("{" * 3000)
@example('{"name": ' * 3000)
@example("[" * 100_000)
@example("\ud800")
def test_any_text_at_all(fmt: Format, text: str) -> None:
    assert get_parser(fmt.name, TOOLS).parse(text) == (text, [])
    assert get_parser(fmt.name, repair=True).parse(fmt.opener + text)[1] is not None


@every_format
def test_a_lone_surrogate_survives_as_an_escape(fmt: Format) -> None:
    parser = get_parser(fmt.name)
    _, [call] = parser.parse(parser.render([{"name": "f", "arguments": {"x": "\ud800 ü"}}]))
    call.function.arguments.encode()
    assert call.function.arguments == '{"x": "\\ud800 ü"}'
