"""A task of two tool turns, of which the second depends on what the first one printed.

The sandbox has a number in each of four variables. The prompt names one of them; its number is read with one command,
and the number after it (0 after the last) written to a file with another. Guessing, one rollout in 16 is right.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

VARIABLES = "abcd"
NUMBERS = "0123"

#: What each of the two turns is worth.
TURN = 0.5
#: A rollout is a strict success when everything was right.
STRICT = 1.0

TOOL, ARGUMENT = "terminal", "command"


@dataclass(frozen=True)
class Puzzle:
    """Which variable to read, and what each of them holds: the numbers in any order."""

    variable: str
    values: Mapping[str, str]

    @property
    def prompt(self) -> str:
        return f"after {self.variable}"


def puzzles(rng: random.Random) -> Iterator[Puzzle]:
    """Yield puzzles without end. Every four of them ask for each variable once, and their answers are all different.

    A batch that asks for one of them more often would teach to read that one whatever is asked.
    """
    while True:
        for variable, number in zip(_shuffled(VARIABLES, rng), _shuffled(NUMBERS, rng), strict=True):
            others = iter(_shuffled(NUMBERS.replace(number, ""), rng))
            yield Puzzle(variable, {name: number if name == variable else next(others) for name in VARIABLES})


def _shuffled(choices: str, rng: random.Random) -> list[str]:
    return rng.sample(choices, len(choices))


def following(number: str) -> str:
    """Return the number after one of NUMBERS, the first one after the last."""
    return NUMBERS[(NUMBERS.index(number) + 1) % len(NUMBERS)]


def reading(variable: str) -> str:
    """Return the command that reads a variable."""
    return f"echo ${variable}"


def writing(number: str) -> str:
    """Return the command that writes the answer."""
    return f"echo {number} > out"


def commands(messages: Sequence[Mapping[str, Any]]) -> list[str | None]:
    """Return the command of each turn of a conversation; None for a turn that was not one call with one command."""
    return [_command(message.get("tool_calls") or ()) for message in messages if message["role"] == "assistant"]


def _command(calls: Sequence[Mapping[str, Any]]) -> str | None:
    if len(calls) != 1 or calls[0]["function"]["name"] != TOOL:
        return None
    try:
        arguments = json.loads(calls[0]["function"]["arguments"])
    except ValueError:
        return None
    return arguments[ARGUMENT] if isinstance(arguments, dict) and list(arguments) == [ARGUMENT] else None


def score(puzzle: Puzzle, replies: Sequence[str | None], written: Callable[[], str]) -> float:
    """Return STRICT for both commands right and the right number in the file, TURN for one of them right, else 0.

    The second one is right if it fits the variable that was read, whichever that was. `written` looks into the file;
    it is not called where commands are wrong.
    """
    first = replies[0] if replies else None
    read = next((variable for variable in VARIABLES if first == reading(variable)), None)
    if read is None:
        return 0.0
    number = following(puzzle.values[read])
    fits = list(replies[1:]) == [writing(number)] and written() == f"{number}\n"
    return TURN * (read == puzzle.variable) + TURN * fits
