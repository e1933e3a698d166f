"""How many rollouts can be in flight with the files that this process may have open."""

from __future__ import annotations

from collections.abc import Iterable

from ..config.fields import EnvConfig
from ..core import open_files
from ..rollout.sessions import sandbox_choice

#: Descriptors for what is not a rollout's: threads that ask an engine, modules, datasets, a user's own code.
_RESERVE = 64

#: For the connections to the model and the judge, of each rollout.
_CONNECTIONS = 2


def within_open_files(in_flight: int, configs: Iterable[EnvConfig], *, processes: int = 1) -> tuple[int, list[str]]:
    """Return how many rollouts can be in flight in so many processes, at most `in_flight`, and why they are fewer.

    The limit on open files is raised first. The reason is a line for people, or none.
    """
    open_files.raise_limit()
    limit = open_files.limit()
    each = max(map(_descriptors, configs), default=0) + _CONNECTIONS
    most = max((limit - open_files.in_use() - _RESERVE) // each, 1) * processes
    if most >= in_flight:
        return in_flight, []
    return most, [f"{most} in flight instead of {in_flight}: a process may open {limit} files here (ulimit -Hn)"]


def _descriptors(config: EnvConfig) -> int:
    """Return how many descriptors the sandboxes of one rollout take."""
    one = sandbox_choice(config).descriptors
    # The verifier may start another one beside it.
    return 2 * one if config.verifier in ("fresh", "both") else one
