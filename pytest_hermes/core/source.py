"""Places in source code, as messages name them: `logs.py:12`."""

from __future__ import annotations

import inspect
import os
import sysconfig
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import FrameType, TracebackType

_PACKAGE = __name__.partition(".")[0]
#: Benchmarks that come with the package are to it what a user's own are.
_BENCHMARKS = f"{_PACKAGE}.benchmarks"
_LIBRARY = tuple({Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib")})
_INSTALLED = frozenset({"site-packages", "dist-packages"})


def raised_at(error: BaseException) -> str:
    """Return where the user's code raised `error`, as `file.py:12`.

    That is the deepest frame of the traceback that is neither this package's nor the standard library's nor that of
    something installed. Where there is none, as with a benchmark that is installed, it is the first frame of something
    installed, else the deepest one; of a SyntaxError in a file, the line that cannot be read. Empty for an error that
    was never raised. A path is relative to the current folder where that is shorter.
    """
    if isinstance(error, SyntaxError) and error.lineno is not None and os.path.isfile(error.filename or ""):
        return _place(str(error.filename), error.lineno)
    frames = list(_frames(error.__traceback__))
    owners = [_owner(frame) for frame, _ in frames]
    own = [place for place, owner in zip(frames, owners, strict=True) if owner is _Owner.USER]
    installed = [place for place, owner in zip(frames, owners, strict=True) if owner is _Owner.INSTALLED]
    found = own[-1:] or installed[:1] or frames[-1:]
    return _place(found[0][0].f_code.co_filename, found[0][1]) if found else ""


def defined_at(thing: object) -> str:
    """Return where a function, method or class is defined, as `file.py:12`.

    Without the line where the source cannot be read; empty for what is not defined in a file.
    """
    thing = inspect.unwrap(thing) if callable(thing) else thing
    code = getattr(getattr(thing, "__func__", thing), "__code__", None)
    if code is not None:
        return _place(code.co_filename, code.co_firstlineno)
    if not inspect.isclass(thing):
        return ""
    try:
        file = inspect.getfile(thing)
    except (TypeError, OSError):
        return ""
    try:
        return _place(file, inspect.getsourcelines(thing)[1])
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


def _frames(trace: TracebackType | None) -> Iterator[tuple[FrameType, int]]:
    while trace is not None:
        yield trace.tb_frame, trace.tb_lineno
        trace = trace.tb_next


class _Owner(Enum):
    USER = "user"
    PACKAGE = "package"
    LIBRARY = "library"
    INSTALLED = "installed"


def _owner(frame: FrameType) -> _Owner:
    module, path = f"{frame.f_globals.get('__name__', '')}.", Path(frame.f_code.co_filename)
    if module.startswith(f"{_PACKAGE}."):
        return _Owner.USER if module.startswith(f"{_BENCHMARKS}.") else _Owner.PACKAGE
    if _INSTALLED.intersection(path.parts):
        return _Owner.INSTALLED
    # `<frozen importlib._bootstrap>`, `<string>`
    if path.name.startswith("<") or any(library in path.parents for library in _LIBRARY):
        return _Owner.LIBRARY
    return _Owner.USER


def _place(file: str, line: int) -> str:
    return f"{shown_path(file)}:{line}"
