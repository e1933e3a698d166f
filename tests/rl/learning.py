"""Proves that a model learns from what `serve` and the run-api deliver: masks, logprobs and advantages are right.

    pip install -e '.[atropos]' torch matplotlib
    python -m tests.rl.learning

A transformer of about a million parameters is taught the form of two tool calls with random arguments. Served token by
token over /generate, it then works on a task of two tool turns in `hermes-env … serve`, and a trainer that pulls the
scored groups from a real run-api improves it by a clipped policy gradient. For each seed its strict success must rise
from under 10 % to over 80 %, and for none of two controls: advantages shuffled among the rollouts of a batch, and masks
shifted by one token. Takes twenty minutes on two cores. Exit code 0: so it is; 1: it is not, or a part broke.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import get_args

from .learning_report import Curve, draw, problem, table
from .scored_batch import Control

NEEDED = {"torch": "torch", "atroposlib": "-e '.[atropos]'", "matplotlib": "matplotlib"}


def main() -> int:
    arguments = _parser().parse_args()
    if missing := [what for module, what in NEEDED.items() if importlib.util.find_spec(module) is None]:
        print(f"learning: some packages are missing: pip install {' '.join(missing)}", file=sys.stderr)
        return 2
    # As an interrupt: whatever was started is ended.
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    try:
        return _prove(arguments)
    except KeyboardInterrupt:
        print("learning: interrupted; all processes are ended", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.rl.learning", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", type=_numbers, default=[0, 1, 2], metavar="0,1,2", help="one run each")
    parser.add_argument("--no-controls", action="store_true", help="leave the two controls out")
    parser.add_argument("--quick", action="store_true", help="the first seed alone, without controls")
    parser.add_argument("--steps", type=_positive, default=250, help="batches of a run at most (default: %(default)s)")
    parser.add_argument("--minutes", type=float, default=10, help="of a run at most (default: %(default)s)")
    parser.add_argument(
        "--out", type=Path, default=Path("learning.png"), help="the curves, with their numbers in a .json beside it"
    )
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="keep logs of serve and run-api in a new folder")
    return parser


def _numbers(text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a list of numbers such as 0,1,2") from None


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of at least 1")
    return int(text)


def _prove(arguments: argparse.Namespace) -> int:
    # Sampling and training go on at the same time, and so do the sandboxes. Read when torch is imported.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    from .learning_run import RunBroke, run

    seeds = arguments.seeds[:1] if arguments.quick else arguments.seeds
    curves: list[Curve] = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        if arguments.keep is not None:
            folder = arguments.keep
            folder.mkdir(parents=True)

        def one(seed: int, control: Control, steps: int) -> None:
            curve = Curve(seed, control)
            where = folder / curve.name.replace(", ", "-").replace(" ", "-")
            tell = _teller(curve.name)
            before = _processor_seconds()
            run(curve, steps=steps, minutes=arguments.minutes, folder=where, tell=tell)
            curve.processor = _processor_seconds() - before
            tell(f"strict success from {curve.start:.1%} to {curve.end:.1%} in {curve.seconds[-1] / 60:.1f} min")
            curves.append(curve)
            _write(curves, arguments.out)

        try:
            for seed in seeds:
                one(seed, "none", arguments.steps)
            if not (arguments.quick or arguments.no_controls):
                # For as long as the slowest learner took.
                steps = max(len(curve.strict) for curve in curves)
                for control in get_args(Control)[1:]:
                    one(seeds[0], control, steps)
        except RunBroke as error:
            print(f"learning: {error}", file=sys.stderr)
            return 1
    print(f"\n{table(curves, arguments.minutes)}\n\ncurves: {arguments.out}")
    return _verdict(curves, arguments.minutes)


def _processor_seconds() -> float:
    """Return those of this process and all that it has waited for."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _teller(name: str) -> Callable[[str], None]:
    return lambda text: print(f"[{name}] {text}", flush=True)


def _write(curves: Iterable[Curve], path: Path) -> None:
    draw(list(curves), path)
    path.with_suffix(".json").write_text(json.dumps([asdict(curve) for curve in curves]) + "\n")


def _verdict(curves: Iterable[Curve], minutes: float) -> int:
    wrong = [curve.name for curve in curves if problem(curve, minutes)]
    print(f"NOT PROVED: {'; '.join(wrong)}" if wrong else "as claimed")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
