"""A container as a sandbox."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, BinaryIO, ClassVar

from ...core.shielded import Shielded
from ...errors import InfrastructureError, Unsupported
from ...task import SandboxSpec
from ..output import HeadTail
from ..protocol import Capabilities
from ..running import Output
from ..scripts import shell_script
from ..shell_sandbox import ShellSandbox
from .command import ContainerCommand
from .container import cannot_start, create_container, limited, remove_container, start_container
from .engine import Engine, shared_engine
from .exec_stream import Stream
from .images import Image, ImageGone, forget_image, ready_image
from .owner import LABEL, NAME_LABEL
from .run_options import RunOptions

_START_TIMEOUT = 120.0  # seconds

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
        self._lease: Stream | None = None
        self._commands: set[ContainerCommand] = set()
        self._numbered = True
        self._root = True
        self._open = self._closed = False
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
        )

    async def start(self) -> None:
        """See `Sandbox.start`. Raises InfrastructureError of kind `image` when its image cannot be had."""
        engine = self._engine = await asyncio.to_thread(shared_engine)
        self._check_needs(engine)
        try:
            await self._create_from_image(engine)
            await self._launch(engine)
            self._check_not_closed()
            self._open = True
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        """See `Sandbox.close`."""
        self._open = False
        self._closed = True
        for command in list(self._commands):
            command.fail(InfrastructureError("the sandbox is closed", kind="sandbox"))
        shielded = Shielded()
        if self._closing is None and self._engine is not None and self._container is not None:
            self._closing = asyncio.wrap_future(self._engine.submit(remove_container, self._engine, self._container))
        if self._closing is not None:
            await shielded.wait(self._closing)
            if (error := self._closing.exception()) is not None:
                # It ends by itself all the same, as soon as nobody holds its standard input.
                _logger.warning("the container of %s could not be removed: %s", self.name, error)
        if self._lease is not None:
            self._lease.close()
            await shielded.wait(self._lease.closed)
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
        if self._engine is None or self._container is None or not self._open:
            raise InfrastructureError("the sandbox is not open", kind="sandbox")
        running = ContainerCommand(self._engine, self._container, stdout, stderr, numbered=self._numbered)
        self._commands.add(running)
        running.exited.add_done_callback(lambda _: self._commands.discard(running))
        try:
            await running.start(argv, cwd=cwd, env=env, stdin=stdin, user=user)
        except BaseException:
            with contextlib.suppress(InfrastructureError):
                await running.kill()
            raise
        return running

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
        host = {"init": True, "auto_remove": True, **self._options.host}
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
        said, complaints = bytearray(), HeadTail(2000)
        arrived = asyncio.get_running_loop().create_future()

        def hear(data: bytes) -> None:
            if arrived.done():
                return  # what others write to its terminal later, without end perhaps, is nobody's
            said.extend(data)
            if said.endswith(b"\0."):
                arrived.set_result(None)

        # Attached before it starts: its standard input, which this process holds, is what it lives by.
        query = "stream=1&stdin=1&stdout=1&stderr=1"
        self._lease = await engine.stream(
            f"/containers/{self._container}/attach?{query}", None, stdout=hear, stderr=complaints.feed
        )
        name = self._spec.image or f"built from {str(self._spec.build_context)!r}"
        await engine.call(start_container, engine, self._container, name)
        await asyncio.wait([arrived, self._lease.ended], timeout=_START_TIMEOUT, return_when=asyncio.FIRST_COMPLETED)
        if not arrived.done():
            raise cannot_start(complaints.value().decode(errors="replace"), name)
        home, workdir, bash, numbered, user, _ = bytes(said).decode(errors="surrogateescape").split("\0")
        self.home, self.workdir = home, workdir
        self.shell = "bash" if bash else "sh"
        self._numbered = bool(numbered)
        self._root = user == "0"
