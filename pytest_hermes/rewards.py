"""Building blocks of reward functions: a command that must succeed, several signals in one, a model that judges."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from .errors import FatalError, HermesError, InfrastructureError, UsageError
from .judging import Heuristic, Judge, Judging, RunJudge, Scorer, current_judging
from .usage_block import read_usage

if TYPE_CHECKING:
    from .result import AgentResult
    from .tools.context import ToolContext

log = logging.getLogger("pytest_hermes.rewards")

Messages = list[dict[str, Any]]


def final_response(result: AgentResult) -> str:
    """Return the text of the last message in which the assistant said something; empty when it never did."""
    texts = (
        message["content"]
        for message in reversed(result.messages)
        if message.get("role") == "assistant" and message.get("content")
    )
    return str(next(texts, ""))


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
            raise ValueError(f"signal {name!r} is {value!r}, which is not a finite number")
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


@dataclass(frozen=True)
class Judgement:
    """A score from 0 to 1, and who gave it."""

    score: float
    source: Scorer
    #: The judge's explanation, or why the heuristic had to answer.
    reason: str

    def __float__(self) -> float:
        return self.score


_INSTRUCTIONS = """You grade an answer. Reply with one JSON object and nothing else:
{{"score": <number from 0 to 1>, "reason": "<one sentence>"}}
{rubric}"""

_RUBRIC = "1 is an answer that is correct and complete, 0 one that is wrong or missing."

_AGAIN = "That cannot be used: {problem}. Reply with one JSON object and nothing else, as described above."

#: Seconds for an answer of a judge that does not know by itself when to give up.
_ANSWER_SECONDS = 120.0


class _Unusable(Exception):
    """A judge's answer is no score. `text` is what it said, empty for nothing."""

    def __init__(self, problem: str, text: str = "") -> None:
        super().__init__(problem)
        self.text = text


async def llm_judge(
    judge: Judge,
    *,
    question: str,
    answer: str,
    reference: str = "",
    rubric: str = _RUBRIC,
    heuristic: Heuristic | None = None,
    max_tokens: int | None = 512,
    timeout: float | None = None,
    **parameters: Any,
) -> Judgement:
    """Let a model score `answer`, and return its judgement.

    A usable answer is one JSON object, possibly in a code fence, whose `score` is a number from 0 to 1. After any
    other (text around it, a score out of range, NaN) the judge is told why and asked once more. `parameters` go into
    the requests. `timeout` is in seconds, for each answer: by default 120, and none for `ctx.judge`, which waits out
    its endpoint's faults within limits of its own.

    A judge that fails, takes too long or twice gives no usable answer says nothing about the agent. Then this raises
    InfrastructureError of kind `verifier`: the attempt is an error, which `--hermes-infra-retries` starts afresh. With
    a `heuristic`, `heuristic(answer, reference)` scores in its stead, clamped to 0 to 1, and the judgement, the log and
    the attempt's record say so. In `hermes-env` that is `keyword_overlap` unless another is given.

    A refused key or model, or an endpoint that has never worked, raises FatalError, which ends the run, with or without
    a heuristic; in `hermes-env` the heuristic scores.
    """
    judging = judge.judging if isinstance(judge, RunJudge) else current_judging()
    told = [f"Question:\n{question}", f"Answer:\n{answer or '(none)'}"]
    if reference:
        told.insert(1, f"Reference answer:\n{reference}")
    if max_tokens is not None:
        parameters["max_tokens"] = max_tokens
    messages = [
        {"role": "system", "content": _INSTRUCTIONS.format(rubric=rubric)},
        {"role": "user", "content": "\n\n".join(told)},
    ]
    fallback = judging.fallback if judging is not None else None
    parameters = {"temperature": 0.0, "n": 1, **parameters}
    try:
        score, reason = await _score(partial(_ask, judge, judging, timeout, parameters), messages)
    except Exception as error:  # whatever keeps a judge from answering, it is not the agent
        if fallback is None:
            _raise_what_concerns_the_run(judge, error)
        why = _why_not(judge, error)
        scores_instead = heuristic or fallback
        if scores_instead is None:
            raise InfrastructureError(why, kind="verifier") from error
    else:
        return Judgement(score, "judge", reason)
    judgement = Judgement(_clamped(scores_instead(answer, reference)), "heuristic", why)
    if judging is not None:
        judging.scored_by_heuristic()
    # One that nobody hears of would be trained on for days.
    log.warning("scored by the heuristic (%.3g): %s", judgement.score, why)
    return judgement


def _raise_what_concerns_the_run(judge: Judge, error: Exception) -> None:
    """Raise an error that every other judgement would meet as well."""
    if isinstance(error, FatalError) and not isinstance(judge, RunJudge):
        raise FatalError(f"the judge: {error}", kind=error.kind) from error
    if isinstance(error, FatalError | UsageError) or (
        isinstance(error, InfrastructureError) and error.kind == "budget"
    ):
        raise error


def _why_not(judge: Judge, error: Exception) -> str:
    """Return in one line why there is no judgement."""
    if isinstance(error, _Unusable):
        return f"the judge's second answer cannot be used either: {error}"
    if isinstance(error, _Late) or (isinstance(error, HermesError) and isinstance(judge, RunJudge)):
        return str(error)
    reason = str(error).strip().partition("\n")[0]
    name = "" if isinstance(error, HermesError) else type(error).__name__
    return f"the judge did not answer: {': '.join(filter(None, [name, reason]))}"


async def _score(ask: Callable[[Messages], Awaitable[Any]], messages: Messages) -> tuple[float, str]:
    try:
        return _read_judgement(await ask(messages))
    except _Unusable as unusable:
        if unusable.text.strip():  # endpoints refuse messages without a text
            # At temperature 0, the same question would mostly have the same answer.
            earlier = {"role": "assistant", "content": unusable.text}
            messages = [*messages, earlier, {"role": "user", "content": _AGAIN.format(problem=unusable)}]
    return _read_judgement(await ask(messages))


class _Late(Exception):
    pass


async def _ask(
    judge: Judge, judging: Judging | None, timeout: float | None, parameters: Mapping[str, Any], messages: Messages
) -> Any:
    if timeout is None and not isinstance(judge, RunJudge):
        timeout = _ANSWER_SECONDS
    deadline = asyncio.timeout(timeout)
    try:
        async with deadline:
            completion = await judge.chat_completion(messages=messages, **parameters)
    except TimeoutError:
        if deadline.expired():
            raise _Late(f"the judge did not answer within {timeout:g} s") from None
        raise
    if judging is not None and not isinstance(judge, RunJudge):
        judging.answered(read_usage(getattr(completion, "usage", None)))
    return completion


_FENCE = re.compile(r"\s*```(?:json)?\s*\n(.*?)\n?\s*```\s*", re.DOTALL)


def _read_judgement(completion: Any) -> tuple[float, str]:
    choice = completion.choices[0]
    try:
        return _read_score(choice.message.content)
    except _Unusable:
        if getattr(choice, "finish_reason", None) == "length":
            # Models that reason before they answer may spend all of it on that.
            raise _Unusable("it was cut off; llm_judge(max_tokens=…) allows a longer one") from None
        raise


def _read_score(text: object) -> tuple[float, str]:
    if not isinstance(text, str):
        raise _Unusable("it has no text")
    fenced = _FENCE.fullmatch(text)
    try:
        value = json.loads(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        raise _Unusable(f"not a JSON object: {text[:80]!r}", text) from None
    score = value.get("score") if isinstance(value, dict) else None
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise _Unusable(f"the score is not a number: {text[:80]!r}", text)
    if not 0 <= score <= 1:  # NaN is not either
        raise _Unusable(f"a score of {score}, which is not from 0 to 1", text)
    return float(score), str(value.get("reason") or "")
