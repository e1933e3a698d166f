"""What can go wrong with a chat template."""

from __future__ import annotations


class TemplateError(Exception):
    """A chat template cannot render a conversation."""
