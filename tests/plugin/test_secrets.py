"""What the machine keeps secret reaches neither an agent's commands nor anything that is written down."""

from __future__ import annotations

import pytest

from tests.services.bench import Bench

LOOK = r"""
from pytest_hermes import Benchmark, Task

class Look(Benchmark):
    name = "look"
    default_model = "oracle"

    def tasks(self):
        command = "env; for f in /proc/[0-9]*/environ /proc/self/environ; do tr '\\0' '\\n' <$f; done 2>/dev/null; true"
        return [Task(id="t", prompt="", solution=command)]

    async def compute_reward(self, item, result, ctx):
        self.seen = "".join(str(message["content"]) for message in result.messages)
        assert "PATH=" in self.seen
        return 0.0 if "planted" in self.seen else 1.0
"""


@pytest.mark.parametrize("isolation", ["as it comes", "none"])
def test_the_environment_of_the_host_cannot_be_read(bench: Bench, isolation: str) -> None:
    bench.file("look.py", LOOK)
    if isolation == "none":
        bench.hide_bubblewrap()
    bench.env(OPENAI_API_KEY="planted-key", SOME_VARIABLE="planted-value")
    result = bench.run("--hermes-bench=look.py:Look")
    result.assert_outcomes(passed=1)
    if isolation == "none":
        result.stdout.fnmatch_lines(["hermes: sandbox local (no isolation*"])
