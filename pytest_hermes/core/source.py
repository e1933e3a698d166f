"""Locations in source code, as messages name them: `logs.py:12`."""

from __future__ import annotations

import inspect
import os
import sysconfig
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Literal

_PACKAGE = __name__.partition(".")[0]
#: Benchmarks that come with the package are to it what a user's own are.
_BENCHMARKS = f"{_PACKAGE}.benchmarks"
_LIBRARY = tuple({Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")})
_INSTALLED = frozenset({"site-packages", "dist-packages"})

_Owner = Literal["user", "package", "library", "installed"]


def raised_at(error: BaseException) -> str:
    """Return where the user's code raised `error`, as `file.py:12`.

    That is the line of `user_line`; where the user's code has no part in it, the deepest line of the traceback. Empty
    for an error that was never raised.
    """
    return user_line(error) or next((line for _, line in reversed(list(_lines(error)))), "")


def user_line(error: BaseException) -> str:
    """Return the line of the user's code that raised `error`, as `file.py:12`; empty when it was none of it.

    That is the deepest one of the traceback that is neither this package's nor the standard library's nor that of
    something installed; where there is none, as with a benchmark that is installed, the first of something installed.
    Of a SyntaxError in a file it is the line that cannot be read. A path is relative to the current folder where that
    is shorter.
    """
    if isinstance(error, SyntaxError) and error.lineno is not None and os.path.isfile(error.filename or ""):
        return _location(str(error.filename), error.lineno)
    lines = list(_lines(error))
    own = [line for owner, line in lines if owner == "user"]
    installed = [line for owner, line in lines if owner == "installed"]
    return next(iter(own[-1:] or installed[:1]), "")


def defined_at(thing: object) -> str:
    """Return where a function, method or class is defined, as `file.py:12`.

    Without the line where the source cannot be read; empty for what is not defined in a file.
    """
    thing = inspect.unwrap(thing) if callable(thing) else thing
    code = getattr(getattr(thing, "__func__", thing), "__code__", None)
    if code is not None:
        return _location(code.co_filename, code.co_firstlineno)
    if not inspect.isclass(thing):
        return ""
    try:
        file = inspect.getfile(thing)
    except (TypeError, OSError):
        return ""
    try:
        return _location(file, inspect.getsourcelines(thing)[1])
    except (OSError, SyntaxError, IndexError):
        return shown_path(file)


def shown_path(path: str | os.PathLike[str]) -> str:
    """Return a path relative to the current folder where that is shorter, else as it is."""
    text = os.fspath(path)
    try:
        relative = os.path.relpath(text)
    except (OSError, ValueError):  # the current folder is gone
        return text
    return relative if len(relative) < len(text) else text


def _lines(error: BaseException) -> Iterator[tuple[_Owner, str]]:
    """Yield whose code each line of the traceback is, and its location."""
    for frame, line in traceback.walk_tb(error.__traceback__):
        yield _owner(frame), _location(frame.f_code.co_filename, line)


def _owner(frame: FrameType) -> _Owner:
    module, path = f"{frame.f_globals.get('__name__', '')}.", Path(frame.f_code.co_filename)
    if module.startswith(f"{_PACKAGE}."):
        return "user" if module.startswith(f"{_BENCHMARKS}.") else "package"
    if _INSTALLED.intersection(path.parts):
        return "installed"
    # `<frozen importlib._bootstrap>`, `<string>`
    if path.name.startswith("<") or any(library in path.parents for library in _LIBRARY):
        return "library"
    return "user"


def _location(file: str, line: int) -> str:
    return f"{shown_path(file)}:{line}"
