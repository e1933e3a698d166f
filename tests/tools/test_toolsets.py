from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pytest_hermes.config import installed
from pytest_hermes.errors import UsageError
from pytest_hermes.tools.tool import Tool, ToolArguments, Toolset
from pytest_hermes.tools.toolsets import register_toolset, resolve_toolsets

Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Puts a package with one toolset on the path, as pip would; the toolset `name` has the tools named in `source`."""
    monkeypatch.syspath_prepend(str(tmp_path))
    # A process looks once; one that pip has changed is a new one.
    monkeypatch.setattr("pytest_hermes.config.installed._of_packages", installed._of_packages.__wrapped__)

    def install(name: str, source: str) -> None:
        module = f"toolset_of_{name}_{len(list(tmp_path.iterdir()))}"
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{module}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[pytest_hermes.toolsets]\n{name} = {module}:TOOLSET\n")
        monkeypatch.delitem(sys.modules, module, raising=False)

    return install


def toolset(name: str, *tools: str) -> str:
    made = ", ".join(f"Tool({tool!r}, 'Does nothing.', ToolArguments, None)" for tool in tools)
    return f"from pytest_hermes.tools.tool import *\nTOOLSET = Toolset({name!r}, ({made},))\n"


def names(enabled: list[str] | None = None, disabled: list[str] | None = None) -> list[str]:
    return [tool.name for tool in resolve_toolsets(enabled, disabled)]


FILE = ["read_file", "write_file", "patch", "search_files"]
TERMINAL = ["terminal", "process"]


class TestWhichTools:
    def test_all_unless_told_otherwise(self) -> None:
        assert names() == FILE + TERMINAL

    def test_those_enabled_in_their_order_and_once(self) -> None:
        assert names(["terminal", "file", "terminal"]) == TERMINAL + FILE
        assert names(["terminal"]) == TERMINAL
        assert names([]) == []

    def test_without_those_disabled(self) -> None:
        assert names(None, ["file"]) == TERMINAL
        assert names(["terminal", "file"], ["terminal"]) == FILE

    def test_disabling_what_is_not_there_yet_is_fine(self) -> None:
        assert names(["terminal"], ["browser"]) == TERMINAL

    def test_other_packages_bring_theirs(self, install: Install) -> None:
        install("chess", toolset("chess", "move", "resign"))
        assert names(["chess"]) == ["move", "resign"]
        assert names() == ["move", "resign", *FILE, *TERMINAL]


class TestMistakes:
    def test_a_name_that_does_not_exist(self) -> None:
        with pytest.raises(UsageError, match="unknown toolset 'terminl'; did you mean 'terminal'"):
            names(["terminl"])
        with pytest.raises(UsageError, match="unknown toolset 'fil'; did you mean 'file'"):
            names(None, ["fil"])

    @pytest.mark.parametrize("name", ["web", "browser", "vision", "memory"])
    def test_a_name_that_does_not_exist_yet(self, name: str) -> None:
        with pytest.raises(UsageError, match=f"'{name}' is not part of this version yet; .*: file, terminal"):
            names(["terminal", name])

    def test_a_text_instead_of_a_list(self) -> None:
        with pytest.raises(UsageError, match=r"write \['terminal'\]"):
            resolve_toolsets("terminal")

    def test_two_tools_of_one_name(self, install: Install) -> None:
        install("chess", toolset("chess", "move", "patch"))
        assert names(["chess", "terminal"]) == ["move", "patch", *TERMINAL]
        with pytest.raises(UsageError, match="toolsets 'chess' and 'file' both have a tool 'patch'"):
            names()

    def test_two_toolsets_of_one_name(self, install: Install) -> None:
        install("chess", toolset("chess", "move"))
        install("chess", toolset("chess", "castle"))
        with pytest.raises(UsageError, match="two installed packages have a toolset 'chess'"):
            names(["terminal"])

    def test_a_toolset_that_cannot_be_imported(self, install: Install) -> None:
        install("broken", "import module_that_is_missing")
        with pytest.raises(UsageError, match=r"toolset 'broken' .* cannot be loaded: ModuleNotFoundError"):
            names(["broken"])
        assert names(["terminal"]) == TERMINAL

    def test_what_is_no_toolset(self, install: Install) -> None:
        install("odd", "TOOLSET = 3")
        with pytest.raises(UsageError, match="is a int, not a Toolset"):
            names(["odd"])


class TestRegistering:
    def test_a_registered_toolset_is_one_of_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("pytest_hermes.config.installed._REGISTERED", {})
        register_toolset(Toolset("mine", (Tool("count", "Counts.", ToolArguments, lambda session, arguments: {}),)))
        assert names() == [*FILE, "count", *TERMINAL]
        assert names(["mine"]) == ["count"]
        assert names(None, ["mine"]) == FILE + TERMINAL
        # A conftest that is imported anew replaces what it registered before.
        register_toolset(Toolset("mine", (Tool("count_all", "Counts.", ToolArguments, lambda session, arguments: {}),)))
        assert names(["mine"]) == ["count_all"]
        with pytest.raises(UsageError, match="unknown toolset 'mien'; did you mean 'mine'"):
            names(["mien"])

    def test_what_cannot_be_registered(self) -> None:
        with pytest.raises(UsageError, match=r"'file' is the name of pytest_hermes\.tools\.file:TOOLSET, which"):
            register_toolset(Toolset("file", ()))
        with pytest.raises(UsageError, match=r"register_toolset\(\) takes a Toolset, not a str"):
            register_toolset("file")  # type: ignore[arg-type]
