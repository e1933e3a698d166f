"""The tables of the documentation that follow from definitions: `python -m tests.docs_tables` writes them anew.

A table stands between `<!-- table NAME: … -->` and `<!-- end -->`; what is between is replaced.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from pathlib import Path

from pytest_hermes.config.fields import SECTIONS, must_be
from pytest_hermes.config.options import OPTIONS, Option
from pytest_hermes.config.unused import why_unused
from pytest_hermes.errors import ERROR_KINDS, STATUSES, STOP_REASONS

DOCS = Path(__file__).parent.parent / "docs"

#: Where the documents say more about an option or a field.
SEE = {
    "--hermes-config": "configuration.md",
    "--hermes-judge-model": "benchmarks.md#a-model-that-judges",
    "--hermes-dataset": "benchmarks.md#where-tasks-come-from",
    "--hermes-verifier": "verification.md",
    "--hermes-sandbox": "sandboxes.md",
    "--hermes-procs": "#more-than-one-process",
    "--hermes-resume": "#resuming-a-run",
    "env.terminal_options": "sandboxes.md",
    "env.terminal_lifetime": "#limits",
    "env.tool_call_parser": "parsers.md",
}
#: Of the run as a whole: they have a table of their own.
LIMITS = ("max_cost", "judge_max_cost", "max_tokens", "max_turns", "max_seconds")


def options(chosen: Iterable[Option], see: Mapping[str, str] = SEE) -> list[list[str]]:
    """Return the rows of a table of options."""
    rows = [["option", "meaning", "default"]]
    for option in chosen:
        flag = f"{option.flag} {option.metavar}".rstrip()
        rows.append([f"`{flag}`", linked(option.meaning, see.get(option.flag)), option.default_text])
    return rows


def fields(section: str, *, used: bool = True) -> list[list[str]]:
    """Return the rows of a table of a section's fields: those that a run of tests heeds, or the others."""
    rows = [["field", "value", "default", "meaning", "option" if used else "why it is not used"]]
    flags = {option.sets: f"`{option.flag}`" for option in OPTIONS}
    for name, field in SECTIONS[section].model_fields.items():
        key, default = f"{section}.{name}", field.default
        why = why_unused(key)
        if (why is None) is used:
            value = default.value if isinstance(default, Enum) else default
            shown = "" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"
            accepts = must_be(SECTIONS[section], name) or ""
            meaning = linked((field.description or "").removesuffix("."), SEE.get(key))
            rows.append([f"`{name}`", accepts, shown, meaning, why or flags.get(key, "")])
    return rows


def words(name: str, meaning: str, texts: Iterable[tuple[str, str]]) -> list[list[str]]:
    """Return the rows of a table of words and what they mean."""
    return [[name, meaning], *([f"`{word}`", text] for word, text in texts)]


TABLES: dict[str, Callable[[], list[list[str]]]] = {
    "options": lambda: options(option for option in OPTIONS if option.name not in LIMITS),
    "limits": lambda: options(option for option in OPTIONS if option.name in LIMITS),
    "judge": lambda: options((option for option in OPTIONS if option.name.startswith("judge")), {}),
    "env": lambda: fields("env"),
    "env, not used": lambda: fields("env", used=False),
    "openai": lambda: fields("openai"),
    "statuses": lambda: words("status", "meaning", STATUSES.items()),
    "stop reasons": lambda: words("stop reason", "meaning", STOP_REASONS.items()),
    "error kinds": lambda: words("kind", "what failed", ERROR_KINDS.items()),
}
_TABLE = re.compile(r"(<!-- table ([\w, ]+):[^>]*-->\n).*?(<!-- end -->)", re.DOTALL)


def linked(text: str, link: str | None) -> str:
    """Return a text with a link to where the documents say more."""
    if link is None:
        return text
    page, _, section = link.partition("#")
    return f"{text} (see [{page or section.replace('-', ' ').capitalize()}]({link}))"


def table(name: str) -> str:
    """Return a table as Markdown."""
    head, *rows = TABLES[name]()
    lines = (" | ".join(cell.replace("|", r"\|") for cell in row) for row in rows)
    return "\n".join([f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *(f"| {line} |" for line in lines), ""])


def rewritten(text: str) -> str:
    """Return a document with the tables that the definitions give."""
    return _TABLE.sub(lambda found: f"{found[1]}{table(found[2])}{found[3]}", text)


def documents() -> dict[str, Path]:
    """Return the documents that hold tables, by the tables' names."""
    return {found[2]: path for path in sorted(DOCS.glob("*.md")) for found in _TABLE.finditer(path.read_text("utf-8"))}


if __name__ == "__main__":
    for document in sorted(set(documents().values())):
        document.write_text(rewritten(document.read_text("utf-8")), "utf-8")
