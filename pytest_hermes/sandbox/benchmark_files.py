"""The files of installed benchmarks: what an agent could read the answers from."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, distributions
from urllib.parse import unquote, urlsplit

_GROUP = "[pytest_hermes.benchmarks]"
_PACKAGE = "__init__.py"


def benchmark_files(site_packages: Iterable[str]) -> Iterator[str]:
    """Yield the files and folders of what is installed in `site_packages` and offers a benchmark.

    Also those of what is installed as editable, and its checkout: that is what its user works on.
    """
    for distribution in distributions(path=list(dict.fromkeys(site_packages))):
        checkout = _checkout(distribution)
        if checkout is not None:
            yield checkout
        # With its metadata: whoever finds an entry point there imports what is hidden.
        if checkout is not None or _GROUP in (distribution.read_text("entry_points.txt") or ""):
            yield from _files(distribution)


def _files(distribution: Distribution) -> Iterator[str]:
    """Yield the folders that are this distribution's alone, and its files outside of any."""
    base = os.path.realpath(str(distribution.locate_file("")))
    found = set()
    for file in distribution.files or ():
        parts = file.parts
        if parts[0] == "..":  # a program, or data at a place of its own below the prefix
            path = os.path.normpath(os.path.join(base, *parts))
            folder = os.path.dirname(path)
            if os.path.basename(folder) not in ("bin", "Scripts"):
                found.add(path if os.path.basename(folder) == "share" else folder)
            continue
        if parts[0] == "__pycache__":
            continue
        # A folder without this file is a namespace, which packages share.
        whole = len(parts) < 3 or parts[0].endswith("-info") or os.path.exists(os.path.join(base, parts[0], _PACKAGE))
        found.add(os.path.join(base, *parts[: 1 if whole else 2]))
    yield from sorted(found)


def _checkout(distribution: Distribution) -> str | None:
    """Return the folder of an editable install (https://packaging.python.org/specifications/direct-url/)."""
    try:
        origin = json.loads(distribution.read_text("direct_url.json") or "{}")
        editable, url = origin.get("dir_info", {}).get("editable"), urlsplit(origin.get("url", ""))
    except (ValueError, AttributeError):
        return None
    return os.path.realpath(unquote(url.path)) if editable and url.scheme == "file" else None
