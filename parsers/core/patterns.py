"""Pieces of patterns that several formats need."""

SPACE = r"[ \t\r\n]*"
"""White space between markup. Not `\\s`: what else Unicode counts as space is text."""

NAME = r"[^\s<>{}\[\]()|\"'`,;=｜]{1,256}"
"""A function's name where nothing quotes it; dots, dashes, colons and slashes occur."""
