"""Qwen 2.5 and Qwen 3, whose chat templates write calls as Hermes does."""

from __future__ import annotations

from .hermes import HermesParser


class QwenParser(HermesParser):
    name = "qwen"
