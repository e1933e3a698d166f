"""The order of the floors: imports only go down, and nothing below a door imports the door's framework."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import pytest_hermes

ROOT = Path(pytest_hermes.__file__).parent

#: From the doors down. The other modules directly below the package stand on the ground floor.
FLOORS = (
    "plugin", "atropos", "report", "runs", "rollout", "verifier", "tools", "models", "dataset", "sandbox", "benchmark",
    "config",
)  # fmt: skip
#: Below all of them, the ground floor included.
BASEMENT = "core"
#: Who may import what only the doors may.
FRAMEWORKS = {"pytest": "plugin", "_pytest": None, "xdist": "plugin", "atroposlib": "atropos"}


def modules() -> list[Path]:
    return sorted(path for path in ROOT.rglob("*.py"))


def imports(
    path: Path, root: Path = ROOT, top: str = "pytest_hermes", *, whole: bool = False
) -> Iterator[tuple[int, str]]:
    """Yield line and absolute name of everything a module imports when it runs; types alone do not count.

    With `whole`, of what is imported from a module the names as well, which may be modules themselves.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    typing_only: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            typing_only.update(id(inner) for statement in node.body for inner in ast.walk(statement))
    package = [top, *path.relative_to(root).parent.parts]
    for node in ast.walk(tree):
        if id(node) in typing_only:
            continue
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            module = [*base, *(node.module.split(".") if node.module else ())]
            yield from (
                (node.lineno, ".".join([*module, *more]))
                for more in ([[a.name] for a in node.names] if whole else [[]])
            )


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


def graph(root: Path, package: str) -> dict[str, set[str]]:
    """Return which modules each module of a package imports when it runs, wherever in it that stands."""
    names = {}
    for path in sorted(root.rglob("*.py")):
        parts = [package, *path.relative_to(root).with_suffix("").parts]
        names[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    found: dict[str, set[str]] = {}
    for name, path in names.items():
        if path == root / "__init__.py":  # it forwards names
            continue
        targets = (target for _, target in imports(path, root, package, whole=True))
        found[name] = {_nearest(target, names) for target in targets} - {"", package, name}
    return found


def _nearest(name: str, modules: Mapping[str, object]) -> str:
    """Return the module that an imported name is, or stands in; empty for one of another package."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name


def circles(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other, round about or directly."""
    below: dict[str, set[str]] = {}
    for start in graph:
        seen: set[str] = set()
        left = [start]
        while left:
            for name in graph.get(left.pop(), ()):
                if name not in seen:
                    seen.add(name)
                    left.append(name)
        below[start] = seen
    groups = {frozenset(name for name in below[start] if start in below.get(name, ())) for start in graph}
    return sorted(sorted(group) for group in groups if group)


def test_there_are_no_circles() -> None:
    assert circles(graph(ROOT, "pytest_hermes")) == []


def test_a_circle_is_found(tmp_path: Path) -> None:
    (tmp_path / "low").mkdir()
    (tmp_path / "__init__.py").write_text("from .high import a")
    (tmp_path / "low" / "__init__.py").write_text("")
    (tmp_path / "high.py").write_text("from .low import b\nfrom .low.b import x\n")
    (tmp_path / "low" / "b.py").write_text("def f():\n    from . import c\n")
    (tmp_path / "low" / "c.py").write_text("import pkg.low.d\n")
    (tmp_path / "low" / "d.py").write_text("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from . import b\n")
    assert circles(graph(tmp_path, "pkg")) == []
    (tmp_path / "low" / "d.py").write_text("def g():\n    from .b import f\n")
    assert circles(graph(tmp_path, "pkg")) == [["pkg.low.b", "pkg.low.c", "pkg.low.d"]]


def test_the_rule_can_fail(tmp_path: Path) -> None:
    assert list(imports(ROOT / "models" / "builtin.py"))
    assert floor("pytest_hermes.plugin.items") == 0
    assert floor("pytest_hermes.task") == len(FLOORS)
    assert floor("pytest_hermes.core.source") == len(FLOORS) + 1
    assert floor("json") is None
