"""What a parser returns: tool calls in the shape of the OpenAI chat API."""

from __future__ import annotations

from typing import Any, Literal


class FunctionCall(dict[str, str]):
    """The `function` part of a tool call: `name`, and `arguments` as a string of strict JSON."""

    def __init__(self, name: str, arguments: str) -> None:
        super().__init__(name=name, arguments=arguments)

    @property
    def name(self) -> str:
        return self["name"]

    @property
    def arguments(self) -> str:
        return self["arguments"]


class ToolCall(dict[str, Any]):
    """One call: `{"id", "type": "function", "function": {"name", "arguments"}}`.

    It is a dict, so that it goes into a message and through `json.dumps` as it is, and it answers to
    `.id`, `.type`, `.function.name` and `.function.arguments`, as the objects of the OpenAI client and of
    inference servers do. How it was read is no part of the API's shape and stays an attribute:
    `repairs` names what had to be mended (empty unless the parser was made with `repair=True`).
    """

    def __init__(self, id: str, name: str, arguments: str, repairs: tuple[str, ...] = ()) -> None:
        super().__init__(id=id, type="function", function=FunctionCall(name, arguments))
        self.repairs = repairs

    @property
    def id(self) -> str:
        call_id: str = self["id"]
        return call_id

    @property
    def type(self) -> Literal["function"]:
        return "function"

    @property
    def function(self) -> FunctionCall:
        function: FunctionCall = self["function"]
        return function

    @property
    def repaired(self) -> bool:
        """Whether a strict parser would have left this call in the content."""
        return bool(self.repairs)
