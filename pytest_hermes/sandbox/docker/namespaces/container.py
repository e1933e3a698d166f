"""What this machine's /proc says of a container, where the engine is on this machine. All of this blocks."""

from __future__ import annotations

import contextlib
import marshal
import os
import posixpath
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from ....core.processes import start_of
from ....errors import InfrastructureError
from ..engine import Engine
from ..exec_api import check_present
from .program import SECCOMP_FILTERS, start_program

#: Numbers of capabilities: include/uapi/linux/capability.h of the kernel.
_SYS_MODULE, _SYS_RAWIO, _SYS_PTRACE, _SYS_ADMIN, _PERFMON, _BPF = 16, 17, 19, 21, 38, 39
_WAKE_ALARM, _BLOCK_SUSPEND = 35, 36

#: With one of these, a process can look into others whatever these have.
_LOOK_INTO_OTHERS = {_SYS_MODULE, _SYS_RAWIO, _SYS_PTRACE, _SYS_ADMIN, _PERFMON, _BPF}

#: Of no use in a container, and not given to one: they are about a machine's sleep.
_MARKS = (_WAKE_ALARM, _BLOCK_SUSPEND)

_NAMESPACES = ("mnt", "pid", "net", "uts", "ipc", "cgroup")
_LIMITS = re.compile(r"(?<= )(?:unlimited|\d+)(?= )")
_TIMEOUT = 30.0  # seconds

#: What engines give a process that is told nothing else.
_DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class OutOfReach(InfrastructureError):
    """This process cannot enter an engine's containers, or could not keep others out; the text says why."""

    def __init__(self, why: str) -> None:
        super().__init__(why, kind="sandbox")


@dataclass(frozen=True, kw_only=True)
class Container:
    """A container that runs. The names are those of `Order`."""

    init: int
    init_started: str
    namespaces: tuple[str, ...]
    control_groups: tuple[str, ...]
    oom_score_adj: int
    #: Bytes that all in it may use; 0 when there is no limit.
    memory: int
    #: Variables and user of what an engine executes in it.
    env: Mapping[str, str]
    user: str


@dataclass(frozen=True, kw_only=True)
class Confinement:
    """What containers that are made with the same options have in common. The names are those of `Order`."""

    capabilities: int
    mark: int
    no_new_privileges: bool
    filters: tuple[bytes, ...]
    profile: str
    limits: tuple[tuple[int, int, int], ...]


def find_container(engine: Engine, container: str) -> Container:
    """Return a container as this machine knows it. Raises OutOfReach, and ContainerGone."""
    check_present(engine, container)
    said = engine.client.inspect_container(container)
    pid = int(said["State"]["Pid"])
    started, groups = start_of(pid), _read(f"/proc/{pid}/cgroup")
    if said["Id"] not in groups:
        raise OutOfReach("the engine is on another machine, or numbers its processes otherwise")
    config, host = said["Config"], said["HostConfig"]
    variables = [f"PATH={_DEFAULT_PATH}", f"HOSTNAME={config.get('Hostname', '')}", *(config.get("Env") or [])]
    return Container(
        init=pid,
        init_started=started,
        namespaces=tuple(name for name in _NAMESPACES if _namespace(pid, name) != _namespace("self", name)),
        control_groups=tuple(_control_group_files(groups)),
        oom_score_adj=int(host.get("OomScoreAdj") or 0),
        memory=int(host.get("Memory") or 0),
        env=dict(variable.partition("=")[::2] for variable in variables),
        user=config.get("User") or "",
    )


def find_confinement(pid: int) -> Confinement:
    """Return how a container is confined whose main process is `pid`. Nothing of an agent may have run in it yet.

    Raises OutOfReach.
    """
    if _namespace(pid, "user") != _namespace("self", "user"):
        raise OutOfReach("containers have a user namespace of their own")
    if _namespace(pid, "pid") == _namespace("self", "pid"):
        raise OutOfReach("containers see the processes of this machine")
    status = _status(pid)
    theirs, ours = int(status.get("CapBnd", "0"), 16), int(_status("self").get("CapEff", "0"), 16)
    if any(theirs >> capability & 1 for capability in _LOOK_INTO_OTHERS):
        raise OutOfReach("containers have capabilities to look into other processes")
    mark = next((mark for mark in _MARKS if not theirs >> mark & 1 and ours >> mark & 1), None)
    if mark is None or theirs & ~ours:
        raise OutOfReach("this process does not have all capabilities")
    return Confinement(
        capabilities=theirs,
        mark=mark,
        no_new_privileges=status.get("NoNewPrivs") == "1",
        filters=_filters(pid) if status.get("Seccomp") == "2" else (),
        profile=_profile(pid),
        limits=tuple(_limits(pid)),
    )


def _status(pid: int | str) -> dict[str, str]:
    return dict(line.split(":\t", 1) for line in _read(f"/proc/{pid}/status").splitlines() if ":\t" in line)


def _limits(pid: int) -> Iterator[tuple[int, int, int]]:
    """Yield number, soft and hard limit of each resource: /proc has them in the order of their numbers."""
    for number, line in enumerate(_read(f"/proc/{pid}/limits").splitlines()[1:]):
        soft, hard = (-1 if limit == "unlimited" else int(limit) for limit in _LIMITS.findall(line)[:2])
        yield number, soft, hard


def _filters(pid: int) -> tuple[bytes, ...]:
    popen = start_program(SECCOMP_FILTERS, [pid], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        said, complaint = popen.communicate(timeout=_TIMEOUT)
    except subprocess.TimeoutExpired:
        popen.kill()
        said, complaint = popen.communicate()
    if popen.returncode != 0:
        why = complaint.decode(errors="replace").strip() or "no answer"
        raise OutOfReach(f"the seccomp filter of containers cannot be read: {why}")
    return tuple(marshal.loads(said))


def _profile(pid: int) -> str:
    """Return the AppArmor profile that confines a process, empty when none does. Raises OutOfReach for SELinux."""
    said = _read(f"/proc/{pid}/attr/apparmor/current") or _read(f"/proc/{pid}/attr/current")
    profile = said.strip("\0\n ")
    if profile.count(":") >= 3:
        raise OutOfReach("containers have labels of SELinux")
    return "" if profile == "unconfined" else profile.rpartition(" (")[0] or profile


def _control_group_files(groups: str) -> list[str]:
    """Return the files `cgroup.procs` of the groups in a text as /proc/PID/cgroup has it. Format: cgroups(7)."""
    mounts = []
    for line in _read("/proc/self/mountinfo").splitlines():
        mount, _, more = line.partition(" - ")
        kind, _, options = more.split(" ", 2)
        if kind in ("cgroup", "cgroup2"):
            root, point = mount.split(" ")[3:5]
            mounts.append((kind, set(options.split(",")), root, point))
    files = []
    for line in groups.splitlines():
        _, controllers, path = line.split(":", 2)
        wanted = set(controllers.split(",")) if controllers else set()
        kind = "cgroup" if wanted else "cgroup2"
        for found, available, root, point in mounts:
            if found == kind and wanted <= available and f"{path}/".startswith(f"{root.rstrip('/')}/"):
                files.append(posixpath.join(point, posixpath.relpath(path, root), "cgroup.procs"))
                break
        else:
            if wanted != {"name=systemd"} and path != "/":
                what = controllers or "version 2"
                raise OutOfReach(f"the control groups of containers are not mounted here ({what})")
    return files


def _namespace(pid: int | str, name: str) -> str:
    """Return what names a namespace, empty where the kernel has none of that kind, or there is no such process."""
    with contextlib.suppress(OSError):
        return os.readlink(f"/proc/{pid}/ns/{name}")
    return ""


def _read(path: str) -> str:
    """Return the content of a file, empty when it cannot be read."""
    with contextlib.suppress(OSError):
        return Path(path).read_text(errors="surrogateescape")
    return ""
