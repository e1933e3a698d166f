"""The order of the floors: imports only go down, and nothing below a door imports the door's framework."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import pytest_hermes

ROOT = Path(pytest_hermes.__file__).parent

#: From the doors down. Modules directly below the package stand on the ground floor.
FLOORS = ("plugin", "atropos", "report", "rollout", "verifier", "tools", "models", "dataset", "sandbox")
#: Below all of them, the ground floor included.
BASEMENT = "core"
#: Who may import what only the doors may.
FRAMEWORKS = {"pytest": "plugin", "_pytest": None, "xdist": "plugin", "atroposlib": "atropos"}


def modules() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and absolute name of everything a module imports when it runs; types alone do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            typing_only.update(id(inner) for statement in node.body for inner in ast.walk(statement))
    package = ["pytest_hermes", *path.relative_to(ROOT).parent.parts]
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            yield node.lineno, ".".join([*base, *(node.module.split(".") if node.module else ())])


def floor(module: str) -> int | None:
    """Return how high a module of this project stands, None for those of others and the package itself."""
    parts = module.split(".")
    if parts[0] != "pytest_hermes" or len(parts) == 1:
        return None
    if parts[1] == BASEMENT:
        return len(FLOORS) + 1
    return FLOORS.index(parts[1]) if parts[1] in FLOORS else len(FLOORS)


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_only_go_down(path: Path) -> None:
    here_parts = path.relative_to(ROOT).parts
    here = floor(".".join(["pytest_hermes", here_parts[0].removesuffix(".py")]))
    assert here is not None
    for line, name in imports(path):
        there = floor(name)
        # The ground floor's modules know each other; `__init__` only forwards names.
        if there is not None and path != ROOT / "__init__.py":
            assert there >= here, f"{path}:{line} imports {name}, which stands above it"
            if {here, there} == {FLOORS.index("plugin"), FLOORS.index("atropos")}:
                raise AssertionError(f"{path}:{line}: the doors do not know each other")
        top = name.split(".")[0]
        if top in FRAMEWORKS:
            assert here_parts[0] == FRAMEWORKS[top], f"{path}:{line} imports {name}"


def test_the_rule_can_fail(tmp_path: Path) -> None:
    assert list(imports(ROOT / "models" / "embedded.py"))
    assert floor("pytest_hermes.plugin.items") == 0
    assert floor("pytest_hermes.task") == len(FLOORS)
    assert floor("pytest_hermes.core.source") == len(FLOORS) + 1
    assert floor("json") is None
