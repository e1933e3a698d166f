"""How bare text between XML-like tags gets the type the tool's schema asks for."""

from __future__ import annotations

from typing import Any

import pytest

from pytest_hermes.parsers import get_parser

from .parser_cases import plain


def typed(schema: Any, text: str, **parameters: Any) -> Any:
    tool = {"name": "f", "parameters": {"type": "object", "properties": {"x": schema}, **parameters}}
    for name, call in [
        (
            "qwen3_coder",
            f"<tool_call>\n<function=f>\n<parameter=x>\n{text}\n</parameter>\n</function>\n</tool_call>",
        ),
        ("glm47", f"<tool_call>f<arg_key>x</arg_key><arg_value>{text}</arg_value></tool_call>"),
    ]:
        for tools in ([tool], [{"type": "function", "function": tool}]):
            _, calls = get_parser(name, tools).parse(call)
            [(_, arguments)] = plain(calls)
    return arguments["x"]


@pytest.mark.parametrize(
    ("schema", "text", "value"),
    [
        ({"type": "string"}, "42", "42"),
        ({"type": "string"}, "null", "null"),
        ({"type": "string"}, " true ", " true "),
        ({"type": "string"}, '{"a": 1}', '{"a": 1}'),
        ({"type": "integer"}, "42", 42),
        ({"type": "integer"}, " -7\n", -7),
        ({"type": "integer"}, "4.0", "4.0"),
        ({"type": "integer"}, "042", "042"),
        ({"type": "integer"}, "1_000", "1_000"),
        ({"type": "integer"}, "four", "four"),
        ({"type": "integer"}, "null", "null"),
        ({"type": "integer"}, "9" * 5000, "9" * 5000),
        ({"type": "number"}, "4", 4),
        ({"type": "number"}, "-1.5e3", -1500.0),
        ({"type": "number"}, "1e999", "1e999"),
        ({"type": "number"}, "NaN", "NaN"),
        ({"type": "number"}, "٤", "٤"),
        ({"type": "boolean"}, "true", True),
        ({"type": "boolean"}, "True", True),
        ({"type": "boolean"}, "FALSE", False),
        ({"type": "boolean"}, "1", "1"),
        ({"type": "boolean"}, "yes", "yes"),
        ({"type": "null"}, "None", None),
        ({"type": ["string", "null"]}, "null", None),
        ({"type": ["string", "null"]}, "nil", "nil"),
        ({"type": "object"}, '{"b": [1], "a": 2}', {"b": [1], "a": 2}),
        ({"type": "object"}, "[1]", "[1]"),
        ({"type": "object"}, "{'a': 1}", "{'a': 1}"),
        ({"type": "object"}, '{"a": NaN}', '{"a": NaN}'),
        ({"type": "object"}, '{"a": 1} {}', '{"a": 1} {}'),
        ({"type": "array"}, ' ["x", 1] ', ["x", 1]),
        ({"type": "array"}, "[" * 5000 + "]" * 5000, "[" * 5000 + "]" * 5000),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "3", 3),
        ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "None", None),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, "3", 3),
        ({"oneOf": [{"type": "string"}, {"type": "integer"}]}, "3 days", "3 days"),
        ({"allOf": [{"type": "boolean"}]}, "true", True),
        ({"enum": [1, 2, "auto"]}, "2", 2),
        ({"enum": [1, 2, "auto"]}, "auto", "auto"),
        ({"enum": ["1", "2"]}, "2", "2"),
        ({"const": 5}, "5", 5),
        ({"type": "int"}, "5", 5),
        ({"type": "dict"}, "{}", {}),
        ({"type": "whatever"}, "5", "5"),
        ({"type": 7}, "5", "5"),
        ({"anyOf": "broken"}, "5", "5"),
        ({}, "5", "5"),
        (None, "5", "5"),
        (True, "5", "5"),
    ],
)
def test_values_are_typed_by_the_schema(schema: Any, text: str, value: Any) -> None:
    read = typed(schema, text)
    assert read == value
    assert type(read) is type(value)


def test_references_and_additional_properties() -> None:
    defs = {"Days": {"type": "integer"}, "Loop": {"$ref": "#/$defs/Loop"}}
    assert typed({"$ref": "#/$defs/Days"}, "3", **{"$defs": defs}) == 3
    assert typed({"$ref": "#/$defs/Loop"}, "3", **{"$defs": defs}) == "3"
    assert typed({"$ref": "#/$defs/Missing"}, "3", **{"$defs": defs}) == "3"
    tool = {"name": "f", "parameters": {"additionalProperties": {"type": "integer"}}}
    text = "<tool_call>f<arg_key>x</arg_key><arg_value>3</arg_value></tool_call>"
    assert plain(get_parser("glm47", [tool]).parse(text)[1]) == [("f", {"x": 3})]


@pytest.mark.parametrize(
    "tools",
    [
        None,
        [],
        [{"name": "g"}],
        [{"name": "f"}],
        [{"name": "f", "parameters": None}],
        [{"name": "f", "parameters": {"properties": {"y": {"type": "integer"}}}}],
        [{"name": "f", "parameters": {"properties": None}}],
        [{"name": "f", "parameters": {"properties": []}}],
    ],
)
def test_without_a_schema_values_are_strings(tools: Any) -> None:
    text = "<tool_call>f<arg_key>x</arg_key><arg_value>42</arg_value></tool_call>"
    assert plain(get_parser("glm45", tools).parse(text)[1]) == [("f", {"x": "42"})]


@pytest.mark.parametrize("tools", [["f"], [{}], [{"function": {"parameters": {}}}], [{"name": 3}]])
def test_tools_that_are_none_are_refused(tools: Any) -> None:
    with pytest.raises(TypeError, match="a tool must be a dict with a name"):
        get_parser("glm45", tools)


def test_json_formats_do_not_change_types() -> None:
    tool = {"name": "f", "parameters": {"properties": {"x": {"type": "integer"}}}}
    text = '<tool_call>{"name": "f", "arguments": {"x": "42"}}</tool_call>'
    assert plain(get_parser("hermes", [tool]).parse(text)[1]) == [("f", {"x": "42"})]
