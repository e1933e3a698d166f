"""Runs of containers that are killed outright, whatever they are at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[1] / "performance" / "kill_and_resume.py"


def test_every_attempt_has_one_record_and_no_container_is_left(docker_image: str) -> None:
    command: list[str | Path] = [sys.executable, PROGRAM, "--rows=12", "--in-flight=6", "--kills=3", "--longest=4"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "12 of 12 attempts have records, 0 several; 0 containers"
