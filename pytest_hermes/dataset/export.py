"""Turns a dataset into a file of JSON lines. Runs as a process of its own, which ends and gives its memory back.

Argument: a JSON object, with `path` and `target` for what lies on this machine, or `id` and `stem` for the hub. The
last line of its output is another: `path` and `revision`, or `error`.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any, NoReturn

from ..core.one_line import described

_NEEDS = "reading {what} needs pytest-hermes[datasets]: pip install 'pytest-hermes[datasets]'"

_HTTP_CLIENTS = ("httpx", "httpcore", "requests", "urllib3")


class _Cannot(Exception):
    """The text says why, in one line."""


class _NotInstalled(_Cannot):
    pass


def main(request: dict[str, Any]) -> dict[str, Any]:
    if "id" in request:
        return _hub(request["id"], request["split"], request["revision"], request["subset"], request["stem"])
    path = Path(request["path"])
    rows = _parquet_rows(path) if path.is_file() else _loaded(str(path), request["split"], None, None)
    _write(rows, Path(request["target"]))
    return {"path": request["target"]}


def _parquet_rows(path: Path) -> Iterator[dict[str, Any]]:
    try:
        import pyarrow
        import pyarrow.parquet as parquet
    except ImportError:
        _missing("a parquet file")
    try:
        with parquet.ParquetFile(path) as file:
            # Few at a time: a row may hold megabytes.
            for batch in file.iter_batches(batch_size=8):
                yield from batch.to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise _Cannot(f"cannot read {path}: {described(error)}") from error


def _hub(name: str, split: str, revision: str | None, subset: str | None, stem: str) -> dict[str, Any]:
    commit = _commit(name, revision)
    pointer = Path(f"{stem}-{(revision or 'newest').replace('/', '--')}.ref")
    if commit is None:
        # Out of reach: what was newest when it last was not.
        if pointer.exists():
            commit = pointer.read_text(encoding="utf-8")
        elif revision is None:
            return _from_library_cache(name, split, subset, stem)
        else:
            raise _Cannot(f"the hub cannot be reached, and revision {revision!r} of {name!r} was never loaded here")
    target = Path(f"{stem}-{commit}.jsonl")
    if not target.exists():
        _write(_loaded(name, split, commit, subset), target)
    with _replacing(pointer) as file:
        file.write(commit)
    return {"path": str(target), "revision": commit}


def _commit(name: str, revision: str | None) -> str | None:
    """Return the commit that a revision stands for, None when the hub cannot be reached."""
    try:
        import huggingface_hub
        from huggingface_hub import errors
    except ImportError:
        _missing(f"{name!r}")
    try:
        info = huggingface_hub.HfApi().dataset_info(name, revision=revision, timeout=30)
    except errors.RevisionNotFoundError:
        raise _Cannot(f"the dataset {name!r} has no revision {revision!r}") from None
    except errors.GatedRepoError:
        raise _Cannot(f"the dataset {name!r} is gated: accept its terms on the hub, and set HF_TOKEN") from None
    except errors.RepositoryNotFoundError:
        raise _Cannot(f"the hub has no dataset {name!r}, or it is private and HF_TOKEN gives no access to it") from None
    except errors.HfHubHTTPError as error:
        if error.response is not None and error.response.status_code < 500 and error.response.status_code != 429:
            raise _Cannot(f"the hub refuses the dataset {name!r}: {described(error)}") from None
        return None
    except Exception as error:
        # Whatever HTTP client the hub's library uses: its errors have no base of their own.
        of_client = any(cls.__module__.startswith(_HTTP_CLIENTS) for cls in type(error).__mro__)
        if not of_client and not isinstance(error, (OSError, errors.OfflineModeIsEnabled)):
            raise
        return None
    return str(info.sha)


def _from_library_cache(name: str, split: str, subset: str | None, stem: str) -> dict[str, Any]:
    """The hub is out of reach, and this project never read the dataset; the user's own programs may have."""
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}  # read when `datasets` is imported
    try:
        builder = _builder(name, None, subset)
    except _NotInstalled:
        raise
    except _Cannot:
        raise _Cannot(
            f"the hub cannot be reached, and the dataset {name!r} was never loaded on this machine; use a file or a "
            "folder instead"
        ) from None
    commit = str(builder.hash)
    target = Path(f"{stem}-{commit}.jsonl")
    if not target.exists():
        _write(_rows_of(builder, name, split), target)
    return {"path": str(target), "revision": commit}


def _loaded(name: str, split: str, commit: str | None, subset: str | None) -> Iterator[dict[str, Any]]:
    return _rows_of(_builder(name, commit, subset), name, split)


def _builder(name: str, commit: str | None, subset: str | None) -> Any:
    try:
        import datasets
    except ImportError:
        _missing(f"{name!r}")
    if subset is not None:
        # Without it, and whatever else is wrong: what is said of the default subset is what matters.
        with contextlib.suppress(Exception):
            return datasets.load_dataset_builder(name, subset, revision=commit)
    try:
        return datasets.load_dataset_builder(name, revision=commit)
    except Exception as error:  # datasets raises whatever the layers below it do
        raise _Cannot(f"cannot load the dataset {name!r}: {described(error)}") from error


def _rows_of(builder: Any, name: str, split: str) -> Iterator[dict[str, Any]]:
    try:
        builder.download_and_prepare()
        splits = sorted(builder.info.splits or ())
        if split not in splits:
            raise _Cannot(f"the dataset {name!r} has no split {split!r}; it has {', '.join(splits)}")
        rows = builder.as_dataset(split=split)
    except _Cannot:
        raise
    except Exception as error:
        raise _Cannot(f"cannot load the dataset {name!r}: {described(error)}") from error
    yield from rows


def _write(rows: Iterable[dict[str, Any]], target: Path) -> None:
    with _replacing(target) as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False, default=_as_json) + "\n")


@contextlib.contextmanager
def _replacing(target: Path) -> Iterator[IO[str]]:
    """Open a file that becomes `target` when it is whole."""
    with tempfile.NamedTemporaryFile("w", dir=target.parent, encoding="utf-8", delete=False) as file:
        try:
            yield file
        except BaseException:
            os.unlink(file.name)
            raise
    os.replace(file.name, target)


def _as_json(value: object) -> str:
    # Columns of bytes hold what columns of text hold in base64.
    return base64.b64encode(value).decode() if isinstance(value, bytes) else str(value)


def _missing(what: str) -> NoReturn:
    raise _NotInstalled(_NEEDS.format(what=what))


if __name__ == "__main__":
    try:
        answer = main(json.loads(sys.argv[1]))
    except _Cannot as problem:
        answer = {"error": str(problem)}
    except Exception as error:
        answer = {"error": f"cannot read the dataset: {described(error)}"}
    print(json.dumps(answer))
