"""Waiting for an engine that has gone, such as one that is started anew, once for all who need it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future

from ..status import status

#: Seconds: how long an engine may be away, and between two looks.
_PATIENCE = 300.0
_PAUSE = 0.5


class Outage:
    """The absences of one engine. For any thread and loop."""

    def __init__(self, what: str, is_back: Callable[[], bool], when_back: Callable[[], object]) -> None:
        """`what` names the engine; `is_back` asks it, and `when_back` is called after it was away."""
        self._what = what
        self._is_back = is_back
        self._when_back = when_back
        self._lock = threading.Lock()
        self._over: Future[bool] | None = None
        self._given_up = False

    async def is_over(self) -> bool:
        """Return whether the engine answers: at once, if it does, or when it is back; False after five minutes.

        Where it was waited for in vain, False comes at once until it answers.
        """
        with self._lock:
            over = self._over
            if over is None:
                over = self._over = Future()
                over.set_running_or_notify_cancel()  # from now on it cannot be cancelled by one who waits
                threading.Thread(target=self._wait, args=(over,), name="hermes-docker-outage", daemon=True).start()
        return await asyncio.wrap_future(over)

    def _wait(self, over: Future[bool]) -> None:
        back = False
        try:
            back = self._come_back()
        finally:
            with self._lock:
                self._over = None
            over.set_result(back)

    def _come_back(self) -> bool:
        back = self._is_back()
        if not back and not self._given_up:
            began = time.monotonic()
            with status(f"waiting for {self._what}") as tell:
                while not back and (waited := time.monotonic() - began) < _PATIENCE:
                    tell(f"{waited:.0f} s")
                    time.sleep(_PAUSE)
                    back = self._is_back()
        self._given_up = not back
        if back:
            self._when_back()
        return back
