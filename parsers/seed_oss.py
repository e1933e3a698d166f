"""Seed-OSS: Qwen3-Coder's functions and parameters between tags of its own."""

from __future__ import annotations

from .core.parser import Template
from .core.reasoning import THINK
from .qwen3_coder import Qwen3CoderParser, function_grammar


class SeedOssParser(Qwen3CoderParser):
    name = "seed_oss"
    grammar = function_grammar("<seed:tool_call>", "</seed:tool_call>")
    template = Template("<seed:tool_call>\n<function={name}>\n{arguments}</function>\n</seed:tool_call>", between="\n")
    think_tags = (*THINK, ("<seed:think>", "</seed:think>"))
