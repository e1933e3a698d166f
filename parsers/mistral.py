"""Mistral's `[TOOL_CALLS]`, in both of its forms.

Up to tokenizer v7 one array follows the marker, from v11 on each call has a marker of its own:
`[TOOL_CALLS]name[CALL_ID]id[ARGS]{…}`, the id being optional. Both forms, and ids of nine alphanumerics,
are those of mistral-common.
"""

from __future__ import annotations

import re
import secrets
import string

from .core.json_array import JsonArrayParser
from .core.parser import Call, Template
from .core.patterns import NAME, SPACE
from .core.reasoning import THINK

_ALPHANUMERIC = string.ascii_letters + string.digits
_ID = re.compile(r"[A-Za-z0-9]{9}")


class MistralParser(JsonArrayParser):
    name = "mistral"
    think_tags = (*THINK, ("[THINK]", "[/THINK]"))
    marker = r"\[TOOL_CALLS\]"
    named = rf"(?P<name>{NAME}){SPACE}(?:\[CALL_ID\](?P<id>{_ID.pattern}))?\[ARGS\]{SPACE}(?=[{{\"])"
    id_shape = _ID
    template = Template("[TOOL_CALLS]{name}{id}[ARGS]{arguments}")

    def written_id(self, call: Call, index: int) -> str:
        return f"[CALL_ID]{call.id}" if _ID.fullmatch(call.id) else ""

    def new_id(self) -> str:
        return "".join(secrets.choice(_ALPHANUMERIC) for _ in range(9))
