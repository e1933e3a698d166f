"""Messages for a name that does not exist."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], likeness: float = 0.5) -> str | None:
    """Return the known name that is most like this one, None when none is at least so much (from 0 to 1) like it."""
    return next(iter(difflib.get_close_matches(name, list(known), 1, likeness)), None)


def unknown(what: str, name: str, known: Iterable[str]) -> str:
    """Return one line such as: unknown benchmark 'tblit'; did you mean 'tblite'? known: terminal_test, tblite."""
    names = sorted(known)
    close = nearest(name, names)
    hint = f" did you mean {close!r}?" if close else ""
    listing = ", ".join(names) if len(names) <= 12 else ", ".join(names[:12]) + f", … ({len(names)} in all)"
    return f"unknown {what} {name!r};{hint} known: {listing or 'none'}"
