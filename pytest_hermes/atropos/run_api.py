"""Atropos's API server, to which a trainer and its environments are connected (`run-api`)."""

from __future__ import annotations

import asyncio
import gzip
import json
import os
from collections.abc import Mapping
from typing import Any

import aiohttp

from ..errors import InfrastructureError, UsageError

#: Seconds between tries, after a connection that broke or an error of the server: 22 in all.
_WAITS = (0.5, 1.5, 4.0, 6.0, 10.0)
#: For the first contact, where a wrong address is likelier than a busy server.
_FIRST_WAITS = (0.5, 1.0)
#: Seconds for one request.
_TIMEOUT = 60.0
#: Seconds for one that must not hold anybody up.
_SHORT = 5.0
#: Bytes from which a body is sent compressed.
_COMPRESS = 1024


class RunApi:
    """A client of one server. Use it within one event loop, and close it."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        self._session: aiohttp.ClientSession | None = None
        self._reached = False

    async def find(self) -> None:
        """Raise UsageError when what is there is no run-api."""
        try:
            await self.get("/")
        except InfrastructureError as error:
            raise UsageError(f"no run-api at {self.url}: {error}; see --env.rollout_server_url") from None

    async def get(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """Return the JSON that the server answers. Raises what `post` raises."""
        return await self._ask("GET", path, body)

    async def post(self, path: str, body: Any, *, once: bool = False) -> Any:
        """Return the JSON that the server answers, to one of several tries.

        `once`: not tried again where the server may have taken it already, which one that broke off or failed may have.
        Raises UsageError when no server was ever there, or another one, InfrastructureError when it is gone or refuses
        the request.
        """
        return await self._ask("POST", path, body, once=once)

    async def _ask(self, method: str, path: str, body: Any, *, once: bool = False) -> Any:
        waits = iter(_WAITS if self._reached else _FIRST_WAITS)
        while True:
            try:
                status, text = await self._once(method, path, body)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                problem = _cause(error)
                if once and not isinstance(error, aiohttp.ClientConnectorError):
                    raise InfrastructureError(f"{self.url}{path} gave no answer: {problem}", kind="run-api") from None
            else:
                self._reached = True
                if status < 400:
                    return self._read(text)
                problem = f"HTTP {status}: {text[:300]}"
                if status < 500 or once:
                    raise InfrastructureError(f"{self.url}{path} refuses the request: {problem}", kind="run-api")
            wait = next(waits, None)
            if wait is None:
                break
            await asyncio.sleep(wait)
        if not self._reached:
            raise UsageError(
                f"no run-api at {self.url} ({problem}); start one with `run-api`, or give its address with "
                "--env.rollout_server_url"
            )
        gone = "fails" if problem.startswith("HTTP") else "no longer answers"
        raise InfrastructureError(f"{self.url}{path} {gone}: {problem}", kind="run-api")

    def _read(self, text: str) -> Any:
        try:
            return json.loads(text)
        except ValueError:
            first = " ".join(text.split())[:60]
            raise UsageError(
                f"the server at {self.url} is not a run-api: it answers {first!r}; see --env.rollout_server_url"
            ) from None

    async def answers(self) -> bool:
        """Return whether there is a server now; asked once."""
        return await self._quickly("GET", "/", None)

    async def disconnect(self, env_id: int) -> None:
        """Say that an environment ends, if there is anybody to hear it; said once."""
        await self._quickly("POST", "/disconnect-env", {"env_id": env_id})

    async def _quickly(self, method: str, path: str, body: Any) -> bool:
        try:
            async with asyncio.timeout(_SHORT):
                status, _ = await self._once(method, path, body)
        except (aiohttp.ClientError, TimeoutError, OSError):
            return False
        return status < 400

    async def _once(self, method: str, path: str, body: Any) -> tuple[int, str]:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT))
        headers, content = {}, None
        if body is not None:
            content = json.dumps(body, allow_nan=False).encode()
            headers["Content-Type"] = "application/json"
            if len(content) >= _COMPRESS:
                content = gzip.compress(content)
                headers["Content-Encoding"] = "gzip"
        async with self._session.request(method, self.url + path, data=content, headers=headers) as response:
            return response.status, await response.text()

    async def close(self) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None


def _cause(error: Exception) -> str:
    """Return what an error of a connection goes back to, in the system's words: `Connection refused`."""
    error = getattr(error, "os_error", error)
    if isinstance(error, OSError) and error.errno:
        # Of a name that cannot be looked up the number is none of the system's.
        return os.strerror(error.errno) if error.errno > 0 else str(error.strerror)
    return f"{type(error).__name__}: {error}"
