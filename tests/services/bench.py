"""Runs pytest with the plugin in a process of its own, as a user would."""

from __future__ import annotations

import asyncio
import importlib
import json
import os
import pkgutil
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from .model_server import ModelServer

if TYPE_CHECKING:
    import pexpect

#: What must not reach the tests from the machine they run on.
_FOREIGN = (
    "OPENAI_",
    "OPENROUTER_",
    "PYTEST_",
    "HERMES_",
    "ANTHROPIC_",
    "XDG_",
    "COV_",
    "WANDB_",
    "HF_",
    "PY_COLORS",
    "FORCE_COLOR",
    "PYTHONDONTWRITEBYTECODE",  # or every run would compile all modules
)

#: Plugins of other packages that have nothing to do with this one and take half of a start.
_OTHERS = [part for name in ("hypothesispytest", "html", "metadata", "anyio") for part in ("-p", f"no:{name}")]


class Bench:
    """A user's folder and shell."""

    def __init__(self, pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
        self.pytester = pytester
        self.path = pytester.path
        for name in list(os.environ):
            if name.startswith(_FOREIGN):
                monkeypatch.delenv(name)
        # Warnings of the plugin and of everything below it are errors here too.
        pytester.makeini("[pytest]\nfilterwarnings =\n    error\nasyncio_default_fixture_loop_scope = function\n")
        self._monkeypatch = monkeypatch
        self._started: list[subprocess.Popen[str]] = []

    def env(self, **variables: str) -> None:
        for name, value in variables.items():
            self._monkeypatch.setenv(name, value)

    def hide_bubblewrap(self) -> None:
        """Set a PATH on which there is everything but bwrap."""
        folder = self.path / "bin"
        folder.mkdir()
        for directory in map(Path, os.environ["PATH"].split(os.pathsep)):
            for entry in directory.iterdir() if directory.is_dir() else ():
                if entry.name != "bwrap" and not (folder / entry.name).is_symlink():
                    (folder / entry.name).symlink_to(entry)
        self.env(PATH=str(folder))

    def file(self, name: str, text: str) -> Path:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        # Of the same size and second, it would pass for what was compiled before.
        for compiled in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
            compiled.unlink()
        return path

    def run(self, *arguments: str, timeout: float = 120, all_plugins: bool = False) -> pytest.RunResult:
        """Run `pytest` with these arguments and wait for it; `all_plugins`: those that do not matter here as well."""
        return self.pytester.runpytest_subprocess(*([] if all_plugins else _OTHERS), *arguments, timeout=timeout)

    def run_inside(self, *arguments: str) -> pytest.RunResult:
        """Run `pytest` with these arguments in this very process, which takes a fraction of a process's start.

        For what shows in the same way: not for conftests that change modules, signals, prints of other threads, or what
        is left at the end. This package is imported already, which pytest warns of where it would rewrite its asserts.
        """
        imported = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"
        return self.pytester.runpytest_inprocess("-W", imported, *_OTHERS, *arguments)

    def start(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start `pytest` in the background, in a process group of its own."""
        return self.start_python("-m", "pytest", *_OTHERS, *arguments, **options)

    def on_a_terminal(self, *arguments: str) -> pexpect.spawn[bytes]:
        """Start `pytest` on a terminal of its own."""
        return self.pytester.spawn_pytest(shlex.join([*_OTHERS, *arguments]))

    def start_python(self, *arguments: str, **options: Any) -> subprocess.Popen[str]:
        """Start `python` likewise."""
        process = subprocess.Popen(
            [sys.executable, *arguments],
            cwd=self.path,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            # What runs the tests may ignore it, and children inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
            **options,
        )
        self._started.append(process)
        return process

    def python(self, *arguments: str, timeout: float = 120) -> tuple[int, str]:
        """Run `python` with these arguments, wait for it, and return its exit code and its whole output."""
        process = self.start_python(*arguments)
        output, _ = process.communicate(timeout=timeout)
        return process.returncode, output

    def close(self) -> None:
        """End what a failed test left running."""
        for process in self._started:
            if process.returncode is None:
                process.kill()
                process.communicate()

    def records(self, run_dir: str = "out") -> list[dict[str, Any]]:
        """Return the lines of a run's results."""
        text = (self.path / run_dir / "results.jsonl").read_text(encoding="utf-8")
        return [json.loads(line) for line in text.splitlines()]


def import_what_runs_need() -> None:
    """Import all that a run imports where it is first used.

    pytester forgets what was imported during a test. What is imported once more has other classes, by which modules
    that stayed know nothing: the errors of an HTTP library, say.
    """
    import pytest_hermes

    for module in pkgutil.walk_packages(pytest_hermes.__path__, "pytest_hermes."):
        if not module.name.startswith("pytest_hermes.atropos"):
            importlib.import_module(module.name)
    server = ModelServer()
    try:
        asyncio.run(_ask(server.url))
    finally:
        server.close()
    for name in ("docker", "genai_prices.data", "genai_prices.data_snapshot"):
        importlib.import_module(name)


async def _ask(url: str) -> None:
    from pytest_hermes.models.endpoint import Endpoint
    from pytest_hermes.models.keys import Address

    endpoint = Endpoint("m", Address(url, None))
    await endpoint.chat_completion(messages=[{"role": "user", "content": "Hi"}])
    await endpoint.close()


def processes_with(marker: str) -> list[int]:
    """Return the ids of living processes on this machine whose command line or environment holds `marker`."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
            text = (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes()
        except OSError:
            continue
        if state != "Z" and marker.encode() in text:
            found.append(int(entry.name))
    return found


def interrupt(process: subprocess.Popen[str], number: int = signal.SIGINT) -> None:
    process.send_signal(number)
