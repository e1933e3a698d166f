"""The record of one attempt: one JSON line, written once, read by everything that comes after."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Protocol

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from ..benchmark import REWARD_RANGE
from ..core import amounts
from ..errors import Status
from ..judging import Judging, Scorer
from ..result import AgentResult, AgentRun, Usage
from ..verdict import Verdict

#: Raised by one when a field changes its meaning or goes; new fields alone do not raise it.
SCHEMA_VERSION = 1


class _Values(BaseModel):
    # Later versions add fields; an older reader keeps what it knows. No reward and no measure is NaN or infinite.
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class ErrorInfo(_Values):
    #: One of `errors.ERROR_KINDS`.
    kind: str
    message: str
    #: Of what was raised, where that was not foreseen; not written otherwise.
    traceback: str | None = None

    @model_serializer(mode="wrap")
    def _without_empty_traceback(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = dump(self)
        if self.traceback is None:
            values.pop("traceback", None)
        return values


class ToolErrorInfo(_Values):
    turn: int
    tool_name: str
    arguments: str
    error: str
    tool_result: str


class AskedAgainInfo(_Values):
    """An answer that could not be used, after which the model was asked again."""

    turn: int
    #: `malformed`, `filtered`, `refused` or `empty`.
    why: str
    text: str = ""


#: What an agent of somebody's own says, or a line of somebody else's: it costs no attempt its record.
Count = Annotated[int, BeforeValidator(amounts.count)]
Dollars = Annotated[Decimal | None, BeforeValidator(amounts.money)]
Time = Annotated[float, BeforeValidator(amounts.seconds)]


class UsageInfo(_Values):
    prompt_tokens: Count = 0
    completion_tokens: Count = 0
    cached_tokens: Count = 0
    reasoning_tokens: Count = 0
    #: As a text in JSON, since a float would round it; None: not known.
    cost: Dollars = None
    #: `provider`, `genai-prices`, or both, joined by a `+`.
    cost_source: str | None = None

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens

    @classmethod
    def of(cls, usage: Usage) -> UsageInfo:
        return cls(**asdict(usage))


#: Of what was never asked, which cost nothing.
NO_USAGE = UsageInfo.of(Usage())


class RunInfo(_Values):
    """One of the runs of an agent in one attempt, of a test that ran it itself."""

    #: How many of the record's messages are of this run.
    messages: int
    turns_used: Count = 0
    stop_reason: str | None = None
    usage: UsageInfo = UsageInfo()
    seconds: Time = 0.0
    #: Kind and message of the infrastructure error that it ended with.
    error: str | None = None

    @classmethod
    def of(cls, run: AgentRun) -> RunInfo:
        return cls(**{**vars(run), "usage": UsageInfo.of(run.usage), "stop_reason": run.stop_reason or None})


class Seconds(_Values):
    """Where the time of an attempt went. `total` does not include `queue`."""

    queue: Time = 0.0
    sandbox_start: Time = 0.0
    model: Time = 0.0
    #: Lost to an endpoint's faults: requests that failed, waits before the next, and for a slot.
    backoff: Time = 0.0
    tools: Time = 0.0
    verifier: Time = 0.0
    total: Time = 0.0


class EarlierError(ErrorInfo):
    """An error after which the attempt was started afresh, and what that start cost."""

    seconds: Time = 0.0
    usage: UsageInfo = UsageInfo()
    judge_usage: UsageInfo = NO_USAGE


class VerifierInfo(_Values):
    """How the reward came about, of verifiers that tell. The fields are those of `Verdict`."""

    mode: str = "same"
    isolation: str = "none"
    source: str = ""
    exit_code: int | None = None
    tampered: str | None = None
    disagreement: str | None = None
    changed_system_files: tuple[str, ...] = ()
    #: Names of single tests, from its report.
    failed_tests: tuple[str, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _earlier_name(cls, values: Any) -> Any:
        """Read `sandbox`, the earlier name of `mode`: processes were always ended then."""
        if isinstance(values, dict) and "sandbox" in values:
            values = dict(values)
            earlier = values.pop("sandbox")
            values.setdefault("mode", "strict" if earlier == "same" else earlier)
        return values

    @property
    def sandbox(self) -> str:
        """The earlier name of `mode`."""
        return self.mode

    @classmethod
    def of(cls, verdict: Verdict) -> VerifierInfo:
        return cls(**{name: getattr(verdict, name) for name in cls.model_fields})


class AttemptOutcome(_Values):
    """What is recorded of an attempt besides its conversation."""

    schema_version: int = SCHEMA_VERSION
    run_id: str
    benchmark: str
    dataset_revision: str | None = None
    task: str
    #: From 1.
    attempt: int = 1
    status: Status
    #: Set exactly when the status is `error`.
    error: ErrorInfo | None = None
    #: Why the attempt was skipped, or what `compute_reward` said when it failed it.
    reason: str | None = None
    #: None unless the verifier gave one.
    reward: float | None = None
    threshold: float = 1.0
    #: The lowest and the highest reward there could be.
    reward_range: tuple[float, float] = REWARD_RANGE
    category: str | None = None
    difficulty: str | None = None
    tags: tuple[str, ...] = ()
    model: str
    backend: str
    image: str | None = None
    stop_reason: str | None = None
    turns_used: Count = 0
    finished_naturally: bool = False
    asked_again: list[AskedAgainInfo] = Field(default_factory=list)
    #: Of a test that ran an agent itself: each run, in their order.
    runs: list[RunInfo] = Field(default_factory=list)
    usage: UsageInfo = UsageInfo()
    #: Who gave the reward, where a judge was asked: the heuristic as soon as one score of several is its.
    reward_source: Scorer | None = None
    #: What the judge's answers used; it is not in `usage`.
    judge_usage: UsageInfo = NO_USAGE
    seconds: Seconds = Seconds()
    #: Requests to the model that were made again after a fault of the endpoint.
    retries: Count = 0
    #: Why earlier starts of this attempt came to nothing; `--hermes-infra-retries` allows them.
    earlier_errors: list[EarlierError] = Field(default_factory=list)
    #: The end of what the verifier's last commands printed.
    verifier_output: str = ""
    verifier: VerifierInfo | None = None
    #: What else the verifier measured, by name.
    metrics: dict[str, float] = Field(default_factory=dict)
    started: datetime
    ended: datetime


class AttemptRecord(AttemptOutcome):
    """One line of `results.jsonl`. The conversation comes last in it, so that who needs none of it need not read on."""

    messages: list[dict[str, Any]] = Field(default_factory=list)
    reasoning_per_turn: list[str | None] = Field(default_factory=list)
    tool_errors: list[ToolErrorInfo] = Field(default_factory=list)

    @staticmethod
    def fields_of(result: AgentResult) -> dict[str, Any]:
        """Return the fields that say what an agent did."""
        return {
            "stop_reason": result.stop_reason or None,
            "turns_used": result.turns_used,
            "finished_naturally": result.finished_naturally,
            "messages": result.messages,
            "reasoning_per_turn": result.reasoning_per_turn,
            "tool_errors": [ToolErrorInfo(**asdict(tool_error)) for tool_error in result.tool_errors],
            "asked_again": [AskedAgainInfo(**asdict(again)) for again in result.asked_again],
            "runs": [RunInfo.of(run) for run in result.runs],
            "usage": UsageInfo.of(result.usage),
        }

    @staticmethod
    def fields_of_judging(judging: Judging, reward: float | None) -> dict[str, Any]:
        """Return the fields that say who gave the reward."""
        return {
            "reward_source": None if reward is None else judging.source,
            "judge_usage": UsageInfo.of(judging.usage),
        }

    def without_conversation(self) -> AttemptRecord:
        """Return the record without its messages: what reports need, small enough to keep thousands of."""
        brief = [again.model_copy(update={"text": ""}) for again in self.asked_again]
        return self.model_copy(update={**_no_conversation(), "asked_again": brief})

    @classmethod
    def of_outcome(cls, outcome: AttemptOutcome) -> AttemptRecord:
        """Return a record without a conversation."""
        return cls.model_construct(outcome.model_fields_set, **vars(outcome), **_no_conversation())


def _no_conversation() -> dict[str, Any]:
    return {"messages": [], "reasoning_per_turn": [], "tool_errors": []}


class Results(Protocol):
    """Where records are written."""

    @property
    def path(self) -> Path: ...

    def append(self, record: AttemptRecord) -> None:
        """Write one record. Raises OSError when it is not taken whole."""

    def keep_files(self, record: AttemptRecord, files: Mapping[str, bytes]) -> None:
        """Write what a verifier left, beside the records."""

    def sync(self) -> None:
        """Wait until what was appended is safe."""
