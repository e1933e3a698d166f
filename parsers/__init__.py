"""From a model's raw text to its content and tool calls, one module a format.

    from pytest_hermes.parsers import get_parser

    parser = get_parser("qwen3_coder", tools=tool_schemas)
    content, tool_calls = parser.parse(raw_model_output)

Inference servers do this behind their chat endpoints; whoever samples tokens from a bare `/generate`, as
reinforcement learning does, has to do it here. Nothing in this package imports the rest of the project.
"""

from .core.call import FunctionCall, ToolCall
from .core.parser import Call, Found, ToolCallParser
from .registry import UnknownParser, get_parser, parser_names

__all__ = [
    "Call",
    "Found",
    "FunctionCall",
    "ToolCall",
    "ToolCallParser",
    "UnknownParser",
    "get_parser",
    "parser_names",
]
