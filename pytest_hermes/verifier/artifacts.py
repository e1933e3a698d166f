"""What an agent made, brought to a sandbox it never saw."""

from __future__ import annotations

import asyncio
import posixpath
import tempfile
from typing import BinaryIO, cast

from ..errors import InfrastructureError
from ..sandbox.protocol import Sandbox
from ..sandbox.scripts import shell_script
from ..sandbox.tar_commands import unpack
from ..sandbox.tar_reader import HARD_LINK, SYMLINK, TarError, TarReader
from ..sandbox.transfer import DEFAULT_MAX_BYTES, BoundedFile

#: Seconds for copying one of them.
_COPYING = 600.0


class Spoiled(Exception):
    """What the agent did to its sandbox keeps its work from being had from there; the text says in what way."""


async def copy_artifact(source: Sandbox, target: Sandbox, path: str) -> None:
    """Make the absolute `path` in `target` what it is in `source`, with its owners, also when it is gone there.

    `source` is frozen, and `target` still as its image. Raises Spoiled and SandboxBroken for what an intact `source`
    would not do, and InfrastructureError when it cannot be done.
    """
    try:
        with tempfile.TemporaryFile(prefix="hermes-") as file:
            await _copy(source, target, path, cast(BinaryIO, file))
    except OSError as error:
        why = f"not within {_COPYING:g} seconds" if isinstance(error, TimeoutError) else str(error)
        raise InfrastructureError(f"{path!r} cannot be copied to the fresh sandbox: {why}", kind="verifier") from error


async def _copy(source: Sandbox, target: Sandbox, path: str, tar: BinaryIO) -> None:
    path = await _run(target, "locate", path)
    folder, name = posixpath.split(path)
    there = await _pull(source, path, tar)
    await _run(target, "clear", path, *([] if there else ["gone"]))
    if there:
        await asyncio.to_thread(_check, tar, name)
        tar.seek(0)
        async with asyncio.timeout(_COPYING):
            await unpack(target, tar, folder, owners=True, user=target.capabilities.as_root)


async def _pull(source: Sandbox, path: str, tar: BinaryIO) -> bool:
    """Return whether there is such a path."""
    bounded = cast(BinaryIO, BoundedFile(tar, DEFAULT_MAX_BYTES))
    try:
        async with asyncio.timeout(_COPYING):
            await source.pull(path, bounded)
    except FileNotFoundError:
        return False
    except OSError as error:
        if error.errno is not None:
            raise  # of this machine's own file, such as a full disk
        why = f"not within {_COPYING:g} seconds" if isinstance(error, TimeoutError) else str(error)
        raise Spoiled(f"{path!r} cannot be had from the agent's sandbox: {why}") from error
    return True


async def _run(sandbox: Sandbox, script: str, *arguments: str) -> str:
    command = ["/bin/sh", "-c", shell_script(script, __package__), "sh", *arguments]
    result = await sandbox.exec(command, cwd="/", user=sandbox.capabilities.as_root)
    if result.exit_code:
        raise OSError(result.stderr.decode(errors="replace").strip().partition("\n")[0])
    return result.stdout.decode(errors="surrogateescape").removesuffix("\n")


def _check(tar: BinaryIO, name: str) -> None:
    """Raise Spoiled unless all of an archive lies at `name` or below, whatever unpacks it.

    It was packed by a program that the agent may have replaced, and is unpacked by root.
    """
    links: set[tuple[str, ...]] = set()
    try:
        reader = TarReader(tar)
        while (member := reader.next()) is not None:
            parts = _parts(member.name, name)
            if member.type == HARD_LINK:
                _parts(member.link, name)
            if any(parts[:length] in links for length in range(1, len(parts))):
                raise Spoiled(f"the agent's sandbox sent {member.name!r}, which lies behind a symlink")
            if member.type == SYMLINK:
                links.add(parts)
    except TarError as error:
        raise Spoiled(f"the agent's sandbox sent {name!r} as something that is not an archive: {error}") from error


def _parts(path: str, name: str) -> tuple[str, ...]:
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    if path.startswith("/") or ".." in parts or parts[:1] != (name,):
        raise Spoiled(f"the agent's sandbox sent {path!r} as a part of {name!r}")
    return parts
