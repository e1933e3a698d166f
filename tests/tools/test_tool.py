from __future__ import annotations

from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field, ValidationError

from pytest_hermes.tools.tool import Tool, ToolArguments, Word


class Point(BaseModel):
    """For programmers."""

    title: str
    x: int = 0


class Everything(ToolArguments):
    """For programmers, too."""

    title: Word = Field(description="A field that is called title.")
    mode: Literal["fast", "slow"] = "fast"
    limit: int | None = Field(default=None, description="May be left out.")
    either: int | str | None = None
    points: list[Point] = Field(default_factory=list)


async def nothing(session: Any, arguments: Any) -> dict[str, Any]:
    return {}


TOOL = Tool("everything", "Shows all kinds of fields.", Everything, nothing)


def test_the_schema_is_openais_without_noise() -> None:
    point = {
        "type": "object",
        "properties": {"title": {"type": "string"}, "x": {"type": "integer", "default": 0}},
        "required": ["title"],
    }
    assert TOOL.schema == {
        "type": "function",
        "function": {
            "name": "everything",
            "description": "Shows all kinds of fields.",
            "parameters": {
                "type": "object",
                "additionalProperties": False,
                "properties": {
                    "title": {"type": "string", "description": "A field that is called title."},
                    "mode": {"type": "string", "enum": ["fast", "slow"], "default": "fast"},
                    "limit": {"type": "integer", "description": "May be left out."},
                    "either": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
                    "points": {"type": "array", "items": {"$ref": "#/$defs/Point"}},
                },
                "required": ["title"],
                "$defs": {"Point": point},
            },
        },
    }


def test_a_null_for_a_field_that_may_be_left_out_is_accepted() -> None:
    assert Everything(title="t", limit=None).limit is None


def test_arguments_refuse_unknown_fields_and_conversions() -> None:
    for wrong in ({"title": "t", "other": 1}, {"title": 1}, {"title": "t", "limit": "5"}, {"title": "a\0b"}):
        with pytest.raises(ValidationError):
            Everything.model_validate(wrong)
