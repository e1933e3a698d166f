"""Seed-OSS: Qwen3-Coder's functions and parameters between tags of its own."""

from __future__ import annotations

from .core.reasoning import THINK
from .qwen3_coder import Qwen3CoderParser, function_grammar


class SeedOssParser(Qwen3CoderParser):
    name = "seed_oss"
    opener = "<seed:tool_call>"
    closer = "</seed:tool_call>"
    grammar = function_grammar(opener, closer)
    think_tags = (*THINK, ("<seed:think>", "</seed:think>"))
