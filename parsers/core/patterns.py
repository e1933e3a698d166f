"""Pieces of patterns that several formats need."""

from __future__ import annotations

SPACE = r"[ \t\r\n]*"
"""White space between markup. Not `\\s`: what else Unicode counts as space is text."""

NAME = r"[^\s<>{}\[\]()|\"'`,;=｜]{1,256}"
"""A function's name where nothing quotes it; dots, dashes, colons and slashes occur."""


def quoted(group: str) -> str:
    """A name in double quotes, as the value of an attribute."""
    return rf'"(?P<{group}>[^"<>\n]{{1,256}})"'
