"""Tar headers, byte by byte: as any program may write them, and as no honest one does."""

from __future__ import annotations


def octal(number: int, width: int) -> bytes:
    return b"%0*o\0" % (width - 1, number)


def base_256(number: int, width: int) -> bytes:
    return bytes([0x80]) + number.to_bytes(width - 1, "big")


def block(
    name: bytes,
    kind: bytes,
    data: bytes = b"",
    *,
    link: bytes = b"",
    mode: int = 0o644,
    prefix: bytes = b"",
    gnu: bool = False,
    big: bool = False,
    size: int | None = None,
) -> bytes:
    """One header of 512 bytes and what follows it, as any program may write it."""
    number = base_256 if big else octal
    header = bytearray(512)
    header[0:100] = name[:100].ljust(100, b"\0")
    header[100:108] = octal(mode, 8)
    header[108:116] = header[116:124] = number(0, 8)
    header[124:136] = number(len(data) if size is None else size, 12)
    header[136:148] = number(1, 12)
    header[156:157] = kind
    header[157:257] = link[:100].ljust(100, b"\0")
    header[257:265] = b"ustar  \0" if gnu else b"ustar\x0000"
    header[345:500] = prefix[:155].ljust(155, b"\0")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data + b"\0" * (-len(data) % 512)


def pax(kind: bytes, records: dict[bytes, bytes]) -> bytes:
    text = b""
    for key, value in records.items():
        body = b" " + key + b"=" + value + b"\n"
        length = len(body) + 1
        while len(b"%d" % length) + len(body) != length:
            length = len(b"%d" % length) + len(body)
        text += b"%d" % length + body
    return block(b"././@PaxHeader", kind, text)


#: What follows a folder `top`, and would make a lenient reader write elsewhere or something else.
EVIL = {
    "GNU.sparse.name": pax(b"x", {b"GNU.sparse.name": b"/etc/evil"}) + block(b"top/a", b"0", b"evil"),
    "GNU.sparse.name 1.0": pax(
        b"x", {b"GNU.sparse.major": b"1", b"GNU.sparse.minor": b"0", b"GNU.sparse.name": b"../evil"}
    ) + block(b"top/GNUSparseFile.0/a", b"0", b"1\n0\n4\n".ljust(512, b"\0") + b"evil"),
    "old sparse": block(b"top/a", b"S", b"evil"),
    "global path": pax(b"g", {b"path": b"/etc/evil"}) + block(b"top/a", b"0", b"evil"),
    "global size": pax(b"g", {b"size": b"100000"}) + block(b"top/a", b"0", b"evil"),
    "absolute": block(b"/etc/evil", b"0", b"evil"),
    "dots": block(b"top/../../etc/evil", b"0", b"evil"),
    "behind a symlink": block(b"top/l", b"2", link=b"/etc") + block(b"top/l/evil", b"0", b"evil"),
    "over a symlink": block(b"top/l", b"2", link=b"/etc/evil") + block(b"top/l", b"0", b"evil"),
    "hard link": block(b"top/h", b"1", link=b"/etc/passwd"),
    "hard link to a symlink": block(b"top/l", b"2", link=b"/etc/passwd") + block(b"top/h", b"1", link=b"top/l"),
    "no such type": block(b"top/a", b"Z", b"evil"),
    "NUL in a name": pax(b"x", {b"path": b"top/a\0/../../evil"}) + block(b"top/a", b"0", b"evil"),
    "another folder": block(b"toppest/evil", b"0", b"evil"),
    "cut off": block(b"top/a", b"0", b"evil", size=5000),
}  # fmt: skip
