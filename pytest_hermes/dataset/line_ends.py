"""Scripts that were saved on Windows: a Linux shell takes each CR for a part of its line, and finds no `bash\\r`."""

from __future__ import annotations

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def mended(script: bytes) -> bytes:
    """Return a script as a shell can run it: without a byte order mark, and without CR where its first line has one.

    A script whose first line ends in LF alone is left alone: a CR below it may be part of a text that it writes.
    """
    script = script.removeprefix(_BYTE_ORDER_MARK)
    if script.partition(b"\n")[0].endswith(b"\r"):
        script = script.replace(b"\r\n", b"\n").removesuffix(b"\r")
    return script


def line_end_notes(name: str, script: bytes) -> list[str]:
    """Return what people should know about the line ends of the script that they know as `name`: a line, or none."""
    if mended(script) != script:
        return [f"{name} was saved with Windows line ends or a byte order mark; pytest-hermes corrects this"]
    if b"\r\n" in script:
        return [f"some lines of {name} end in CRLF, unlike its first; they are left as they are"]
    return []
