"""What `repair=True` accepts, and that it says so."""

from __future__ import annotations

import pytest

from pytest_hermes.parsers import get_parser

from .parser_cases import TOOLS, plain

ACCEPTED = {
    "single quotes": "{'city': 'it\\'s \"here\"', 'now': [true, null]}",
    "trailing comma": '{"city": "x", "days": [1, 2, ], }',
    "raw newline in a string": '{"city": "one\ntwo\tthree"}',
    "arguments given as a string": '"{\\"city\\": \\"x\\"}"',
}
MEANT = {
    "single quotes": {"city": 'it\'s "here"', "now": [True, None]},
    "trailing comma": {"city": "x", "days": [1, 2]},
    "raw newline in a string": {"city": "one\ntwo\tthree"},
    "arguments given as a string": {"city": "x"},
}
FRAMES = {
    "hermes": '<tool_call>\n{"name": "weather", "arguments": ARGUMENTS}\n</tool_call>',
    "qwen": '<tool_call>{"name": "weather", "arguments": ARGUMENTS}</tool_call>',
    "longcat": '<longcat_tool_call>{"name": "weather", "arguments": ARGUMENTS}</longcat_tool_call>',
    "mistral": "[TOOL_CALLS]weather[ARGS]ARGUMENTS",
    "llama3_json": '{"name": "weather", "parameters": ARGUMENTS}',
    "deepseek_v3": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>weather\n```json\n"
    "ARGUMENTS\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
    "deepseek_v3_1": "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>weather<｜tool▁sep｜>ARGUMENTS<｜tool▁call▁end｜>",
    "kimi_k2": "<|tool_calls_section_begin|><|tool_call_begin|>functions.weather:0"
    "<|tool_call_argument_begin|>ARGUMENTS<|tool_call_end|>",
}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize("what", ACCEPTED)
def test_repair_mends_and_says_so(name: str, what: str) -> None:
    text = FRAMES[name].replace("ARGUMENTS", ACCEPTED[what])
    assert get_parser(name).parse(text) == (text, [])
    content, [call] = get_parser(name, repair=True).parse(text)
    assert content == ""
    assert plain([call]) == [("weather", MEANT[what])]
    assert call.repaired
    assert call.repairs == (what,)
    assert set(call) == {"id", "type", "function"}


@pytest.mark.parametrize("name", FRAMES)
@pytest.mark.parametrize(
    "arguments",
    [
        "{",
        '{"a": }',
        '{"a": "x" "b": 1}',
        '{"a": 1,, "b": 2}',
        "{,}",
        '{"a": nope}',
        '{"a": NaN,}',
        "{'a': 1e999}",
        '{"a": 1',
        "[1,]",
        '"[1]"',
        '"not json"',
        "{'a': " * 200 + "1" + "}" * 200,
    ],
)
def test_what_cannot_be_mended_stays_in_the_content(name: str, arguments: str) -> None:
    text = FRAMES[name].replace("ARGUMENTS", arguments)
    assert get_parser(name, repair=True).parse(text) == (text, [])


def test_a_whole_object_in_single_quotes() -> None:
    for name, text in [
        ("hermes", "<tool_call>{'name': 'weather', 'arguments': {'city': 'x'}}</tool_call>"),
        ("llama3_json", "{'name': 'weather', 'parameters': {'city': 'x'}}"),
        ("mistral", "[TOOL_CALLS] [{'name': 'weather', 'arguments': {'city': 'x'}}]"),
    ]:
        assert get_parser(name).parse(text) == (text, [])
        content, [call] = get_parser(name, repair=True).parse(text)
        assert (content, plain([call]), call.repairs) == (
            "",
            [("weather", {"city": "x"})],
            ("single quotes",),
        )


def test_only_the_mended_call_says_so() -> None:
    text = "[TOOL_CALLS]a[ARGS]{}[TOOL_CALLS]b[ARGS]{'x': 1,}[TOOL_CALLS]c[ARGS]{}"
    _, calls = get_parser("mistral", repair=True).parse(text)
    assert [call.repairs for call in calls] == [(), ("single quotes", "trailing comma"), ()]


def test_repair_types_objects_that_xml_values_hold() -> None:
    text = "<tool_call>write_file<arg_key>options</arg_key><arg_value>{'a': 1}</arg_value></tool_call>"
    assert plain(get_parser("glm47", TOOLS).parse(text)[1]) == [("write_file", {"options": "{'a': 1}"})]
    _, [call] = get_parser("glm47", TOOLS, repair=True).parse(text)
    assert plain([call]) == [("write_file", {"options": {"a": 1}})]
    assert call.repairs == ("single quotes",)
