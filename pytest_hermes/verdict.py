"""What a verifier says about an attempt, where there is more to say than a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from .core import checks
from .core.checks import Kind, check_fields, mapping, one_of
from .errors import InfrastructureError


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A reward with what it was made from. `compute_reward` may return one instead of a number.

    Exactly one of `reward` and `error` is set. Raises ValueError, naming the field, for a value that does not fit.
    """

    reward: float | None = None
    #: Why there is no reward, in one line: the attempt is then an error of kind `verifier`.
    error: str | None = None
    #: Further numbers the verifier gave, by name.
    metrics: Mapping[str, float] = field(default_factory=dict)
    #: Where the reward stood: `reward.json`, `reward.txt`, `exit code`; or what else decided.
    source: str = ""
    #: Where the verifier ran: `same` (the agent's sandbox) or `fresh`.
    sandbox: Literal["same", "fresh"] = "same"
    #: Exit code of the verifier's command; None when it did not end by itself.
    exit_code: int | None = None
    #: Names of single tests that failed, where the verifier tells.
    failed_tests: tuple[str, ...] = ()
    #: All that the verifier printed.
    output: str = ""
    #: Files for the attempt's part of the run's folder, by a path in there such as `logs/build.txt`.
    files: Mapping[str, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self, _FIELDS, "Verdict.")
        if (self.reward is None) == (self.error is None):
            which = "neither is" if self.reward is None else "both are"
            raise ValueError(f"Verdict wants exactly one of reward and error, and {which} given")

    def __float__(self) -> float:
        """Return the reward. Raises InfrastructureError when there is none."""
        if self.reward is None:
            raise InfrastructureError(self.error or "the verifier gave no reward", kind="verifier")
        return self.reward


_FIELDS: Mapping[str, Kind[Any]] = {
    "reward": checks.FINITE.or_none,
    "error": checks.NAME.or_none,
    "metrics": mapping("a mapping of names to numbers", checks.TEXT, checks.FINITE),
    "source": checks.TEXT,
    "sandbox": one_of("same", "fresh"),
    "exit_code": checks.WHOLE.or_none,
    "failed_tests": checks.TEXTS,
    "output": checks.TEXT,
    "files": mapping("a mapping of relative paths to bytes", checks.PATH_WITHIN, checks.BYTES, key="path"),
}
