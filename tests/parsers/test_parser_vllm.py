"""Whether vLLM's own parsers read the same, and still differ where `docs/parsers.md` says that they do.

Needs vLLM, of which its modules for the CPU suffice.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_hermes.parsers import get_parser

from .parser_cases import BARE_TEXT, FORMATS, TOOLS, Format, openai, plain
from .test_parser_properties import names

tool_parsers = pytest.importorskip("vllm.tool_parsers")
protocol = pytest.importorskip("vllm.entrypoints.openai.chat_completion.protocol")

VLLM_NAMES = {
    "qwen": "qwen3_json",
    "deepseek_v3_1": "deepseek_v31",
    "deepseek_v3_2": "deepseek_v32",
    "hunyuan": "hunyuan_a13b",
    "phi4": "phi4_mini_json",
}
COMPARED = {name: fmt for name, fmt in FORMATS.items() if name != "gpt_oss"}
"""vLLM reads gpt-oss from tokens, not from text."""

VOCABULARY = [
    *("<think>", "</think>", "<tool_call>", "</tool_call>", "<longcat_tool_call>", "</longcat_tool_call>"),
    *("<|python_tag|>", "[TOOL_CALLS]", "<|tool_calls_section_begin|>", "<|tool_calls_section_end|>"),
    *("<|tool_call_begin|>", "<|tool_call_end|>", "<|tool_call_argument_begin|>"),
    *(
        "<seed:think>",
        "</seed:think>",
        "<seed:tool_call>",
        "</seed:tool_call>",
        "<|tool_call|>",
        "<tool_calls>",
    ),
    *("<minimax:tool_call>", "</minimax:tool_call>", "<｜DSML｜function_calls>", "</｜DSML｜function_calls>"),
    *("<|channel>", "<channel|>", "<|tool_call>", "<tool_call|>", '<|"|>'),
    *("<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", "<｜tool▁call▁begin｜>", "<｜tool▁call▁end｜>"),
]
CASES = ("normal", "parallel", "no_arguments", "code", "nested")


class Vocabulary:
    """What vLLM's parsers need of a tokenizer: that the markers are tokens."""

    def __init__(self, *tokens: str) -> None:
        self._ids = {token: index for index, token in enumerate(tokens, 100)}

    def get_vocab(self) -> dict[str, int]:
        return self._ids

    def encode(self, text: str, **_: Any) -> list[int]:
        return [self._ids[text]] if text in self._ids else [0]

    def convert_tokens_to_ids(self, token: str) -> int | None:
        return self._ids.get(token)


def vllm_calls(name: str, text: str, tools: list[dict[str, Any]]) -> tuple[str, list[tuple[str, Any]]]:
    # The presence of [ARGS] tells vLLM which of Mistral's two forms a model writes.
    vocabulary = Vocabulary(*VOCABULARY, *(["[ARGS]"] if "[ARGS]" in text else []))
    request = protocol.ChatCompletionRequest(messages=[], model="any", tools=tools)
    parser = tool_parsers.ToolParserManager.get_tool_parser(VLLM_NAMES.get(name, name))
    read = parser(vocabulary, request.tools).extract_tool_calls(text, request)
    functions = [call.function for call in read.tool_calls]
    return read.content or "", [(one.name, json.loads(one.arguments)) for one in functions]


DROPS_TEXT = ("llama3_json", "llama4_pythonic", "olmo3", "phi4")
"""Of these formats vLLM drops the text around calls, or takes all for text."""

MISREADS = ("gemma4", "llama4_pythonic", "olmo3", "phi4", "step3")
"""Here vLLM ends an array at any `]`, strips values, or leaves nested ones strings."""


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("fmt", COMPARED.values(), ids=COMPARED)
def test_vllm_reads_the_same_calls(fmt: Format, case: str) -> None:
    if fmt.name in ("gemma4", "phi4", "step3") and case in ("code", "nested"):
        pytest.skip("one of the differences")
    # vLLM takes "[CALL_ID]…" for a part of the name.
    text = getattr(fmt, case).replace("[CALL_ID]a1B2c3D4e", "")
    text = text if fmt.name in DROPS_TEXT else "So: " + text
    content, calls = get_parser(fmt.name, TOOLS).parse(text)
    read, vllm_read = vllm_calls(fmt.name, text, TOOLS)
    assert vllm_read == plain(calls)
    assert read.strip() == content.strip()


@pytest.mark.parametrize(
    "fmt", [fmt for fmt in COMPARED.values() if fmt.name not in MISREADS], ids=lambda fmt: fmt.name
)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_vllm_reads_rendered_calls_the_same(fmt: Format, data: st.DataObject) -> None:
    # Markers inside of strings are one of the differences below.
    text = st.text(alphabet='ab 1-_.,:é東\n"\\', max_size=12)
    numbers = st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    values = st.recursive(
        text | st.none() | st.booleans() | numbers,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(text, inner, max_size=3),
        max_leaves=6,
    )
    arguments = st.dictionaries(names, text if fmt.name in BARE_TEXT else values, max_size=3)
    calls = data.draw(st.lists(st.tuples(names, arguments), min_size=1, max_size=3))
    written = get_parser(fmt.name).render(openai(calls))
    tools = [{"type": "function", "function": {"name": name, "parameters": {}}} for name, _ in calls]
    assert vllm_calls(fmt.name, written, tools)[1] == calls


EMPTY_KIMI_CALL = (
    "<|tool_calls_section_begin|><|tool_call_begin|>functions.time:0<|tool_call_argument_begin|>"
    "<|tool_call_end|><|tool_calls_section_end|>"
)
STEP3_CALL_WITH_SPACE = (
    '<｜tool_calls_begin｜><｜tool_call_begin｜>function<｜tool_sep｜><steptml:invoke name="time">'
    '<steptml:parameter name="a"> x\n</steptml:parameter></steptml:invoke>'
    "<｜tool_call_end｜><｜tool_calls_end｜>"
)
DIFFERENCES = {
    "a broken call costs only itself": (
        "hermes",
        '<tool_call>oops</tool_call>\n<tool_call>{"name": "time", "arguments": {}}</tool_call>',
    ),
    "a closing tag in a string": (
        "hermes",
        '<tool_call>{"name": "say", "arguments": {"text": "</tool_call>"}}</tool_call>',
    ),
    "an unclosed call": ("hermes", '<tool_call>{"name": "time", "arguments": {}}'),
    "no object": ("hermes", '<tool_call>{"name": "time", "arguments": []}</tool_call>'),
    "stringified": ("hermes", '<tool_call>{"name": "time", "arguments": "{}"}</tool_call>'),
    "an empty name": ("hermes", '<tool_call>{"name": "", "arguments": {}}</tool_call>'),
    "NaN": ("hermes", '<tool_call>{"name": "time", "arguments": {"a": NaN}}</tool_call>'),
    "reasoning": ("hermes", '<think><tool_call>{"name": "time", "arguments": {}}</tool_call></think>'),
    "an unclosed value": ("glm47", "<tool_call>time<arg_key>a</arg_key><arg_value>x</tool_call>"),
    "an unknown tool": ("glm47", "<tool_call>unheard_of</tool_call>"),
    "no opening tag": ("qwen3_coder", "<function=time>\n</function>\n</tool_call>"),
    "empty arguments": ("kimi_k2", EMPTY_KIMI_CALL),
    "an id": ("mistral", "[TOOL_CALLS]time[CALL_ID]a1B2c3D4e[ARGS]{}"),
    "no [ARGS]": ("mistral", '[TOOL_CALLS]time{"a": "[ARGS]"}'),
    "a list in an array": ("phi4", 'functools[{"name": "time", "arguments": {"a": []}}]'),
    "white space of a value": ("step3", STEP3_CALL_WITH_SPACE),
    "values in an object": ("gemma4", "<|tool_call>call:time{a:{b:1}}<tool_call|>"),
    "text before a list": ("llama4_pythonic", "Well.\n[time()]"),
    "another object": ("llama3_json", '{"note": 1}\n{"name": "time", "parameters": {}}'),
}


@pytest.mark.parametrize("what", DIFFERENCES)
def test_the_differences_are_still_there(what: str) -> None:
    name, text = DIFFERENCES[what]
    try:
        theirs = vllm_calls(name, text, TOOLS)[1]
    except ValueError:
        # Their arguments were no JSON.
        return
    ours = plain(get_parser(name, TOOLS).parse(text)[1])
    assert json.dumps(theirs) != json.dumps([list(call) for call in ours])
