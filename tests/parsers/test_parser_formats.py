"""What each format's models write, and what is read from it."""

from __future__ import annotations

import json

import pytest

from pytest_hermes.parsers import get_parser

from .parser_cases import (
    BARE_TEXT,
    CODE,
    FORMATS,
    NESTED,
    NO_ESCAPES,
    TIME,
    TOOLS,
    WEATHER,
    Calls,
    Format,
    openai,
    plain,
)

every_format = pytest.mark.parametrize("fmt", FORMATS.values(), ids=FORMATS)


@every_format
@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("normal", [WEATHER]),
        ("parallel", [WEATHER, TIME, WEATHER]),
        ("no_arguments", [TIME]),
        ("code", [CODE]),
        ("nested", [NESTED]),
    ],
)
def test_calls_are_read(fmt: Format, text: str, calls: Calls) -> None:
    content, tool_calls = get_parser(fmt.name, TOOLS).parse(getattr(fmt, text))
    assert plain(tool_calls) == calls
    assert content == ""


@every_format
def test_arguments_keep_their_order_and_their_unicode(fmt: Format) -> None:
    _, [call] = get_parser(fmt.name, TOOLS).parse(fmt.normal)
    assert call.function.arguments == '{"city": "東京", "days": 3, "now": true}'


@every_format
def test_a_call_serves_as_a_dict_and_as_an_object(fmt: Format) -> None:
    _, [call] = get_parser(fmt.name, TOOLS).parse(fmt.no_arguments)
    assert json.loads(json.dumps(call)) == {
        "id": call.id,
        "type": "function",
        "function": {"name": "time", "arguments": "{}"},
    }
    assert (call.type, call.function.name, call.function.arguments) == ("function", "time", "{}")
    assert not call.repaired


@every_format
def test_text_around_calls_is_content(fmt: Format) -> None:
    text = f"Let me look.\n{fmt.normal}\nAnd then:\n{fmt.parallel}\nDone."
    content, tool_calls = get_parser(fmt.name, TOOLS).parse(text)
    assert plain(tool_calls) == [WEATHER, WEATHER, TIME, WEATHER]
    assert content == "Let me look.\n\nAnd then:\n\nDone."


@every_format
@pytest.mark.parametrize("text", ["", " \n", "No calls here.\n", "</think>", "日本語 <b>and</b> {braces}"])
def test_a_text_without_calls_is_content_as_it_is(fmt: Format, text: str) -> None:
    assert get_parser(fmt.name, TOOLS).parse(text) == (text, [])


@every_format
@pytest.mark.parametrize("around", ["{}", "<think>a{}b</think>", "a{}b</think>", "<think>{}", "{} "])
def test_what_is_no_call_stays_in_the_content(fmt: Format, around: str) -> None:
    parser = get_parser(fmt.name, TOOLS)
    for malformed in fmt.malformed:
        text = around.replace("{}", malformed)
        assert parser.parse(text) == (text, []), malformed


@every_format
def test_a_broken_call_does_not_discard_the_good_ones_around_it(fmt: Format) -> None:
    parser = get_parser(fmt.name, TOOLS)
    for malformed in fmt.malformed:
        content, tool_calls = parser.parse(f"{fmt.normal}\n{malformed}\n{fmt.no_arguments}")
        assert plain(tool_calls) == [WEATHER, TIME], malformed
        assert malformed in content


@every_format
def test_good_calls_after_an_abandoned_one(fmt: Format) -> None:
    parser = get_parser(fmt.name, TOOLS)
    content, tool_calls = parser.parse(f"{fmt.opener}x\n{fmt.normal}\n{fmt.opener}y\n{fmt.no_arguments}")
    assert plain(tool_calls) == [WEATHER, TIME]
    assert content.startswith(fmt.opener + "x")
    assert fmt.opener + "y" in content


@every_format
def test_a_call_cut_off_anywhere_is_no_call(fmt: Format) -> None:
    parser = get_parser(fmt.name, TOOLS)
    for text, calls in [(fmt.normal, [WEATHER]), (fmt.code, [CODE]), (fmt.nested, [NESTED])]:
        whole = False
        for end in range(len(text)):
            content, tool_calls = parser.parse("So: " + text[:end])
            if whole := whole or bool(tool_calls):
                # Only markers that close a list of calls may be missing from a call that is made.
                assert plain(tool_calls) == calls
                assert text[:end].endswith(content.removeprefix("So: "))
            else:
                assert content == "So: " + text[:end]


@every_format
def test_calls_quoted_in_reasoning_are_no_calls(fmt: Format) -> None:
    parser = get_parser(fmt.name, TOOLS)
    for thought in (
        f"<think>I could write {fmt.normal} here.</think>",
        f"I could write {fmt.normal} here.</think>",
        f"<think>{fmt.opener}x</think>",
        f"<think>a</think>b<think>{fmt.parallel}</think>",
    ):
        content, tool_calls = parser.parse(f"{thought}\n\n{fmt.no_arguments}")
        assert plain(tool_calls) == [TIME], thought
        assert content.startswith(thought)


@every_format
def test_calls_around_reasoning_are_calls(fmt: Format) -> None:
    parser = get_parser(fmt.name, TOOLS)
    text = f"<think>a</think>{fmt.normal}\n<think>b {fmt.normal}</think>\n{fmt.no_arguments}"
    assert plain(parser.parse(text)[1]) == [WEATHER, TIME]


@every_format
def test_reasoning_that_never_closes_hides_no_call(fmt: Format) -> None:
    assert plain(get_parser(fmt.name, TOOLS).parse(f"<think>so: {fmt.normal}")[1]) == [WEATHER]


@every_format
def test_think_tags_inside_arguments_are_arguments(fmt: Format) -> None:
    parser = get_parser(fmt.name)
    calls = [
        {"name": "say", "arguments": {"text": "a</think>b"}},
        {"name": "say", "arguments": {"text": "<think>"}},
    ]
    assert parser.parse(parser.render(calls))[0] == ""
    assert plain(parser.parse(parser.render(calls))[1]) == [(one["name"], one["arguments"]) for one in calls]


@every_format
def test_the_markup_of_every_format_may_stand_in_arguments(fmt: Format) -> None:
    parser = get_parser(fmt.name)
    for other in FORMATS.values():
        for text in (other.normal, other.opener):
            call = ("say", {"before": "x", "text": text})
            try:
                written = parser.render(openai([call]))
            except ValueError:
                # Where there are no escapes, half a call in a value is either a quotation or the next call
                # after one that broke off. It may be refused to be written, but not written to be misread.
                assert fmt.name in NO_ESCAPES
                assert other.name in NO_ESCAPES
                continue
            assert plain(parser.parse(written)[1]) == [call]


@every_format
def test_ids_are_unique_and_identical_calls_are_kept(fmt: Format) -> None:
    parser = get_parser(fmt.name, TOOLS)
    ids = [call.id for _ in range(20) for call in parser.parse(fmt.parallel)[1]]
    assert len(ids) == 60
    if fmt.name not in ("kimi_k2", "mistral"):
        assert len(set(ids)) == 60


def test_kimi_keeps_the_id_and_takes_the_name_from_it() -> None:
    names = ["a.b-c", "mcp.server/tool", "functions", "x:y"]
    text = "".join(
        f"<|tool_call_begin|> functions.{name}:{index}\n<|tool_call_argument_begin|> {{}} <|tool_call_end|>"
        for index, name in enumerate(names)
    )
    _, calls = get_parser("kimi_k2").parse(f"<|tool_calls_section_begin|>{text}<|tool_calls_section_end|>")
    assert [call.function.name for call in calls] == names
    assert [call.id for call in calls] == [f"functions.{name}:{index}" for index, name in enumerate(names)]
    _, [bare] = get_parser("kimi_k2").parse(
        "<|tool_calls_section_begin|><|tool_call_begin|>search:12<|tool_call_argument_begin|>{}<|tool_call_end|>"
    )
    assert (bare.id, bare.function.name) == ("search:12", "search")


def test_mistral_ids_are_nine_alphanumerics_and_kept_where_they_are_given() -> None:
    parser = get_parser("mistral")
    _, calls = parser.parse(
        '[TOOL_CALLS] [{"name": "a", "arguments": {}, "id": "A1b2C3d4E"}, {"name": "a", "arguments": {}}, '
        '{"name": "a", "arguments": {}, "id": "not fit"}]'
    )
    assert calls[0].id == "A1b2C3d4E"
    assert all(len(call.id) == 9 and call.id.isalnum() and call.id.isascii() for call in calls)
    assert len({call.id for call in calls}) == 3
    _, [call] = parser.parse("[TOOL_CALLS]a[CALL_ID]zzzzzzzz9[ARGS]{}")
    assert call.id == "zzzzzzzz9"


def test_mistral_keeps_the_good_elements_of_an_array() -> None:
    parser = get_parser("mistral")
    content, calls = parser.parse(
        '[TOOL_CALLS] [{"name": "a", "arguments": {}}, {"name": "b", "arguments": {oops}}, '
        '{"name": "c", "arguments": {"x": "[TOOL_CALLS]"}}] ok'
    )
    assert plain(calls) == [("a", {}), ("c", {"x": "[TOOL_CALLS]"})]
    assert content == '{"name": "b", "arguments": {oops}},  ok'


def test_think_tags_of_a_format() -> None:
    for name, opener, closer in [
        ("mistral", "[THINK]", "[/THINK]"),
        ("longcat", "<longcat_think>", "</longcat_think>"),
    ]:
        fmt = FORMATS[name]
        text = f"{opener}{fmt.normal}{closer}{fmt.no_arguments}"
        assert plain(get_parser(name, TOOLS).parse(text)[1]) == [TIME]


def test_a_closing_tag_inside_a_string_does_not_end_the_call() -> None:
    for name, tag in [("hermes", "tool_call"), ("qwen", "tool_call"), ("longcat", "longcat_tool_call")]:
        text = f'<{tag}>{{"name": "say", "arguments": {{"text": "</{tag}>"}}}}</{tag}>'
        assert plain(get_parser(name).parse(text)[1]) == [("say", {"text": f"</{tag}>"})]


def test_llama_objects_inside_other_data_are_no_calls() -> None:
    parser = get_parser("llama3_json")
    assert parser.parse('{"a": {"name": "f", "parameters": {}}, "b": [1, 2')[1] == []
    assert parser.parse('[{"name": "f", "parameters": {}}]')[1] == []
    content, calls = parser.parse('{"a": 1} {"name": "f", "parameters": {}};{"name": "g", "parameters": {}};')
    assert plain(calls) == [("f", {}), ("g", {})]
    assert content == '{"a": 1} '


def test_llama_objects_nested_too_deeply_are_no_calls() -> None:
    text = '{"name": ' * 2000 + '{"name": "f", "parameters": {}}' + "}" * 2000
    assert get_parser("llama3_json").parse(text) == (text, [])


def test_llama_call_after_one_whose_string_never_ended() -> None:
    for between in ("\n", "; "):
        text = '{"name": "a", "parameters": {"x": "open}}' + between + '{"name": "b", "parameters": {"k": "v"}}'
        content, calls = get_parser("llama3_json").parse(text)
        assert plain(calls) == [("b", {"k": "v"})]
        assert content.startswith('{"name": "a", "parameters": {"x": "open}}')


def test_xml_values_keep_their_white_space() -> None:
    value = "\n  indented\n\n\ttext \n"
    for name in BARE_TEXT:
        parser = get_parser(name)
        assert plain(parser.parse(parser.render([{"name": "f", "arguments": {"x": value}}]))[1]) == [
            ("f", {"x": value})
        ]
    _, calls = get_parser("qwen3_coder").parse(
        "<tool_call><function=f><parameter=x>inline</parameter><parameter=y>\n\n</parameter>"
        "<parameter=z>\n</parameter></function></tool_call>"
    )
    assert plain(calls) == [("f", {"x": "inline", "y": "", "z": ""})]


@pytest.mark.parametrize("name", BARE_TEXT)
def test_xml_values_may_quote_markup(name: str) -> None:
    parser = get_parser(name)
    fmt = FORMATS[name]
    for value in (
        fmt.parallel,
        "</tool_call>",
        "<tool_call>",
        "</parameter>",
        "</arg_value>",
        "</function>",
        "<parameter=x>",
        "<arg_key>x</arg_key>",
        "</think>",
    ):
        call = {"name": "f", "arguments": {"a": value, "b": "c"}}
        assert plain(parser.parse(parser.render([call, call]))[1]) == [("f", call["arguments"])] * 2


def test_an_argument_given_twice_counts_as_last_given() -> None:
    pairs = "".join(f"<arg_key>a</arg_key><arg_value>{value}</arg_value>" for value in "12")
    text = f"<tool_call>f{pairs}</tool_call>"
    assert plain(get_parser("glm47").parse(text)[1]) == [("f", {"a": "2"})]
