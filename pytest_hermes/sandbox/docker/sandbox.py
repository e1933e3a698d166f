"""A container as a sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, BinaryIO, ClassVar

from ...core.shielded import Shielded
from ...errors import InfrastructureError, SandboxBroken, Unsupported
from ...task import SandboxSpec
from ..protocol import Capabilities, ExecResult, Process
from ..running import Output
from ..scripts import shell_script
from ..shell_sandbox import ShellSandbox
from .archive import changed_paths, copy_archive, mount_in_memory
from .command import ContainerCommand
from .container import NotStarted, cannot_start, check_needs, create_container, limited
from .engine import Engine, EngineLost, shared_engine
from .exec_api import KILLED
from .images import Image, ImageGone, forget_image, ready_image
from .life import ContainerLife
from .namespaces.command import PrivateCommand
from .namespaces.container import Confinement
from .namespaces.probe import confinement_of
from .owner import LABEL, NAME_LABEL
from .run_options import RunOptions

#: Seconds that the processes of a private command have for their end.
_END_TIMEOUT = 60.0

#: Times that a start is tried, which an engine that goes away meanwhile ends.
_TRIES = 3

_logger = logging.getLogger(__name__)


class DockerSandbox(ShellSandbox):
    """Runs commands in a container of its own, which is removed at the end.

    The container ends with this process, however that ends. `name` labels it, and stands in its name. `options`
    are those of `docker run` that are added to every container; see `RunOptions`.
    """

    backend = "docker"
    descriptors = 6
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
        self._life: ContainerLife | None = None
        self._commands: set[ContainerCommand] = set()
        self._private_commands: set[PrivateCommand] = set()
        #: Or why commands cannot have folders of their own.
        self._confinement: Confinement | str = "the sandbox has not started"
        self._numbered = True
        self._root = True
        self._open = self._closed = False

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
        """See `Sandbox.start`. An engine that has gone is waited for.

        Raises InfrastructureError of kind `image` when its image cannot be had.
        """
        engine = await asyncio.to_thread(shared_engine)
        check_needs(self._spec, engine.facts)
        for left in reversed(range(_TRIES)):
            try:
                await self._create_from_image(engine)
                await self._launch()
                self._check_not_closed()
                self._open = True
                return
            except EngineLost:
                await self._discard()
                if self._closed or not left or not await engine.outage.is_over():
                    raise
            except BaseException:
                await self.close()
                raise

    async def close(self) -> None:
        """See `Sandbox.close`."""
        self._open = False
        self._closed = True
        await self._discard()

    async def _discard(self) -> None:
        """Release what has been started. Finishes even when cancelled."""
        private = list(self._private_commands)
        for command in self._running():
            command.fail(InfrastructureError("the sandbox is closed", kind="sandbox"))
        if (life := self._life) is None:
            return
        shielded = Shielded()
        removal = life.remove()
        await shielded.wait(removal)
        if (error := removal.exception()) is not None:
            # It ends by itself all the same, as soon as nobody holds its standard input.
            _logger.warning("the container of %s could not be removed: %s", self.name, error)
        for one in private:
            await shielded.wait(one.gone, _END_TIMEOUT)
        await shielded.wait(life.release())
        shielded.release()

    async def exec(self, *arguments: Any, **options: Any) -> ExecResult:
        """See `Sandbox.exec`."""
        async with self._opened(running=True).blamed():
            return await super().exec(*arguments, **options)

    async def spawn(self, *arguments: Any, **options: Any) -> Process:
        """See `Sandbox.spawn`."""
        async with self._opened(running=True).blamed():
            return await super().spawn(*arguments, **options)

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
        life = self._opened(running=True)
        running = ContainerCommand(
            life.engine,
            life.container,
            stdout,
            stderr,
            numbered=self._numbered,
            alone=lambda: len(self._running()) <= 1,
            linked=life.linked,
        )
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
        life = self._opened(running=True)
        if isinstance(self._confinement, str):
            raise Unsupported(f"a command cannot have folders of its own: {self._confinement}")
        running = PrivateCommand(life.engine, life.container, stdout, stderr)
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
        life = self._opened()
        self._let_go()
        async with life.blamed():
            await life.begin_again()

    async def freeze(self) -> None:
        """See `Sandbox.freeze`: the container ends, and its files stay. What is in memory is lost."""
        life = self._opened()
        self._let_go()
        async with life.blamed():
            await life.end()

    async def pull(self, path: str, tar: BinaryIO) -> None:
        """See `Sandbox.pull`: the engine reads the files. It does not see what is in memory (tmpfs).

        Raises OSError when not all of it can be read, or it has more than 4 GiB.
        """
        life = self._opened()
        if (mount := mount_in_memory(path, self._options.host.get("tmpfs", ()))) is not None:
            raise Unsupported(f"a Docker engine cannot read {path!r} from a container: {mount!r} is in memory")
        abandoned = threading.Event()
        try:
            async with life.blamed():
                error = await life.engine.call(copy_archive, life.engine, life.container, path, tar, abandoned)
        finally:
            abandoned.set()
        if error is not None:
            raise error

    async def changed_files(self) -> tuple[str, ...] | None:
        """See `Sandbox.changed_files`: what the engine tells."""
        life = self._opened()
        async with life.blamed():
            return await life.engine.call(changed_paths, life.engine, life.container)

    def _opened(self, *, running: bool = False) -> ContainerLife:
        """Return the open container, neither frozen nor broken if it is to be `running`. Raises InfrastructureError."""
        if self._life is None or not self._open:
            raise InfrastructureError("the sandbox is not open", kind="sandbox")
        if running and self._life.ended:
            raise InfrastructureError("the sandbox is frozen", kind="sandbox")
        if running and self._life.broken:
            raise SandboxBroken(self._life.broken)
        return self._life

    def _let_go(self) -> None:
        """Expect nothing any more of the commands that run: they are about to be killed."""
        for command in self._running():
            command.settle(KILLED)
            command.close()

    def _running(self) -> list[ContainerCommand | PrivateCommand]:
        return [*self._commands, *self._private_commands]

    async def check_needs(self) -> None:
        """Raise Unsupported for what the engine's machine does not have, without asking it for an image.

        Raises UsageError when there is no engine.
        """
        check_needs(self._spec, (await asyncio.to_thread(shared_engine)).facts)

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
        # Its own output is heard and not kept: an agent may write to it without end. The engine does not remove it when
        # it ends, since it may be started once more.
        host = {"log_config": {"type": "none", "config": {}}, **self._options.host}
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
            self._life = ContainerLife(engine, making.result())
        shielded.release()
        making.result()

    async def _launch(self) -> None:
        assert self._life is not None
        try:
            self.home, self.workdir, bash, numbered, user = await self._life.begin()
        except NotStarted as error:
            name = self._spec.image or f"built from {str(self._spec.build_context)!r}"
            raise cannot_start(str(error), name) from error
        self.shell = "bash" if bash else "sh"
        self._numbered = bool(numbered)
        self._root = user == "0"
        self._confinement = await confinement_of(
            self._life.engine, self._life.container, self.scratch, str(self._options)
        )
