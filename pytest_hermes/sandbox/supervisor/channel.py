"""How these processes hear of something, and answer."""

# ruff: noqa: SIM105 - contextlib would take a millisecond to import

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found, unused-ignore]
import _socket as socket
import os
import select


def woken_by(*numbers: int) -> int:
    """Return a descriptor from which the numbers of signals can be read that come from now on."""
    woken, write = os.pipe()
    os.set_blocking(woken, False)
    os.set_blocking(write, False)
    signal.set_wakeup_fd(write)
    for number in numbers:
        signal.signal(number, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    return woken


def readable(*fds: int) -> list[int]:
    """Wait until some of these can be read, and return them."""
    poll = select.poll()
    for fd in fds:
        poll.register(fd, select.POLLIN)
    return [fd for fd, _ in poll.poll()]


def say(client: socket.socket, letter: bytes, status: int) -> None:
    """Send a frame."""
    try:
        client.send(letter + bytes([status]))
    except OSError:  # the client has gone; the socket's end says so too
        pass


def take(source: socket.socket) -> tuple[bytes, list[int]] | None:
    """Receive a letter and the descriptors that came with it; None at the end."""
    try:
        # Exactly one byte a read: the kernel then never joins the descriptors of two.
        data, attached, _, _ = source.recvmsg(1, socket.CMSG_SPACE(4 * 4), getattr(socket, "MSG_CMSG_CLOEXEC", 0))
    except ConnectionError:
        return None
    fds: list[int] = []
    for _, _, raw in attached:
        fds += memoryview(raw[: len(raw) // 4 * 4]).cast("i").tolist()
    return (data, fds) if data else None


def complain(stderr: int, text: str) -> None:
    """Write a line about a command to its stderr."""
    try:
        os.write(stderr, f"hermes: {text}\n".encode(errors="backslashreplace"))
    except OSError:
        pass
