"""What the monitor is told; see monitor.py."""

from __future__ import annotations


class Order:
    """What to run, and where. All of it is decided outside of the container. `vars` of one can be marshalled."""

    def __init__(
        self,
        *,
        argv: list[str],
        env: dict[str, str],
        cwd: str,
        user: str,
        folders: list[str],
        folder_size: int,
        init: int,
        init_started: str,
        namespaces: list[str],
        control_groups: list[str],
        capabilities: int,
        mark: int,
        no_new_privileges: bool,
        filters: list[bytes],
        profile: str,
        limits: list[tuple[int, int, int]],
        oom_score_adj: int,
    ) -> None:
        #: The command, its environment but for HOME and PWD, where it starts, and who runs it: NAME or NUMBER, perhaps
        #: with `:GROUP`.
        self.argv, self.env, self.cwd, self.user = argv, env, cwd, user
        #: Absolute paths, and the bytes that each may hold.
        self.folders, self.folder_size = folders, folder_size
        #: The container's main process: its number on this machine, and when it started (field 22 of /proc/PID/stat).
        self.init, self.init_started = init, init_started
        #: Names in /proc/PID/ns, and files `cgroup.procs`.
        self.namespaces, self.control_groups = namespaces, control_groups
        #: A mask of the capabilities of the container's root, and the number of one that it lacks.
        self.capabilities, self.mark = capabilities, mark
        self.no_new_privileges = no_new_privileges
        #: Seccomp filters, the oldest first, and the name of an AppArmor profile; empty where there is none.
        self.filters, self.profile = filters, profile
        #: Of each resource its number, the soft and the hard limit.
        self.limits, self.oom_score_adj = limits, oom_score_adj
