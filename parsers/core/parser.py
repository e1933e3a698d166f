"""The contract every format fulfils: text in, content and tool calls out, and back."""

from __future__ import annotations

import json
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from .call import ToolCall
from .json_text import dumps
from .reasoning import THINK, quoted_regions
from .schema import ToolSchemas


@dataclass(frozen=True, slots=True)
class Call:
    """What a model asks for, apart from how it is written. `id` is empty where none is known."""

    name: str
    arguments: dict[str, Any]
    id: str = ""
    repairs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """A call and the span of the text it takes up, its markers included."""

    start: int
    end: int
    call: Call


@dataclass(frozen=True, slots=True)
class Template:
    """How a model's chat template writes the calls of a turn, as texts for `str.format`."""

    call: str
    """With the fields `name`, `arguments` and `id`, and `quoted_name`, the name as JSON."""
    between: str = ""
    """What stands between two calls."""
    turn: str = "{calls}"
    """What stands around all calls."""


OBJECT = '{{"name": {quoted_name}, "arguments": {arguments}}}'
"""A call as one JSON object, in a template."""


class ToolCallParser(ABC):
    """One tool-call format. A subclass says how calls are found in a text and how they are written, the latter by a
    `template` or by `write`.

    `tools` are the tool definitions sent to the model: formats that write values as bare text (the XML-like
    ones) type them by these schemas, the others ignore them. `repair=True` accepts broken JSON that strict
    reading leaves in the content, and names on each call what it mended (`ToolCall.repairs`).

    A parser holds no state between texts: one may serve many conversations at once.
    """

    name: ClassVar[str]
    """The name the format is registered under."""

    think_tags: ClassVar[Sequence[tuple[str, str]]] = THINK
    """The pairs of tags the format's models think between."""

    template: ClassVar[Template]

    def __init__(self, tools: Iterable[Mapping[str, Any]] | None = None, *, repair: bool = False) -> None:
        self.schemas = ToolSchemas(tools)
        self.repair = repair

    @abstractmethod
    def find(self, text: str) -> list[Found]:
        """Every whole call in `text`, in order, wherever it stands; spans do not overlap."""

    def write(self, calls: Sequence[Call]) -> str:
        """The calls as the model's chat template writes them in an assistant turn."""
        written = [
            self.template.call.format(
                name=call.name,
                quoted_name=dumps(call.name),
                arguments=self.written_arguments(call.arguments),
                id=self.written_id(call, index),
            )
            for index, call in enumerate(calls)
        ]
        return self.template.turn.format(calls=self.template.between.join(written)) if written else ""

    def written_arguments(self, arguments: dict[str, Any]) -> str:
        """The arguments as they stand in a call."""
        return dumps(arguments)

    def written_id(self, call: Call, index: int) -> str:
        """What stands in a call for its id, in formats that have such; `index` counts the calls of the turn."""
        return call.id

    def parse(self, text: str) -> tuple[str, list[ToolCall]]:
        """Split what a model wrote into what it said and what it calls.

        Returns the content, in which everything stays that is not a call (reasoning too, and calls that are
        broken or cut off), and the calls in order. Without calls the content is `text` itself; white space
        that only parts calls from each other or from the end is dropped. Never raises; takes time in
        proportion to the length of `text`.
        """
        found = self.find(text)
        if found:
            regions = quoted_regions(text, [(one.start, one.end) for one in found], self.think_tags)
            found = _outside(found, regions)
        calls = [
            ToolCall(one.call.id or self.new_id(), one.call.name, dumps(one.call.arguments), one.call.repairs)
            for one in found
        ]
        return _content(text, found), calls

    def split_reasoning(self, text: str, *, prompt: str = "", cut_off: bool = False) -> tuple[str | None, str]:
        """Split what a model thought first from the rest of what it wrote; None where it did not.

        `prompt` is the end of what `text` was sampled after, since templates put the opening tag there. Reasoning that
        was `cut_off` goes to the end; of one that was not closed otherwise nothing is split off.
        """
        start = len(text) - len(text.lstrip())
        opened = next((opener for opener, _ in self.think_tags if text.startswith(opener, start)), "")
        begun = any(prompt.rstrip().endswith(opener) for opener, _ in self.think_tags)
        regions = quoted_regions(text, [(one.start, one.end) for one in self.find(text)], self.think_tags)
        if regions and regions[0][0] <= start:
            inside, rest = text[: regions[0][1]], text[regions[0][1] :]
            inside = inside.removesuffix(next(closer for _, closer in self.think_tags if inside.endswith(closer)))
        elif cut_off and (opened or begun):
            inside, rest = text, ""
        else:
            return None, text
        return inside.strip().removeprefix(opened).strip() or None, rest.lstrip("\n")

    def render(self, calls: Iterable[Mapping[str, Any]], content: str = "") -> str:
        """What a model of this format would write to say `content` and make `calls`.

        `calls` have the OpenAI shape or are bare functions; `arguments` may be a dict instead of its JSON.
        Raises ValueError for a call that the format has no way to write, because its text would read back
        as another one: XML-like formats, for instance, have no escape for their own closing tags.
        """
        parts = [_parts(call) for call in calls]
        text = content + self.write(parts)
        read = [(one["function"]["name"], one["function"]["arguments"]) for one in self.parse(text)[1]]
        for index, part in enumerate(parts):
            wanted = (part.name, dumps(self.as_read(part)))
            if index >= len(read) or read[index] != wanted:
                raise ValueError(
                    f"the format {self.name!r} cannot write this call of {part.name!r}: it would be read "
                    f"differently; change what looks like markup in {dumps(part.arguments):.300}"
                )
        if len(read) != len(parts):
            raise ValueError(f"in the format {self.name!r}, this content would be parsed as a call: {content!r:.300}")
        return text

    def as_read(self, call: Call) -> dict[str, Any]:
        """The arguments of `call` as they come back from its text."""
        return call.arguments

    def new_id(self) -> str:
        """An id for a call whose text has none, unique across conversations."""
        return f"call_{uuid.uuid4().hex[:24]}"


def _outside(found: list[Found], regions: list[tuple[int, int]]) -> list[Found]:
    kept = []
    region = 0
    for one in found:
        while region < len(regions) and regions[region][1] <= one.start:
            region += 1
        if region == len(regions) or one.start < regions[region][0]:
            kept.append(one)
    return kept


def _content(text: str, found: list[Found]) -> str:
    if not found:
        return text
    ends = [one.end for one in found]
    starts = [*(one.start for one in found[1:]), len(text)]
    between = [text[end:start] for end, start in zip(ends, starts, strict=True)]
    return text[: found[0].start] + "".join(piece for piece in between if piece.strip(" \t\r\n"))


def _parts(call: Mapping[str, Any]) -> Call:
    function = call.get("function", call)
    arguments = function.get("arguments") or {}
    if isinstance(arguments, str):
        arguments = json.loads(arguments)
    if not isinstance(arguments, dict):
        raise ValueError(f"the arguments of a call must be a JSON object, not {arguments!r:.200}")
    return Call(function["name"], arguments, call.get("id") or "")
