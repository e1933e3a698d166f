"""How long the tool-call parsers take, and whether the time grows with the text or faster.

    python tests/performance/parsers.py [FORMAT …]

Prints, for each format, milliseconds of processor time (the best of some runs) for one call of 100 KB, for
200 calls, and for the slowest of the texts that repeat an opening 2,000 times, as a collapsing policy does;
beside each how many times longer four times the text takes. Exits with 1 where a figure misses its target.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from pytest_hermes.parsers import ToolCallParser, get_parser, parser_names

LARGE_CALL, MANY_CALLS, OPENERS, GROWTH = 10.0, 10.0, 50.0, 5.0
"""The targets: milliseconds for the three figures, and the factor for four times the text."""

LINE = 'if (x < 1) { return ["}", "é\\n"]; }  // <b>bold</b>\n'
RUNS = 5


def large_call(parser: ToolCallParser, factor: int) -> str:
    text = LINE * (factor * 100_000 // len(LINE.encode()))
    call: str = parser.render([{"name": "write_file", "arguments": {"path": "a.c", "text": text}}])
    return call


def many_calls(parser: ToolCallParser, factor: int) -> str:
    calls = [{"name": f"tool_{n}", "arguments": {"path": f"/a/{n}", "text": "x = 1\n"}} for n in range(200 * factor)]
    text: str = parser.render(calls)
    return text


def openings(parser: ToolCallParser) -> list[str]:
    """Every beginning of a call that ends where a piece of markup does."""
    call = parser.render([{"name": "f", "arguments": {"x": "y"}}])
    cuts = [at for at in range(1, len(call)) if call[at - 1] in '>]}{":\n｜,' and call[at] != call[at - 1]]
    return [call[:at] for at in cuts]


def repeated(opening: str) -> Callable[[ToolCallParser, int], str]:
    return lambda parser, factor: opening * 2000 * factor


def milliseconds(parser: ToolCallParser, text: str) -> float:
    best = float("inf")
    for _ in range(RUNS):
        # Of this process alone: what else the machine does makes wall-clock ratios meaningless.
        begun = time.process_time()
        parser.parse(text)
        best = min(best, time.process_time() - begun)
    return best * 1000


def figure(parser: ToolCallParser, text: Callable[[ToolCallParser, int], str]) -> tuple[float, float]:
    """Milliseconds for the text, and how many times that it takes for four times the text."""
    once = milliseconds(parser, text(parser, 1))
    return once, milliseconds(parser, text(parser, 4)) / once


def main(names: list[str]) -> int:
    print(f"{'ms (x for 4x the text)':28}{'one 100 KB call':>20}{'200 calls':>20}{'2,000 openings':>20}")
    missed = 0
    for name in names or parser_names():
        for repair in (False, True):
            parser = get_parser(name, repair=repair)
            figures = [
                figure(parser, large_call),
                figure(parser, many_calls),
                max(figure(parser, repeated(opening)) for opening in openings(parser)),
            ]
            row = ""
            for (taken, growth), target in zip(figures, (LARGE_CALL, MANY_CALLS, OPENERS), strict=True):
                # What takes a tenth of its target is measured too coarsely to say how it grows.
                good = taken <= target and (growth <= GROWTH or taken < target / 10)
                missed += not good
                cell = f"{taken:.1f} (x{growth:.1f}){'' if good else ' !'}"
                row += f"{cell:>20}"
            print(f"{name + (' repair=True' if repair else ''):28}{row}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
