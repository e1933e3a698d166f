"""What an engine itself reads from a container: files as a tar stream, and the paths that changed. No program runs.

All of this blocks, for `Engine.call`. Requests: ContainerArchive and ContainerChanges of
https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container
"""

from __future__ import annotations

import contextlib
import json
import os
import posixpath
import re
import tarfile
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, BinaryIO

from ...core.one_line import first_line
from ..transfer import DEFAULT_MAX_BYTES
from .engine import Engine
from .exec_api import check_present

if TYPE_CHECKING:
    from requests import Response

_CHUNK = 1 << 18  # bytes
_BLOCK = 512

#: Bytes of what comes before a member and says something about it: a long name, attributes.
_MAX_EXTENSION = 1 << 20
#: How such a block of pax records tells a size that the member's own header has no room for.
_PAX_SIZE = re.compile(rb"(?:^|\n)\d+ size=(\d+)\n")

#: Bytes of the list of changed paths that are read, and how one of them is written.
_MAX_CHANGES = 64 << 20
_CHANGED = re.compile(rb'"Path":("(?:[^"\\]|\\.)*")')


#: What is in memory in every container, and on no disk.
_IN_MEMORY = ("/dev", "/proc", "/sys")


class Abandoned(Exception):
    """Nobody waits for the archive any more."""


def mount_in_memory(path: str, mounts: Iterable[str]) -> str | None:
    """Return the mount in memory below which an absolute path is, None where it is on a disk.

    `mounts` are those of one container, besides those of all.
    """
    below = f"{posixpath.normpath(path)}/"
    return next((mount for mount in (*_IN_MEMORY, *mounts) if below.startswith(f"{mount.rstrip('/')}/")), None)


def copy_archive(
    engine: Engine, container: str, path: str, tar: BinaryIO, abandoned: threading.Event
) -> OSError | None:
    """Write a tar stream of `path` to `tar`; names begin with its base name. Symlinks on the way are followed.

    Returns an OSError about the path or of `tar`, and raises one of the connection. Raises Abandoned as soon as that is
    set, and ContainerGone.
    """
    with _response(engine, container, "archive", path=os.fsencode(path)) as response:
        if response.status_code == 404:
            check_present(engine, container, running=False)
            return FileNotFoundError(f"there is no {path!r} in the sandbox")
        if response.status_code != 200:
            return OSError(f"{path!r} cannot be read from the sandbox: {_message(response)}")
        sizes = _Sizes(DEFAULT_MAX_BYTES)
        for chunk in response.iter_content(_CHUNK):
            if abandoned.is_set():
                raise Abandoned
            try:
                sizes.feed(chunk)
                tar.write(chunk)
            except OSError as error:
                return error
    return None


def changed_paths(engine: Engine, container: str) -> tuple[str, ...] | None:
    """Return the absolute paths that were added, changed or removed since the image, as far as 64 MiB list them.

    None when the engine cannot tell. Raises ContainerGone.
    """
    with _response(engine, container, "changes") as response:
        if response.status_code != 200:
            check_present(engine, container, running=False)
            return None
        text = bytearray()
        for chunk in response.iter_content(_CHUNK):
            text += chunk
            if len(text) > _MAX_CHANGES:
                break
    return tuple(str(json.loads(found[1])) for found in _CHANGED.finditer(text))


@contextlib.contextmanager
def _response(engine: Engine, container: str, what: str, **parameters: Any) -> Iterator[Response]:
    """Ask for what may be large, and close the connection if it was not read to its end: the SDK has no way to."""
    client = engine.client
    address = f"{client.base_url}/v{client.api_version}/containers/{container}/{what}"
    headers = {"Accept-Encoding": "identity"}
    with client.get(address, params=parameters, headers=headers, stream=True, timeout=client.timeout) as response:
        yield response


def _message(response: Response) -> str:
    try:
        return first_line(str(response.json()["message"]))
    except (ValueError, KeyError, TypeError):
        return f"HTTP status {response.status_code}"


class _Sizes:
    """Adds up the sizes in the headers of a tar stream as it passes by: a file of holes says early how large it is."""

    def __init__(self, limit: int) -> None:
        self._left = self._limit = limit
        #: Bytes of the current member that have not come yet, and the header or extension that is being collected.
        self._skip = 0
        self._wanted = _BLOCK
        self._held = bytearray()
        self._in_extension = False
        self._pax_size: int | None = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes. Raises OSError as soon as the members have more bytes together than they may."""
        view = memoryview(data)
        while view:
            if self._skip:
                passed = min(self._skip, len(view))
                self._skip -= passed
                view = view[passed:]
                continue
            missing = self._wanted - len(self._held)
            self._held += view[:missing]
            view = view[missing:]
            if len(self._held) == self._wanted:
                held, self._held, self._wanted = bytes(self._held), bytearray(), _BLOCK
                if self._in_extension:
                    self._in_extension = False
                    if found := _PAX_SIZE.search(held):
                        self._pax_size = int(found[1])
                elif held.strip(b"\0"):
                    self._header(held)

    def _header(self, block: bytes) -> None:
        try:
            member = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise OSError(f"the engine sent something that is not a tar stream: {error}") from error
        if member.type in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
            if member.size > _MAX_EXTENSION:
                raise OSError(f"a header of the download has {member.size} bytes")
            self._wanted = max(_padded(member.size), _BLOCK)
            self._in_extension = True
            return
        size = member.size if self._pax_size is None else self._pax_size
        self._pax_size = None
        if not member.isreg():
            return
        self._skip = _padded(size)
        self._left -= size
        if self._left < 0:
            raise OSError(f"the download is larger than it may be: it has more than {self._limit >> 20} MiB")


def _padded(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
