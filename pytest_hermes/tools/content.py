"""The text of a tool message: JSON, within a limit."""

from __future__ import annotations

import json
from typing import Any

#: Characters of one tool message.
LIMIT = 100_000


def as_content(result: dict[str, Any], limit: int = LIMIT) -> str:
    """Return `result` as a JSON text of at most `limit` characters.

    Long strings in it lose their middle, replaced by a note, until it fits. Raises TypeError or ValueError for
    what is not JSON.
    """
    text = _dump(result)
    keep = limit
    while len(text) > limit and keep > 1000:
        keep = keep * 3 // 4
        text = _dump(_shorten(result, keep))
    if len(text) > limit:  # many small parts
        text = _dump(
            {
                "error": f"the result is too long: {len(_dump(result))} characters",
                "beginning": text[: limit // 8],
            }
        )
    return text


def cut_middle(text: str, keep: int) -> str:
    """Return `text` without its middle if it is longer than `keep` characters; a note says how much is missing."""
    if len(text) <= keep:
        return text
    tail = keep // 2
    head = keep - tail
    return f"{text[:head]}\n[… {len(text) - keep} characters left out …]\n{text[len(text) - tail :]}"


def _dump(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    # Half of a surrogate pair cannot be sent to anybody.
    return text.encode("utf-8", "replace").decode("utf-8")


def _shorten(value: Any, keep: int) -> Any:
    if isinstance(value, str):
        return cut_middle(value, keep)
    if isinstance(value, dict):
        return {key: _shorten(part, keep) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_shorten(part, keep) for part in value]
    return value
