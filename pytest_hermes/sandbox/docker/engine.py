"""The engine as all sandboxes of this process see it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ...background import at_exit
from ...core.one_line import first_line
from ...errors import InfrastructureError, SandboxLost, UsageError
from .address import Address, engine_address
from .deaths import Deaths
from .exec_stream import EngineRefused, Sink, Stream
from .outage import Outage
from .owner import current_owner, is_dead
from .reap import remove_containers, remove_ended

T = TypeVar("T")

#: Requests that are made to an engine at once; each has a thread.
_AT_ONCE = 16

#: Seconds for the answer to one request.
_REQUEST_TIMEOUT = 120
_PING_TIMEOUT = 15.0
_END_TIMEOUT = 5.0

_WHAT_TO_DO = "start Docker, or set DOCKER_HOST to a running engine"

_logger = logging.getLogger(__name__)


class EngineLost(SandboxLost):
    """The engine cannot be reached, or does not answer."""


class NoAnswer(EngineLost):
    """The engine did not answer a request in time. It may be well, and wait for what the request is about."""


@dataclass(frozen=True)
class EngineFacts:
    """What an engine says of itself."""

    version: str
    cpus: int
    #: Bytes.
    memory: int
    #: Whether it can limit `cpus`, `memory`, `pids` and `storage`.
    limits: Mapping[str, bool]


class Engine:
    """A connection to an engine. All sandboxes of a process share one; it is closed at exit.

    `client` is the docker SDK's low-level one, for use inside of `call` only.
    """

    def __init__(self, address: Address) -> None:
        """Connect. Raises UsageError when there is no engine."""
        import docker.errors
        import requests

        self.address = address
        try:
            address.try_out()
            self.client = address.client(timeout=_REQUEST_TIMEOUT, max_pool_size=_AT_ONCE)
            self.facts = _facts(self.client.info())
        except (docker.errors.DockerException, requests.RequestException, OSError) as error:
            raise UsageError(
                f"there is no Docker engine at {address.url} ({root_cause(error)}); {_WHAT_TO_DO}"
            ) from error
        self.owner = current_owner()
        self.deaths = Deaths(address, self.client, self.owner)
        self.outage = Outage(f"the Docker engine at {address.url}", self._answers, self._remove_left)
        #: Containers that could not be removed when their sandboxes were closed.
        self._left: set[str] = set()
        self._threads = concurrent.futures.ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="hermes-docker")
        self._reaper = subprocess.Popen(
            [sys.executable, "-P", "-m", f"{__package__}.reap", self.owner],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._threads.submit(self._reap_the_dead)

    async def call(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        """Run a function that asks the engine, in a thread, and return what it returns.

        Raises InfrastructureError for whatever the SDK raises, except NotFound, which is passed on. Cancelling does not
        end it: await a future of it if its end matters.
        """
        return await asyncio.wrap_future(self.submit(function, *args, **kwargs))

    def submit(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> concurrent.futures.Future[T]:
        """Begin what `call` does."""
        return self._threads.submit(self._translated, function, *args, **kwargs)

    async def stream(self, path: str, body: Any, *, stdout: Sink, stderr: Sink) -> Stream:
        """Send a request and return its stream once the engine has accepted it.

        Raises InfrastructureError when the engine cannot be reached or refuses.
        """
        try:
            async with asyncio.timeout(_REQUEST_TIMEOUT):
                stream = await self.address.connect(lambda: Stream(stdout, stderr))
                try:
                    stream.send_request(f"/v{self.client.api_version}{path}", body)
                    await stream.opened
                except BaseException:
                    stream.close()
                    raise
                return stream
        except TimeoutError:
            raise self._no_answer() from None
        except EngineRefused as error:
            raise InfrastructureError(f"the Docker engine refused: {first_line(str(error))}", kind="sandbox") from error
        except OSError as error:
            raise self.lost(error) from error

    async def answers(self) -> bool:
        """Whether the engine answers a request that is about none of its containers."""
        return await asyncio.to_thread(self._answers)

    def lost(self, error: BaseException) -> EngineLost:
        """Return what to raise when the engine does not answer any more."""
        return EngineLost(f"the Docker engine at {self.address.url} does not answer ({root_cause(error)})")

    def leave(self, container: str) -> None:
        """Remove a container later, which cannot be removed now."""
        self._left.add(container)

    def close(self) -> None:
        """End in order."""
        self.deaths.close()
        self._threads.shutdown()
        with contextlib.suppress(OSError):
            assert self._reaper.stdin is not None
            if not self._left:  # else it does what it does for a process that was killed
                self._reaper.stdin.write(b".")
            self._reaper.stdin.close()
        try:
            self._reaper.wait(_END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._reaper.kill()
            self._reaper.wait()
        self.client.close()

    def _translated(self, function: Callable[..., T], *args: Any, **kwargs: Any) -> T:
        import docker.errors
        import requests

        try:
            # The SDK would leave a socket open that found nobody.
            self.address.try_out()
            return function(*args, **kwargs)
        except docker.errors.NotFound:
            raise
        except docker.errors.APIError as error:
            raise InfrastructureError(
                f"the Docker engine refused: {first_line(str(error.explanation or error))}", kind="sandbox"
            ) from error
        except docker.errors.DockerException as error:
            raise InfrastructureError(f"Docker: {first_line(str(error))}", kind="sandbox") from error
        except requests.ReadTimeout as error:
            raise self._no_answer() from error
        except (requests.RequestException, OSError) as error:
            raise self.lost(error) from error

    def _answers(self) -> bool:
        import requests

        with contextlib.suppress(requests.RequestException, OSError):
            self.address.try_out()
            return self.client.get(f"{self.client.base_url}/_ping", timeout=_PING_TIMEOUT).ok
        return False

    def _no_answer(self) -> NoAnswer:
        why = f"no answer within {_REQUEST_TIMEOUT} seconds"
        return NoAnswer(f"the Docker engine at {self.address.url} does not answer ({why})")

    def _remove_left(self) -> None:
        import docker.errors
        import requests

        for container in list(self._left):
            with contextlib.suppress(docker.errors.DockerException, requests.RequestException):
                with contextlib.suppress(docker.errors.NotFound):
                    self.client.remove_container(container, force=True, v=True)
                self._left.discard(container)

    def _reap_the_dead(self) -> None:
        import docker.errors
        import requests

        try:
            if count := remove_containers(self.client, is_dead) + remove_ended(self.client):
                _logger.info("removed containers left by processes that have ended: %d", count)
        except (docker.errors.DockerException, requests.RequestException) as error:
            _logger.warning("cannot look for containers left by processes that have ended: %s", root_cause(error))


def _facts(said: dict[str, Any]) -> EngineFacts:
    return EngineFacts(
        version=str(said.get("ServerVersion", "?")),
        cpus=int(said.get("NCPU") or 1),
        memory=int(said.get("MemTotal") or 0),
        limits={
            "cpus": bool(said.get("CpuCfsQuota", said.get("CPUCfsQuota"))),
            "memory": bool(said.get("MemoryLimit")),
            "pids": bool(said.get("PidsLimit")),
            "storage": _limits_storage(said),
        },
    )


def _limits_storage(said: dict[str, Any]) -> bool:
    """Which drivers do: https://docs.docker.com/reference/cli/docker/container/run/#storage-opt."""
    driver = str(said.get("Driver"))
    below = dict(pair for pair in said.get("DriverStatus") or [] if len(pair) == 2).get("Backing Filesystem")
    # xfs does if it is mounted with pquota, which only trying tells.
    return driver in ("btrfs", "zfs", "devicemapper", "windowsfilter") or (driver, below) == ("overlay2", "xfs")


def root_cause(error: BaseException) -> str:
    """Return the first line of what an error goes back to: the SDK wraps a refused connection three times."""
    seen = {id(error)}
    while (deeper := error.__cause__ or error.__context__) is not None and id(deeper) not in seen:
        seen.add(id(deeper))
        error = deeper
    return getattr(error, "strerror", None) or first_line(str(error)) or type(error).__name__


_engines: dict[Address, Engine] = {}
_lock = threading.Lock()


def shared_engine() -> Engine:
    """Return this process's connection to the engine that the environment names, connected at first use.

    Blocks for as long as connecting takes. Raises UsageError when there is no engine.
    """
    address = engine_address()
    with _lock:
        engine = _engines.get(address)
        if engine is None:
            engine = _engines[address] = Engine(address)
            at_exit(engine.close)
        return engine
