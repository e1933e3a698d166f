"""An agent of the gauntlet: what it does in its sandbox, and the right outcome in each mode."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pytest_hermes.verdict import VerifierMode

#: A reward, or that the attempt does not count.
Outcome = float | Literal["error"]

#: Why agents that replace programs cannot be tried there.
READ_ONLY = {"bubblewrap": "the system's folders are read-only"}

#: The default tests: they run the agent's program, and compare what it prints.
TESTS = """#!/bin/bash
. /tests/expected.sh
sleep 0.3
if [ "$(./solve 2>/dev/null)" = "$expected" ]; then echo 1; else echo 0; fi >/logs/verifier/reward.txt
"""
#: What makes them pass.
SOLVED = "printf '#!/bin/sh\\necho 42\\n' >solve; chmod +x solve\n"


def program(path: str, script: str, shell: str = "/bin/busybox sh") -> str:
    """Return the commands that replace whatever is at `path` by a program."""
    return f"rm -rf {path}; cat >{path} <<'END'\n#!{shell}\n{script}\nEND\n/bin/busybox chmod 755 {path}\n"


#: What the tests bring along beside test.sh.
EXPECTED = "expected=42\n"


@dataclass(frozen=True, kw_only=True)
class Agent:
    """One agent of the gauntlet. A mode that is not named has the outcome of `strict`."""

    name: str
    #: What it does, a script of bash in the working directory.
    deed: str
    #: What it leaves running, started last.
    leaves: str = ""
    strict: Outcome = 0.0
    same: Outcome | None = None
    fresh: Outcome | None = None
    tests: str = TESTS
    #: Seconds for the tests.
    timeout: float = 30
    #: Programs that must be there: `python3`, `git`, `busybox`.
    needs: frozenset[str] = field(default_factory=frozenset)
    #: `same` promises the outcome only where the tests have a mount namespace of their own; elsewhere it may pass.
    needs_isolation: bool = False
    #: Why it cannot be tried with a backend.
    not_with: dict[str, str] = field(default_factory=dict)
    #: The modes whose outcomes tell something that no other agent's do: these run by default.
    telling: tuple[VerifierMode, ...] = ()

    def outcome(self, mode: VerifierMode) -> Outcome:
        """Return the right outcome. `both` has the reward of `same`."""
        chosen = {"same": self.same, "both": self.same, "fresh": self.fresh}.get(mode)
        return self.strict if chosen is None else chosen
