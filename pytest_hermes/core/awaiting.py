"""What a user's method returns, whether it is written with `async` or without."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterable


def is_asynchronous(value: object) -> bool:
    """Return whether a call returned what an `async def` returns: a coroutine, or an asynchronous generator."""
    return inspect.isawaitable(value) or isinstance(value, AsyncIterable)


async def awaited(value: object) -> object:
    """Return what a coroutine returns, and all that an asynchronous generator yields as a list; others as they are."""
    if inspect.isawaitable(value):
        value = await value
    if isinstance(value, AsyncIterable):
        return [element async for element in value]
    return value


def discard(value: object) -> None:
    """Close a coroutine that nobody will await, so that Python does not warn of it."""
    if inspect.iscoroutine(value):
        value.close()
