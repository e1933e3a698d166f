"""Supervisors for sandboxes without isolation: one interpreter is started, and they are copies of it."""

from __future__ import annotations

import array
import asyncio
import contextlib
import os
import socket
import subprocess
import weakref
from collections.abc import Mapping

from .launch import launch
from .memory_file import memory_file
from .steadfast import Steadfast

#: Seconds.
_END_TIMEOUT = 5.0
_PAUSE = 0.005


class ForkServer:
    """A process that forks supervisors: starting an interpreter for each costs several times as much.

    There is one as long as an event loop has sandboxes that need it: `enter` and `leave` count them. A process is told
    when the thread that started it ends, so loops do not share one.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, env: Mapping[str, str]) -> None:
        """Launch the process, with the environment `env`. Raises OSError."""
        self._loop = loop
        self._users = 0
        #: Ends with True when supervisors can be asked for, with False when there will be none.
        self._ready: asyncio.Future[bool] = loop.create_future()
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._popen = launch([], theirs, ["fork server"], diagnostics=subprocess.DEVNULL, env=env)
        except OSError:
            self._channel.close()
            raise
        finally:
            theirs.close()
        self._channel.setblocking(False)
        loop.add_reader(self._channel, self._hear)

    @staticmethod
    def enter(env: Mapping[str, str]) -> ForkServer:
        """Return the running loop's fork server, launched if need be, and count one who needs it. Raises OSError."""
        loop = asyncio.get_running_loop()
        server = _servers.get(loop)
        if server is None or server._ended:
            server = _servers[loop] = ForkServer(loop, env)
        server._users += 1
        return server

    async def fork(self, channel: socket.socket, diagnostics: int, folder: str) -> None:
        """Start a supervisor at the other end of `channel`; what it has to say of errors goes to `diagnostics`.

        Raises OSError when the process has died.
        """
        await asyncio.wait([self._ready])
        path = memory_file(os.fsencode(folder))
        try:
            rights = array.array("i", [channel.fileno(), diagnostics, path])
            while True:
                try:
                    self._channel.sendmsg([b"F" + bytes(4)], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)])
                    return
                except BlockingIOError:  # hundreds at once
                    await asyncio.sleep(_PAUSE)
        finally:
            os.close(path)

    def kill(self, pid: int) -> None:
        """Kill a supervisor, unless it has ended: only the fork server knows whether this is still its process id."""
        with contextlib.suppress(OSError):  # when it has died, they end by themselves
            self._channel.send(b"K" + pid.to_bytes(4, "big"))

    async def leave(self) -> None:
        """Count one less; the last one ends the process. Cancellation does not stop that."""
        self._users -= 1
        if self._users:
            return
        if _servers.get(self._loop) is self:
            del _servers[self._loop]
        self._loop.remove_reader(self._channel)
        self._channel.close()
        if not self._ready.done():
            self._ready.set_result(False)
        steadfast = Steadfast()
        await steadfast.wait(self._loop.run_in_executor(None, self._reap))
        steadfast.release()

    @property
    def _ended(self) -> bool:
        return (self._ready.done() and not self._ready.result()) or self._popen.poll() is not None

    def _hear(self) -> None:
        try:
            said = self._channel.recv(1)
        except ConnectionError:
            said = b""
        if not said:
            self._loop.remove_reader(self._channel)
        if not self._ready.done():
            self._ready.set_result(bool(said))

    def _reap(self) -> None:
        try:
            self._popen.wait(_END_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


_servers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, ForkServer] = weakref.WeakKeyDictionary()
