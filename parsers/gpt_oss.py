"""gpt-oss: the harmony format's messages to `functions.NAME`, as the openai-harmony library writes them.

The recipient stands in the channel's header or in the role's. What is said on other channels, and the
channels' markers with it, stays in the content, unless `split_reasoning` has taken them apart before: what stands
on `analysis` is reasoning, what stands on `commentary` and `final` is said
(https://developers.openai.com/cookbook/articles/openai-harmony).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from .core.marked_json import MarkedJsonParser
from .core.parser import Template
from .core.patterns import NAME, SPACE

_CHANNEL = r"<\|channel\|>(?:commentary|analysis)"
_HEAD = re.compile(
    rf"(?:<\|start\|>assistant)?(?:{_CHANNEL})? to=functions\.(?P<name>{NAME})(?:{_CHANNEL})?"
    rf" ?(?:<\|constrain\|>)?(?:json)?<\|message\|>{SPACE}(?=[{{\"])"
)

#: A message's beginning. The first one of a turn has its `<|start|>assistant` in the prompt.
_MESSAGE = re.compile(
    r"(?:<\|start\|>assistant)?(?P<role> to=[^\s<]+)?(?:<\|channel\|>(?P<channel>\w*)(?P<more>[^<]*))?"
    r"(?:<\|constrain\|>[^<]*)?<\|message\|>"
)
#: What ends a message; some servers leave it out before the next one.
_END = re.compile(r"<\|(?:end|return|call)\|>|(?=<\|start\|>)")
_IN_PROMPT = re.compile(r"<\|channel\|>(\w+)<\|message\|>\s*\Z")


class GptOssParser(MarkedJsonParser):
    """`<|call|>` ends a call and the sampling; not every server hands it on, so it may be missing."""

    name = "gpt_oss"
    head = _HEAD.pattern
    tail = rf"(?:{SPACE}<\|call\|>)?"
    template = Template(
        "<|channel|>commentary to=functions.{name} <|constrain|>json<|message|>{arguments}<|call|>",
        between="<|start|>assistant",
    )

    def split_reasoning(self, text: str, *, prompt: str = "", cut_off: bool = False) -> tuple[str | None, str]:
        """Split what stands on the channel `analysis` from the rest, in which calls alone keep their markers."""
        begun = _IN_PROMPT.search(prompt)
        parts = list(self._parts(text, begun[1] if begun else "final"))
        thought = "\n".join(part.strip() for channel, part in parts if channel == "analysis" and part.strip())
        return thought or None, _joined([part for channel, part in parts if channel != "analysis"])

    def _parts(self, text: str, channel: str) -> Iterator[tuple[str, str]]:
        """Yield the channel and the text of each message; calls as they were written, on the channel `call`."""
        at = 0
        for found in self.find(text):
            yield from _messages(text[at : found.start], channel)
            yield "call", text[found.start : found.end]
            at, channel = found.end, "final"
        yield from _messages(text[at:], channel)


def _messages(text: str, channel: str) -> Iterator[tuple[str, str]]:
    """Yield the channel and the text of each message of a text without calls. The first one may have begun before."""
    at = 0
    while at < len(text):
        header = _MESSAGE.match(text, at)
        begin = header.end() if header else at
        end = _END.search(text, begin)
        if end is not None and end.end() == at:  # a message to be that never got its header
            end = _END.search(text, at + 1)
        body = text[begin : end.start() if end else len(text)]
        if header is None:
            yield channel, body
        elif header["role"] or " to=" in (header["more"] or ""):
            # A call that is none, or to a tool of another kind.
            yield "final", header[0] + body
        else:
            yield header["channel"] or "final", body
        at, channel = end.end() if end else len(text), "final"


def _joined(parts: Sequence[str]) -> str:
    """Return messages one below the other; a call goes on where it stands."""
    text = ""
    for part in filter(None, parts):
        text += part if not text or text.endswith("\n") or _HEAD.match(part) else f"\n{part}"
    return text
