"""Supervisors for sandboxes without isolation: one interpreter is started, and they are copies of it."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import weakref
from collections.abc import Mapping

from ..core.shielded import Shielded
from .launch import launch, reap
from .memory_file import memory_file
from .supervisor.processes import children

_PAUSE = 0.005  # seconds


class ForkServer:
    """A process that forks supervisors: starting an interpreter for each costs several times as much.

    There is one as long as an event loop has sandboxes that need it: `enter` and `leave` count them. A process is told
    when the thread that started it ends, so loops do not share one.
    """

    def __init__(self, env: Mapping[str, str]) -> None:
        """Launch the process, with the environment `env`. Raises OSError."""
        self._users = 0
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._popen = launch([], theirs, "fork server", diagnostics=subprocess.DEVNULL, env=env)
        except OSError:
            self._channel.close()
            raise
        finally:
            theirs.close()
        self._channel.setblocking(False)

    @staticmethod
    def enter(env: Mapping[str, str]) -> ForkServer:
        """Return the running loop's fork server, launched if need be, and count one who needs it. Raises OSError."""
        loop = asyncio.get_running_loop()
        server = _servers.get(loop)
        if server is None or server._popen.poll() is not None:
            server = _servers[loop] = ForkServer(env)
        server._users += 1
        return server

    async def fork(self, channel: socket.socket, diagnostics: int, folder: str) -> None:
        """Start a supervisor at the other end of `channel`; what it has to say of errors goes to `diagnostics`.

        When there will be none, `channel` ends. Raises OSError when that is known already.
        """
        path = memory_file(os.fsencode(folder))
        try:
            while True:
                try:
                    socket.send_fds(self._channel, [b"F"], [channel.fileno(), diagnostics, path])
                    return
                except BlockingIOError:  # hundreds at once
                    await asyncio.sleep(_PAUSE)
        finally:
            os.close(path)

    def kill(self, pid: int) -> None:
        """Kill a supervisor, unless it has ended: then its process id may be somebody else's by now."""
        if sys.platform != "linux" or pid in children(self._popen.pid):
            os.kill(pid, signal.SIGKILL)

    async def leave(self) -> None:
        """Count one less; the last one ends the process. Cancellation does not stop that."""
        self._users -= 1
        if self._users:
            return
        loop = asyncio.get_running_loop()
        if _servers.get(loop) is self:
            del _servers[loop]
        self._channel.close()
        shielded = Shielded()
        await shielded.wait(loop.run_in_executor(None, reap, self._popen))
        shielded.release()


_servers: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, ForkServer] = weakref.WeakKeyDictionary()
