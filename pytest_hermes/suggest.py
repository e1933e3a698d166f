"""Messages for a name that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return one line such as: unknown benchmark 'tblit'; did you mean 'tblite'? known: terminal_test, tblite."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    hint = f" did you mean {close[0]!r}?" if close else ""
    listing = ", ".join(names) if len(names) <= 12 else ", ".join(names[:12]) + f", … ({len(names)} in all)"
    return f"unknown {what} {name!r};{hint} known: {listing or 'none'}"
