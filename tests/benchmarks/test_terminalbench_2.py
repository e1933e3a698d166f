"""TerminalBench 2 and TBLite as a user runs them, on datasets in the real layouts and real containers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from tests.services.bench import Bench
from tests.services.hub import Hub
from tests.services.rows import archive, parquet, write_jsonl, write_task

# Parts of the datasets below; where there is none, the tests are skipped.
IMAGE = os.environ.get("HERMES_TEST_IMAGE", "")
TB2 = ("--hermes-bench=terminalbench_2", "--hermes-run-dir=out")

TEST = """#!/bin/bash
if [ "$(cat answer)" = "$(cat /tests/expected)" ]; then echo 1 > /logs/verifier/reward.txt
else echo 0 > /logs/verifier/reward.txt; fi
echo compared
"""
SOLVE = '[ "$MINE" = here ] && cp /solution/right answer\n'
DOCKERFILE = f"FROM {IMAGE}\nWORKDIR /app\nCOPY start /app/start\n"


@pytest.fixture(autouse=True)
def engine(docker_image: str) -> None:
    """All of it runs in containers."""


@pytest.fixture
def hub(bench: Bench) -> Iterator[Hub]:
    hub = Hub()
    bench.env(HF_ENDPOINT=hub.url, HF_HOME=str(bench.path / "hf"))
    yield hub
    hub.close()


SCRIPTS = ("tests/test.sh", "solution/solve.sh")


def on_windows(script: str) -> str:
    return script.replace("\n", "\r\n")


def row(name: str, **columns: Any) -> dict[str, Any]:
    return {
        "task_name": name,
        "instruction": "Write 42 to answer.",
        "docker_image": IMAGE,
        "category": "files",
        "environment_tar": archive({"Dockerfile": DOCKERFILE, "start": "s"}),
        "tests_tar": archive({"expected": "42\n"}),
        "test_sh": TEST,
        "difficulty": "easy",
        "tags": '["a", "b"]',
        "agent_timeout_sec": "900",
        "test_timeout_sec": 60,
        **columns,
    }


#: By task what is wrong with its row.
MALFORMED = {
    "no-tests": "row 4 of rows.jsonl: column 'test_sh': there are no tests",
    "no-time": "row 5 of rows.jsonl: column 'agent_timeout_sec': *, not 'soon'",
    "row-6": "row 6 of rows.jsonl is not a JSON object: *",
    "no-prompt": "row 7 of rows.jsonl: column 'instruction': Field required",
    "row-8": "row 8 of rows.jsonl: column 'task_name': an earlier row has the task 'built' too",
    "nowhere": "row 9 of rows.jsonl: columns 'docker_image' and 'environment_tar' are both empty",
    "corrupt": "row 3 of rows.jsonl: column 'tests_tar': its gzip stream is damaged: *",
    "no-dockerfile": "row 10 of rows.jsonl: column 'environment_tar': there is no Dockerfile in it",
}


def rows() -> list[dict[str, Any]]:
    without = row("no-prompt")
    del without["instruction"]
    return [
        row(
            "pulled",
            environment_tar=None,
            tags=["a"],
            agent_timeout_sec=float("nan"),
            category=float("nan"),
            test_sh=on_windows(TEST),
        ),
        row("built", docker_image=None, agent_timeout_sec=None, test_timeout_sec="60", tags="a, b"),
        row("corrupt", tests_tar=archive({"expected": "x" * 5000})[:-40] + "A" * 40),
        row("no-tests", test_sh=None),
        row("no-time", agent_timeout_sec="soon"),
        {},
        without,
        row("built"),
        row("nowhere", docker_image="", environment_tar=""),
        row("no-dockerfile", docker_image=None, environment_tar=archive({"README": ""})),
    ]


def test_rows_good_and_bad(bench: Bench) -> None:
    path = write_jsonl(bench.path / "rows.jsonl", rows())
    path.write_text(path.read_text().replace("\n{}\n", "\n[]\n"))
    result = bench.run_inside(*TB2, "--hermes-dataset=rows.jsonl", "--hermes-model=nop", "-n4")
    result.assert_outcomes(failed=2, errors=8)
    by_task = {record["task"]: record for record in bench.records()}
    assert len(by_task) == 10
    for task in ("pulled", "built"):
        record = by_task[task]
        assert (record["status"], record["reward"], record["verifier"]["source"]) == ("failed", 0.0, "reward.txt")
        assert (record["backend"], record["difficulty"]) == ("docker", "easy")
        assert record["verifier_output"].endswith("compared\n")
        assert (
            (bench.path / "out/verifier/terminalbench_2" / f"{task}@1" / "test-stdout.txt")
            .read_text()
            .endswith("compared\n")
        )
    assert (by_task["pulled"]["image"], by_task["pulled"]["tags"]) == (IMAGE, ["a"])
    assert (by_task["built"]["image"], by_task["built"]["tags"]) == (None, ["a", "b"])
    assert (by_task["pulled"]["category"], by_task["built"]["category"]) == (None, "files")
    assert len({record["dataset_revision"] for record in by_task.values()}) == 1
    assert {task for task, record in by_task.items() if record["status"] == "error"} == set(MALFORMED)
    errors = [by_task[task]["error"] for task in MALFORMED]
    assert {error["kind"] for error in errors} == {"dataset"}
    for error, pattern in zip(errors, MALFORMED.values(), strict=True):
        assert fnmatch(error["message"], pattern), error["message"]
    result.stdout.fnmatch_lines(["errors    8 (dataset 8), not in the score; *"])


def test_the_oracle_has_nothing_to_play_on_rows(bench: Bench) -> None:
    write_jsonl(bench.path / "rows.jsonl.gz", [row("one"), row("two")])
    result = bench.run_inside(*TB2, "--hermes-dataset=rows.jsonl.gz", "--hermes-model=oracle")
    result.assert_outcomes(skipped=2)
    result.stdout.fnmatch_lines(["skipped   2 of 2: *has no reference solution*"])


@pytest.mark.parametrize("where", ["both", "fresh"])
def test_task_directories_of_a_team_s_own(bench: Bench, where: str) -> None:
    """One that passes in either mode, as a benchmark of its own; in two processes."""
    for name in ("one", "two", "three"):
        folder = write_task(
            bench.path / "tasks" / name,
            toml='[metadata]\ncategory = "mine"\n[environment]\nmemory_mb = 256\nallow_internet = false\n'
            '[solution.env]\nMINE = "${HERMES_TEST_UNSET:-here}"\n',
            # Tests and solutions stand in folders that only root can make, and their files are only the host's user's.
            dockerfile=DOCKERFILE + "RUN chown user /app\nUSER user\n" * (name == "two"),
            test=on_windows(TEST) if name == "three" else TEST,
            solution=on_windows(SOLVE) if name == "three" else SOLVE,
        )
        (folder / "environment" / "start").write_text(name)
        (folder / "tests" / "expected").write_text("42\n")
        (folder / "solution" / "right").write_text("42\n")
        (folder / "solution" / "right").chmod(0o600)
        (folder / "tests" / "expected").chmod(0o600)
    gpu = write_task(bench.path / "tasks" / "gpu", toml="[environment]\ngpus = 1\n", dockerfile=DOCKERFILE)
    broken = write_task(bench.path / "tasks" / "broken", test=None)
    assert gpu.is_dir()
    assert broken.is_dir()
    bench.file(
        "ours.py",
        "from pytest_hermes.benchmarks.terminalbench_2 import TerminalBench2\n\n\n"
        "class Ours(TerminalBench2):\n    name = 'ours'\n    dataset = 'tasks'\n    max_agent_turns = 5\n",
    )
    ours = ("--hermes-bench=ours.py:Ours", "--hermes-run-dir=out", f"--hermes-verifier={where}", "-n3")
    result = bench.run_inside(*ours, "--hermes-model=oracle", "--hermes-procs=2")
    result.assert_outcomes(passed=3, skipped=1, errors=1)
    result.stdout.fnmatch_lines([f"hermes: ours: three: {name} was saved *" for name in SCRIPTS])
    records = bench.records()
    scored = [record for record in records if record["status"] == "passed"]
    assert {record["verifier"]["mode"] for record in scored} == {where}
    assert {record["reward"] for record in scored} == {1.0}
    assert len({record["dataset_revision"] for record in records}) == 1
    assert all(record["dataset_revision"] for record in records)
    (error,) = [record for record in records if record["status"] == "error"]
    assert (error["task"], error["error"]["kind"]) == ("broken", "dataset")
    assert error["error"]["message"].endswith("/tasks/broken/tests/test.sh: there are no tests")
    result.stdout.fnmatch_lines(["skipped   1 of 5: the task needs a GPU, which is not supported"])
    shown = bench.run_inside("--hermes-bench=ours.py:Ours", "--hermes-show-config")
    shown.stdout.re_match_lines_random(
        [r"\s+env.max_agent_turns\s+5\s+benchmark ours", r"\s+env.terminal_timeout\s+300\s+ours/default.yaml:.*"]
    )
    result = bench.run_inside(*ours, "--hermes-model=nop", "--hermes-task", "one,two")
    result.assert_outcomes(failed=2)


def test_tblite_from_the_hub(bench: Bench, hub: Hub) -> None:
    """By the id that it is published under, through `datasets`, which stays out of the processes that run rollouts."""
    name = "NousResearch/openthoughts-tblite"
    files = {"README.md": b"", "data/train-00000-of-00001.parquet": parquet([row("one"), row("two")])}
    commit = hub.push(name, files)
    bench.file(
        "conftest.py",
        "import sys\n\n\ndef pytest_sessionfinish():\n"
        "    assert not {'datasets', 'pyarrow', 'pandas'} & set(sys.modules)\n",
    )
    tblite = ("--hermes-bench=tblite", "--hermes-model=nop", "--hermes-run-dir=out")
    result = bench.run(*tblite, "--hermes-procs=2", "-n2")
    result.assert_outcomes(failed=2)
    assert {(record["dataset_revision"], record["benchmark"]) for record in bench.records()} == {(commit, "tblite")}
    hub.close()
    result = bench.run(*tblite, f"--hermes-dataset-revision={commit}", "--hermes-task=one")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines([f"hermes: tblite, 1 task of revision {commit[:12]}, model nop"])
    (bench.path / "conftest.py").unlink()
    bench.run_inside(*tblite, "--hermes-dataset-revision=v2").stderr.fnmatch_lines(
        ["ERROR: *the hub cannot be reached, and revision 'v2' of 'NousResearch/openthoughts-tblite' was never *"]
    )
    listing = bench.run_inside("--hermes-bench=tblite", f"--hermes-dataset-revision={commit}", "--hermes-list")
    listing.stdout.fnmatch_lines(["tblite: 2 tasks", "  one  files, easy, a, b"])


def test_what_cannot_run_on_a_backend_is_skipped_with_the_reason(bench: Bench) -> None:
    write_jsonl(bench.path / "rows.jsonl", [row("qemu-startup", environment_tar=None)])
    arguments = (*TB2, "--hermes-dataset=rows.jsonl", "--hermes-model=nop")
    result = bench.run_inside(*arguments, "--hermes-sandbox=local")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["skipped   1 of 1: the local sandbox cannot run image * use --hermes-sandbox=docker"])
    bench.run_inside(*arguments).assert_outcomes(failed=1)


def test_images_that_cannot_be_had_are_errors_of_their_own(bench: Bench) -> None:
    bench.file("conftest.py", "from pytest_hermes.plugin import status_line\nstatus_line.PLAIN_EVERY = 0.2\n")
    broken = archive({"Dockerfile": f"FROM {IMAGE}\nRUN sleep 1.5; echo the reason; exit 7\n"})
    missing = row("missing", docker_image="127.0.0.1:9/none:1", environment_tar=None)
    there = row("there", environment_tar=None)
    write_jsonl(bench.path / "rows.jsonl", [row("broken", docker_image=None, environment_tar=broken), missing, there])
    result = bench.run(*TB2, "--hermes-dataset=rows.jsonl", "--hermes-model=nop")
    result.assert_outcomes(errors=2, failed=1)
    result.stdout.re_match_lines([r"hermes: \d/3 done, .* in flight, building broken-[0-9a-f]+ \(step 2/2\).*"])
    errors = {record["task"]: record["error"] for record in bench.records() if record["error"]}
    assert {task: error["kind"] for task, error in errors.items()} == {"broken": "image", "missing": "image"}
    assert "the reason" in errors["broken"]["message"]
    assert "127.0.0.1:9/none:1" in errors["missing"]["message"]


def test_sources_that_do_not_exist(bench: Bench) -> None:
    for dataset, problem in {
        "no.parquet": "there is no dataset 'no.parquet'",
        str(Path("tasks")): "there is no dataset 'tasks': neither a path nor of the form owner/name",
    }.items():
        result = bench.run_inside(*TB2, f"--hermes-dataset={dataset}", "--hermes-model=nop")
        assert result.ret == 4
        result.stderr.fnmatch_lines([f"ERROR: *{problem}*"])
