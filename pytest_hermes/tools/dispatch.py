"""Runs what a model called, and tells it what was wrong with a call that cannot be run."""

from __future__ import annotations

import asyncio
import inspect
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ValidationError

from ..background import on_loop
from ..core.open_files import is_exhaustion
from ..core.suggest import unknown
from ..errors import HermesError, InfrastructureError
from .content import as_content
from .tool import Tool, ToolProblem

if TYPE_CHECKING:
    from .session import SandboxSession

#: Characters of a wrong value, or on each side of a syntax error, that a message shows.
_SHOWN = 60


@dataclass(frozen=True)
class ToolOutcome:
    """What a tool call came to."""

    #: The tool message's text: always JSON, within `content.LIMIT` characters.
    content: str
    #: What was wrong, when the call could not be run or the tool raised; None otherwise. A command that fails or a
    #: file that is missing is a result, not an error.
    error: str | None = None
    #: What the tool returned; None when there is an error.
    result: dict[str, Any] | None = None


class BadCall(Exception):
    """The call as the model wrote it cannot be run; the text tells it why."""


async def dispatch(tools: Iterable[Tool], name: str, arguments: str, session: SandboxSession) -> ToolOutcome:
    """Run the tool `name` with `arguments`, a JSON text as the model wrote it.

    Every mistake of the model, and a tool that raises, comes back as an outcome with an error. Raises HermesError,
    e.g. InfrastructureError, which is nobody's mistake in the conversation.
    """
    by_name = {tool.name: tool for tool in tools}
    try:
        if name not in by_name:
            raise BadCall(unknown("tool", name, by_name))
        tool = by_name[name]
        checked = check_arguments(tool, parse_arguments(tool, arguments))
    except BadCall as error:
        return _failed(str(error))
    return await run_tool(tool, checked, session)


async def run_tool(tool: Tool, arguments: BaseModel, session: SandboxSession) -> ToolOutcome:
    """Run a tool with arguments that were checked. Raises HermesError like `dispatch`.

    A tool of this package that meets an OSError has met it outside of the sandbox, on this machine, as has any tool
    for which there is nothing left: then it raises InfrastructureError, since the model can do nothing about it.
    """

    async def run() -> dict[str, Any]:
        function: Callable[..., Any] = tool.run
        returned: Any
        try:
            if inspect.iscoroutinefunction(function):
                returned = function(session, arguments)
            else:
                returned = await asyncio.to_thread(function, session, arguments)
            result: dict[str, Any] = await returned if inspect.isawaitable(returned) else returned
        except ToolProblem as problem:
            return {"error": str(problem)}
        return result

    try:
        result = await on_loop(session.loop, run())
        content = as_content(result)
    except (HermesError, asyncio.CancelledError, GeneratorExit):
        raise
    except BaseException as error:  # sys.exit() in a tool is no more than another way to fail
        if isinstance(error, OSError) and (tool.is_builtin or is_exhaustion(error)):
            raise InfrastructureError(f"{tool.name} cannot work on this machine: {error}", kind="sandbox") from error
        return _failed(f"{tool.name} failed: {type(error).__name__}: {error}")
    return ToolOutcome(content, None, result)


def parse_arguments(tool: Tool, text: str) -> dict[str, Any]:
    """Return the object that `text` is. Raises BadCall with the position at which its JSON breaks.

    Empty text counts as `{}` for a tool that requires nothing: many models write no arguments that way.
    """
    if not text.strip() and not any(field.is_required() for field in tool.arguments.model_fields.values()):
        return {}
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise BadCall(
            f"the arguments of {tool.name} are not valid JSON: {error.msg} at line {error.lineno} "
            f"column {error.colno}, here: {_around(text, error.pos)}"
        ) from None
    except (ValueError, RecursionError) as error:  # a number or a nesting beyond what Python reads
        raise BadCall(f"the arguments of {tool.name} cannot be read: {error}") from None
    if not isinstance(value, dict):
        raise BadCall(
            f"the arguments of {tool.name} must be a JSON object such as {_example(tool)}, not {_shown(value)}"
        )
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise BadCall(
            f"the arguments of {tool.name} contain half of a surrogate pair: a \\ud8xx escape without its second half"
        ) from None
    return value


def check_arguments(tool: Tool, arguments: Mapping[str, Any]) -> BaseModel:
    """Return `arguments` as the tool's own model. Raises BadCall with one line for each problem."""
    try:
        return tool.arguments.model_validate(dict(arguments), strict=True)
    except ValidationError as invalid:
        problems = [_problem(tool, error) for error in invalid.errors(include_url=False)]
    raise BadCall(f"the arguments of {tool.name} are not valid:\n" + "\n".join(problems))


def _problem(tool: Tool, error: Any) -> str:
    path = ".".join(str(part) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        return unknown("argument", path, tool.arguments.model_fields)
    if error["type"] == "missing":
        field = tool.arguments.model_fields.get(path)
        meaning = f": {field.description}" if field is not None and field.description else ""
        return f"{path!r} is missing{meaning}"
    expected = error["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    return f"{path!r} should be {expected}, not {_shown(error['input'])}"


def _failed(message: str) -> ToolOutcome:
    return ToolOutcome(as_content({"error": message}), message)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number in JSON")


def _example(tool: Tool) -> str:
    fields = tool.arguments.model_fields
    required = [name for name, field in fields.items() if field.is_required()]
    return "{" + ", ".join(f'"{name}": …' for name in required or fields) + "}"


def _around(text: str, position: int) -> str:
    before = text[max(0, position - _SHOWN) : position]
    after = text[position : position + _SHOWN]
    return f"{before!r} <<here>> {after!r}" if after else f"{before!r} <<end of the text>>"


def _shown(value: object) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        text = repr(type(value).__name__)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
