"""What a verifier says about an attempt, where there is more to say than a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .errors import InfrastructureError


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A reward with what it was made from. `compute_reward` may return one instead of a number.

    Exactly one of `reward` and `error` is set.
    """

    reward: float | None = None
    #: Why there is no reward, in one line: the attempt is then an error of kind `verifier`.
    error: str | None = None
    #: Further numbers the verifier gave, by name.
    metrics: Mapping[str, float] = field(default_factory=dict)
    #: Where the reward stood: `reward.json`, `reward.txt`, `exit code`; or what else decided.
    source: str = ""
    #: Where the verifier ran: `same` (the agent's sandbox) or `fresh`.
    sandbox: str = "same"
    #: Exit code of the verifier's command; None when it did not end by itself.
    exit_code: int | None = None
    #: Names of single tests that failed, where the verifier tells.
    failed_tests: tuple[str, ...] = ()
    #: All that the verifier printed.
    output: str = ""
    #: Files for the run's folder, by name.
    files: Mapping[str, bytes] = field(default_factory=dict)

    def __float__(self) -> float:
        """Return the reward. Raises InfrastructureError when there is none."""
        if self.reward is None:
            raise InfrastructureError(self.error or "the verifier gave no reward", kind="verifier")
        return self.reward
