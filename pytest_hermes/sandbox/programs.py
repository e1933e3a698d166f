"""The folders of programs that lie outside of the system's own: those of PATH and of the Python that runs this.

A program seldom works without what was installed with it. Where that lies follows from the layout in which programs
are installed below one folder, their prefix (the GNU coding standards' "Directory Variables"): programs in `bin`, what
they need in `lib`, `libexec`, `share`, `include`. Nothing else below a prefix is shown.
"""

from __future__ import annotations

import glob
import os
import sys
import sysconfig
from collections.abc import Collection, Iterable, Iterator

from .mounts import Mount, read_only, within

_BIN = ("bin", "sbin")
_PARTS = (*_BIN, "lib", "lib32", "lib64", "libexec", "include", "share", "ssl")

#: What only the prefix of a Python environment has: one of the standard library's venv, or of conda.
_ENVIRONMENTS = ("pyvenv.cfg", "conda-meta")

#: What else a toolchain needs, by something that only its prefix has.
_TOOLCHAINS = {
    "lib/modules": ("conf", "jmods", "release"),  # a JDK; see its "Installed Directory Structure"
    "pkg/tool": ("VERSION", "go.env", "pkg", "src"),  # a GOROOT
    "boot/plexus-classworlds.license": ("boot", "conf"),  # Maven
}
#: Version managers (pyenv, rbenv, nodenv, asdf, mise) have small programs in `shims`, and beside it what those start.
_MANAGED = ("installs", "versions")
_MANAGER = (*_MANAGED, "bin", "lib", "libexec", "plugins", "version")


def program_mounts(path: Iterable[str], *, homes: Collection[str], private: Collection[str]) -> Iterator[Mount]:
    """Yield what makes the programs in the folders `path` work, and the Python that runs this.

    `homes` are the home folders of users, and `private` the folders of other things that are not programs: of those
    below, only environments of Python count. None of these paths is itself a prefix, nor is what one of them lies in.
    """
    for place in _interpreter():
        yield from _shown(place)
    seen: set[str] = set()
    for folder in [*path, sysconfig.get_path("scripts"), os.path.join(sys.base_prefix, "bin")]:
        yield from _links_on(folder)
        yield from _programs_in(os.path.realpath(folder), homes, private, seen)


def _programs_in(folder: str, homes: Collection[str], private: Collection[str], seen: set[str]) -> Iterator[Mount]:
    if folder in seen or not os.path.isdir(folder):
        return
    seen.add(folder)
    yield from map(read_only, _parts_around(folder, homes, private))
    # A program may be a link to where it is installed, in one step or several.
    for program, target in _linked(folder):
        place = os.path.dirname(target)
        if os.path.basename(place) in _BIN and place not in seen:
            seen.add(place)
            yield from _links_on(program)
            yield from map(read_only, _parts_around(place, homes, private))


def site_packages(folder: str) -> Iterator[str]:
    """Yield the folders of installed Python packages in `folder`, which is one, or part of a prefix of Pythons."""
    if folder.endswith("-packages"):
        yield folder
        return
    places = {"lib": ("*",), "lib64": ("*",), "usr": ("lib/*", "lib64/*", "local/lib/*")}
    for place in places.get(os.path.basename(folder), (".", "*/lib/*")):
        yield from glob.iglob(os.path.join(glob.escape(folder), place, "*-packages"))


def _interpreter() -> list[str]:
    """What the Python that runs this needs to start and to import what is installed with it."""
    paths = sysconfig.get_paths()
    base = sysconfig.get_config_vars()
    library = os.path.join(base.get("LIBDIR") or "", base.get("INSTSONAME") or "")
    executable = getattr(sys, "_base_executable", "") or sys.executable
    names = ("stdlib", "platstdlib", "purelib", "platlib", "include")
    wanted = [*(paths[name] for name in names), library, executable, os.path.join(sys.prefix, "pyvenv.cfg")]
    return [path for path in wanted if path.startswith("/") and os.path.exists(path)]


def _shown(path: str) -> Iterator[Mount]:
    yield from _links_on(path)
    yield read_only(os.path.realpath(path))


def _parts_around(folder: str, homes: Collection[str], private: Collection[str]) -> Iterator[str]:
    """Yield `folder`, where programs are, and what they need of their prefix."""
    name, prefix = os.path.basename(folder), os.path.dirname(folder)
    environment = name in _BIN and any(os.path.exists(os.path.join(prefix, mark)) for mark in _ENVIRONMENTS)
    if any(within(place, prefix) for place in (*homes, *private)):
        if environment:  # whose `lib` may be a project's own as well
            yield from _present(prefix, [*_BIN, "pyvenv.cfg"])
    elif environment:
        yield from _present(prefix, [*_PARTS, "pyvenv.cfg"])
    elif any(within(prefix, place) for place in private) or any(_is_own(prefix, home) for home in homes):
        pass
    elif name == "shims":
        yield folder
        if any(os.path.isdir(os.path.join(prefix, part)) for part in _MANAGED):
            yield from _present(prefix, _MANAGER)
    elif name in _BIN:
        yield folder
        # Neither what lies at the top, such as /opt, nor a checkout is a prefix.
        if os.path.dirname(prefix) != "/" and not os.path.exists(os.path.join(prefix, ".git")):
            yield from _present(prefix, _parts_of(prefix))


def _is_own(prefix: str, home: str) -> bool:
    """Whether it is a user's work, rather than what a tool installed for its user, which has a hidden folder."""
    return within(prefix, home) and not os.path.relpath(prefix, home).startswith(".")


def _parts_of(prefix: str) -> Iterator[str]:
    # Programs keep a user's data in ~/.local/share (the XDG Base Directory Specification).
    yield from (part for part in _PARTS if part != "share" or os.path.basename(prefix) != ".local")
    for mark, more in _TOOLCHAINS.items():
        if os.path.exists(os.path.join(prefix, mark)):
            yield from more


def _present(prefix: str, names: Iterable[str]) -> Iterator[str]:
    for name in names:
        if os.path.exists(path := os.path.join(prefix, name)):
            yield os.path.realpath(path)


def _linked(folder: str) -> Iterator[tuple[str, str]]:
    """Yield the programs in `folder` that are links, each with the file that it leads to."""
    try:
        with os.scandir(folder) as entries:
            links = [entry.path for entry in entries if entry.is_symlink()]
    except OSError:  # not for this user
        return
    for link in links:
        target = os.path.realpath(link)
        if os.path.isfile(target):
            yield link, target


def _links_on(path: str) -> Iterator[Mount]:
    """Yield the symlinks that lead from `path` to its real path."""
    place, rest, steps = "/", [part for part in path.split("/") if part], 0
    while rest and steps < 40:
        part = rest.pop(0)
        if part in (".", ".."):
            place = os.path.dirname(place) if part == ".." else place
            continue
        at = os.path.join(place, part)
        if os.path.islink(at):
            text = os.readlink(at)
            yield Mount("link", at, text)
            steps += 1
            rest = [*(name for name in text.split("/") if name), *rest]
            place = "/" if text.startswith("/") else place
        else:
            place = at
