"""Parsers are found by name, and need nothing else of the project."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from typing import Any

import pytest

from pytest_hermes.parsers import ToolCallParser, UnknownParser, get_parser, parser_names

from .parser_cases import FORMATS


def test_every_format_is_registered_under_its_own_name() -> None:
    assert set(FORMATS) <= set(parser_names())
    for name in parser_names():
        parser = get_parser(name)
        assert isinstance(parser, ToolCallParser)
        assert parser.name == name


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownParser) as error:
        get_parser("hermess")
    assert str(error.value).startswith("unknown tool-call parser 'hermess'; did you mean 'hermes'? known: ")
    assert all(name in str(error.value) for name in FORMATS)
    with pytest.raises(KeyError, match="unknown tool-call parser 'no such thing'; known: "):
        get_parser("no such thing")
    with pytest.raises(ValueError, match="known: "):
        get_parser("")


def test_parsers_import_nothing_of_the_rest_of_the_project() -> None:
    program = (
        "import sys, pytest_hermes; before = set(sys.modules); "
        "from pytest_hermes.parsers import get_parser, parser_names; "
        "[get_parser(name).parse('x') for name in parser_names()]; "
        "print([m for m in set(sys.modules) - before if m.startswith('pytest_hermes.') "
        "and not m.startswith('pytest_hermes.parsers')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("calls", "content", "message"),
    [
        ([{"name": "a b", "arguments": {}}], "", "cannot write this call of 'a b'"),
        ([{"name": "f", "arguments": {"k<": "v"}}], "", "cannot write this call of 'f'"),
        (
            [{"name": "f", "arguments": {"k": "</arg_value></tool_call>"}}],
            "",
            "change what looks like markup in",
        ),
        ([], "<tool_call>f</tool_call>", "this content would be parsed as a call"),
        ([{"name": "f", "arguments": [1]}], "", "must be a JSON object, not"),
        ([{"name": "f", "arguments": "{"}], "", "Expecting property name"),
    ],
)
def test_what_a_format_cannot_write_is_refused(calls: list[dict[str, Any]], content: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        get_parser("glm47").render(calls, content)


def test_render_takes_calls_as_they_stand_in_messages() -> None:
    for name in FORMATS:
        parser = get_parser(name)
        _, calls = parser.parse(parser.render([{"name": "f", "arguments": {"x": "y"}}, {"name": "g"}]))
        again = parser.parse(parser.render(calls, "Hm. "))
        assert again[0] == "Hm. "
        assert [call.function for call in again[1]] == [call.function for call in calls]


@pytest.mark.parametrize("name", ["kimi_k2", "mistral"])
def test_ids_that_a_format_prescribes_survive_rendering(name: str) -> None:
    parser = get_parser(name)
    _, calls = parser.parse(FORMATS[name].parallel)
    assert parser.parse(parser.render(calls))[1] == calls


def test_a_call_can_be_copied_and_pickled() -> None:
    _, [call] = get_parser("mistral", repair=True).parse("[TOOL_CALLS]f[ARGS]{'a': 1}")
    for twin in (copy.deepcopy(call), pickle.loads(pickle.dumps(call))):
        assert twin == call
        assert twin.function.name == "f"
        assert twin.repairs == ("single quotes",)
