from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_hermes.core.redact import Redactor
from pytest_hermes.errors import UsageError
from pytest_hermes.rollout.record import AttemptRecord
from pytest_hermes.runs.record_lines import RecordLines
from pytest_hermes.runs.results_file import ResultsFile, read_results

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def record(**values: Any) -> AttemptRecord:
    return AttemptRecord.model_validate(
        {
            "run_id": "r",
            "benchmark": "b",
            "task": "t",
            "status": "passed",
            "reward": 1.0,
            "model": "m",
            "backend": "local",
            "started": NOW,
            "ended": NOW,
            **values,
        }
    )


def written(path: Path, *records: AttemptRecord, secrets: tuple[str, ...] = ()) -> Path:
    file = ResultsFile(path, Redactor(secrets))
    for one in records:
        file.append(one)
    file.sync()
    file.close()
    return file.path


def test_reads_back_what_was_written(tmp_path: Path) -> None:
    records = [record(task="a", messages=[{"role": "user", "content": "é ✓ \n \u2028"}]), record(task="b", reward=0.25)]
    assert list(read_results(written(tmp_path, *records))) == records


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=50)
@given(st.dictionaries(st.text(max_size=5), json_values, max_size=4))
def test_any_message_round_trips(tmp_path: Path, message: dict[str, Any]) -> None:
    (tmp_path / "results.jsonl").unlink(missing_ok=True)
    path = written(tmp_path, record(messages=[message]))
    assert next(read_results(path)).messages == [message]


def test_what_json_cannot_hold_does_not_lose_the_record(tmp_path: Path) -> None:
    odd = [{"content": "broken \ud800 text", "logprob": float("nan")}]
    path = written(tmp_path, record(messages=odd))
    assert next(read_results(path)).messages == [{"content": "broken ? text", "logprob": None}]


def test_a_torn_last_line_is_passed_over(tmp_path: Path) -> None:
    path = written(tmp_path, record(task="a"), record(task="b"))
    for cut in range(1, 60):
        path.write_bytes(path.read_bytes())
        whole = path.read_bytes()
        path.write_bytes(whole[: -cut * 5])
        assert [one.task for one in read_results(path)] in (["a"], [])
        path.write_bytes(whole)


def test_appending_after_a_torn_line_loses_only_that_line(tmp_path: Path) -> None:
    talk = [{"role": "user", "content": [{"type": "text", "text": "x"}]}]
    path = written(tmp_path, record(task="a"), record(task="b", messages=talk))
    whole = path.read_bytes()
    begin = whole.index(b'"messages": [{')
    for end in range(begin, len(whole) - 1):
        path.write_bytes(whole[:end])
        written(tmp_path, record(task="c"))
        assert [one.task for one in read_results(path)] == ["a", "c"]
        with path.open("rb") as file:
            lines = map(RecordLines().without_conversation, file)
            assert [one.task for one in lines if one is not None] == ["a", "c"]


FOREIGN = [
    b'{"run_id": "r"}', b"[]", b"null", b"7", b"NaN", b'"text"', b"# a comment", b"\xff\xfe", b"\0", b"{" * 5000,
    b"9" * 5000,
    b'{"schema_version": 1, "run_id": "r", "benchmark": "b", "ta',
]  # fmt: skip


def test_foreign_lines_are_passed_over_and_counted(tmp_path: Path) -> None:
    path = written(tmp_path, record(task="a"), record(task="b"))
    first, second = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"\n".join([*FOREIGN, b"", b"  ", first]) + b"\n".join(FOREIGN) + b"\n" + second)
    assert [one.task for one in read_results(path)] == ["a", "b"]
    lines = RecordLines()
    with path.open("rb") as file:
        assert len(list(filter(None, map(lines.without_conversation, file)))) == 2
    assert lines.foreign == 2 * len(FOREIGN)


def test_a_record_without_its_conversation(tmp_path: Path) -> None:
    whole = record(
        task="é", messages=[{"role": "user"}], reasoning_per_turn=[None], tags=("x",), metrics={"m": 1.5},
        usage={"prompt_tokens": 3, "cost": "0.1"}, seconds={"total": 2.5}, error={"kind": "k", "message": "m"},
    )  # fmt: skip
    line = written(tmp_path, whole).read_bytes()
    assert RecordLines().without_conversation(line) == whole.without_conversation()
    # In any order of its fields, and whatever else looks like its conversation.
    backwards = dict(reversed(json.loads(line).items()))
    assert RecordLines().without_conversation(json.dumps(backwards).encode()) == whole.without_conversation()
    quoting = record(
        verifier_output='x", "messages": ["', runs=[{"turns_used": 1, "messages": 2}], reason='\\", "messages": ['
    )
    line = written(tmp_path / "quoting", quoting).read_bytes()
    assert RecordLines().without_conversation(line) == quoting


def test_a_conversation_may_be_nested_deeply(tmp_path: Path) -> None:
    """Beyond what pydantic's own parser of JSON takes."""
    deep: Any = "x"
    for _ in range(220):
        deep = [deep]
    whole = record(messages=[{"content": deep}])
    assert list(read_results(written(tmp_path, whole))) == [whole]


def test_fields_of_later_versions_are_no_obstacle(tmp_path: Path) -> None:
    path = written(tmp_path, record())
    path.write_text(path.read_text().replace('{"schema_version"', '{"from_the_future": 1, "schema_version"'))
    assert next(read_results(path)) == record()


def test_secrets_are_taken_out_wherever_they_stand(tmp_path: Path) -> None:
    secret = 'sk-"quoted"\\and-é'
    path = written(
        tmp_path,
        record(messages=[{"content": f"x{secret}y", secret: [secret]}], verifier_output=secret),
        secrets=(secret, "short"),
    )
    text = path.read_text()
    assert "quoted" not in text
    assert text.count("[redacted]") == 4


def test_a_folder_that_cannot_be_made_is_a_usage_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match=r"cannot write results to .*--hermes-run-dir"):
        ResultsFile(tmp_path / "file" / "run", Redactor(()))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    os.symlink("/dev/full", tmp_path / "results.jsonl")
    file = ResultsFile(tmp_path, Redactor(()))
    with pytest.raises(OSError, match="No space left"):
        file.append(record())
    file.close()


def test_a_verifiers_files_are_kept_in_folders_of_their_own(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file = ResultsFile(tmp_path, Redactor(("a-long-secret",)))
    try:
        file.keep_files(record(task="a/b", attempt=2), {"logs/deep/x.txt": b"\xff a-long-secret", "y.txt": b""})
        folder = tmp_path / "verifier" / "b" / "a__b@2"
        assert (folder / "logs" / "deep" / "x.txt").read_bytes() == b"\xff [redacted]"
        assert (folder / "y.txt").read_bytes() == b""
        assert not caplog.records
        # One name cannot be both: it is told, and costs nothing else.
        file.keep_files(record(), {"z": b"", "z/z": b""})
        assert "cannot write the verifier's files" in caplog.text
    finally:
        file.close()
