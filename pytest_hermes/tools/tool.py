"""A tool: what a model may call, described by the same pydantic model that checks the call."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict

if TYPE_CHECKING:
    from .session import SandboxSession


class ToolProblem(Exception):
    """A tool could not do what it was asked; the text is for whoever asked, as the `error` of its result."""


class ToolArguments(BaseModel):
    """Base for the arguments of a tool: no other fields than those named, and no conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


#: The earlier name of `ToolArguments`.
Arguments = ToolArguments


def _without_nul(text: str) -> str:
    if "\0" in text:
        raise ValueError("text without NUL characters")
    return text


#: What can be an argument of a command: operating systems end those at the first NUL.
Word = Annotated[str, AfterValidator(_without_nul)]


@dataclass(frozen=True)
class Tool:
    """One function a model may call."""

    name: str
    #: Tells the model what it does and when to use it.
    description: str
    #: Its fields are the parameters; the description of each field is part of the schema.
    arguments: type[BaseModel]
    #: `run(session, arguments)` returns what the model gets to see, as JSON, or raises ToolProblem. A coroutine
    #: function runs on the session's loop, any other in a thread, so that it holds up nobody.
    run: Callable[[SandboxSession, Any], Awaitable[dict[str, Any]] | dict[str, Any]]

    @property
    def is_builtin(self) -> bool:
        """Whether it comes with this package."""
        return str(getattr(self.run, "__module__", "")).startswith("pytest_hermes.")

    @cached_property
    def schema(self) -> dict[str, Any]:
        """The tool in the form of OpenAI's `tools` parameter, the same object for all who send it."""
        return {
            "type": "function",
            "function": {
                "name": self.name,
                "description": self.description,
                "parameters": _tidy(self.arguments.model_json_schema()),
            },
        }


@dataclass(frozen=True)
class Toolset:
    """Tools that are enabled together."""

    name: str
    tools: tuple[Tool, ...]


#: Keywords of JSON Schema whose value maps names that are not keywords to schemas.
_MAPS = ("properties", "$defs")


def _tidy(schema: Any) -> Any:
    """Drop what pydantic adds and a model has no use for: titles, and null beside a type it may leave out."""
    if isinstance(schema, list):
        return [_tidy(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    tidy: dict[str, Any] = {}
    for key, value in schema.items():
        if key in _MAPS:
            tidy[key] = {name: _tidy(part) for name, part in value.items()}
        elif key == "anyOf":
            kinds = [_tidy(part) for part in value if part != {"type": "null"}]
            tidy |= kinds[0] if len(kinds) == 1 else {"anyOf": kinds}
        elif not (key == "title" or (key == "default" and value is None)):
            tidy[key] = _tidy(value) if key not in ("default", "enum", "const", "examples") else value
    # The class's docstring is for programmers; the tool has a description of its own.
    if tidy.get("type") == "object":
        tidy.pop("description", None)
    return tidy
