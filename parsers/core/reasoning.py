"""Where a model thinks aloud: calls it quotes there are no calls."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

THINK = (("<think>", "</think>"),)


def quoted_regions(
    text: str, calls: Iterable[tuple[int, int]], tags: Sequence[tuple[str, str]] = THINK
) -> list[tuple[int, int]]:
    """The spans of closed reasoning in `text`, in order.

    A tag inside one of `calls` (spans in order) is part of that call's arguments and opens or closes nothing.
    The first closer may come without its opener, which chat templates put into the prompt: then the
    reasoning began with the text. Reasoning that never closes is none.
    """
    openers = {opener for opener, _ in tags}
    either = re.compile("|".join(re.escape(tag) for pair in tags for tag in pair))
    spans = iter(calls)
    span = next(spans, None)
    regions: list[tuple[int, int]] = []
    begun: int | None = 0
    for found in either.finditer(text):
        while span is not None and span[1] <= found.start():
            span = next(spans, None)
        if span is not None and span[0] <= found.start():
            continue
        if found[0] in openers:
            # The first opener corrects the 0 that stands for a missing one; a nested one changes nothing.
            begun = begun or found.start()
        elif begun is not None:
            regions.append((begun, found.end()))
            begun = None
    return regions
