"""From what `--hermes-dataset` says to rows or folders on this machine.

Whatever needs pyarrow or `datasets` runs in a short-lived process of its own: they cost a hundred megabytes, and rows
are only read once. What that process leaves is a file of JSON lines in the cache.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..config.cache import cache_folder
from ..errors import UsageError
from .directories import INSTRUCTION, TASK_FILE, TESTS, task_directories

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
COMMIT = re.compile(r"[0-9a-f]{40}")
_ROW_FILES = (".parquet", ".jsonl", ".jsonl.gz")
_CHUNK = 1 << 20

KINDS = "a Hugging Face dataset (owner/name), a .parquet, .jsonl or .jsonl.gz file, or a folder of task directories"


@dataclass(frozen=True)
class Dataset:
    """What a benchmark reads its tasks from; exactly one of `rows` and `folder` is set."""

    #: As the user named it.
    name: str
    #: Of the hub the commit; of files and folders a digest of their content.
    revision: str
    #: A file of JSON lines.
    rows: Path | None = None
    #: A folder that holds task directories, or is one.
    folder: Path | None = None


def open_dataset(name: str, *, split: str = "train", revision: str | None = None, subset: str | None = None) -> Dataset:
    """Return the dataset `name`; relative paths count from the current directory. Blocks, possibly for minutes.

    Of one on the hub that has several subsets, `subset` is read if it is among them, else the default one.

    What is downloaded and converted is cached, and works offline afterwards; HF_ENDPOINT, HF_HOME and HF_HUB_OFFLINE
    are honoured. Raises UsageError when there is no such dataset, split or revision, or a package is missing.
    """
    path = Path(name).expanduser()
    if path.exists() or not _HUB_ID.fullmatch(name) or name.endswith(_ROW_FILES):
        if revision is not None:
            raise UsageError(f"only a Hugging Face dataset has revisions, but {name!r} is a path")
        return _open_path(name, path.absolute(), split)
    return _open_hub(name, split, revision, subset)


def _open_path(name: str, path: Path, split: str) -> Dataset:
    if path.is_dir():
        if task_directories(path).tasks:
            return Dataset(name, content_digest(path), folder=path)
        if not any(path.rglob("*.parquet")) and not any(path.rglob("*.jsonl*")):
            raise UsageError(
                f"the folder {name!r} holds neither task directories (with a {TASK_FILE}, or with "
                f"{INSTRUCTION} and {TESTS}) nor rows"
            )
    elif not path.exists():
        raise UsageError(f"there is no dataset {name!r}: neither a path nor of the form owner/name; it must be {KINDS}")
    elif not name.endswith(_ROW_FILES):
        raise UsageError(f"cannot read {name!r}: it must be {KINDS}")
    digest = content_digest(path)
    if name.endswith(".jsonl"):
        return Dataset(name, digest, rows=path)
    # A folder has several splits.
    target = cache_folder("rows") / f"{digest}{f'-{_file_name(split)}' if path.is_dir() else ''}.jsonl"
    if not target.exists():
        if name.endswith(".gz"):
            _decompress(name, path, target)
        else:
            _export({"path": str(path), "split": split, "target": str(target)}, name)
    return Dataset(name, digest, rows=target)


def _open_hub(name: str, split: str, revision: str | None, subset: str | None) -> Dataset:
    folder = cache_folder("rows")
    stem = f"hub-{_file_name(name)}-{_file_name(split)}{f'-{_file_name(subset)}' if subset else ''}"
    if revision is not None and COMMIT.fullmatch(revision):
        # Named to the digit: nobody needs to be asked.
        target = folder / f"{stem}-{revision}.jsonl"
        if target.exists():
            return Dataset(name, revision, rows=target)
    request = {"id": name, "split": split, "revision": revision, "subset": subset, "stem": str(folder / stem)}
    found = _export(request, name)
    return Dataset(name, found["revision"], rows=Path(found["path"]))


def _export(request: dict[str, Any], name: str) -> dict[str, Any]:
    """Have `export.py` do it. Raises UsageError with the line it ends with when it cannot."""
    # -P: a folder of the user's called `datasets` must not be taken for the package.
    process = subprocess.run(
        [sys.executable, "-P", "-m", "pytest_hermes.dataset.export", json.dumps(request)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
    )
    try:
        answer = json.loads(process.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        lines = process.stderr.decode(errors="replace").strip().splitlines()
        why = lines[-1] if lines else f"exit code {process.returncode}"
        raise UsageError(f"cannot read the dataset {name!r}: {why}") from None
    if "error" in answer:
        raise UsageError(str(answer["error"]))
    return dict(answer)


def content_digest(path: Path) -> str:
    """Return a digest of a file, or of all names and contents below a folder."""
    total = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            total.update(os.fsencode(file.relative_to(path)) + b"\0")
            with file.open("rb") as content:
                total.update(hashlib.file_digest(content, "sha256").digest())
    return total.hexdigest()[:40]


def _decompress(name: str, path: Path, target: Path) -> None:
    with tempfile.NamedTemporaryFile(dir=target.parent, delete=False) as whole:
        try:
            with gzip.open(path, "rb") as compressed:
                shutil.copyfileobj(compressed, whole, _CHUNK)
        except (OSError, EOFError, ValueError) as error:
            os.unlink(whole.name)
            raise UsageError(f"cannot read {name!r}: {error}") from error
    os.replace(whole.name, target)


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.+-]", "--", text)
