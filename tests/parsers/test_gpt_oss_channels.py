"""The channels of gpt-oss's harmony format: reasoning, content and calls."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_hermes.parsers import get_parser

START = "<|start|>assistant"
THOUGHT = "<|channel|>analysis<|message|>Hm, <|channel|>.<|end|>"
CALL = '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a": "<|end|><|start|>assistant"}'
ARGUMENTS = '{"a": "<|end|><|start|>assistant"}'
BROKEN = '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a'
MARKERS = (
    "<|start|>",
    "<|end|>",
    "<|message|>",
    "<|channel|>",
    "<|call|>",
    "<|return|>",
    " to=functions.f",
    "analysis",
)


def read(text: str, prompt: str = START) -> tuple[str | None, str, list[str]]:
    parser = get_parser("gpt_oss")
    reasoning, rest = parser.split_reasoning(text, prompt=prompt)
    content, calls = parser.parse(rest)
    return reasoning, content, [call["function"]["arguments"] for call in calls]


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        (f"{THOUGHT}{START}<|channel|>final<|message|>Done.<|return|>", ("Hm, <|channel|>.", "Done.", [])),
        (f"{THOUGHT}{START}{CALL}<|call|>", ("Hm, <|channel|>.", "", [ARGUMENTS])),
        (f"{START} to=functions.f<|channel|>commentary json<|message|>{ARGUMENTS}", (None, "", [ARGUMENTS])),
        (
            f"{THOUGHT}{START}<|channel|>commentary<|message|>Let me look.<|end|>{START}{CALL}",
            ("Hm, <|channel|>.", "Let me look.", [ARGUMENTS]),
        ),
        (
            f"{THOUGHT}{START}<|channel|>analysis<|message|>More<|end|>{START}<|channel|>final<|message|>Do",
            ("Hm, <|channel|>.\nMore", "Do", []),
        ),
        # Cut off, abandoned, broken: nothing is lost.
        ("<|channel|>analysis<|message|>Hm, ", ("Hm,", "", [])),
        (f"{THOUGHT}{START}{BROKEN}", ("Hm, <|channel|>.", START + BROKEN, [])),
        (f"{THOUGHT}{START}<|channel|>", ("Hm, <|channel|>.", f"{START}<|channel|>", [])),
        ("Done.", (None, "Done.", [])),
        ("", (None, "", [])),
    ],
)
def test_channels(text: str, wanted: tuple[str | None, str, list[str]]) -> None:
    assert read(text) == wanted


def test_a_channel_that_the_prompt_began() -> None:
    text = f"Hm.<|end|>{START}<|channel|>final<|message|>Done."
    assert read(text, f"{START}<|channel|>analysis<|message|>") == ("Hm.", "Done.", [])


@given(st.lists(st.one_of(st.sampled_from([*MARKERS, THOUGHT, CALL]), st.text(max_size=4)), max_size=12).map("".join))
def test_no_call_is_lost_or_made_up(text: str) -> None:
    parser = get_parser("gpt_oss")
    _, rest = parser.split_reasoning(text)
    assert [call["function"] for call in parser.parse(rest)[1]] == [call["function"] for call in parser.parse(text)[1]]
