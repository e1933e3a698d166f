"""GLM-4.7 and later: as GLM-4.5 writes, without the newlines."""

from __future__ import annotations

from .glm45 import Glm45Parser


class Glm47Parser(Glm45Parser):
    name = "glm47"
    newline = ""
