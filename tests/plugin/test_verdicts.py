"""Benchmarks that say more than a number, and decide late what a sandbox is made from."""

from __future__ import annotations

from tests.services.bench import Bench

VERDICTS = """
from pytest_hermes import Benchmark, SandboxSpec, Task, Unsupported, Verdict

class Verdicts(Benchmark):
    name = "verdicts"
    default_model = "oracle"
    config_fields = frozenset({"dataset_name"})

    def tasks(self):
        assert self.config.dataset_name == "somewhere"
        return [Task(id=id, prompt="p", solution="true", threshold=0.5) for id in ("good", "none", "skipped", "raises")]

    async def sandbox(self, item):
        if item.id == "skipped":
            raise Unsupported("not on a weekday")
        if item.id == "raises":
            raise LookupError("no such image")
        return SandboxSpec(env={"LATE": item.id})

    async def compute_reward(self, item, result, ctx):
        late = ctx.terminal("echo $LATE")["output"]
        async def elsewhere(session):
            async with session.another() as sandbox:
                assert sandbox is not await session.start()
                return (await sandbox.exec("echo again $LATE")).stdout.decode()
        late += ctx.at_session(elsewhere)
        if item.id == "none":
            return Verdict(error="no verdict today", output=late, files={"log.txt": b"secret-token-1 and more"})
        return Verdict(reward=0.5, metrics={"speed": 3}, source="reward.json", exit_code=4, failed_tests=("test_a",),
                       output="x" * 9000 + late, files={"log.txt": late.encode()})
"""


def test_verdicts_and_late_sandboxes(bench: Bench) -> None:
    bench.env(MY_TOKEN="secret-token-1")
    bench.file("verdicts.py", VERDICTS)
    arguments = ("--hermes-bench=verdicts.py:Verdicts", "--hermes-dataset=somewhere", "--hermes-run-dir=out")
    result = bench.run_inside(*arguments, "--hermes-verifier=fresh")
    result.assert_outcomes(passed=1, skipped=1, errors=2)
    result.stdout.fnmatch_lines(["hermes: not used: env.verifier (verdicts has no verifier modes)"])
    by_task = {record["task"]: record for record in bench.records()}
    good = by_task["good"]
    assert (good["reward"], good["metrics"]) == (0.5, {"speed": 3.0})
    assert good["verifier"] == {
        "mode": "same",
        "isolation": "none",
        "source": "reward.json",
        "exit_code": 4,
        "tampered": None,
        "disagreement": None,
        "changed_system_files": [],
        "failed_tests": ["test_a"],
    }
    assert good["verifier_output"].endswith("x" * 100 + "good\nagain good\n")
    assert len(good["verifier_output"]) == 4000
    assert by_task["none"]["error"] == {"kind": "verifier", "message": "no verdict today"}
    assert by_task["none"]["verifier_output"] == "none\nagain none\n"
    assert by_task["skipped"]["reason"] == "not on a weekday"
    raised = by_task["raises"]["error"]
    assert (raised["kind"], raised["message"]) == ("setup", "sandbox raised LookupError: no such image")
    assert "in sandbox" in raised["traceback"]
    logs = {path.parent.name: path.read_text() for path in (bench.path / "out" / "verifier").rglob("log.txt")}
    assert logs == {"good@1": "good\nagain good\n", "none@1": "[redacted] and more"}


ODD = """
import json
from pytest_hermes import Benchmark, Task, Verdict

ODD = {
    "speed": lambda: Verdict(reward=1.0, metrics={"a": "fast"}),
    "nothing": lambda: Verdict(reward=1.0, metrics={"a": None}),
    "names": lambda: Verdict(reward=1.0, failed_tests=[1]),
    "text": lambda: Verdict(reward=1.0, files={"x": "text"}),
    "outside": lambda: Verdict(reward=1.0, files={"../x": b"x"}),
    "neither": lambda: Verdict(),
    "fine": lambda: Verdict(reward=True, metrics={"all": True}, files={"logs/x.txt": b"x"}),
    "number": lambda: 1,
}

class Odd(Benchmark):
    name = "odd"

    def tasks(self):
        return [Task(id=name, prompt="p", solution="true") for name in ODD]

    async def compute_reward(self, item, result, ctx):
        return ODD[item.id]()
"""

PROBLEMS = {
    "speed": "Verdict.metrics['a'] must be a finite number, not 'fast'",
    "nothing": "Verdict.metrics['a'] must be a finite number, not None",
    "names": 'Verdict.failed_tests must be strings such as ("a", "b"), not [1]',
    "text": "Verdict.files['x'] must be bytes, not 'text'; encode it",
    "outside": "Verdict.files: each path must be relative, such as logs/x.txt, and without '.' and '..', not '../x'",
    "neither": "Verdict needs exactly one of reward and error, but neither is given",
}


def test_a_verdict_that_does_not_fit_costs_one_attempt(bench: Bench) -> None:
    bench.file("odd.py", ODD)
    result = bench.run_inside("--hermes-bench=odd.py:Odd", "--hermes-model=oracle", "-n4", "--hermes-run-dir=out")
    result.assert_outcomes(passed=2, errors=len(PROBLEMS))
    records = {record["task"]: record for record in bench.records()}
    for task, problem in PROBLEMS.items():
        error = records[task]["error"]
        assert error["kind"] == "verifier"
        assert problem in error["message"]
    assert (records["fine"]["reward"], records["fine"]["metrics"]) == (1.0, {"all": 1.0})
    left = [path for path in (bench.path / "out" / "verifier").rglob("*") if path.is_file()]
    assert [str(path.relative_to(bench.path / "out")) for path in left] == ["verifier/odd/fine@1/logs/x.txt"]
    assert not list(bench.path.rglob("x"))
