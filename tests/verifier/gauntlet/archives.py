"""Agents whose tar sends an archive that would be unpacked elsewhere, as root, where artifacts are copied."""

from __future__ import annotations

import base64

from tests.services.tar_headers import EVIL, block

from .agents import Agent


def _sends(members: bytes) -> str:
    archive = base64.b64encode(block(b"top/", b"5", mode=0o755) + members + bytes(1024)).decode()
    return (
        f"echo {archive} | base64 -d >/tmp/forged; rm -f /bin/tar\n"
        "printf '#!/bin/busybox sh\\nexec cat /tmp/forged\\n' >/bin/tar; busybox chmod +x /bin/tar"
    )


AGENTS = [
    Agent(
        name=f"archive: {name}",
        # As its working directory is called.
        deed=_sends(members.replace(b"top/", b"app/") if name == "another name" else members),
        telling=("fresh",) if name.startswith("GNU.sparse.name") or name == "global path" else (),
    )
    for name, members in EVIL.items()
]
