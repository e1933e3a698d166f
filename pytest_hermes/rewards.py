"""Building blocks of reward functions: a command that must succeed, several signals in one, a model that judges."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:
    from .result import AgentResult
    from .tools.context import ToolContext

log = logging.getLogger("pytest_hermes.rewards")


def final_response(result: AgentResult) -> str:
    """Return the text of the last message in which the assistant said something; empty when it never did."""
    said = (
        message["content"]
        for message in reversed(result.messages)
        if message.get("role") == "assistant" and message.get("content")
    )
    return str(next(said, ""))


def tools_used(result: AgentResult) -> list[str]:
    """Return the names of the tools that were called, in order, each as often as it was."""
    return [
        str(call["function"].get("name", ""))
        for message in result.messages
        if message.get("role") == "assistant"
        for call in message.get("tool_calls") or ()
        if isinstance(call, Mapping) and call.get("function")
    ]


def binary(ctx: ToolContext, command: str, *, timeout: float | None = None) -> float:
    """Return 1.0 when `command` exits with 0 in the agent's sandbox, else 0.0. `timeout` is in seconds."""
    return 1.0 if ctx.terminal(command, timeout)["exit_code"] == 0 else 0.0


def multi_signal(signals: Mapping[str, tuple[float, float]], *, bonus: float = 0.0) -> float:
    """Return the weighted mean of `signals` (name -> weight, value), plus `bonus`, clamped to 0 to 1.

    Values are clamped to 0 to 1 first. Raises ValueError for weights that are infinite, negative or all 0, and for
    values that are no finite numbers.
    """
    total = math.fsum(weight for weight, _ in signals.values())
    if not 0 < total < math.inf or any(weight < 0 for weight, _ in signals.values()):
        raise ValueError(
            f"weights must be finite, not negative, and not all 0: { {n: w for n, (w, _) in signals.items()} }"
        )
    for name, value in [*((name, value) for name, (_, value) in signals.items()), ("bonus", bonus)]:
        if not math.isfinite(value):
            raise ValueError(f"signal {name!r} is {value!r}, which is no finite number")
    mean = math.fsum(weight * _clamped(value) for weight, value in signals.values()) / total
    return _clamped(mean + bonus)


def efficiency(result: AgentResult, *, free_turns: int, max_turns: int) -> float:
    """Return 1.0 for up to `free_turns` model calls, falling to 0.0 at `max_turns`."""
    if max_turns <= free_turns:
        raise ValueError(f"max_turns ({max_turns}) must be greater than free_turns ({free_turns})")
    return _clamped((max_turns - result.turns_used) / (max_turns - free_turns))


def keyword_overlap(answer: str, reference: str) -> float:
    """Return the share of the reference's words that the answer has, whatever the order; 0.0 without any words."""
    wanted = set(_words(reference))
    return len(wanted & set(_words(answer))) / len(wanted) if wanted else 0.0


def _words(text: str) -> Sequence[str]:
    return re.findall(r"\w+", text.casefold())


def _clamped(value: float) -> float:
    return min(1.0, max(0.0, value))


class Judge(Protocol):
    """Whoever has `chat_completion`: `self.server` of an environment, or any model."""

    async def chat_completion(self, *, messages: list[dict[str, Any]], **parameters: Any) -> Any: ...


@dataclass(frozen=True)
class Judgement:
    """A score from 0 to 1, and who gave it."""

    score: float
    source: Literal["judge", "heuristic"]
    #: The judge's explanation, or why the heuristic had to answer.
    reason: str

    def __float__(self) -> float:
        return self.score


_INSTRUCTIONS = """You grade an answer. Reply with one JSON object and nothing else:
{{"score": <number from 0 to 1>, "reason": "<one sentence>"}}
{rubric}"""

_RUBRIC = "1 is an answer that is correct and complete, 0 one that is wrong or missing."


class _Unusable(Exception):
    pass


async def llm_judge(
    judge: Judge,
    *,
    question: str,
    answer: str,
    reference: str = "",
    rubric: str = _RUBRIC,
    heuristic: Callable[[str, str], float] = keyword_overlap,
    max_tokens: int | None = 512,
    timeout: float = 120,
    **parameters: Any,
) -> Judgement:
    """Let a model score `answer`; where it does not give a usable score, `heuristic(answer, reference)` does.

    Usable is one JSON object, possibly in a code fence, whose `score` is a number from 0 to 1. A malformed answer, a
    score out of range or NaN, a judge that fails or takes longer than `timeout` seconds leave it to the heuristic, and
    the judgement and the log say so. `parameters` go into the request.
    """
    told = [f"Question:\n{question}", f"Answer:\n{answer or '(none)'}"]
    if reference:
        told.insert(1, f"Reference answer:\n{reference}")
    if max_tokens is not None:
        parameters["max_tokens"] = max_tokens
    messages = [
        {"role": "system", "content": _INSTRUCTIONS.format(rubric=rubric)},
        {"role": "user", "content": "\n\n".join(told)},
    ]
    try:
        async with asyncio.timeout(timeout):
            completion = await judge.chat_completion(messages=messages, **{"temperature": 0.0, "n": 1, **parameters})
        score, reason = _read_judgement(completion.choices[0].message.content)
    except _Unusable as problem:
        why = f"the judge's answer cannot be used: {problem}"
    except Exception as error:  # whatever keeps a judge from answering, the rollout has been paid for
        why = f"the judge did not answer: {type(error).__name__}: {error}"
    else:
        return Judgement(score, "judge", reason)
    judgement = Judgement(_clamped(heuristic(answer, reference)), "heuristic", why)
    # One that nobody hears of would be trained on for days.
    log.warning("scored by the heuristic (%.3g): %s", judgement.score, why)
    return judgement


_FENCE = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*", re.DOTALL)


def _read_judgement(text: object) -> tuple[float, str]:
    if not isinstance(text, str):
        raise _Unusable("it has no text")
    fenced = _FENCE.fullmatch(text)
    try:
        value = json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        raise _Unusable(f"not a JSON object: {text[:80]!r}") from None
    score = value.get("score") if isinstance(value, dict) else None
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise _Unusable(f"no number as score: {text[:80]!r}")
    if not 0 <= score <= 1:  # NaN is not either
        raise _Unusable(f"a score of {score}, which is not from 0 to 1")
    return float(score), str(value.get("reason") or "")
