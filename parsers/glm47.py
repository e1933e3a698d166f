"""GLM-4.7 and later: as GLM-4.5 writes, without the newlines."""

from __future__ import annotations

from .core.parser import Template
from .glm45 import Glm45Parser


class Glm47Parser(Glm45Parser):
    name = "glm47"
    template = Template("<tool_call>{name}{arguments}</tool_call>")
    parameter = "<arg_key>{key}</arg_key><arg_value>{value}</arg_value>"
