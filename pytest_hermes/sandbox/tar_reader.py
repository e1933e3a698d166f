"""Reading tar streams that may be hostile.

Not `tarfile`: headers with negative sizes or crafted pax records make older versions of it loop, and it reads
headers of any size into memory. Formats: ustar (POSIX.1-1988), GNU's long names, pax (POSIX.1-2001).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import IO, BinaryIO

_BLOCK = 512
#: Bytes of a name; the kernel takes no path of more than 4 KiB in one go.
_MAX_HEADER = 1 << 20
_CHUNK = 1 << 18

REGULAR = b"0"
HARD_LINK = b"1"
SYMLINK = b"2"
CHARACTER_DEVICE = b"3"
BLOCK_DEVICE = b"4"
FOLDER = b"5"
FIFO = b"6"

_LONG_NAME = b"L"
_LONG_LINK = b"K"
_PAX = b"x"
_PAX_GLOBAL = b"g"
#: Headers that say something about the next member.
_EXTENSIONS = (_LONG_NAME, _LONG_LINK, _PAX, _PAX_GLOBAL)


class TarError(Exception):
    """The stream is not a tar stream, or damaged."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """One file of a tar stream. Names that are not UTF-8 have surrogate escapes, as in all of Python."""

    name: str
    #: One byte, e.g. `REGULAR`; older ways to say the same are translated.
    type: bytes
    #: Permission bits.
    mode: int
    #: Bytes.
    size: int
    #: Of a link: where it leads.
    link: str
    #: It has holes, which are written down in one of several ways that are not read here.
    sparse: bool
    #: Numbers of the user and the group that own it.
    uid: int = 0
    gid: int = 0
    #: Seconds since 1970.
    mtime: int = 0


class TarReader:
    """Reads the members of a seekable stream, one after the other. Everything may raise TarError."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._size = stream.seek(0, os.SEEK_END)
        self._next = 0
        self._data = 0
        #: Records of global pax headers, which hold for all members that follow.
        self._global: dict[bytes, bytes] = {}

    def next(self) -> Member | None:
        """Return the next member, or None at the end."""
        long_name = long_link = None
        pax: dict[bytes, bytes] = {}
        header = self._header()
        while header is not None and (kind := header[156:157]) in _EXTENSIONS:
            text = self._text(_number(header[124:136]))
            if kind == _LONG_NAME:
                long_name = text.rstrip(b"\0")
            elif kind == _LONG_LINK:
                long_link = text.rstrip(b"\0")
            elif kind == _PAX:
                pax |= _pax_records(text)
            else:
                self._global |= _pax_records(text)
            header = self._header()
        if header is None:
            return None
        pax = {**self._global, **pax}
        kind = header[156:157]
        size = _number(header[124:136])
        name = pax.get(b"path") or long_name or _name(header)
        link = pax.get(b"linkpath") or long_link or _string(header[157:257])
        if b"size" in pax:
            size = _decimal(pax[b"size"])
        if kind in (b"\0", b"7"):
            kind = REGULAR
        if kind == REGULAR and name.endswith(b"/"):  # as before 1988
            kind = FOLDER
        # Only files have contents, and whatever is not known.
        stored = 0 if kind in (HARD_LINK, SYMLINK, CHARACTER_DEVICE, BLOCK_DEVICE, FOLDER, FIFO) else size
        if stored > self._size - self._next:
            raise TarError("it ends in the middle of a file")
        self._data = self._next
        self._next += -(-stored // _BLOCK) * _BLOCK
        return Member(
            name=os.fsdecode(name),
            type=kind,
            mode=_number(header[100:108]) & 0o7777,
            size=stored,
            link=os.fsdecode(link),
            sparse=kind == b"S" or any(key.startswith(b"GNU.sparse.") for key in pax),
            uid=_decimal(pax[b"uid"]) if b"uid" in pax else _number(header[108:116]),
            gid=_decimal(pax[b"gid"]) if b"gid" in pax else _number(header[116:124]),
            # Before 1970 and parts of a second are of no use here.
            mtime=_seconds(pax[b"mtime"]) if b"mtime" in pax else _signed(header[136:148]),
        )

    def copy(self, member: Member, target: IO[bytes]) -> None:
        """Write the contents of the member that `next` has just returned."""
        self._stream.seek(self._data)
        left = member.size
        while left:
            chunk = self._stream.read(min(left, _CHUNK))
            if not chunk:
                raise TarError("it has become shorter")
            target.write(chunk)
            left -= len(chunk)

    def _header(self) -> bytes | None:
        self._stream.seek(self._next)
        header = self._stream.read(_BLOCK)
        if not header.strip(b"\0"):
            return None
        if len(header) < _BLOCK:
            raise TarError("it ends in the middle of a header")
        unsigned = sum(header[:148]) + 8 * 0x20 + sum(header[156:])
        if _number(header[148:156]) != unsigned:
            raise TarError("a header has the wrong checksum")
        self._next += _BLOCK
        return header

    def _text(self, size: int) -> bytes:
        if size > _MAX_HEADER:
            raise TarError(f"a name or header has {size} bytes")
        text = self._stream.read(size)
        if len(text) < size:
            raise TarError("it ends in the middle of a name")
        self._next += -(-size // _BLOCK) * _BLOCK
        return text


def _number(field: bytes) -> int:
    if field[0] & 0x80:  # GNU: the bytes of a big number, its first bit apart
        if field[0] & 0x40:
            raise TarError("a size is negative")
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    digits = field.strip(b" \0") or b"0"
    if not all(0x30 <= digit <= 0x37 for digit in digits):
        raise TarError(f"{field!r} is not a number")
    return int(digits, 8)


def _signed(field: bytes) -> int:
    return 0 if field[0] & 0xC0 == 0xC0 else _number(field)


def _seconds(digits: bytes) -> int:
    return 0 if digits.startswith(b"-") else _decimal(digits.partition(b".")[0])


def _decimal(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 20:
        raise TarError(f"{digits[:30]!r} is not a size")
    return int(digits)


def _string(field: bytes) -> bytes:
    return field.partition(b"\0")[0]


def _name(header: bytes) -> bytes:
    name = _string(header[:100])
    # GNU's own headers have other things in place of the prefix.
    if header[257:263] == b"ustar\0" and (prefix := _string(header[345:500])):
        return prefix + b"/" + name
    return name


def _pax_records(text: bytes) -> dict[bytes, bytes]:
    """Read records of the form `LENGTH KEY=VALUE\\n`, whose length includes all of it."""
    records: dict[bytes, bytes] = {}
    position = 0
    while position < len(text) and text[position] != 0:
        space = text.find(b" ", position, position + 21)
        if space < 0:
            raise TarError("a pax header is damaged")
        end = position + _decimal(text[position:space])
        if end <= space or end > len(text) or text[end - 1 : end] != b"\n":
            raise TarError("a pax header is damaged")
        key, equals, value = text[space + 1 : end - 1].partition(b"=")
        if not equals:
            raise TarError("a pax header is damaged")
        records[key] = value
        position = end
    return records
