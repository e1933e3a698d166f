"""What sandboxes in bubblewrap see of /etc: what programs ask for that any user may run.

What may name a password is not among it, such as the configuration of package managers, of services and of the shell's
environment; nor is what not every user may read, since root in a sandbox may be the host's.
"""

from __future__ import annotations

import atexit
import os
import shutil
import stat
from collections.abc import Iterator
from glob import glob

from .folder import OwnedFolder
from .mounts import Mount

_NAMES = (
    "ImageMagick*",
    "R",
    "alternatives",
    "bash.bashrc",
    "bashrc",
    "ca-certificates",
    "crypto-policies",
    "debian_version",
    "fonts",
    "gai.conf",
    "ghostscript",
    "glvnd",
    "group",
    "host.conf",
    "hosts",
    "inputrc",
    "java*",
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "locale.alias",
    "locale.conf",
    "localtime",
    "login.defs",
    "lsb-release",
    "magic",
    "magic.mime",
    "mailcap",
    "mime.types",
    "mtab",
    "networks",
    "nsswitch.conf",
    "os-release",
    "pam.conf",
    "pam.d",
    "passwd",
    "perl",
    "php",
    "pki/ca-trust",
    "pki/java",
    "pki/tls/cert.pem",
    "pki/tls/certs",
    "pki/tls/openssl.cnf",
    "profile",
    "profile.d",
    "protocols",
    "python*",
    "redhat-release",
    "resolv.conf",
    "rpc",
    "security/limits.conf",
    "services",
    "shells",
    "skel",
    "ssl/ca-bundle.pem",
    "ssl/cert.pem",
    "ssl/certs",
    "ssl/openssl.cnf",
    "terminfo",
    "texmf",
    "timezone",
    "vim",
    "xml",
)

#: What changes while a sandbox lives, as when the machine moves to another network.
_LIVE = ("/etc/hosts", "/etc/resolv.conf")

#: Each mount costs the start of a sandbox a third of a millisecond, and each copied file this process as much. Files,
#: and folders with no more in them than this, are copied once.
_FEW = 8


class EtcFolder:
    """A folder for this process's sandboxes, which is removed when the process ends."""

    def __init__(self) -> None:
        """Make it. Raises OSError."""
        self._folder = OwnedFolder()
        self._owner = os.getpid()
        #: What the folder consists of, to be mounted.
        self.mounts: list[Mount] = []
        self._folder.make()
        atexit.register(self._remove)
        self.mounts.append(Mount("read-only", "/etc", self._folder.path))
        for name in _NAMES:
            for path in glob(f"/etc/{name}"):
                self._add(path)
        os.chmod(self._folder.path, 0o755)

    def _add(self, path: str) -> None:
        source = os.path.realpath(path)
        copy = self._folder.path + path.removeprefix("/etc")
        if source.startswith(("/proc/", "/usr/", "/nix/", "/gnu/")):
            # Visible, too; below /proc it is every process's own.
            _make_parent(copy)
            os.symlink(os.readlink(path) if source.startswith("/proc/") else source, copy)
            return
        if not os.path.exists(source) or _closed(source):
            return
        _make_parent(copy)
        if not os.path.isdir(source):
            shutil.copyfile(source, copy)
            if path in _LIVE:
                self.mounts.append(Mount("read-only", path, source))
            return
        closed = list(_closed_in(source))
        if sum(len(folders) + len(files) for _, folders, files in os.walk(source)) <= _FEW and not closed:
            shutil.copytree(source, copy, symlinks=True)
            return
        os.mkdir(copy)
        self.mounts.append(Mount("read-only", path, source))
        for inner in closed:
            self.mounts.append(Mount("hidden", os.path.join(path, os.path.relpath(inner, source)), inner))

    def _remove(self) -> None:
        if os.getpid() == self._owner:  # not a fork of it
            self._folder.remove()


def _make_parent(path: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)


def _closed_in(source: str) -> Iterator[str]:
    for folder, folders, files in os.walk(source):
        yield from filter(_closed, (os.path.join(folder, name) for name in (*folders, *files)))


def _closed(path: str) -> bool:
    """Whether there are users who may not read it."""
    try:
        mode = os.lstat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISLNK(mode) or mode & (stat.S_IXOTH if stat.S_ISDIR(mode) else stat.S_IROTH))
