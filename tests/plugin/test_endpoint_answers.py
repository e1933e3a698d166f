"""Odd answers of endpoints, and what becomes of the attempts that get them: status, stop reason and record."""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from pytest_hermes.models import retry
from tests.services.bench import Bench
from tests.services.model_server import ModelServer, Reply, completion

#: One task for each name in NAMES, which passes when it has written a file.
HELLO = """
from pytest_hermes import Benchmark, Task

class Hello(Benchmark):
    name = "hello"

    def tasks(self):
        return [Task(id=name.replace(" ", "-"), prompt=f"Write hello to out.txt. ({name})") for name in NAMES]

    async def compute_reward(self, item, result, ctx) -> float:
        return 1.0 if ctx.read_file("out.txt").get("content") == "hello\\n" else 0.0
"""

COMMAND = {"command": "echo hello > out.txt"}
WORK = completion(None, ("terminal", COMMAND))
DONE = completion("Done.")

#: The names that OpenAI takes.
NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")

NO_THINKING = Reply(400, '{"error": {"message": "Expected thinking before tool_use"}}')
NO_SIGNATURE = Reply(
    400, '[{"error": {"code": 400, "message": "missing a thought_signature", "status": "INVALID_ARGUMENT"}}]'
)
BAD_NAME = Reply(400, '{"error": {"message": "string does not match pattern", "code": "invalid_value"}}')
NO_REASONING = Reply(400, '{"error": {"message": "The reasoning_content in the thinking mode must be passed back."}}')
STREAM_WANTED = Reply(400, '{"error": {"message": "This model only support stream mode"}}')


def empty(finish_reason: str, **message: Any) -> dict[str, Any]:
    return completion(None, finish_reason=finish_reason, **message)


def calling(**call: Any) -> dict[str, Any]:
    """Return an answer with one call, some of whose fields are these."""
    whole = completion(None, ("terminal", COMMAND))
    whole["choices"][0]["message"]["tool_calls"][0].update(call)
    return whole


def with_arguments(arguments: object) -> dict[str, Any]:
    return calling(function={"name": "terminal", "arguments": arguments})


def legacy() -> dict[str, Any]:
    function = {"name": "terminal", "arguments": json.dumps(COMMAND)}
    return completion(None, finish_reason="function_call", function_call=function)


@dataclass(frozen=True)
class Case:
    #: What the endpoint answers in turn, the last one again and again.
    replies: list[dict[str, Any] | Reply]
    #: Fields of the record.
    expected: dict[str, Any]
    #: Fields that the last assistant message must have in order not to be refused with this.
    wants: tuple[str, ...] = ()
    refusal: Reply | None = None
    #: Why answers were asked for again.
    again: list[str] = field(default_factory=list)


PASSED = {"status": "passed", "stop_reason": "finished", "finished_naturally": True}


def not_finished(stop_reason: str) -> dict[str, Any]:
    return {"status": "failed", "stop_reason": stop_reason, "finished_naturally": False, "reward": 0.0}


CASES = {
    # Answers that are none.
    "an error as the end": Case([empty("error"), WORK, DONE], {**PASSED, "retries": 1}),
    "an error for good": Case([empty("error")], {"status": "error", "stop_reason": None, "reward": None}),
    "a malformed call": Case([empty("malformed_function_call"), WORK, DONE], PASSED, again=["malformed"]),
    "two malformed calls": Case(
        [*[empty("malformed_function_call")] * 2, WORK, empty("tool_calls"), DONE], PASSED, again=["malformed"] * 3
    ),
    "malformed calls for good": Case(
        [empty("malformed_function_call")], not_finished("malformed"), again=["malformed"] * 2
    ),
    "a call that an endpoint refuses to read": Case(
        [Reply(400, '{"error": {"message": "Failed to call a function.", "code": "tool_use_failed"}}'), WORK, DONE],
        PASSED,
        again=["malformed"],
    ),
    "a filter": Case([empty("content_filter")], not_finished("filtered"), again=["filtered"]),
    "a filter once": Case([empty("content_filter"), WORK, DONE], PASSED, again=["filtered"]),
    "a filter before the model": Case(
        [Reply(400, '{"error": {"message": "Content Exists Risk"}}')], not_finished("filtered"), again=["filtered"]
    ),
    "a refusal": Case([empty("stop", refusal="I cannot do that.")], not_finished("refused"), again=["refused"]),
    "nothing": Case([empty("stop")], not_finished("empty"), again=["empty"]),
    "nothing after the work": Case(
        [WORK, empty("stop")], {"status": "passed", "stop_reason": "empty", "turns_used": 3}, again=["empty"]
    ),
    "no choice": Case([Reply(body='{"choices": []}'), WORK, DONE], {**PASSED, "retries": 1}),
    "an error with a word in a 200": Case(
        [Reply(body='{"error": {"message": "Rate limit exceeded", "code": "rate_limit_exceeded"}}'), WORK, DONE],
        {**PASSED, "retries": 1},
    ),
    "a full window as Gemini says it": Case(
        [WORK, Reply(400, '[{"error": {"message": "The input token count (314175) exceeds the maximum"}}]')],
        {"status": "passed", "stop_reason": "context"},
    ),
    # What must come back.
    "signed thinking": Case(
        [completion(None, ("terminal", COMMAND), thinking_blocks=[{"thinking": "t", "signature": "s"}]), DONE],
        PASSED,
        wants=("thinking_blocks",),
        refusal=NO_THINKING,
    ),
    "signatures of calls": Case(
        [calling(extra_content={"google": {"thought_signature": "s"}}), DONE],
        PASSED,
        wants=("tool_calls", "extra_content"),
        refusal=NO_SIGNATURE,
    ),
    "no reasoning": Case(
        [completion(None, ("terminal", COMMAND), reasoning_content=""), DONE],
        PASSED,
        wants=("reasoning_content",),
        refusal=NO_REASONING,
    ),
    # What models and servers write otherwise than others.
    "a name with marks of its format": Case(
        [completion(None, ("terminal<|channel|>json", COMMAND)), WORK, DONE], PASSED
    ),
    "no name": Case([completion(None, ("", COMMAND)), WORK, DONE], PASSED),
    "arguments as an object": Case([with_arguments(COMMAND), DONE], PASSED),
    "the earlier form of a call": Case([legacy(), DONE], PASSED),
    "no id": Case([calling(id=None), calling(id=""), DONE], PASSED),
    "half a character": Case([completion("broken \ud83d", ("terminal", COMMAND)), DONE], PASSED),
    "half a character for an argument": Case(
        [completion(None, ("terminal", '{"command": "echo \ud83d"}')), WORK, DONE], PASSED
    ),
}


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep the number of tries and take out the waits."""
    monkeypatch.setattr(retry, "DEFAULT", retry.RetryPolicy(tries=3, base=0.01))


class OddEndpoint:
    """Answers each case by its script, and refuses what the endpoint that the case is of refuses."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()

    def __call__(self, body: dict[str, Any]) -> dict[str, Any] | Reply:
        name = str(body["messages"][0]["content"]).partition("(")[2].removesuffix(")")
        case = CASES[name]
        if (refused := self._refused(case, body["messages"])) is not None:
            return refused
        self.asked[name] += 1
        return case.replies[min(self.asked[name], len(case.replies)) - 1]

    def _refused(self, case: Case, messages: list[dict[str, Any]]) -> Reply | None:
        spoken = [message for message in messages if message["role"] == "assistant"]
        calls = [call for message in spoken for call in message.get("tool_calls", ())]
        if not all(NAME.fullmatch(call["function"]["name"]) for call in calls):
            return BAD_NAME
        if any(not isinstance(json.loads(call["function"]["arguments"]), dict) for call in calls):
            return Reply(400, '{"error": {"message": "cannot parse the arguments"}}')
        answered = [message["tool_call_id"] for message in messages if message["role"] == "tool"]
        ids = [call["id"] for call in calls]
        if ids != answered or len(ids) != len(set(ids)):
            return Reply(400, '{"error": {"message": "tool_use ids must be unique, and answered"}}')
        if not spoken or not case.wants:
            return None
        value: Any = spoken[-1]
        for part in case.wants:
            value = value[0] if isinstance(value, list) else value
            if part not in value:
                return case.refusal
            value = value[part]
        return None


def test_what_becomes_of_odd_answers(bench: Bench, model_server: ModelServer) -> None:
    endpoint = model_server.script = OddEndpoint()
    bench.file("hello.py", HELLO.replace("NAMES", repr(list(CASES))))
    result = bench.run_inside(
        "--hermes-bench=hello.py:Hello",
        f"--hermes-base-url={model_server.url}",
        "--hermes-model=odd",
        "--hermes-run-dir=out",
        "-n8",
    )
    records = {record["task"].replace("-", " "): record for record in bench.records()}
    assert records.keys() == CASES.keys()
    for name, case in CASES.items():
        record = records[name]
        assert {key: record[key] for key in case.expected} == case.expected, (name, record)
        assert [again["why"] for again in record["asked_again"]] == case.again, name
        assert len(record["reasoning_per_turn"]) == record["turns_used"], name
    result.stdout.no_fnmatch_line("*Traceback*")
    again = sum(len(case.again) for case in CASES.values())
    result.stdout.fnmatch_lines([f"unusable  {again} answers asked for again (malformed 7, filtered 3, *"])
    # All answers are paid for, those that could not be used as well.
    two, three = records["a filter"], records["two malformed calls"]
    assert (two["turns_used"], two["usage"]["prompt_tokens"]) == (2, 200)
    assert (three["turns_used"], three["usage"]["prompt_tokens"]) == (5, 500)
    assert endpoint.asked["a filter before the model"] == 2
    assert records["a filter before the model"]["turns_used"] == 0
    # The text is kept as the model wrote it.
    refusal = records["a refusal"]
    assert refusal["messages"][-1] == {"role": "assistant", "content": None, "refusal": "I cannot do that."}
    assert refusal["asked_again"] == [{"turn": 0, "why": "refused", "text": "I cannot do that."}]
    result.stdout.fnmatch_lines(["last words of the agent:", "    I cannot do that."])
    names = records["a name with marks of its format"]["messages"][1]["tool_calls"]
    assert names[0]["function"]["name"] == "terminal<|channel|>json"
    assert records["half a character"]["messages"][1]["content"] == "broken \\ud83d"


def test_what_is_learnt_from_refusals_is_said_once(bench: Bench, model_server: ModelServer) -> None:
    def script(body: dict[str, Any]) -> dict[str, Any] | Reply:
        if "max_tokens" in body:
            return Reply(400, '{"error": {"message": "Unsupported parameter: \'max_tokens\' is not supported"}}')
        if "temperature" in body:
            return Reply(400, '{"error": {"message": "temperature is deprecated for this model"}}')
        if not body.get("stream"):
            return STREAM_WANTED
        answer = WORK if len(body["messages"]) == 1 else DONE
        choice = answer["choices"][0]
        chunk = {**answer, "choices": [{"delta": choice["message"], "finish_reason": choice["finish_reason"]}]}
        return Reply(body=f"data: {json.dumps(chunk)}\n\ndata: [DONE]\n\n", content_type="text/event-stream")

    model_server.script = script
    bench.file("hello.py", HELLO.replace("NAMES", repr([f"t{number}" for number in range(6)])))
    result = bench.run_inside(
        "--hermes-bench=hello.py:Hello",
        f"--hermes-base-url={model_server.url}",
        "--hermes-model=odd",
        "--hermes-run-dir=out",
        "--hermes-set=env.max_token_length=77",
        "-n2",
    )
    result.assert_outcomes(passed=6)
    adapted = [line for line in result.outlines if line.startswith("adapted")]
    assert adapted == [
        f"adapted   odd at {model_server.url}: sends max_completion_tokens instead of max_tokens",
        f"adapted   odd at {model_server.url}: sends no temperature",
        f"adapted   odd at {model_server.url}: asks for a stream",
    ]
    # Twelve answers, and for each of the two that were first in flight at most three refusals.
    assert len(model_server.requests) <= 12 + 2 * 3
    assert model_server.requests[-1].body["max_completion_tokens"] == 77
    # A refusal of a parameter is neither a fault nor a retry, and usage comes with the stream.
    assert {record["retries"] for record in bench.records()} == {0}
    assert {record["usage"]["prompt_tokens"] for record in bench.records()} == {200}
