"""The image of the gauntlet: the tests' image, with Python and git from this machine."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

#: Parts of Python's library that nothing here imports, by their names.
_LEFT_OUT = {
    "test",
    "idlelib",
    "site",
    "tkinter",
    "ensurepip",
    "turtledemo",
    "__pycache__",
    "lib2to3",
    "config",
}


@pytest.fixture(scope="session")
def gauntlet_image() -> str:
    """A name of the image; it is made once for each engine."""
    import docker

    from tests.services.required import container_image, docker_problem, require

    require("docker", docker_problem())
    client = docker.APIClient(version="auto", base_url=os.environ["DOCKER_HOST"])
    try:
        name = "hermes-gauntlet:1"
        if not client.images(name=name):
            context = io.BytesIO()
            with tarfile.open(fileobj=context, mode="w") as tar:
                dockerfile = f"FROM {container_image()}\nADD root.tar /\n".encode()
                _add(tar, "Dockerfile", dockerfile)
                _add(tar, "root.tar", _root())
            context.seek(0)
            for line in client.build(fileobj=context, custom_context=True, tag=name, rm=True, decode=True):
                assert "error" not in line, line
        return name
    finally:
        client.close()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


def _root() -> bytes:
    """Return a tar of Python's interpreter and library, git, and the shared libraries that they need."""
    stream = io.BytesIO()
    base = Path(sys.base_prefix).resolve()
    python = Path(sys.executable).resolve()
    library = base / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}"
    programs = [python, *library.glob("lib-dynload/*.so")]
    with tarfile.open(fileobj=stream, mode="w") as tar:
        tar.add(python, arcname=str(python).lstrip("/"))
        tar.add(library, arcname=str(library).lstrip("/"), filter=_wanted)
        _link(tar, "usr/bin/python3", str(python))
        if (git := shutil.which("git")) is not None:
            real = Path(git).resolve()
            programs.append(real)
            tar.add(real, arcname="usr/bin/git")
            asked = subprocess.run([git, "--exec-path"], capture_output=True, text=True, check=True)
            folder = Path(asked.stdout.strip())
            for name in ("git-receive-pack", "git-upload-pack", "git-checkout"):
                _link(tar, str(folder / name).lstrip("/"), "/usr/bin/git")
        for path in sorted({path for program in programs for path in _libraries(program)}):
            tar.add(Path(path).resolve(), arcname=path.lstrip("/"))
    return stream.getvalue()


def _wanted(info: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if _LEFT_OUT & set(Path(info.name).parts[-1].split("-")) or info.name.endswith(".a") else info


def _libraries(program: Path) -> list[str]:
    listing = subprocess.run(["ldd", str(program)], capture_output=True, text=True, check=False).stdout
    return [word for word in listing.split() if word.startswith("/") and Path(word).exists()]


def _link(tar: tarfile.TarFile, name: str, target: str) -> None:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = tarfile.SYMTYPE, target
    tar.addfile(info)
