"""A container as a sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import posixpath
import re
import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, BinaryIO, ClassVar

from ...core.shielded import Shielded
from ...errors import InfrastructureError, SandboxBroken, Unsupported
from ...task import SandboxSpec
from ..protocol import Capabilities
from ..running import Output
from ..scripts import shell_script
from ..shell_sandbox import ShellSandbox
from .archive import changed_paths, copy_archive
from .command import ContainerCommand
from .container import (
    cannot_start,
    create_container,
    limited,
    pause_container,
    remove_container,
    restart_container,
    start_container,
)
from .engine import Engine, shared_engine
from .exec_api import KILLED
from .images import Image, ImageGone, forget_image, ready_image
from .lease import Lease
from .namespaces.command import PrivateCommand
from .namespaces.container import Confinement
from .namespaces.probe import confinement_of
from .owner import LABEL, NAME_LABEL
from .run_options import RunOptions

#: Seconds.
_START_TIMEOUT = 120.0
_END_TIMEOUT = 60.0

#: What is in memory in every container, and on no disk.
_IN_MEMORY = ("/dev", "/proc", "/sys")

_logger = logging.getLogger(__name__)


class DockerSandbox(ShellSandbox):
    """Runs commands in a container of its own, which is removed at the end.

    The container ends with this process, however that ends. `name` labels it, and stands in its name. `options`
    are those of `docker run` that are added to every container; see `RunOptions`.
    """

    backend = "docker"
    #: Of tasks that name none, when the user names none either.
    default_image: ClassVar[str] = "debian:stable-slim"

    def __init__(self, spec: SandboxSpec, *, name: str, options: Mapping[str, Any] | None = None) -> None:
        self.name = name
        #: Known once it has started.
        self.home = self.workdir = "/"
        self.scratch = f"/tmp/.hermes-{secrets.token_hex(6)}"
        #: What runs a command that is a text: `bash`, or `sh` where the image has no other.
        self.shell = "bash"
        unnamed = spec.image is None and spec.build_context is None
        self._spec = replace(spec, image=self.default_image) if unnamed else spec
        self._options = RunOptions.parse(options or {})
        self._engine: Engine | None = None
        self._container: str | None = None
        self._lease: Lease | None = None
        self._commands: set[ContainerCommand] = set()
        self._private_commands: set[PrivateCommand] = set()
        #: Or why commands cannot have folders of their own.
        self._confinement: Confinement | str = "the sandbox has not started"
        self._numbered = True
        self._root = True
        self._open = self._closed = self._frozen = False
        self._closing: asyncio.Future[None] | None = None

    @staticmethod
    def check_options(options: Mapping[str, Any]) -> None:
        """Raise UsageError for one that does not exist, or that is not the user's to set."""
        RunOptions.parse(options)

    @staticmethod
    def describe() -> str:
        """Return the engine's version and what it cannot do, for the header.

        Connects to it, at the first call in a process. Raises UsageError when there is no engine.
        """
        facts = shared_engine().facts
        cannot = [name for name, can in facts.limits.items() if not can]
        return f"docker {facts.version}" + (f" (cannot limit {', '.join(cannot)})" if cannot else "")

    @property
    def capabilities(self) -> Capabilities:
        return Capabilities(
            hard_kill=self._numbered,
            # Not where containers are started in the host's namespace.
            own_processes="pid_mode" not in self._options.host,
            root=self._root,
            users=True,
            private_folders=isinstance(self._confinement, Confinement),
        )

    async def start(self) -> None:
        """See `Sandbox.start`. Raises InfrastructureError of kind `image` when its image cannot be had."""
        engine = self._engine = await asyncio.to_thread(shared_engine)
        self._check_needs(engine)
        try:
            await self._create_from_image(engine)
            await self._launch(engine)
            self._confinement = await self._find_confinement(engine)
            self._check_not_closed()
            self._open = True
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """See `Sandbox.close`."""
        self._open = False
        self._closed = True
        private = list(self._private_commands)
        for command in self._running():
            command.fail(InfrastructureError("the sandbox is closed", kind="sandbox"))
        shielded = Shielded()
        if self._closing is None and self._engine is not None and self._container is not None:
            self._closing = asyncio.wrap_future(self._engine.submit(remove_container, self._engine, self._container))
        if self._closing is not None:
            await shielded.wait(self._closing)
            if (error := self._closing.exception()) is not None:
                # It ends by itself all the same, as soon as nobody holds its standard input.
                _logger.warning("the container of %s could not be removed: %s", self.name, error)
        for one in private:
            await shielded.wait(one.gone, _END_TIMEOUT)
        if self._lease is not None:
            self._lease.stream.close()
            await shielded.wait(self._lease.stream.closed)
        shielded.release()

    async def run(
        self,
        argv: Sequence[str],
        cwd: str,
        env: Mapping[str, str],
        stdin: bytes | BinaryIO,
        stdout: Output,
        stderr: Output,
        user: str,
    ) -> ContainerCommand:
        """See `ShellSandbox.run`."""
        engine, container = self._opened()
        if self._frozen:
            raise InfrastructureError("the sandbox is frozen", kind="sandbox")
        running = ContainerCommand(engine, container, stdout, stderr, numbered=self._numbered)
        self._commands.add(running)
        running.exited.add_done_callback(lambda _: self._commands.discard(running))
        try:
            await running.start(argv, cwd=cwd, env=env, stdin=stdin, user=user)
        except BaseException:
            with contextlib.suppress(InfrastructureError):
                await running.kill()
            raise
        return running

    async def run_private(
        self,
        private: Sequence[str],
        argv: Sequence[str],
        cwd: str,
        env: Mapping[str, str],
        stdin: bytes | BinaryIO,
        stdout: Output,
        stderr: Output,
        user: str,
    ) -> PrivateCommand:
        """See `ShellSandbox.run_private`."""
        engine, container = self._opened()
        if self._frozen:
            raise InfrastructureError("the sandbox is frozen", kind="sandbox")
        if isinstance(self._confinement, str):
            raise Unsupported(f"a command cannot have folders of its own: {self._confinement}")
        running = PrivateCommand(engine, container, stdout, stderr)
        self._private_commands.add(running)
        running.gone.add_done_callback(lambda _: self._private_commands.discard(running))
        try:
            await running.start(self._confinement, private, argv, cwd=cwd, env=env, stdin=stdin, user=user)
        except BaseException:
            with contextlib.suppress(InfrastructureError):
                await running.kill()
            raise
        return running

    async def end_processes(self) -> None:
        """See `Sandbox.end_processes`: by a new start of the container, of which no process of the agent's is left.

        What is in memory is lost: `/dev/shm`, mounts of the kind tmpfs. The engine writes `/etc/hosts`,
        `/etc/hostname` and `/etc/resolv.conf` anew.
        """
        if not self.capabilities.own_processes:
            return
        engine, container = self._opened()
        for command in self._running():
            command.settle(KILLED)
            command.close()
        ended, self._lease = self._lease, None
        await engine.call(restart_container, engine, container)
        if ended is not None:
            ended.stream.close()
        self._lease = await Lease.attach(engine, container)
        if await self._lease.answer(_START_TIMEOUT) is None:
            raise SandboxBroken("the sandbox's shell, /bin/sh, does not work any more")

    async def freeze(self) -> None:
        """See `Sandbox.freeze`. Where the engine cannot pause a container, its processes are ended."""
        engine, container = self._opened()
        if self._frozen:
            return
        if await engine.call(pause_container, engine, container):
            self._frozen = True
        else:
            await self.end_processes()

    async def pull(self, path: str, tar: BinaryIO) -> None:
        """See `Sandbox.pull`: the engine reads the files. It does not see what is in memory (tmpfs).

        Raises OSError when not all of it can be read, or it has more than 4 GiB.
        """
        engine, container = self._opened()
        if (mount := self._in_memory(posixpath.normpath(path))) is not None:
            raise Unsupported(f"a Docker engine cannot read {path!r} from a container: {mount!r} is in memory")
        abandoned = threading.Event()
        try:
            error = await engine.call(copy_archive, engine, container, path, tar, abandoned)
        finally:
            abandoned.set()
        if error is not None:
            raise error

    async def changed_files(self) -> tuple[str, ...] | None:
        """See `Sandbox.changed_files`: what the engine tells."""
        engine, container = self._opened()
        return await engine.call(changed_paths, engine, container)

    def _opened(self) -> tuple[Engine, str]:
        """Return what the container is reached by. Raises InfrastructureError when it is not open."""
        if self._engine is None or self._container is None or not self._open:
            raise InfrastructureError("the sandbox is not open", kind="sandbox")
        return self._engine, self._container

    async def _find_confinement(self, engine: Engine) -> Confinement | str:
        assert self._container is not None
        return await confinement_of(engine, self._container, self.scratch, str(self._options))

    def _running(self) -> list[ContainerCommand | PrivateCommand]:
        return [*self._commands, *self._private_commands]

    def _in_memory(self, path: str) -> str | None:
        """Return the mount in memory below which `path` is, None where it is on a disk."""
        mounts = [*_IN_MEMORY, *self._options.host.get("tmpfs", ())]
        return next((mount for mount in mounts if f"{path}/".startswith(f"{mount.rstrip('/')}/")), None)

    def _check_needs(self, engine: Engine) -> None:
        """Raise Unsupported for what this engine's machine does not have."""
        spec, facts = self._spec, engine.facts
        if spec.cpus is not None and spec.cpus > facts.cpus:
            raise Unsupported(f"the task needs {spec.cpus:g} cpus, the machine of this Docker engine has {facts.cpus}")
        if spec.memory_bytes is not None and spec.memory_bytes > facts.memory > 0:
            raise Unsupported(
                f"the task needs {spec.memory_bytes >> 20} MiB of memory, "
                f"the machine of this Docker engine has {facts.memory >> 20} MiB"
            )

    def _check_not_closed(self) -> None:
        if self._closed:
            raise InfrastructureError("the sandbox was closed while it started", kind="sandbox")

    async def _create_from_image(self, engine: Engine) -> None:
        platform = self._options.container.get("platform")
        image = await ready_image(engine, self._spec, platform)
        try:
            await self._create(engine, image)
        except ImageGone:
            # It was removed since; once more, it may be pulled or built.
            forget_image(image)
            image = await ready_image(engine, self._spec, platform)
            await self._create(engine, image)

    async def _create(self, engine: Engine, image: Image) -> None:
        spec = self._spec
        self._check_not_closed()
        slug = re.sub(r"[^A-Za-z0-9]+", "-", self.name).strip("-")[:40] or "sandbox"
        # Its own output is heard and not kept: an agent may write to it without end.
        host = {"auto_remove": True, "log_config": {"type": "none", "config": {}}, **self._options.host}
        if spec.network is False:
            host["network_mode"] = "none"
        folder = spec.workdir or image.workdir or "."
        config = {
            "image": image.id,
            "name": f"hermes-{slug}-{secrets.token_hex(4)}",
            "entrypoint": ["/bin/sh"],
            "command": ["-c", shell_script("lease"), "sh", folder, self.scratch],
            "stdin_open": True,
            "environment": dict(spec.env),
            # The engine makes it if it is missing.
            "working_dir": folder if folder.startswith("/") else None,
            "labels": {LABEL: engine.owner, NAME_LABEL: self.name},
            "healthcheck": {"test": ["NONE"]},
            # What the others mean, the main process ignores.
            "stop_signal": "SIGKILL",
            **self._options.container,
        }
        # Cancelled or not: what is made must be known, or it could not be removed.
        shielded = Shielded()
        limits = limited(spec, engine.facts)
        making = asyncio.wrap_future(engine.submit(create_container, engine, config, host, limits))
        await shielded.wait(making)
        if making.exception() is None:
            self._container = making.result()
        shielded.release()
        making.result()

    async def _launch(self, engine: Engine) -> None:
        # Attached before it starts: its standard input, which this process holds, is what it lives by.
        assert self._container is not None
        lease = self._lease = await Lease.attach(engine, self._container)
        name = self._spec.image or f"built from {str(self._spec.build_context)!r}"
        await engine.call(start_container, engine, self._container, name)
        if (said := await lease.answer(_START_TIMEOUT)) is None:
            raise cannot_start(lease.complaints, name)
        self.home, self.workdir, bash, numbered, user = said
        self.shell = "bash" if bash else "sh"
        self._numbered = bool(numbered)
        self._root = user == "0"
