"""Makes datasets in the layouts that benchmarks read: rows with archives in their columns, and task directories."""

from __future__ import annotations

import base64
import contextlib
import gzip
import io
import json
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

with contextlib.suppress(ImportError):  # comes with an extra
    # Before any test: pytester forgets what was imported during its tests, and numpy cannot be imported a second time.
    import pyarrow
    import pyarrow.parquet


def archive(files: Mapping[str, str | bytes], *, prefix: str = "./") -> str:
    """Return base64 of a tar.gz with these files."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            info = tarfile.TarInfo(prefix + name)
            info.size, info.mode = len(data), 0o644
            tar.addfile(info, io.BytesIO(data))
    return base64.b64encode(stream.getvalue()).decode()


def write_jsonl(path: Path, rows: Iterable[Mapping[str, Any]]) -> Path:
    """Write rows, compressed when the name ends in `.gz`."""
    text = "".join(json.dumps(row) + "\n" for row in rows).encode()
    path.write_bytes(gzip.compress(text) if path.suffix == ".gz" else text)
    return path


def parquet(rows: Iterable[Mapping[str, Any]]) -> bytes:
    stream = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([dict(row) for row in rows]), stream)
    return stream.getvalue()


def write_task(
    folder: Path,
    *,
    toml: str = "",
    instruction: str = "Do it.\n",
    dockerfile: str | None = None,
    test: str | None = "#!/bin/sh\ntrue\n",
    solution: str | None = None,
) -> Path:
    """Write a task directory in the Harbor layout."""
    for part in ("environment", "tests", "solution"):
        (folder / part).mkdir(parents=True)
    (folder / "task.toml").write_text(toml)
    (folder / "instruction.md").write_text(instruction)
    for name, content in (
        ("environment/Dockerfile", dockerfile),
        ("tests/test.sh", test),
        ("solution/solve.sh", solution),
    ):
        if content is not None:
            (folder / name).write_text(content)
    return folder
