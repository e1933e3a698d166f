"""Tells a prompt that is too long for a server from a server that fails.

The vLLM server of Atropos (example_trainer/vllm_api_server.py) answers both with a 500 that says nothing more.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from ..faults import ServerFailed
from ..protocol import ContextWindowExceeded


async def ask_or_find_too_long(
    prompt: Sequence[int],
    ask: Callable[[bool], Awaitable[Any]],
    sample_one: Callable[[Sequence[int]], Awaitable[object]],
) -> Any:
    """Return what `ask` does, which asks for an answer to `prompt`; whether patiently is its argument.

    `sample_one` has a single token sampled after some of the prompt's ids; without patience, as `ask` without it, it
    raises ServerFailed for a 500. A server that takes all parts of a prompt, and so each of its ids, and fails by the
    whole, finds it too long: raises ContextWindowExceeded. One that fails by a part is waited for.
    """
    try:
        return await ask(False)
    except ServerFailed:
        if not await _takes_parts(prompt, sample_one):
            return await ask(True)
    # It may have passed in the meantime.
    try:
        return await ask(False)
    except ServerFailed:
        raise ContextWindowExceeded(f"{len(prompt)} tokens: the server takes all parts of them, but not all") from None


async def _takes_parts(ids: Sequence[int], sample_one: Callable[[Sequence[int]], Awaitable[object]]) -> bool:
    middle = len(ids) // 2
    return middle > 0 and await _takes(ids[:middle], sample_one) and await _takes(ids[middle:], sample_one)


async def _takes(ids: Sequence[int], sample_one: Callable[[Sequence[int]], Awaitable[object]]) -> bool:
    try:
        await sample_one(ids)
    except ServerFailed:
        return await _takes_parts(ids, sample_one)
    return True
