r"""`<tool_call>\n{"name": …, "arguments": {…}}\n</tool_call>`: Hermes 2 Pro, Hermes 3 and 4.

The format is that of the Hermes function-calling prompt (NousResearch/Hermes-Function-Calling).
"""

from __future__ import annotations

from .core.tagged_json import TaggedJsonParser


class HermesParser(TaggedJsonParser):
    name = "hermes"
    opener = "<tool_call>"
    closer = "</tool_call>"
