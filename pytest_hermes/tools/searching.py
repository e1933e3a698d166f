"""Searches inside the sandbox: lines by regular expression, files by name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from .paths import run_script
from .place import Place

#: Bytes of a line that a match shows.
_LINE = 500

# The version control's own files are never what is meant; those of the kernel have no end.
_LIST = r"""
[ -e "$1" ] || refuse "there is no such file or directory (the current directory is $PWD)"
[ -d "$1" ] || [ -f "$1" ] || refuse 'it is a device, pipe or socket'
name=$2 glob=$3
list() {
    if [ -f "$1" ]; then printf '%s\0' "$1"; return; fi
    find -H "$1" -mindepth 1 \( -name .git -o -path /proc -o -path /sys -o -path /dev \) -prune -o TESTS -print0 \
        2>/dev/null | sort -z
}
"""

_FILES = _LIST + 'list "$1" | head -c "$4"\n'

# A name ends with NUL, and so do the lines of its file: whatever stands in names and lines, they can be told apart.
# Files are looked at in batches, so that those without a match cost little.
_LINES = (
    _LIST
    + r"""
# A line to look at, because busybox reads the pattern no sooner.
said=$(echo | grep -E -e "$5" 2>&1 >/dev/null)
[ $? -le 1 ] || refuse "the pattern is not a regular expression for grep -E: $said"
look='
pattern=$1 lines=$2 width=$3
shift 3
grep -q -E -e "$pattern" "$@" 2>/dev/null || exit 0
for file do
    grep -q -E -e "$pattern" "$file" 2>/dev/null || continue
    [ "$(head -c 8000 <"$file" | tr -d "\000" | wc -c)" -eq "$(head -c 8000 <"$file" | wc -c)" ] || continue
    printf "%s\\0" "$file"
    grep -n -E -e "$pattern" "$file" | head -n "$lines" | cut -b "1-$width" | tr -d "\000"
    printf "\\0"
done
'
list "$1" | xargs -0 -n 64 sh -c "$look" sh "$5" "$6" "$7" 2>/dev/null | head -c "$4"
"""
)


@dataclass(frozen=True)
class Found:
    """What a search found, in the order of the files' names."""

    #: For lines: `path`, `line` (from 1) and `text`; for files: their paths.
    matches: list[Any]
    #: There are more than were asked for.
    more: bool


async def find_lines(place: Place, pattern: str, path: str, file_glob: str | None, limit: int) -> Found:
    """Return at most `limit` lines below `path` that match `pattern`, as grep -E understands it.

    Binary files are left out. Raises FileProblem, also for a pattern that is none.
    """
    room = (limit + 1) * (_LINE + 300) + 8192
    script = _LINES.replace("TESTS", f"-type f {_glob_test(file_glob)}")
    said = await run_script(
        place, script, path, "", file_glob or "", room, pattern, limit + 1, _LINE, max_output=room + 1024
    )
    matches: list[dict[str, Any]] = []
    *pieces, rest = said.split(b"\0")
    if len(pieces) % 2:  # the end of the room came within the lines of a file
        pieces.append(rest.rpartition(b"\n")[0])
    for name, lines in zip(pieces[::2], pieces[1::2], strict=True):
        for line in lines.split(b"\n"):
            number, colon, text = line.partition(b":")
            if colon:
                matches.append({"path": _shown(name), "line": int(number), "text": _text(text)})
    return Found(matches[:limit], len(matches) > limit or len(said) >= room)


async def find_files(place: Place, pattern: str, path: str, file_glob: str | None, limit: int) -> Found:
    """Return at most `limit` files below `path` whose name matches the glob `pattern`.

    A pattern without wildcards matches any part of the name. Raises FileProblem.
    """
    room = (limit + 1) * 1024
    glob = pattern if any(character in pattern for character in "*?[") else f"*{pattern}*"
    script = _FILES.replace("TESTS", f"! -type d {_glob_test(glob, 'name')} {_glob_test(file_glob)}")
    said = await run_script(place, script, path, glob, file_glob or "", room, max_output=room + 1024)
    *names, _ = said.split(b"\0")
    return Found([_shown(name) for name in names[:limit]], len(names) > limit or len(said) >= room)


def _glob_test(glob: str | None, variable: str = "glob") -> str:
    if not glob:
        return ""
    # With a slash it is about the path, wherever that begins.
    return f'-path "*/${variable}"' if "/" in glob.strip("/") else f'-name "${variable}"'


def _shown(name: bytes) -> str:
    return _text(re.sub(rb"\A(\./)+", b"", name))


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
