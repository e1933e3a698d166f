"""Kills a run of containers at random instants and resumes it, until every attempt has its record.

    .ci/services python tests/performance/kill_and_resume.py [--rows 100] [--in-flight 32] [--kills 20] [--seed 1]

Every third image is built from a Dockerfile of its own, so that kills meet builds as well as agents and verifiers. It
fails when an attempt has two records or none, or when a container is left.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from pytest_hermes.sandbox.docker.owner import NAME_LABEL
from tests.services.rows import archive, write_jsonl

TEST = "#!/bin/sh\nsleep 0.3\nmkdir -p /logs/verifier\necho 1 >/logs/verifier/reward.txt\n"

#: What the names of this program's tasks begin with: others may use the engine meanwhile.
OURS = f"row-{secrets.token_hex(4)}-"


def rows(count: int, image: str, salt: str) -> list[dict[str, object]]:
    built = [archive({"Dockerfile": f"FROM {image}\nRUN echo {salt} {number} >/built\n"}) for number in range(count)]
    return [
        {
            "task_name": f"{OURS}{number:03}",
            "instruction": "Nothing.",
            "docker_image": None if number % 3 == 0 else image,
            "environment_tar": built[number] if number % 3 == 0 else None,
            "tests_tar": archive({"helper": "x"}),
            "test_sh": TEST,
        }
        for number in range(count)
    ]


def containers() -> int:
    names = ["docker", "ps", "-a", "--format", '{{.Label "' + NAME_LABEL + '"}}']
    listed = subprocess.run(names, capture_output=True, text=True, check=True)
    return sum(OURS in name for name in listed.stdout.splitlines())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    for name, default in {"rows": 100, "in-flight": 32, "kills": 20, "seed": 1}.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--longest", type=float, default=8.0, help="seconds after which a run is killed at the latest")
    args = parser.parse_args()
    chance = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as cwd:
        write_jsonl(
            Path(cwd, "rows.jsonl"), rows(args.rows, os.environ["HERMES_TEST_IMAGE"], f"{args.seed}-{time.time()}")
        )
        command = [
            sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--hermes-bench=terminalbench_2",
            "--hermes-dataset=rows.jsonl", "--hermes-model=nop", f"-n{args.in_flight}",
        ]  # fmt: skip
        where, results = "--hermes-run-dir=out", Path(cwd, "out", "results.jsonl")
        for _ in range(args.kills):
            process = subprocess.Popen(
                [*command, where], cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
            )
            time.sleep(chance.uniform(1.5, args.longest))
            process.send_signal(signal.SIGKILL)
            output, _ = process.communicate()
            written = results.read_bytes().count(b"\n") if results.exists() else 0
            print(
                f"killed with {written} records, {containers()} containers{'' if process.returncode < 0 else ', ended'}"
            )
            if process.returncode >= 0 and written < args.rows:
                sys.exit(output)
            if Path(cwd, "out", "run.json").exists():
                where = "--hermes-resume=out"
        done = subprocess.run([*command, where], cwd=cwd, capture_output=True, text=True, check=False)
        print(done.stdout.splitlines()[-1])
        counts = Counter(json.loads(line)["task"] for line in results.read_bytes().splitlines() if line.endswith(b"}"))
        end = time.monotonic() + 20
        while containers() and time.monotonic() < end:
            time.sleep(0.2)
        problems = [task for task, count in counts.items() if count != 1]
        print(f"{len(counts)} of {args.rows} attempts have records, {len(problems)} several; {containers()} containers")
        if problems or len(counts) != args.rows or containers() or f"{args.rows} passed" not in done.stdout:
            sys.exit(done.stdout + done.stderr)


if __name__ == "__main__":
    main()
