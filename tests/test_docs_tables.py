"""The documentation's tables are those that the definitions give."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from pytest_hermes import errors
from pytest_hermes.config.fields import SECTIONS, EnvConfig, OpenAIConfig
from pytest_hermes.config.options import OPTIONS, Option
from tests import docs_tables
from tests.docs_tables import DOCS, TABLES, documents, rewritten


def stale() -> set[str]:
    """Return the names of the tables that differ from their definitions."""
    texts = {path: path.read_text("utf-8") for path in documents().values()}
    return {name for name, path in documents().items() if docs_tables.table(name) not in texts[path]}


def test_they_are_written_as_defined() -> None:
    assert set(documents()) == set(TABLES)
    assert not stale(), "write them with: python -m tests.docs_tables"
    for path in DOCS.glob("*.md"):
        assert rewritten(path.read_text("utf-8")) == path.read_text("utf-8")


def change_option(option_name: str, /, **changes: object) -> Callable[[pytest.MonkeyPatch], None]:
    changed = tuple(replace(option, **changes) if option.name == option_name else option for option in OPTIONS)
    return lambda patch: patch.setattr(docs_tables, "OPTIONS", changed)


def change_field(section: type, name: str, **changes: object) -> Callable[[pytest.MonkeyPatch], None]:
    def change(patch: pytest.MonkeyPatch) -> None:
        for attribute, value in changes.items():
            patch.setattr(section.model_fields[name], attribute, value)  # type: ignore[attr-defined]

    return change


@pytest.mark.parametrize(
    ("change", "tables"),
    [
        (change_option("attempts", about="other"), {"options"}),
        (change_option("attempts", default=2), {"options"}),
        (change_option("attempts", metavar="X"), {"options"}),
        (change_option("attempts", name="tries"), {"options"}),
        (change_option("model", sets=""), {"openai"}),
        (change_option("judge_max_cost", otherwise="other"), {"limits", "judge"}),
        (change_field(EnvConfig, "terminal_timeout", description="Other."), {"env"}),
        (change_field(EnvConfig, "terminal_timeout", default=1), {"env"}),
        (change_field(EnvConfig, "terminal_timeout", metadata=[]), {"env"}),
        (change_field(EnvConfig, "tool_pool_size", default=1), {"env, not used"}),
        (change_field(OpenAIConfig, "api_key", description="Other."), {"openai"}),
        (lambda patch: patch.setitem(errors.STATUSES, "passed", "other"), {"statuses"}),
        (lambda patch: patch.setitem(errors.STOP_REASONS, "bored", "other"), {"stop reasons"}),
        (lambda patch: patch.delitem(errors.ERROR_KINDS, "image"), {"error kinds"}),
    ],
)
def test_a_changed_definition_is_noticed(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[pytest.MonkeyPatch], None], tables: set[str]
) -> None:
    change(monkeypatch)
    assert stale() == tables


@pytest.mark.parametrize("option", [option for option in OPTIONS if option.sets], ids=lambda option: option.name)
def test_a_field_that_an_option_sets_is_described_and_defaulted_by_it(option: Option) -> None:
    section, _, name = option.sets.partition(".")
    field = SECTIONS[section].model_fields[name]
    assert (field.description, field.default) == (option.description, option.default)
