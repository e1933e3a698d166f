"""What a request fails with."""

from __future__ import annotations

import pytest

from pytest_hermes.models.transport import Request, Transport, TransportError, fetch


async def failure_of(transport: Transport, request: Request) -> TransportError:
    """Return what a request fails with, which is always one line."""
    with pytest.raises(TransportError) as caught:
        await fetch(transport, request)
    assert caught.value.__cause__ is None
    assert len(caught.value.reason.splitlines()) == 1
    return caught.value
