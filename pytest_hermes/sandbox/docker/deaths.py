"""How containers ended: of themselves, or because somebody told their engine to end them.

An engine's state of a container does not say that, and exit codes can be made up by what runs in it. The engine's
events do: it announces `kill` before it kills, and only `die` when a container ends of itself.

Format: https://docs.docker.com/reference/api/engine/version/v1.41/#tag/System/operation/SystemEvents
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from .address import Address
from .owner import LABEL

if TYPE_CHECKING:
    from docker import APIClient

#: Seconds: to connect, to wait for an event that is on its way, and between two tries to connect.
_CONNECTING = 10.0
_PATIENCE = 2.0
_PAUSE = 0.5


class Deaths:
    """Listens to the events of one owner's containers, from the first that is watched. For any thread."""

    def __init__(self, address: Address, client: APIClient, owner: str) -> None:
        self._address = address
        self._client = client
        self._owner = owner
        self._changed = threading.Condition()
        self._listening = False
        self._closed = threading.Event()
        self._thread: threading.Thread | None = None
        self._events: Any = None
        #: Of each container that has been watched without a gap: what the engine announced.
        self._announced: dict[str, set[str]] = {}

    def watch(self, container: str) -> None:
        """Remember from now on how a container ends, which is about to start. Waits until events are listened to."""
        with self._changed:
            if self._thread is None:
                self._thread = threading.Thread(target=self._listen, name="hermes-docker-events", daemon=True)
                self._thread.start()
            if self._changed.wait_for(lambda: self._listening, _CONNECTING):
                self._announced[container] = set()

    def forget(self, container: str) -> None:
        """Watch a container no longer."""
        with self._changed:
            self._announced.pop(container, None)

    def by_itself(self, container: str) -> bool:
        """Whether a container that does not run any more ended of itself. False where that is not known."""
        with self._changed:
            self._changed.wait_for(lambda: "die" in self._announced.get(container, {"die"}), _PATIENCE)
            announced = self._announced.get(container, ())
            return "die" in announced and "kill" not in announced

    def close(self) -> None:
        """Stop listening."""
        self._closed.set()
        with self._changed:
            events, thread = self._events, self._thread
        if events is not None:
            with contextlib.suppress(OSError):
                events.close()
        if thread is not None:
            thread.join(_CONNECTING)

    def _listen(self) -> None:
        import docker.errors
        import requests

        while not self._closed.is_set():
            with contextlib.suppress(docker.errors.DockerException, requests.RequestException, OSError):
                for event in self._stream():
                    self._take(event)
            with self._changed:
                # What ended meanwhile, and how, nobody knows.
                self._listening = False
                self._announced.clear()
            self._closed.wait(_PAUSE)

    def _stream(self) -> Iterator[dict[str, Any]]:
        filters = {"type": "container", "event": ["kill", "die"], "label": f"{LABEL}={self._owner}"}
        # The SDK would leave a socket open that found nobody.
        self._address.try_out()
        events = self._client.events(decode=True, filters=filters)
        with self._changed:
            self._events = events
            self._listening = True
            self._changed.notify_all()
        try:
            if not self._closed.is_set():
                yield from events
        finally:
            events.close()

    def _take(self, event: dict[str, Any]) -> None:
        container = str((event.get("Actor") or {}).get("ID"))
        with self._changed:
            if container in self._announced:
                self._announced[container].add(str(event.get("Action")))
                self._changed.notify_all()
