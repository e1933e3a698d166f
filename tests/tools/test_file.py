from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pytest_hermes.sandbox.local import LocalSandbox
from pytest_hermes.task import SandboxSpec
from pytest_hermes.tools.contents import read_whole, read_window, write_whole
from pytest_hermes.tools.dispatch import dispatch
from pytest_hermes.tools.file import TOOLSET
from pytest_hermes.tools.searching import find_lines
from pytest_hermes.tools.session import SandboxSession

pytestmark = pytest.mark.asyncio


async def call(session: SandboxSession, tool: str, **arguments: Any) -> dict[str, Any]:
    """What the model gets to read for a call it wrote well."""
    outcome = await dispatch(TOOLSET.tools, tool, json.dumps(arguments), session)
    assert outcome.error is None, outcome.error
    assert outcome.result is not None
    return outcome.result


async def bash(session: SandboxSession, command: str) -> str:
    shell = await session.shell()
    result = await shell.run(command, timeout=20)
    assert result.exit_code == 0, result.stdout
    return result.stdout.decode()


AWKWARD_NAMES = [
    "plain",
    "with space",
    "-n",
    "--help",
    "two\nlines",
    "trailing newline\n",
    "quote'\"$(echo x)`\\",
    "é語",
    "*",
    "a=b",
    "~",
    " ",
]


class TestReadFile:
    async def test_content_comes_as_it_is(self, session: SandboxSession) -> None:
        await bash(session, r"printf 'one\n  two\t\r\nthree' > file")
        assert await call(session, "read_file", path="file") == {"content": "one\n  two\t\r\nthree", "total_lines": 3}

    async def test_a_window_says_how_to_go_on(self, plain_session: SandboxSession) -> None:
        await bash(plain_session, "seq 1000 > file")
        assert await call(plain_session, "read_file", path="file", offset=3, limit=2) == {
            "content": "3\n4\n",
            "total_lines": 1000,
            "hint": "lines 3–4 of 1000; continue with offset=5",
        }
        answer = await call(plain_session, "read_file", path="file")
        assert answer["hint"] == "lines 1–500 of 1000; continue with offset=501"
        answer = await call(plain_session, "read_file", path="file", offset=501)
        assert answer["content"].startswith("501\n")
        assert answer["content"].endswith("\n1000\n")
        assert "hint" not in answer

    async def test_beyond_the_end(self, plain_session: SandboxSession) -> None:
        await bash(plain_session, "seq 3 > file; : > empty")
        answer = await call(plain_session, "read_file", path="file", offset=9)
        assert answer == {"content": "", "total_lines": 3, "hint": "line 9 is after the end of the file, line 3"}
        assert await call(plain_session, "read_file", path="empty") == {"content": "", "total_lines": 0}

    async def test_long_lines_are_cut_by_bytes_between_characters(self, plain_session: SandboxSession) -> None:
        await write_whole(plain_session, "file", ("x" + "é" * 40_000 + "\nnext\n").encode())
        answer = await call(plain_session, "read_file", path="file")
        assert answer["content"] == "x" + "é" * 24_999
        assert answer["total_lines"] == 2
        assert answer["hint"].startswith("cut off in line 1, after 50000 of the file's 80007 bytes")

    async def test_what_is_not_utf_8_is_shown_as_such(self, plain_session: SandboxSession) -> None:
        await bash(plain_session, r"printf 'a\377b\303' > file")
        assert (await call(plain_session, "read_file", path="file"))["content"] == "a\ufffdb\ufffd"

    async def test_binary_files_are_refused(self, plain_session: SandboxSession) -> None:
        await bash(plain_session, r"printf 'a\0b\n' > file")
        assert await call(plain_session, "read_file", path="file") == {"error": "'file': it is a binary file"}

    async def test_what_is_no_regular_file_is_refused_at_once(self, session: SandboxSession) -> None:
        here = (await bash(session, "mkdir sub; mkfifo pipe; ln -s pipe link; ln -s nowhere dangling; pwd")).strip()
        problems = {
            "sub": "'sub': it is a directory",
            "pipe": "'pipe': it is a device, pipe or socket, not a regular file",
            "link": "'link': it is a device, pipe or socket, not a regular file",
            "/dev/zero": "'/dev/zero': it is a device, pipe or socket, not a regular file",
            "missing": f"'missing': there is no such file (the current directory is {here})",
            "dangling": f"'dangling': there is no such file (the current directory is {here})",
            "sub/missing": f"'sub/missing': there is no such file (the current directory is {here})",
        }
        async with asyncio.timeout(20):
            for path, error in problems.items():
                assert await call(session, "read_file", path=path) == {"error": error}

    async def test_paths_count_from_the_agents_folder_and_its_home(self, session: SandboxSession) -> None:
        await bash(session, "echo at home > file; mkdir sub; cd sub; echo in sub > file; HOME=/nowhere; export HOME")
        assert (await call(session, "read_file", path="file"))["content"] == "in sub\n"
        assert (await call(session, "read_file", path="../file"))["content"] == "at home\n"
        assert (await call(session, "read_file", path="~/file"))["content"] == "at home\n"
        assert (await call(session, "read_file", path=f"{session.sandbox.home}//file"))["content"] == "at home\n"

    async def test_the_agents_shell_cannot_change_how_it_works(self, plain_session: SandboxSession) -> None:
        await bash(plain_session, "echo true > file; cat() { echo fooled; }; head() { echo fooled; }; export PATH=/x")
        assert (await call(plain_session, "read_file", path="file"))["content"] == "true\n"

    async def test_files_of_the_kernel_can_be_read(self, plain_session: SandboxSession) -> None:
        assert "Linux" in (await call(plain_session, "read_file", path="/proc/version"))["content"]


class TestWriteFile:
    @pytest.mark.parametrize("name", AWKWARD_NAMES)
    async def test_any_name_and_content_round_trips(self, plain_session: SandboxSession, name: str) -> None:
        path = f"./{name}" if name == "~" else name
        content = "first\n\ttab é語 'quotes' $HOME `x` \\n\r\nno newline at the end"
        answer = await call(plain_session, "write_file", path=path, content=content)
        assert answer == {"path": path, "bytes_written": len(content.encode()), "created": True}
        assert (await call(plain_session, "read_file", path=path))["content"] == content
        assert await call(plain_session, "patch", path=path, old_string="first", new_string="1st")
        assert (
            await bash(plain_session, "find . -mindepth 1 -print0 | tr '\\0\\n' '\\n?'")
            == f"./{name.replace(chr(10), '?')}\n"
        )

    async def test_folders_are_made(self, session: SandboxSession) -> None:
        await call(session, "write_file", path="a/b c/-d/file", content="x")
        await call(session, "write_file", path="~/home file", content="y")
        assert await bash(session, "cat 'a/b c/-d/file' ~/'home file'") == "xy"

    async def test_what_is_there_is_replaced_with_its_mode_and_links_kept(self, plain_session: SandboxSession) -> None:
        await bash(plain_session, "echo a long old content > file; chmod 750 file; ln -s file link; ln file hard")
        answer = await call(plain_session, "write_file", path="link", content="new")
        assert answer["created"] is False
        assert await bash(plain_session, "cat file hard; stat -c %a file; readlink link") == "newnew750\nfile\n"

    async def test_a_large_content(self, session: SandboxSession) -> None:
        content = "0123456789abcdef" * 300_000
        await call(session, "write_file", path="file", content=content)
        assert await read_whole(session, "file") == content.encode()

    async def test_empty_content(self, plain_session: SandboxSession) -> None:
        await call(plain_session, "write_file", path="file", content="")
        assert await bash(plain_session, "stat -c %s file") == "0\n"

    async def test_what_cannot_be_written_is_said(self, session: SandboxSession) -> None:
        await bash(session, "mkdir sub; mkfifo pipe; echo x > file")
        problems = {
            "sub": "it is a directory",
            "new/": "it ends with a slash, so it names a directory",
            "pipe": "it is a device, pipe or socket, not a regular file",
            "file/below": "its directory cannot be created: ",
            "/proc/version": "it cannot be written: ",
            "x" * 300: "it cannot be written: ",
        }
        async with asyncio.timeout(20):
            for path, problem in problems.items():
                answer = await call(session, "write_file", path=path, content="x")
                assert answer["error"].startswith(f"{path!r}: {problem}"), answer


class TestPatch:
    async def test_changes_the_file_and_says_where(self, session: SandboxSession) -> None:
        await bash(session, r"printf 'a = 1\nb = 2\n' > file; chmod 755 file")
        answer = await call(session, "patch", path="file", old_string="b = 2", new_string="b = 3\nc = 4")
        assert answer == {"path": "file", "replacements": 1, "first_line": 2}
        assert await bash(session, "cat file; stat -c %a file") == "a = 1\nb = 3\nc = 4\n755\n"

    async def test_everywhere(self, plain_session: SandboxSession) -> None:
        await bash(plain_session, r"printf 'x x\nx' > file")
        answer = await call(plain_session, "patch", path="file", old_string="x", new_string="", replace_all=True)
        assert answer["replacements"] == 3
        assert await bash(plain_session, "cat file") == " \n"

    async def test_problems_leave_the_file_as_it_is(self, plain_session: SandboxSession) -> None:
        await bash(plain_session, r"printf 'x x\n' > file")
        answer = await call(plain_session, "patch", path="file", old_string="x", new_string="y")
        assert answer["error"].startswith("old_string is in the file 2 times")
        answer = await call(plain_session, "patch", path="file", old_string="z", new_string="y")
        assert answer["error"].startswith("old_string is not in the file")
        answer = await call(plain_session, "patch", path="missing", old_string="z", new_string="y")
        assert answer["error"].startswith("'missing': there is no such file")
        assert await bash(plain_session, "cat file") == "x x\n"

    async def test_bytes_that_are_not_utf_8_stay(self, plain_session: SandboxSession) -> None:
        await write_whole(plain_session, "file", b"\xff\x00caf\xe9 = 1\n\xc3")
        await call(plain_session, "patch", path="file", old_string="= 1", new_string="= é")
        assert await read_whole(plain_session, "file") == b"\xff\x00caf\xe9 = \xc3\xa9\n\xc3"

    async def test_files_that_are_too_large_are_refused(self, plain_session: SandboxSession) -> None:
        await bash(plain_session, "head -c 10000001 /dev/zero > file")
        answer = await call(plain_session, "patch", path="file", old_string="x", new_string="y")
        assert answer == {"error": "'file': the file has more than 10000000 bytes"}


class TestSearchContent:
    async def test_matches_are_ordered_and_numbered(self, session: SandboxSession) -> None:
        await bash(session, r"mkdir b; printf 'no\nyes 1\nyes 2\n' > b/x.py; echo 'yes 3' > a.txt; echo no > c.py")
        assert await call(session, "search_files", pattern="yes [0-9]$") == {
            "matches": [
                {"path": "a.txt", "line": 1, "text": "yes 3"},
                {"path": "b/x.py", "line": 2, "text": "yes 1"},
                {"path": "b/x.py", "line": 3, "text": "yes 2"},
            ]
        }
        answer = await call(session, "search_files", pattern="yes", file_glob="*.py")
        assert {match["path"] for match in answer["matches"]} == {"b/x.py"}
        answer = await call(session, "search_files", pattern="yes", path="b")
        assert [match["path"] for match in answer["matches"]] == ["b/x.py", "b/x.py"]
        answer = await call(session, "search_files", pattern="yes", file_glob="b/*.py")
        assert len(answer["matches"]) == 2

    async def test_one_file_and_a_link_to_a_folder(self, plain_session: SandboxSession) -> None:
        await bash(plain_session, "mkdir a; echo yes > a/x; ln -s a link")
        for path, found in {"a/x": "a/x", "link": "link/x", "~/a/": f"{plain_session.sandbox.home}/a/x"}.items():
            answer = await call(plain_session, "search_files", pattern="yes", path=path)
            assert answer == {"matches": [{"path": found, "line": 1, "text": "yes"}]}

    async def test_awkward_names_and_lines(self, plain_session: SandboxSession) -> None:
        for name in AWKWARD_NAMES:
            await write_whole(plain_session, f"./{name}", b"no\n:7:yes: x\n")
        answer = await call(plain_session, "search_files", pattern="yes")
        assert sorted(match["path"] for match in answer["matches"]) == sorted(AWKWARD_NAMES)
        assert {(match["line"], match["text"]) for match in answer["matches"]} == {(2, ":7:yes: x")}

    async def test_there_may_be_more(self, plain_session: SandboxSession) -> None:
        await bash(plain_session, "seq 100 > a; seq 100 > b")
        answer = await call(plain_session, "search_files", pattern=".", limit=3)
        assert [match["text"] for match in answer["matches"]] == ["1", "2", "3"]
        assert answer["hint"].startswith("there are more; ")
        answer = await call(plain_session, "search_files", pattern="^100$", limit=2)
        assert len(answer["matches"]) == 2
        assert "hint" not in answer

    async def test_very_long_lines_are_cut_and_do_not_crowd_out_others(self, plain_session: SandboxSession) -> None:
        await bash(plain_session, "head -c 5000000 /dev/zero | tr '\\0' x > a; echo x > b")
        answer = await call(plain_session, "search_files", pattern="x")
        assert [(match["path"], len(match["text"])) for match in answer["matches"]] == [("a", 498), ("b", 1)]

    async def test_a_great_many_matches_end_early(self, plain_session: SandboxSession) -> None:
        await bash(plain_session, "mkdir d; for i in $(seq 300); do seq 1000 > d/$i; done")
        answer = await call(plain_session, "search_files", pattern="1")
        assert len(answer["matches"]) == 50
        assert "hint" in answer

    async def test_binary_files_version_control_and_pipes_are_left_out(self, plain_session: SandboxSession) -> None:
        await bash(
            plain_session, r"mkdir -p .git sub/.git .hidden; mkfifo pipe; printf 'yes\0' > binary; ln -s nowhere l"
        )
        await bash(plain_session, "echo yes | tee .git/x sub/.git/x .hidden/x > /dev/null")
        async with asyncio.timeout(20):
            answer = await call(plain_session, "search_files", pattern="yes")
        assert [match["path"] for match in answer["matches"]] == [".hidden/x"]

    async def test_nothing_found(self, plain_session: SandboxSession) -> None:
        assert await call(plain_session, "search_files", pattern="yes") == {"matches": []}

    async def test_a_pattern_that_looks_like_an_option(self, plain_session: SandboxSession) -> None:
        await bash(plain_session, "echo ' -v x' > file")
        assert len((await call(plain_session, "search_files", pattern="-v"))["matches"]) == 1

    async def test_mistakes_are_said(self, plain_session: SandboxSession) -> None:
        answer = await call(plain_session, "search_files", pattern="(")
        assert answer == {"error": "the pattern is not a regular expression for grep -E: Unmatched ( or \\("}
        answer = await call(plain_session, "search_files", pattern="x", path="missing")
        assert answer["error"].startswith("'missing': there is no such file or directory")


class TestSearchFiles:
    async def files(self, session: SandboxSession, **arguments: Any) -> list[str]:
        found: list[str] = (await call(session, "search_files", target="files", **arguments))["files"]
        return found

    async def test_by_glob_or_part_of_the_name(self, session: SandboxSession) -> None:
        await bash(session, "mkdir -p src/test .git; touch src/main.py src/test/test_main.py README .git/main.py")
        assert await self.files(session, pattern="*.py") == ["src/main.py", "src/test/test_main.py"]
        assert await self.files(session, pattern="main") == ["src/main.py", "src/test/test_main.py"]
        assert await self.files(session, pattern="main.*") == ["src/main.py"]
        assert await self.files(session, pattern="test/*.py") == ["src/test/test_main.py"]
        assert await self.files(session, pattern="main", file_glob="test_*") == ["src/test/test_main.py"]
        assert await self.files(session, pattern="main", path="src/test") == ["src/test/test_main.py"]
        assert await self.files(session, pattern="nothing") == []

    async def test_awkward_names(self, plain_session: SandboxSession) -> None:
        for name in AWKWARD_NAMES:
            await write_whole(plain_session, f"./{name}", b"")
        assert sorted(await self.files(plain_session, pattern="*")) == sorted(AWKWARD_NAMES)

    async def test_there_may_be_more(self, plain_session: SandboxSession) -> None:
        await bash(plain_session, "touch $(seq 20)")
        answer = await call(plain_session, "search_files", target="files", pattern="*", limit=2)
        assert answer == {
            "files": ["1", "10"],
            "hint": "there are more; raise limit, or narrow the search with path or file_glob",
        }

    async def test_the_whole_machine_can_be_searched(self, plain_session: SandboxSession) -> None:
        async with asyncio.timeout(60):
            assert "/etc/passwd" in await self.files(plain_session, pattern="passwd", path="/", limit=1000)


@pytest.fixture
def applets(tmp_path: Path) -> Path:
    """A folder with bash and the tools of busybox, and nothing else."""
    busybox = shutil.which("busybox")
    if busybox is None:
        pytest.skip("needs busybox")
    for name in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        (tmp_path / name).symlink_to(busybox)
    (tmp_path / "bash").unlink(missing_ok=True)
    (tmp_path / "bash").symlink_to(shutil.which("bash") or "/bin/bash")
    return tmp_path


async def test_busybox_and_bash_are_all_it_takes(applets: Path) -> None:
    spec = SandboxSpec(env={"PATH": str(applets)})
    session = SandboxSession(lambda: LocalSandbox(spec, name="busybox", isolation="none"))
    assert "busybox" in await bash(session, "readlink $(command -v grep)")
    content = "one\ntwo é\nthree"
    for name in AWKWARD_NAMES:
        path = f"./sub/{name}"
        assert (await call(session, "write_file", path=path, content=content))["created"]
        answer = await call(session, "read_file", path=path, offset=2, limit=1)
        assert (answer["content"], answer["total_lines"]) == ("two é\n", 3)
        assert await call(session, "patch", path=path, old_string="one", new_string="1")
    found = await call(session, "search_files", pattern="^two .+$")
    assert [match["path"] for match in found["matches"]] == sorted(f"sub/{name}" for name in AWKWARD_NAMES)
    assert {(match["line"], match["text"]) for match in found["matches"]} == {(2, "two é")}
    assert len((await call(session, "search_files", pattern="*", target="files"))["files"]) == len(AWKWARD_NAMES)
    assert "grep -E" in (await call(session, "search_files", pattern="("))["error"]
    assert "no such file" in (await call(session, "read_file", path="missing"))["error"]
    await session.close()


@pytest.mark.parametrize("programs", ["of this machine", "of busybox"])
async def test_what_a_system_refuses_is_one_line(programs: str, request: pytest.FixtureRequest) -> None:
    """Nothing of the script that found it out, and the path as the model wrote it."""
    env = {} if programs == "of this machine" else {"PATH": str(request.getfixturevalue("applets"))}
    session = SandboxSession(lambda: LocalSandbox(SandboxSpec(env=env), name="test", isolation="none"))
    try:
        memory = f"/proc/{(await bash(session, 'sleep 60 >/dev/null & echo $!')).strip()}/mem"
        unreadable = {"error": f"'{memory}': it cannot be read: Input/output error"}
        assert await call(session, "read_file", path=memory) == unreadable
        assert await call(session, "patch", path=memory, old_string="a", new_string="b") == unreadable
        for path, what in (
            ("/proc/none/x", "its directory cannot be created"),
            ("/proc/version", "it cannot be written"),
        ):
            (answer,) = (await call(session, "write_file", path=path, content="x")).values()
            assert re.fullmatch(f"'{path}': {what}: [A-Z][a-z/]+( [a-z]+)*", answer), answer
        (answer,) = (await call(session, "search_files", pattern="[")).values()
        assert re.fullmatch(r"the pattern is not a regular expression for grep -E: [^\n]+", answer), answer
        await bash(session, "mkdir gone; cd gone; rmdir ../gone")
        (answer,) = (await call(session, "read_file", path="x")).values()
        assert answer.startswith("'x': there is no such file (the current directory is /")
    finally:
        await session.close()


texts = st.lists(st.binary(max_size=5) | st.sampled_from([b"\n", b"\r\n", b"\0", b"ab"]), max_size=8).map(b"".join)
few = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


class TestAgainstPython:
    """The tools inside the sandbox do what Python would do with the same bytes."""

    @few
    @given(texts, st.integers(1, 6), st.integers(1, 4), st.integers(1, 12))
    async def test_line_windows(
        self, plain_session: SandboxSession, data: bytes, offset: int, limit: int, room: int
    ) -> None:
        session = plain_session
        await write_whole(session, "file", data)
        assert await read_whole(session, "file") == data
        window = await read_window(session, "file", offset, limit, room)
        lines = re.findall(rb"[^\n]*\n|[^\n]+", data)
        wanted = b"".join(lines[offset - 1 : offset - 1 + limit])
        assert window.data == wanted[:room]
        assert window.cut == (len(wanted) > room)
        assert window.total_lines == len(lines)
        assert window.total_bytes == len(data)

    @few
    @given(st.dictionaries(st.sampled_from("abc"), st.text("ab:\né", max_size=12)), st.sampled_from("abé:"))
    async def test_search(self, plain_session: SandboxSession, files: dict[str, str], wanted: str) -> None:
        session = plain_session
        shell = await session.shell()
        await shell.run("rm -rf d; mkdir d")
        for name, text in files.items():
            await write_whole(session, f"d/{name}", text.encode())
        found = await find_lines(session, wanted, "d", None, 100)
        assert found.matches == [
            {"path": f"d/{name}", "line": number, "text": line}
            for name, text in sorted(files.items())
            for number, line in enumerate(text.split("\n"), start=1)
            if wanted in line
        ]
        assert not found.more
