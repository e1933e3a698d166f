"""What a verifier says about an attempt, where there is more to say than a number."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal, get_args

from .core import checks
from .core.checks import check_fields, mapping, one_of
from .errors import InfrastructureError

#: Where a task's tests run; docs/verification.md says what each promises.
VerifierMode = Literal["same", "strict", "fresh", "both"]

_MODE = one_of(*get_args(VerifierMode))
_METRICS = mapping("a mapping of names to numbers", checks.TEXT, checks.FINITE)
_FILES = mapping("a mapping of relative paths to bytes", checks.PATH_WITHIN, checks.BYTES, key="path")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """A reward with what it was made from. `compute_reward` may return one instead of a number.

    Exactly one of `reward` and `error` is set. Raises ValueError, naming the field, for a value that does not fit.
    """

    reward: Annotated[float | None, checks.FINITE.or_none] = None
    #: Why there is no reward, in one line: the attempt is then an error of kind `verifier`.
    error: Annotated[str | None, checks.NAME.or_none] = None
    #: Further numbers the verifier gave, by name.
    metrics: Annotated[Mapping[str, float], _METRICS] = field(default_factory=dict)
    #: Where the reward was found: `reward.json`, `reward.txt`, `exit code`; or what else decided.
    source: Annotated[str, checks.TEXT] = ""
    #: Where the verifier ran: in the agent's sandbox as it was (`same`), with its processes ended (`strict`), in a new
    #: one (`fresh`), or first in `same` and then in `strict` (`both`).
    mode: Annotated[VerifierMode, _MODE] = "same"
    #: What kept the rest of the sandbox from the tests and their reward while they ran: a mount namespace of their own
    #: (`namespace`), or nothing (`none`).
    isolation: Annotated[Literal["namespace", "none"], one_of("namespace", "none")] = "none"
    #: What the agent did, or left, that kept the tests from a verdict: the reward is 0 because of it.
    tampered: Annotated[str | None, checks.NAME.or_none] = None
    #: What the second of two modes says, where it says something else than the reward.
    disagreement: Annotated[str | None, checks.NAME.or_none] = None
    #: Programs and start-up files of the image that differ from the image's, where the sandbox can tell.
    changed_system_files: Annotated[tuple[str, ...], checks.TEXTS] = ()
    #: Exit code of the verifier's command; None when it did not end by itself.
    exit_code: Annotated[int | None, checks.WHOLE.or_none] = None
    #: Names of single tests that failed, where the verifier tells.
    failed_tests: Annotated[tuple[str, ...], checks.TEXTS] = ()
    #: All that the verifier printed.
    output: Annotated[str, checks.TEXT] = ""
    #: Files for the attempt's part of the run's folder, by a path in there such as `logs/build.txt`.
    files: Annotated[Mapping[str, bytes], _FILES] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_fields(self, Verdict, "Verdict.")
        if (self.reward is None) == (self.error is None):
            which = "neither is" if self.reward is None else "both are"
            raise ValueError(f"Verdict needs exactly one of reward and error, but {which} given")

    @property
    def sandbox(self) -> VerifierMode:
        """The earlier name of `mode`."""
        return self.mode

    def __float__(self) -> float:
        """Return the reward. Raises InfrastructureError when there is none."""
        if self.reward is None:
            raise InfrastructureError(self.error or "the verifier gave no reward", kind="verifier")
        return self.reward
