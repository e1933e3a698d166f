r"""`<tool_call>\n{"name": …, "arguments": {…}}\n</tool_call>`: Hermes 2 Pro, Hermes 3 and 4.

The format is that of the Hermes function-calling prompt (NousResearch/Hermes-Function-Calling).
"""

from __future__ import annotations

from .core.marked_json import MarkedJsonParser
from .core.parser import OBJECT, Template
from .core.patterns import SPACE


class HermesParser(MarkedJsonParser):
    name = "hermes"
    head = "<tool_call>"
    tail = f"{SPACE}</tool_call>"
    template = Template(f"<tool_call>\n{OBJECT}\n</tool_call>", between="\n")
