"""Agents that do what they were asked: they pass in each mode in which that is possible."""

from __future__ import annotations

from .agents import READ_ONLY, SOLVED, Agent

_IF = "#!/bin/bash\nif {}; then echo 1; else echo 0; fi >/logs/verifier/reward.txt\n"

#: A bare repository whose hook deploys what is pushed.
_GIT = """
git init -q --bare /srv/repo.git
printf '#!/bin/sh\\nGIT_WORK_TREE=/srv/site git checkout -q -f main\\n' >/srv/repo.git/hooks/post-receive
chmod +x /srv/repo.git/hooks/post-receive; mkdir -p /srv/site
"""
_PUSH = """#!/bin/bash
export HOME=/tmp GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
r=0; rm -rf /tmp/clone; git init -q -b main /tmp/clone && cd /tmp/clone && echo hello >index.html && git add . &&
git commit -q -m x && git push -q /srv/repo.git main && [ "$(cat /srv/site/index.html)" = hello ] && r=1
echo $r >/logs/verifier/reward.txt
"""
_SERVER = """
import socket, threading
server = socket.create_server(("127.0.0.1", 8765))
while True:
    connection, _ = server.accept()
    connection.sendall(b"hello")
    connection.close()
"""
_ASK = '[ "$(exec 3<>/dev/tcp/127.0.0.1/8765 && cat <&3)" = hello ]'
_LISTENS = "for _ in $(seq 100); do (exec 3<>/dev/tcp/127.0.0.1/8765) 2>/dev/null && break; sleep 0.1; done"

AGENTS = [
    Agent(name="writes a program", deed=SOLVED, strict=1.0, telling=("same", "strict", "fresh", "both")),
    Agent(
        name="installs a program",
        deed="printf '#!/bin/sh\\necho here\\n' >/usr/bin/tool; chmod +x /usr/bin/tool",
        tests=_IF.format('[ "$(tool)" = here ]'),
        strict=1.0,
        fresh=0.0,
        not_with=READ_ONLY,
        telling=("same",),
    ),
    Agent(
        name="a TCP server",
        deed=f"cat >server.py <<'END'\n{_SERVER}\nEND\nsetsid python3 server.py >/dev/null 2>&1 &\n{_LISTENS}",
        tests=_IF.format(_ASK),
        same=1.0,
        needs=frozenset({"python3"}),
        telling=("same",),
    ),
    Agent(
        name="a TCP server of busybox",
        deed="(while :; do echo hello | busybox nc -l -p 8766; done) >/dev/null 2>&1 &\nsleep 0.3",
        tests=_IF.format('[ "$(busybox nc 127.0.0.1 8766 </dev/null)" = hello ]'),
        same=1.0,
        needs=frozenset({"busybox"}),
    ),
    Agent(
        name="a background worker",
        deed="(while :; do n=$((n + 1)); echo $n >beat; sleep 0.05; done) >/dev/null 2>&1 &\nsleep 0.2",
        tests="#!/bin/bash\none=$(cat beat); sleep 0.5; two=$(cat beat)\n"
        '[ "$one" != "$two" ] && r=1 || r=0; echo $r >/logs/verifier/reward.txt\n',
        same=1.0,
        telling=("same",),
    ),
    Agent(
        name="a worker that answers by a file",
        deed="(while :; do [ -e ask ] && cat ask >answer && rm ask; sleep 0.02; done) >/dev/null 2>&1 &\nsleep 0.1",
        tests='#!/bin/bash\necho question >ask; sleep 0.5; [ "$(cat answer)" = question ] && r=1 || r=0\n'
        "echo $r >/logs/verifier/reward.txt\n",
        same=1.0,
    ),
    Agent(
        name="a cron job",
        deed="mkdir -p /var/spool/cron/crontabs; echo '* * * * * date >/app/ran' >/var/spool/cron/crontabs/root\n"
        "crond -l 9 -L /dev/null",
        tests=_IF.format("grep -q crond /proc/[0-9]*/comm && grep -q ran /var/spool/cron/crontabs/root"),
        same=1.0,
        not_with={"bubblewrap": "there is no crond"},
        telling=("same",),
    ),
    Agent(
        name="a git server with hooks",
        deed=_GIT,
        tests=_PUSH,
        strict=1.0,
        fresh=0.0,
        needs=frozenset({"git"}),
    ),
]
