"""What an agent made, brought to a sandbox it never saw."""

from __future__ import annotations

import asyncio
import posixpath
import tempfile
from typing import BinaryIO, cast

from ..errors import InfrastructureError
from ..sandbox.plain_tar import UnsafeTar, rewrite_tar
from ..sandbox.protocol import Sandbox
from ..sandbox.scripts import shell_script
from ..sandbox.tar_commands import unpack
from ..sandbox.tar_reader import FOLDER, TarReader
from ..sandbox.transfer import DEFAULT_MAX_BYTES, BoundedFile

#: Seconds for copying one of them.
_COPYING = 600.0


class Spoiled(Exception):
    """What the agent did to its sandbox keeps its work from being had from there; the text says in what way."""


async def copy_artifact(source: Sandbox, target: Sandbox, path: str) -> None:
    """Make the absolute `path` in `target` what it is in `source`, with its owners, also when it is gone there.

    A path below the home folder of `target` is looked for below that of `source`. `source` is frozen, and `target`
    still as its image. Raises Spoiled and SandboxBroken for what an intact `source` would not do, and
    InfrastructureError when it cannot be done.
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
    there = await _pull(source, _counterpart(path, target.home, source.home), tar)
    if not there:
        await _run(target, "clear", path, "gone")
        return
    # What packed it may be a program of the agent's; root unpacks it.
    with tempfile.TemporaryFile(prefix="hermes-") as file:
        plain = cast(BinaryIO, file)
        try:
            await asyncio.to_thread(rewrite_tar, tar, plain, top=name)
        except UnsafeTar as error:
            raise Spoiled(f"the agent's sandbox sent an archive that cannot be used: {error}") from error
        # Nothing but a folder can be unpacked over the folder that may be there.
        first = await asyncio.to_thread(TarReader(plain).next)
        is_folder = first is not None and first.type == FOLDER
        await _run(target, "clear", path, *([] if is_folder else ["gone"]))
        plain.seek(0)
        async with asyncio.timeout(_COPYING):
            await unpack(target, plain, folder, owners=True, user=target.capabilities.as_root)


def _counterpart(path: str, home: str, other: str) -> str:
    """Return where `path` is in a sandbox whose home folder is `other` and not `home`."""
    return other + path.removeprefix(home) if f"{path}/".startswith(f"{home}/") else path


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
        raise Spoiled(f"{path!r} cannot be copied from the agent's sandbox: {why}") from error
    return True


async def _run(sandbox: Sandbox, script: str, *arguments: str) -> str:
    command = ["/bin/sh", "-c", shell_script(script, __package__), "sh", *arguments]
    result = await sandbox.exec(command, cwd="/", user=sandbox.capabilities.as_root)
    if result.exit_code:
        raise OSError(result.stderr.decode(errors="replace").strip().partition("\n")[0])
    return result.stdout.decode(errors="surrogateescape").removesuffix("\n")
