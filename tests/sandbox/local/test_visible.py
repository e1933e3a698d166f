"""What an agent finds that searches all that it can see in a sandbox with bubblewrap."""

# ruff: noqa: ASYNC240 - nothing else runs on the loop

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from pytest_hermes.errors import UsageError
from pytest_hermes.sandbox.choice import SandboxChoice
from pytest_hermes.sandbox.local import LocalSandbox
from pytest_hermes.sandbox.mounts import FileSystem, Mount, read_only
from pytest_hermes.task import SandboxSpec
from tests.sandbox.backends import need, opened

ROOT = os.geteuid() == 0

#: Where programs, people and this package keep keys, answers and records: below the home folder …
HOME = [
    ".aws/credentials",
    ".aws/sso/cache/token.json",
    ".azure/msal_token_cache.json",
    ".bash_history",
    ".cache/huggingface/token",
    ".cache/huggingface/hub/datasets--x/snapshots/1/answers.parquet",
    ".cache/pytest-hermes/datasets/rows.jsonl",
    ".claude.json",
    ".codex/auth.json",
    ".config/containers/auth.json",
    ".config/gcloud/application_default_credentials.json",
    ".config/gh/hosts.yml",
    ".config/op/config",
    ".config/pip/pip.conf",
    ".config/rclone/rclone.conf",
    ".docker/config.json",
    ".git-credentials",
    ".gnupg/private-keys-v1.d/one.key",
    ".kube/config",
    ".local/share/keyrings/login.keyring",
    ".local/share/pytest-hermes/answers.json",
    ".local/lib/python3.11/site-packages/bench/answers.py",
    ".modal.toml",
    ".netrc",
    ".npmrc",
    ".pgpass",
    ".pypirc",
    ".python_history",
    ".ssh/id_ed25519",
    ".terraform.d/credentials.tfrc.json",
    ".vault-token",
    "bin/deploy",
    "projects/other/.env",
    "projects/other/bin/solve",
    "notes.txt",
]

#: … below the folder in which pytest runs …
PROJECT = [
    ".env",
    ".git/config",
    ".hermes/runs/1/results.jsonl",
    ".hermes/runs/1/run.json",
    "answers.json",
    "bin/solve",
    "conftest.py",
    "lib/answers.py",
    "mine.py",
    "results/results.jsonl",
    "solutions/one/solve.sh",
    "tasks/one/solution/solve.sh",
    "tasks/one/tests/test.sh",
]

#: … in the packages that are installed for the Python on PATH …
PACKAGES = [
    "lib/python3.11/site-packages/bench/__init__.py",
    "lib/python3.11/site-packages/bench/data/answers.jsonl",
    "lib/python3.11/site-packages/shared/bench/tasks.py",
    "lib/python3.11/site-packages/bench_single.py",
    "share/bench/tasks/one/solve.sh",
    "etc/token",
    "var/answers.db",
    ".env",
]

#: … and in the system's own folders, where only root can write.
SYSTEM = [
    "/HERE-key",
    "/boot/HERE-key",
    "/etc/HERE-key",
    "/etc/pip-HERE.conf",
    "/etc/ssl/private/HERE.key",
    "/home/HERE-other/.netrc",
    "/media/HERE/key",
    "/mnt/HERE/answers",
    "/opt/HERE/answers.json",
    "/root/.HERE",
    "/run/HERE/engine.sock",
    "/srv/HERE/answers",
    "/var/HERE",
    "/var/cache/HERE/answers",
    "/var/lib/HERE/volumes/answers",
    "/var/log/HERE.log",
    "/var/spool/HERE/job",
]

SCRIPT = """
    import asyncio, sys
    from pathlib import Path
    from pytest_hermes.sandbox.local import LocalSandbox
    from pytest_hermes.sandbox.privacy import keep_private
    from pytest_hermes.task import SandboxSpec

    async def main(search, runs, shared):
        keep_private(runs)
        sandbox = LocalSandbox(SandboxSpec(), name="t", isolation="bubblewrap", options={"ro_bind": [shared]})
        await sandbox.start()
        result = await sandbox.exec(search, max_output=1 << 20)
        sys.stdout.buffer.write(result.stdout)
        sys.stderr.buffer.write(result.stderr)
        await sandbox.close()

    asyncio.run(main(*sys.argv[1:]))
"""

#: Names and contents of all files that changed since STAMP, of whatever kind, but for what the kernel makes up.
SEARCH = r"""
    token=FIRST; token=$token''LAST
    find / \( -path /proc -o -path /sys \) -prune -o -name "*$token*" -fprint /dev/shm/named \
        -o -type f -newerct @STAMP -print0 2>/dev/null | xargs -0 grep -l -s $token
    cat /dev/shm/named
    grep -a -l -s $token /proc/[0-9]*/environ /proc/[0-9]*/cmdline
    ls -d /etc/shadow /etc/gshadow /etc/sudoers /etc/ssh/ssh_host* /run/docker.sock /var/run/docker.sock 2>/dev/null
    which python3 git bench-tool >/dev/null || echo "a program is missing"
    python3 -c "import json, ssl, sqlite3" && bench-tool || echo "a program does not work"
    echo searched
"""


@pytest.fixture
def token() -> Iterator[str]:
    """A text that is in every planted file; what has it in its name is removed in the end."""
    token = secrets.token_hex(8)
    yield token
    for path in SYSTEM if ROOT else []:
        top = Path(path.partition("HERE")[0] + "HERE" + path.partition("HERE")[2].partition("/")[0])
        real = Path(str(top).replace("HERE", token))
        shutil.rmtree(real) if real.is_dir() else real.unlink(missing_ok=True)


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder in one that sandboxes see, where this user can write to one."""
    yield from folder_in("/usr/local/share")


@pytest.fixture
def prefix() -> Iterator[Path]:
    """A folder where programs may be installed, each below one of its own."""
    for folder in folder_in("/opt"):
        if not ROOT:  # in a temporary folder, only these count
            (folder / "pyvenv.cfg").touch()
        yield folder


def folder_in(place: str) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(dir=place if ROOT else None))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def plant(path: Path, token: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"the answer is {token}\n")
    return path


def packages(prefix: Path, checkout: Path, token: str) -> Path:
    """A prefix with a program that works, a benchmark, and an editable install of a checkout; return its `bin`."""
    site = prefix / "lib/python3.11/site-packages"
    info = site / "bench-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: bench\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pytest_hermes.benchmarks]\nbench = bench:Bench\n")
    listed = [name.removeprefix("lib/python3.11/site-packages/") for name in PACKAGES[:4]]
    listed += ["../../../share/bench/tasks/one/solve.sh", "../../../bin/bench-tool"]
    (info / "RECORD").write_text("".join(f"{name},,\n" for name in listed))
    editable = site / "mine-1.0.dist-info"
    editable.mkdir()
    (editable / "direct_url.json").write_text(json.dumps({"url": checkout.as_uri(), "dir_info": {"editable": True}}))
    plant(checkout / "src/mine/tasks.py", token)
    tool = prefix / "bin/bench-tool"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\nexec cat "${0%/*}/../lib/tool/needed"\n')
    tool.chmod(0o755)
    (prefix / "lib/tool").mkdir()
    (prefix / "lib/tool/needed").write_text("works\n")
    return tool.parent


@pytest.mark.skipif(sys.platform != "linux", reason="bubblewrap needs Linux")
def test_an_agent_that_searches_everything_finds_no_answer_key_or_record(base: Path, prefix: Path, token: str) -> None:
    need("bubblewrap")
    home, project, runs = base / "home", base / "project", base / "runs"
    planted = [plant(home / name, token) for name in HOME]
    planted += [plant(project / name, token) for name in PROJECT]
    planted += [plant(prefix / name, token) for name in PACKAGES]
    planted += [plant(runs / "results.jsonl", token), plant(base / "cache/answers.jsonl", token)]
    planted += [plant(Path(path.replace("HERE", token)), token) for path in SYSTEM if ROOT]
    assert len(planted) >= 60
    path = [packages(prefix, base / "checkout", token), home / "bin", project / "bin", home / "projects/other/bin"]
    shared = plant(base / "shared/for-agents", token)
    stamp = str(int(shared.stat().st_ctime) - 5)
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            textwrap.dedent(SCRIPT),
            SEARCH.replace("FIRST", token[:8]).replace("LAST", token[8:]).replace("STAMP", stamp),
            str(runs),
            str(shared.parent),
        ],
        env={
            **os.environ,
            "HOME": str(home),
            "PATH": ":".join([*map(str, path), "/usr/local/bin:/usr/bin:/bin"]),
            "PYTEST_HERMES_CACHE_DIR": str(base / "cache"),
            "OPENAI_API_KEY": token,
        },
        cwd=project,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    # What the search would have found, it finds where it may: it is no search that finds nothing.
    assert done.stdout.splitlines() == [str(shared), "works", "searched"], done.stderr


def test_of_two_mounts_the_deeper_one_decides() -> None:
    files = FileSystem()
    files.add(read_only("/usr"), read_only("/usr/src/app/.venv/lib"), read_only("/usr/bin"), Mount("folder", "/usr/x"))
    assert [mount.target for mount in files.shown()] == ["/usr"]
    files.hide(["/usr/src/app", "/home/me"])
    assert [(mount.kind, mount.target) for mount in files.shown()] == [
        ("read-only", "/usr"),
        ("hidden", "/usr/src/app"),
        ("read-only", "/usr/src/app/.venv/lib"),
    ]
    files.add(Mount("writable", "/data", "/usr/src"))
    files.hide(["/usr/src/app"])
    assert ("hidden", "/data/app") in [(mount.kind, mount.target) for mount in files.shown()]


# terminal_options


@pytest.mark.asyncio
async def test_options_show_more_of_the_host(tmp_path: Path) -> None:
    need("bubblewrap")
    (tmp_path / "read").mkdir()
    (tmp_path / "read/file").write_text("given\n")
    (tmp_path / "write").mkdir()
    options = {"ro_bind": [f"{tmp_path}/read:/given"], "bind": [f"{tmp_path}/write"]}
    sandbox = LocalSandbox(SandboxSpec(), name="test", isolation="bubblewrap", options=options)
    try:
        await sandbox.start()
        assert (await sandbox.exec("cat /given/file")).stdout == b"given\n"
        assert (await sandbox.exec("echo mine >/given/file")).exit_code != 0
        assert (await sandbox.exec(f"echo made >{tmp_path}/write/file; ls {tmp_path}")).stdout == b"write\n"
    finally:
        await sandbox.close()
    assert (tmp_path / "write/file").read_text() == "made\n"
    assert (tmp_path / "read/file").read_text() == "given\n"


def test_the_header_says_what_options_show(tmp_path: Path) -> None:
    need("bubblewrap")
    choice = SandboxChoice(options={"ro_bind": ["/opt", f"{tmp_path}:/data"], "bind": [str(tmp_path)]})
    choice.check()
    assert choice.describe() == f"local (bubblewrap), bind {tmp_path}, ro_bind /opt {tmp_path}:/data"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"ro_bnid": ["/opt"]},
            r"^unknown option of the local sandbox 'ro_bnid'; did you mean 'ro_bind'\? known: bind",
        ),
        ({"bind": "/opt"}, r"^the option 'bind' of the local sandbox is '/opt'; it must be a list of paths$"),
        ({"bind": [1]}, "has 1 in it; it must be a list of paths$"),
        ({"bind": ["opt"]}, "has 'opt' in it; a path must be absolute, or begin with ~$"),
        ({"bind": ["/opt:x"]}, "has '/opt:x' in it; a path must be absolute, or begin with ~$"),
        ({"bind": ["/not/there"]}, "there is no /not/there on this machine$"),
        ({"bind": ["/"]}, "/ is the sandbox's own$"),
        ({"ro_bind": ["/opt:/proc/x"]}, "/proc/x is the sandbox's own$"),
    ],
)
def test_options_that_do_not_fit_are_one_line(options: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        SandboxChoice(options=options).check()
    assert "\n" not in str(caught.value)


def test_options_need_bubblewrap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_HERMES_LOCAL_ISOLATION", "none")
    with pytest.raises(UsageError, match="options ro_bind of the local sandbox need bubblewrap: PYTEST_HERMES_LOCAL_"):
        SandboxChoice(options={"ro_bind": ["/opt"]}).check()


# What works


@pytest.mark.asyncio
async def test_what_tests_of_a_task_need_can_be_made() -> None:
    async with opened("bubblewrap") as sandbox:
        made = await sandbox.exec(
            "mkdir -p /tests /logs/verifier /app && touch /tests/a /logs/verifier/b /app/c && pwd"
        )
        assert (made.exit_code, made.stderr) == (0, b"")
    assert not any(os.path.exists(path) for path in ("/tests/a", "/logs/verifier/b"))


@pytest.mark.asyncio
async def test_programs_on_path_work(tmp_path: Path) -> None:
    async with opened("bubblewrap") as sandbox:
        for program in ("bash", "python3", "git", "gcc", "perl", "tar", "curl", "make"):
            if shutil.which(program) is not None:
                result = await sandbox.exec([program, "--version"])
                assert (program, result.exit_code, result.stderr) == (program, 0, b"")
        source = "int main(void) { return 7; }"
        if shutil.which("gcc") is not None:
            assert (await sandbox.exec("gcc -x c - -o made && ./made", stdin=source.encode())).exit_code == 7
        assert (await sandbox.exec(["python3", "-c", "import ssl, ctypes; ctypes.CDLL(None)"])).exit_code == 0
        assert (await sandbox.exec("id -un; getent passwd root")).stdout
