"""Values and errors as a part of a message, which is one line."""

from __future__ import annotations

import re
import reprlib

#: Characters of a value that a message shows.
LONGEST = 80

#: Characters of an error's text, and of its first line, that are kept: a record must not hold megabytes.
_TEXT = 20_000
_LINE = 500

#: What a terminal acts on instead of showing it: control sequences and strings (ECMA-48, 5.4 and 5.6), other control
#: characters, and those that turn the direction of the text after them (Unicode, UAX 9).
_CONTROLS = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\|$)"
    r"|\x1b[ -/]*[0-~]?"
    r"|[\x00-\x08\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]"
)


def shown(value: object) -> str:
    """Return a value as Python writes it, on one line and not too long, whatever its class makes of that."""
    brief = reprlib.Repr()
    brief.maxstring = brief.maxother = brief.maxlong = LONGEST
    try:
        text = " ".join(brief.repr(value).splitlines())
    except BaseException:  # a class whose name or elements cannot be had either
        text = f"a {type(value).__name__}"
    return text if len(text) <= 2 * LONGEST else f"{text[: 2 * LONGEST]}…"


def first_line(text: str, longest: int = 300) -> str:
    """Return the first line of a text that says something, `printable` and cut to so many characters."""
    lines = (printable(line).strip() for line in text.splitlines())
    line = next((line for line in lines if line), "")
    return line if len(line) <= longest else f"{line[:longest]}…"


def printable(line: str) -> str:
    """Return a line without what a terminal would act on: others wrote it, and it goes to logs and screens."""
    return line if line.isprintable() else _CONTROLS.sub("", line).replace("\t", " ")


def text_of(error: BaseException) -> str:
    """Return the text of an error, whatever its class makes of that."""
    try:
        text = str(error)
        # Not a subclass, whose methods may be somebody's own.
        return str.__str__(text)[:_TEXT]
    except BaseException as problem:
        return f"(its text cannot be shown: {type(problem).__name__})"


def described(error: BaseException) -> str:
    """Return an error as `KeyError: 'x'`: its class and the first line of its text, if it has any."""
    first = first_line(text_of(error), _LINE)
    return f"{type(error).__name__}: {first}" if first else type(error).__name__
