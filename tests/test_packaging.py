"""The wheel holds every package, and works where there is no source tree."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a clone holds."""
    source = tmp_path_factory.mktemp("source")
    # A build leaves files beside the source; the tests' own checkout stays as it is.
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    for name in tracked:
        if (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes((ROOT / name).read_bytes())
    return source


@pytest.fixture(scope="session")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "-w", str(folder), str(source)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_every_module(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    packed = {name for name in names if name.endswith(".py")}
    expected = {
        f"pytest_hermes/{path.relative_to(ROOT / 'pytest_hermes')}" for path in (ROOT / "pytest_hermes").rglob("*.py")
    }
    for folder in ("benchmarks", "parsers"):
        expected |= {f"pytest_hermes/{path.relative_to(ROOT)}" for path in (ROOT / folder).rglob("*.py")}
    assert packed == expected
    data = [path for path in (ROOT / "benchmarks").rglob("*") if path.suffix in (".yaml", ".toml", ".jsonl")]
    defaults = {f"pytest_hermes/{path.relative_to(ROOT)}" for path in data}
    scripts = {str(path.relative_to(ROOT)) for path in (ROOT / "pytest_hermes").rglob("*.sh")}
    assert len(defaults) >= 4
    assert "pytest_hermes/sandbox/scripts/wrap.sh" in scripts
    assert {"pytest_hermes/py.typed", *defaults, *scripts} <= set(names)


def interpreter(version: str) -> str | None:
    """Return a Python of this version that works, None where the machine has none."""
    if sys.version_info[:2] == tuple(map(int, version.split("."))):
        return sys.executable
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    # What pyenv puts on the PATH works for one of its versions only.
    for path in (shutil.which(f"python{version}"), *pyenv.glob(f"{version}.*/bin/python")):
        if path and subprocess.run([path, "-c", ""], capture_output=True, check=False).returncode == 0:
            return str(path)
    return None


@pytest.fixture(scope="session", params=["3.11", "3.13"])
def installed(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the programs of an environment in which nothing but the wheel and what it needs is installed."""
    python = interpreter(request.param)
    if python is None:
        pytest.skip(f"this machine has no Python {request.param}")
    folder = tmp_path_factory.mktemp("venv")
    subprocess.run([python, "-m", "venv", "--without-pip", folder], check=True)
    # Most of what is installed is never imported here: it need not be compiled.
    into = ("--python", str(folder / "bin" / "python"))
    command = [sys.executable, "-m", "pip", *into, "install", "-q", "--no-compile", str(wheel)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "bin"


def run_terminal_test(programs: Path, cwd: Path) -> None:
    before = len(list(cwd.glob("hermes-runs/*/results.jsonl")))
    ran = subprocess.run(
        [programs / "pytest", "--hermes-bench=terminal_test", "-n", "8"],
        cwd=cwd,
        env={"PATH": os.environ["PATH"], "HOME": str(cwd)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "16 passed" in ran.stdout
    assert "warning" not in ran.stdout.lower()
    assert len(list(cwd.glob("hermes-runs/*/results.jsonl"))) == before + 1


def test_the_wheel_runs_in_another_folder(installed: Path, tmp_path: Path) -> None:
    run_terminal_test(installed, tmp_path)


def test_a_clone_runs_without_the_requirements_of_its_tests(installed: Path, source: Path) -> None:
    run_terminal_test(installed, source)
