"""The users of a container, by its own tables. Runs in a bare interpreter; see monitor.py.

Not by the C library: it would load modules that the tables' owner names.
"""

from __future__ import annotations

import errno
import os

#: Bytes that are read of a table.
_LONGEST = 1 << 20

_REGULAR = 0o100000


class User:
    """One who runs a command."""

    def __init__(self, uid: int, gid: int, groups: list[int], home: str) -> None:
        self.uid, self.gid, self.groups, self.home = uid, gid, groups, home


def look_up(wanted: str) -> User:
    """Return a user as `docker exec --user` has it: NAME or NUMBER, perhaps with `:GROUP`; root when it is empty.

    Raises OSError for one who is not there.
    """
    who, _, group = os.fsencode(wanted or "0").partition(b":")
    uid, gid, name, home = _number(who), 0, who, b"/"
    for row in _table("/etc/passwd", 7):
        if (row[0] == who or _number(row[2]) == uid) and min(_number(row[2]), _number(row[3])) >= 0:
            name, uid, gid, home = row[0], _number(row[2]), _number(row[3]), row[5] or b"/"
            break
    rows = [row for row in _table("/etc/group", 4) if _number(row[2]) >= 0]
    groups: list[int] = []
    if group:
        gid = next((_number(row[2]) for row in rows if row[0] == group), _number(group))
    else:
        groups = [_number(row[2]) for row in rows if name in row[3].split(b",")]
    if min(uid, gid) < 0:
        raise OSError(errno.EINVAL, f"there is no user {wanted!r} in the container")
    # The first one among the others, too, as engines have it: else a program that changes its group would be rid of it.
    return User(uid, gid, [gid, *(number for number in groups if number != gid)], os.fsdecode(home))


def _number(text: bytes) -> int:
    """Return the number of a user or group, -1 for what is none."""
    return int(text) if text.isdigit() and len(text) < 10 else -1


def _table(path: str, columns: int) -> list[list[bytes]]:
    try:
        # Neither for ever nor without end: it is what an agent made of it.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY), "rb") as file:
            if os.fstat(file.fileno()).st_mode & 0o170000 != _REGULAR:
                return []
            text = file.read(_LONGEST)
    except OSError:
        return []
    rows = [line.strip().split(b":") for line in text.split(b"\n")]
    return [row for row in rows if len(row) >= columns]
