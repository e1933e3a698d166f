"""From a name to rows: files, folders, and the hub by way of `datasets`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pytest_hermes.dataset.directories import task_directories
from pytest_hermes.dataset.rows import DatasetError, list_rows
from pytest_hermes.dataset.source import Dataset, open_dataset
from pytest_hermes.errors import UsageError
from tests.services.hub import Hub
from tests.services.rows import parquet, write_jsonl, write_task

NAME = "NousResearch/terminal-bench-2"
ROWS: list[dict[str, Any]] = [
    {"task_name": "one", "tags": ["a", "b"], "tar": "x" * 100_000, "seconds": 1.5},
    {"task_name": "zwei", "tags": [], "tar": None, "seconds": None},
    {"task_name": "三", "tags": ["c"], "tar": "y", "seconds": 3.0},
]


def read(dataset: Dataset) -> list[dict[str, Any]]:
    assert dataset.rows is not None
    return [row.ref.read() for row in list_rows(dataset.rows, dataset.name, ())]


@pytest.mark.parametrize("kind", ["rows.jsonl", "rows.jsonl.gz", "rows.parquet", "folder"])
def test_the_same_rows_from_every_kind_of_source(tmp_path: Path, kind: str) -> None:
    path = tmp_path / kind
    if kind == "folder":
        # What a download of a hub dataset looks like; read by `datasets`, whose own writer made it.
        import datasets

        (path / "data").mkdir(parents=True)
        datasets.Dataset.from_list(ROWS).to_parquet(path / "data" / "train-00000-of-00001.parquet")
    elif kind == "rows.parquet":
        path.write_bytes(parquet(ROWS))
    else:
        write_jsonl(path, ROWS)
    dataset = open_dataset(str(path))
    assert read(dataset) == ROWS
    assert len(dataset.revision) == 40
    assert open_dataset(str(path)) == dataset
    assert dataset.rows is not None
    listed = list(list_rows(dataset.rows, "rows", {"tar"}))
    assert [row.values for row in listed] == [
        {name: value for name, value in row.items() if name != "tar"} for row in ROWS
    ]
    assert ["tar" in row.present for row in listed] == [True, False, True]


def test_what_changes_has_another_revision(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl.gz", ROWS)
    before = open_dataset(str(path))
    write_jsonl(path, ROWS[:1])
    after = open_dataset(str(path))
    assert after.revision != before.revision
    assert read(after) == ROWS[:1]
    assert read(before) == ROWS


def test_a_line_that_is_no_row_does_not_hide_the_others(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b'{"a": 1}\n\n{"a": \n[1]\n\xff\n{"a": 2}')
    rows = list(list_rows(path, "rows.jsonl", ()))
    assert [row.values.get("a") for row in rows] == [1, None, None, None, 2]
    problems = [row.problem for row in rows if row.problem]
    assert [problem.partition(":")[0] for problem in problems] == [
        f"row {number} of rows.jsonl is not a JSON object" for number in (2, 3, 4)
    ]


def test_a_file_that_changed_meanwhile_is_told(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", ROWS)
    row = list(list_rows(path, "rows.jsonl", ()))[2]
    path.write_text("{}\n")
    with pytest.raises(DatasetError, match=r"row 3 of rows.jsonl cannot be read again"):
        row.ref.read()


def test_a_dataset_of_the_hub(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = hub.push(NAME, {"README.md": b"", "data/train-00000-of-00001.parquet": parquet(ROWS[:1])})
    hub.refs[NAME, "v1"] = first
    second = hub.push(NAME, {"README.md": b"", "data/train-00000-of-00001.parquet": parquet(ROWS)})

    newest = open_dataset(NAME)
    assert (newest.revision, read(newest)) == (second, ROWS)
    tagged = open_dataset(NAME, revision="v1")
    assert (tagged.revision, read(tagged)) == (first, ROWS[:1])

    # A commit that was read before needs nobody; a tag, and the newest, need to be looked up.
    hub.requests.clear()
    assert open_dataset(NAME, revision=first) == tagged
    assert hub.requests == []
    assert open_dataset(NAME) == newest
    assert not any("/resolve/" in request for request in hub.requests)

    for revision, split, problem in (
        ("v9", "train", "has no revision 'v9'"),
        (None, "test", "has no split 'test'; it has train"),
    ):
        with pytest.raises(UsageError, match=problem):
            open_dataset(NAME, revision=revision, split=split)
    with pytest.raises(UsageError, match="the hub has no dataset 'nobody/nothing', or it is private"):
        open_dataset("nobody/nothing")

    hub.close()
    assert open_dataset(NAME) == newest
    assert open_dataset(NAME, revision="v1") == tagged
    with pytest.raises(UsageError, match=r"cannot be reached, and revision 'v2' .* was never loaded here"):
        open_dataset(NAME, revision="v2")
    # What only the hub's own library has in its cache.
    monkeypatch.setenv("PYTEST_HERMES_CACHE_DIR", str(tmp_path / "another"))
    assert len(read(open_dataset(NAME))) in (1, 3)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    with pytest.raises(UsageError, match=f"the hub cannot be reached, and the dataset '{NAME}' was never"):
        open_dataset(NAME)


def test_a_file_that_changes_under_its_reader_is_told(tmp_path: Path) -> None:
    path = write_jsonl(tmp_path / "rows.jsonl", ROWS)
    (_, second, third) = list_rows(path, "rows.jsonl", ())
    text = path.read_text()
    path.write_text(text.replace("zwei", "drei"))
    with pytest.raises(DatasetError, match=r"row 2 of rows.jsonl cannot be read again: .* was changed while it was"):
        second.ref.read()
    assert third.ref.read() == ROWS[2]


def test_the_subset_that_is_wanted(hub: Hub) -> None:
    card = "".join(
        f"- config_name: {name}\n  data_files:\n  - split: test\n    path: {name}/test-*\n" for name in ("go", "python")
    )
    files = {f"{name}/test-00000-of-00001.parquet": parquet([{"in": name}]) for name in ("go", "python")}
    hub.push("bigcode/humanevalpack", {"README.md": f"---\nconfigs:\n{card}---\n".encode(), **files})
    assert read(open_dataset("bigcode/humanevalpack", split="test", subset="python")) == [{"in": "python"}]
    with pytest.raises(UsageError, match=r"cannot load .*: ValueError: Config name is missing"):
        open_dataset("bigcode/humanevalpack", split="test")
    hub.push(NAME, {"README.md": b"", "data/train-00000-of-00001.parquet": parquet(ROWS)})
    assert read(open_dataset(NAME, subset="python")) == ROWS


def test_a_folder_of_tasks(tmp_path: Path) -> None:
    for name in ("b", "a", ".hidden"):
        write_task(tmp_path / "tasks" / name)
    (tmp_path / "tasks" / "notes").mkdir()
    dataset = open_dataset(str(tmp_path / "tasks"))
    assert dataset.folder == tmp_path / "tasks"
    assert [folder.name for folder in task_directories(dataset.folder).tasks] == ["a", "b"]
    one = open_dataset(str(tmp_path / "tasks" / "a"))
    assert [folder.name for folder in task_directories(tmp_path / "tasks" / "a").tasks] == ["a"]
    assert one.revision != dataset.revision


def test_what_is_no_dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "broken.jsonl.gz").write_bytes(b"\x1f\x8b no")
    write_jsonl(tmp_path / "rows.jsonl", ROWS)
    for name, problem in {
        "nothing": "there is no dataset 'nothing': neither a path nor of the form owner/name",
        "./no/such.parquet": "there is no dataset",
        "no/such.jsonl": "there is no dataset",
        "empty": "holds neither task directories .* nor rows",
        "notes.txt": "cannot read 'notes.txt': it must be",
        "broken.parquet": "cannot read .*broken.parquet: ArrowInvalid",
        "broken.jsonl.gz": "cannot read 'broken.jsonl.gz'",
    }.items():
        with pytest.raises(UsageError, match=problem):
            open_dataset(name)
    with pytest.raises(UsageError, match="only a Hugging Face dataset has revisions"):
        open_dataset("rows.jsonl", revision="main")
