"""The error model: what can go wrong, whose doing it is, what is retried, and where it is caught.

Every attempt ends in one of four statuses (`STATUSES`), and leaves a record or, when the run as a whole cannot
continue, the run's one line that says why.

====================  ======================  =======================================  ==========================
raised                whose doing             becomes                                  retried
====================  ======================  =======================================  ==========================
`InfrastructureError` not the agent's         an `error` record of the error's kind    by `--hermes-infra-retries`,
                                                                                       but for spent budgets, damaged
                                                                                       rows and the author's mistakes
`SandboxLost`         nobody's                as above                                 once more in any case
`SandboxBroken`       the agent's             the end of the agent; an `error` record  as above
                                              where an untouched sandbox does not work
`FatalError`          the user's key, model,  the end of the run, with one line;       no
                      address, image, credit  attempts in flight leave no record
`Unsupported`         nobody's                a `skipped` record with the reason       no
`UsageError`          the user's              one line before the run; within an       no
                                              attempt an `error` of kind `usage`
anything else, out    the benchmark author's  an `error` of kind `setup`, `verifier`   no
of a benchmark's code                         or `tool` with its traceback
anything else         this package's          an `error` of kind `internal` with its   no
                                              traceback
====================  ======================  =======================================  ==========================

What an agent does is never an exception: how it ended stands in `stop_reason` (`STOP_REASONS`), and its reward decides.

Where each is caught:

- **Before the run.** Values are checked where authors enter them: `Task`, `Limits`, `SandboxSpec`, `Verdict` raise
  ValueError. Loading a benchmark turns whatever its code raises into a UsageError that names class, file and line.
- **Calls of a benchmark's code** run in `rollout/user_code.py`, each in a task of its own: what it raises (SystemExit,
  KeyboardInterrupt and CancelledError too) comes out as a `UserCodeError`. `rollout/watchdog.py` ends code that blocks
  the event loop.
- **The boundary**, `rollout/boundary.py`, is where, and only where, an exception becomes the end of an attempt. The
  engine runs every stage of an attempt inside it, and nothing but the engine's own cancellation passes. A door may hand
  it a `Classify`, which knows more exceptions: pytest's skip, fail and exit.
- **SandboxBroken** ends the agent, `rollout/loop.py`. Out of `compute_reward`, it fails the attempt if the agent is to
  blame: `rollout/agents_fault.py`.
- **Tool calls**, `tools/dispatch.py`: what a tool raises is an answer for the model; a HermesError goes on to the
  boundary.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

Status = Literal["passed", "failed", "error", "skipped"]

#: How an attempt can end.
STATUSES: Final[dict[Status, str]] = {
    "passed": "the reward reached the task's threshold",
    "failed": "the reward is below the threshold, or `compute_reward` failed the attempt by `assert` or `pytest.fail`",
    "error": "something other than the agent failed; not in the score",
    "skipped": "the task cannot run here, or its benchmark skipped it; see `reason`",
}
assert set(STATUSES) == set(get_args(Status))

#: Why an agent ended, for its record and the texts of failures.
STOP_REASONS: Final[dict[str, str]] = {
    "finished": "the agent finished",
    "max_turns": "out of turns",
    "time": "out of time",
    "tokens": "out of tokens",
    "cost": "out of money",
    "context": "the context window was full",
    "length": "the last answer was cut off",
    "empty": "the last answer had neither text nor a tool call",
    "refused": "the model refused to answer",
    "filtered": "a filter of the model's provider held the last answer back",
    "malformed": "the model's endpoint could not read the tool calls of its last answers",
    "sandbox_broken": "the agent broke its own sandbox: commands can no longer be started or ended in it",
}

#: What an error's `kind` says has failed.
ERROR_KINDS: Final[dict[str, str]] = {
    "endpoint": "the model's endpoint, after all retries",
    "sandbox": "the sandbox: its Docker engine, its start, or a command that could not be run",
    "image": "the sandbox's image: it can be neither found nor pulled nor built",
    "setup": "the benchmark's code before the agent starts: `sandbox`, `prepare`, `format_prompt`",
    "tool": "one of your own tools: it blocked the event loop for longer than the agent's time, or cancelled itself",
    "verifier": "the benchmark's code after the agent has ended: `compute_reward`, or tests that gave no verdict",
    "dataset": "a row or a directory of a dataset: the message names the column or key",
    "tokens": "a server that does not report what it sampled, or a template that cannot render the messages",
    "trace": "the check of the sampled tokens: the rollout must not be trained on",
    "budget": "nothing: a limit of the run ended the attempt",
    "interrupted": "nothing: the attempt was in flight when its run was cut short; a resumed run starts it again",
    "run-api": "Atropos's server, to which groups are sent (`hermes-env`)",
    "refused": "the whole run: its model, key or image is refused (`hermes-env`)",
    "results": "the whole run: its results cannot be written (`hermes-env`)",
    "stopped": "the whole run: it was stopped (`hermes-env`)",
    "skipped": "nothing: the task cannot run here (`hermes-env`)",
    "usage": "a setting or an argument: it is invalid, or names something that does not exist",
    "test": "one of your own tests, before it reached its end",
    "internal": "pytest-hermes itself: please report it, unless the traceback shows your own code",
}


class HermesError(Exception):
    """Base of every error this package raises on purpose. Its text is one line, fit for a user."""


class UsageError(HermesError):
    """The user asked for something that does not exist or does not fit; the text says what to do."""


class InfrastructureError(HermesError):
    """Something other than the agent failed: a sandbox, an image, the network, an endpoint, a verifier.

    An attempt that ends with it is an `error`: it never counts as a failure of the model.
    `kind` is one of `ERROR_KINDS`.
    """

    def __init__(self, message: str, *, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class SandboxBroken(InfrastructureError):
    """A sandbox does not work any more because of what ran in it; its backend still works.

    It ends the agent, not the attempt: what the agent did to its own sandbox is its own.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, kind="sandbox")


class SandboxLost(InfrastructureError):
    """A sandbox went away for no fault of its own: with its engine, or by somebody else's hand.

    An attempt that ends with it is started afresh once, whatever `--hermes-infra-retries` says.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, kind="sandbox")


class FatalError(InfrastructureError):
    """What every attempt needs is refused, or has never worked: a key, credit, a model, its endpoint, an image.

    The whole run cannot go on.
    """

    def __init__(self, message: str, *, kind: str = "endpoint") -> None:
        super().__init__(message, kind=kind)


#: The earlier name of `FatalError`.
Refused = FatalError


class Unsupported(HermesError):
    """A task needs what this sandbox backend or model cannot give; its attempts are skipped, with this reason."""
