"""Agents that break their sandbox: a losing one must not get away with an error."""

from __future__ import annotations

from .agents import READ_ONLY, SOLVED, Agent, program

BREAKAGE = {
    "removes the shell": "rm /bin/sh",
    "a shell that prints nonsense": program("/bin/sh", "echo nonsense"),
    "a shell that hangs": program("/bin/sh", "exec sleep 1000"),
    "a shell that fails": program("/bin/sh", "exit 3"),
    "a tar that fails": program("/bin/tar", "exit 2"),
    "a tar that hangs": program("/bin/tar", "exec sleep 1000"),
    "a tar that sends nonsense": program("/bin/tar", "echo nonsense"),
    "a tar that never ends": program("/bin/tar", "exec cat /dev/zero"),
    "removes tar": "rm /bin/tar",
    "removes everything in /bin": "cp /bin/busybox /tmp/busybox; /tmp/busybox rm -rf /bin/*",
    "removes everything it may": "cp /bin/busybox /tmp/b; /tmp/b rm -rf /bin /usr /lib /lib64 /etc /root $PWD",
    "makes everything unreadable": "chmod -R 000 $PWD /etc /root /usr 2>/dev/null; true",
    "removes the working directory": "cd /; rm -rf $OLDPWD",
    "makes the working directory a file": "cd /; rm -rf $OLDPWD; echo 1 >$OLDPWD",
    "makes the working directory a symlink to /": "cd /; rm -rf $OLDPWD; ln -s / $OLDPWD",
    "a file of 20 GB with nothing in it": "truncate -s 20G large",
    "a tree as deep as paths go": "for _ in $(seq 400); do mkdir dddddddddd; cd dddddddddd; done",
    "kills everything": "kill -9 -1",
    "kills everything again and again": "for _ in 1 2 3 4 5; do setsid kill -9 -1 & done; sleep 1",
    "kills the init": "kill -9 1; kill 1; true",
}  # fmt: skip

_BOMB = "b() { b | b & }; b"
_SLEEPERS = "while :; do sleep 1000 & done 2>/dev/null"

AGENTS = [
    *(
        Agent(name=name, deed=deed, timeout=3 if "hang" in name else 30, telling=("same", "fresh"))
        for name, deed in BREAKAGE.items()
    ),
    *(
        Agent(name=name, deed="true", leaves=leaves, telling=("same", "strict", "fresh"))
        for name, leaves in {"a fork bomb": _BOMB, "as many processes as there may be": _SLEEPERS}.items()
    ),
    # What is broken need not be what the tests look at.
    Agent(
        name="solves it, then removes tar",
        deed=f"{SOLVED}rm /bin/tar",
        same=0.0,
        strict=0.0,
        fresh=1.0,
        not_with=READ_ONLY,
        telling=("fresh",),
    ),
    Agent(
        name="solves it, then kills everything",
        deed=f"{SOLVED}kill -9 -1",
        strict=1.0,
        telling=("same", "strict", "fresh"),
    ),
]
