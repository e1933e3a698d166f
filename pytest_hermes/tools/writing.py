"""Writes files inside the sandbox."""

from __future__ import annotations

from .paths import run_script
from .place import Place

_WRITE = """
case $1 in */) refuse 'it ends with a slash, so it names a directory' ;; esac
[ -d "$1" ] && refuse 'it is a directory'
created=1
if [ -e "$1" ]; then
    created=0
    [ -f "$1" ] || refuse 'it is a device, pipe or socket, not a regular file'
fi
folder=${1%/*}/
[ -d "$folder" ] || said=$(mkdir -p "$folder" 2>&1) || refuse "its folder cannot be made: $said"
# The file keeps its mode and its links: it is written in place.
said=$( { cat >"$1"; } 2>&1 ) || refuse "it cannot be written: $said"
[ "$(wc -c <"$1")" -eq "$2" ] || refuse 'not all of it was written'
echo "$created"
"""


async def write_whole(place: Place, path: str, data: bytes) -> bool:
    """Make `data` the content of a file, with its parent folders if need be; return whether the file is new.

    Raises FileProblem.
    """
    return (await run_script(place, _WRITE, path, len(data), stdin=data)).strip() == b"1"
