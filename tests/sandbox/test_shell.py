"""Terminal sessions: what passes from one command to the next."""

from __future__ import annotations

import asyncio
import io

import pytest

from pytest_hermes.sandbox.protocol import Sandbox
from pytest_hermes.sandbox.shell import Shell

from .backends import opened

pytestmark = pytest.mark.asyncio


async def output_of(shell: Shell, command: str) -> str:
    result = await shell.run(command, timeout=30)
    assert result.stderr == b""
    return result.stdout.decode()


async def test_the_folder_is_kept(shell: Shell, sandbox: Sandbox) -> None:
    assert await output_of(shell, "pwd") == f"{sandbox.workdir}\n"
    await output_of(shell, "mkdir -p 'a b/ü\n' && cd 'a b/ü\n'")
    assert await output_of(shell, "pwd") == f"{sandbox.workdir}/a b/ü\n\n"
    assert await shell.cwd() == f"{sandbox.workdir}/a b/ü\n"
    await output_of(shell, "cd /usr; cd /etc")
    assert await output_of(shell, "cd -") == "/usr\n"


@pytest.mark.parametrize(
    "value",
    ["plain", "", "two words", "a\nb\n", "\n", "'\"`$x\\", "tab\there", "ünï→", "-n", "$(touch gone)", "\x01\x7f\x1b["],
)
async def test_exported_variables_are_kept_exactly(shell: Shell, value: str) -> None:
    quoted = "'" + value.replace("'", "'\\''") + "'"
    await output_of(shell, f"export VALUE={quoted}")
    await output_of(shell, "true")
    assert await output_of(shell, "printf '%s|' \"$VALUE\"; printenv VALUE | head -c -1 | wc -c") == (
        f"{value}|{len(value.encode())}\n"
    )


async def test_bytes_that_are_no_text_are_kept_too(shell: Shell) -> None:
    await output_of(shell, r"export VALUE=$'a\xff\xfeb'")
    assert (await shell.run('printf %s "$VALUE"')).stdout == b"a\xff\xfeb"


async def test_what_is_not_exported_and_options_are_not_kept(shell: Shell) -> None:
    await output_of(shell, "plain=1; declare -a list=(1 2); set -euf -o pipefail; shopt -s nullglob; IFS=,; umask 0")
    assert await output_of(shell, 'echo [$plain] [$list] $-; shopt nullglob; printf %q "$IFS"; false; echo on') == (
        "[] [] hBc\nnullglob       \toff\n$' \\t\\n'on\n"
    )


async def test_variables_of_the_task_can_be_changed_and_unset(backend: str) -> None:
    async with opened(backend, env={"ONE": "1", "TWO": "2"}) as sandbox:
        shell = Shell(sandbox)
        await output_of(shell, "unset ONE; TWO=zwei")
        assert await output_of(shell, "echo [$ONE] [$TWO]; env | grep -c ^ONE=") == "[] [zwei]\n0\n"


async def test_functions_are_kept(shell: Shell) -> None:
    await output_of(
        shell,
        'greet() { echo "hi $1"; }; doc() {\ncat <<EOF\na $1\nEOF\n}; with-dash() { echo dash; }\n'
        "shopt -s extglob\nmatch() { [[ $1 == +(a|b) ]] && echo matched; }\n"
        "exported() { echo from bash; }; export -f exported; gone() { :; }",
    )
    await output_of(shell, "unset -f gone")
    assert await output_of(shell, "greet you; doc x; with-dash; match abba; bash -c exported; declare -F gone") == (
        "hi you\na x\ndash\nmatched\nfrom bash\n"
    )


async def test_functions_named_like_builtins_do_no_harm(shell: Shell, sandbox: Sandbox) -> None:
    names = ["cd", "echo", "printf", "read", "declare", "pwd", "umask", "set", "unset", "exit", "mv", "cat", "local"]
    await output_of(shell, "; ".join(f"{name}() {{ builtin echo fooled; }}" for name in names))
    await output_of(shell, "builtin cd /usr; builtin export A=1")
    assert await output_of(shell, 'builtin printf "%s " "$PWD" "$A"') == "/usr 1 "
    assert await output_of(shell, "cat") == "fooled\n"
    # Those of the harness see none of it.
    assert (await shell.script("cd /; cat; pwd", stdin=b"in")).stdout == b"in/\n"


async def test_a_function_that_wraps_cd_works(shell: Shell) -> None:
    await output_of(shell, 'cd() { builtin cd "$@" && ls -d "$PWD"; }')
    assert await output_of(shell, "cd /usr") == "/usr\n"
    assert await output_of(shell, "pwd") == "/usr\n"


@pytest.mark.parametrize(
    ("command", "code", "output"),
    [
        ("exit 7", 7, ""),
        ("(exit 3)", 3, ""),
        ("false", 1, ""),
        ("set -e; false; echo no", 1, ""),
        ("set -u; echo $nope; echo no", 127, "bash: line 1: nope: unbound variable\n"),
        ("echo ${nope:?is missing}; echo no", 127, "bash: line 1: nope: is missing\n"),
        ("kill -TERM $$", 143, ""),
        ("f() { exit 9; }; f", 9, ""),
        ("true; : 'unclosed", 2, None),
        ("if true; then", 2, None),
        ("echo one # a comment", 0, "one\n"),
        ("echo one \\", 0, "one \\\n"),
        ("cat <<'EOF'\n$HOME `x`\nEOF", 0, "$HOME `x`\n"),
        ("echo 1\necho 2\n\n", 0, "1\n2\n"),
        ("echo 1\nnosuch\n", 127, "1\nbash: line 2: nosuch: command not found\n"),
        ("", 0, ""),
        ("# only a comment", 0, ""),
        ("set -x; echo x; exit 4", 4, "++ echo x\nx\n++ exit 4\n"),
        ("set -v; echo v", 0, "v\n"),
        ("echo out; echo err >&2; echo out", 0, "out\nerr\nout\n"),
        ("cat; read x; echo $?", 0, "1\n"),
        ("trap 'echo bye $?' EXIT; exit 5", 5, "bye 5\n"),
        ("trap 'echo bye $?' EXIT; (exit 6)", 6, "bye 6\n"),
        ("trap 'exit 8' EXIT; exit 5", 8, ""),
        ("set -e; trap 'echo bye' 0; false", 1, "bye\n"),
        ("trap 'echo a' EXIT; trap - EXIT; echo b", 0, "b\n"),
        ("trap 'echo a' EXIT; trap -p EXIT; (trap 'echo sub' EXIT)", 0, "trap -- 'echo a' EXIT\nsub\na\n"),
        ("f() { trap 'echo ret' RETURN; }; f; echo on", 0, "ret\non\n"),
        ("trap 'echo err' ERR; false; true", 0, "err\n"),
        ("echo $0 $# $LINENO", 0, "bash 0 1\n"),
        ("exec >~/log; echo hidden", 0, ""),
        ("exec 3>~/f; echo x >&3; exec 3>&-; cat ~/f", 0, "x\n"),
        ("echo \0nul", 0, "nul\n"),
    ],
)
async def test_however_a_command_ends_its_state_is_kept(
    shell: Shell, command: str, code: int, output: str | None
) -> None:
    result = await shell.run(f"cd /usr; export BEFORE=1; {command}")
    if "syntax error" not in result.stdout.decode() and "unexpected EOF" not in result.stdout.decode():
        assert output is not None
        assert result.stdout.decode() == output
        assert await output_of(shell, "echo $PWD $BEFORE") == "/usr 1\n"
    else:
        # Bash reads all of it before it runs any of it.
        assert output is None
        assert await output_of(shell, "echo on") == "on\n"
    assert result.exit_code == code


@pytest.mark.parametrize(("command", "code"), [("kill -9 $$", 137), ("exec false", 1), ("exec sh -c 'exit 3'", 3)])
async def test_a_shell_that_cannot_save_leaves_the_state_as_it_was(shell: Shell, command: str, code: int) -> None:
    await output_of(shell, "cd /usr; export KEPT=1")
    assert (await shell.run(f"cd /etc; export KEPT=2; {command}")).exit_code == code
    assert await output_of(shell, "echo $PWD $KEPT") == "/usr 1\n"


async def test_a_deleted_folder_is_replaced_by_the_workdir(shell: Shell, sandbox: Sandbox) -> None:
    gone = f"{sandbox.workdir}/gone"
    await output_of(shell, "mkdir gone; cd gone; rmdir ../gone")
    assert await output_of(shell, 'echo "$PWD"; pwd') == (
        f"hermes: the folder {gone} is gone; this command starts in {sandbox.workdir}\n"
        f"{sandbox.workdir}\n{sandbox.workdir}\n"
    )
    assert await output_of(shell, "pwd") == f"{sandbox.workdir}\n"


async def test_a_deleted_workdir_is_survived(backend: str) -> None:
    async with opened(backend, workdir="work") as sandbox:
        shell = Shell(sandbox)
        await output_of(shell, 'rm -r "$PWD"')
        assert (await output_of(shell, "pwd")).endswith(f"\n{sandbox.home}\n")
        assert (await shell.script("pwd")).stdout.decode() == f"{sandbox.home}\n"


async def test_readonly_variables_stay_so(shell: Shell) -> None:
    await output_of(shell, "readonly FIXED=1 LOOSE=2; export FIXED; export -n LOOSE")
    result = await shell.run("echo $FIXED [$LOOSE]; LOOSE=3; echo $LOOSE; FIXED=2; echo no")
    assert result.stdout == b"1 []\n3\nbash: line 1: FIXED: readonly variable\n"
    assert await output_of(shell, "echo $FIXED") == "1\n"


async def test_an_exported_uid_stays_exported(shell: Shell) -> None:
    await output_of(shell, "export UID")
    await output_of(shell, "true")
    assert (
        await output_of(shell, "printenv UID; echo $UID | head -c1 | wc -c")
        == (await output_of(shell, "echo $UID")) + "1\n"
    )


async def test_a_broken_path_does_not_break_the_session(shell: Shell) -> None:
    await output_of(shell, "unset PATH; cd /usr")
    assert (await shell.run("env")).exit_code == 127
    await output_of(shell, "PATH=/nowhere")
    await output_of(shell, "export PATH=/usr/bin:/bin; cd /etc")
    assert await output_of(shell, "pwd; env | grep ^PATH") == "/etc\nPATH=/usr/bin:/bin\n"


async def test_start_up_files_are_not_read(backend: str) -> None:
    async with opened(backend, env={"SHELLOPTS": "xtrace", "CDPATH": "/usr"}) as sandbox:
        await sandbox.exec('for f in .bashrc .bash_profile .profile env; do echo "echo FOOLED" >"$HOME/$f"; done')
        shell = Shell(sandbox)
        assert await output_of(shell, 'export BASH_ENV="$HOME/env" ENV="$HOME/env"; cd /') == ""
        assert await output_of(shell, "pwd") == "/\n"
        # It is the user's own, though, for what the command starts.
        assert await output_of(shell, "bash -c 'echo inner'") == "FOOLED\ninner\n"
    async with opened(backend, env={"BASH_ENV": "/dev/stdin"}) as sandbox:
        shell = Shell(sandbox)
        assert await output_of(shell, "echo once") == "once\n"


async def test_a_command_of_a_megabyte_runs(shell: Shell) -> None:
    text = "x" * (1 << 20)
    assert await output_of(shell, f"wc -c <<'EOF'\n{text}\nEOF\ncd /usr") == f"{(1 << 20) + 1}\n"
    assert await output_of(shell, "pwd") == "/usr\n"


async def test_a_large_environment_is_kept(shell: Shell) -> None:
    await output_of(shell, "for n in {1..300}; do export V$n=$(printf %0500d $n); done; f() { :; }")
    assert await output_of(shell, "echo ${V300: -3} ${#V1}") == "300 500\n"


async def test_output_is_capped_and_counted(shell: Shell) -> None:
    result = await shell.run("seq 100000", max_output=1000)
    assert (result.truncated, result.stdout_total) == (True, 588895)
    assert len(result.stdout) <= 1000


async def test_a_background_process_goes_on(shell: Shell) -> None:
    result = await shell.run("sleep 60 & echo $! >pid; echo started")
    assert result.stdout == b"started\n"
    assert result.duration < 2
    assert await output_of(shell, "kill -0 $(cat pid) && echo alive") == "alive\n"


async def test_spawned_commands_find_the_state_and_leave_it(shell: Shell) -> None:
    await output_of(shell, "cd /usr; export A=1; f() { echo f; }")
    process = await shell.spawn("pwd; echo $A; f; echo err >&2; cd /etc; export A=2; exit 3")
    assert await process.wait(20) == 3
    assert process.read() == (b"/usr\n1\nf\nerr\n", b"")
    assert await output_of(shell, "echo $PWD $A") == "/usr 1\n"


@pytest.mark.parametrize("prelude", ["", "export A=0; cd /usr"])
async def test_small_changes_are_kept_whatever_the_commands_options(shell: Shell, prelude: str) -> None:
    await output_of(shell, prelude)
    await output_of(shell, "mkdir -p ~/a ~/A; cd ~/a; export A=a")
    await output_of(shell, "shopt -s nocasematch; IFS=; set -a; cd ~/A; A=A")
    assert await output_of(shell, 'echo "${PWD##*/} $A"; env | grep -c hermes_') == "A A\n0\n"
    await output_of(shell, "f() { :; }; export -f f; g() { :; }")
    await output_of(shell, "unset -f f; IFS=g; unset A")
    assert await output_of(shell, "declare -F | grep -v hermes; echo [$A]") == "declare -f g\n[]\n"


async def test_a_session_that_goes_back_to_its_beginning_is_there(shell: Shell, sandbox: Sandbox) -> None:
    await output_of(shell, "export A=1; f() { :; }; cd /usr")
    await output_of(shell, "unset A OLDPWD; export OLDPWD; unset -f f; cd ~; unset OLDPWD; export OLDPWD")
    assert await output_of(shell, "echo [$A] $PWD; declare -F | grep -v hermes") == f"[] {sandbox.home}\n"


async def test_commands_at_once_do_not_damage_the_state(shell: Shell) -> None:
    await asyncio.gather(*(output_of(shell, f"export N={number}; cd /usr") for number in range(12)))
    assert await output_of(shell, "[[ $N == +([0-9]) ]] && pwd") == "/usr\n"


async def test_sessions_in_one_sandbox_are_apart(sandbox: Sandbox) -> None:
    one, two = Shell(sandbox), Shell(sandbox)
    await output_of(one, "cd /usr; export A=1")
    assert await output_of(two, "echo $PWD [$A]") == f"{sandbox.workdir} []\n"


async def test_scripts_run_in_the_folder_without_the_sessions_variables(shell: Shell, sandbox: Sandbox) -> None:
    await output_of(shell, "cd /usr; export PATH=/nowhere A=1; f() { echo f; }; cat() { echo fooled; }; set -e")
    result = await shell.script(
        'pwd; cat; printf "%s|" "$@" "[$A]"; declare -F; echo err >&2; exit 4', "a b", "", "c\n", stdin=b"given\n"
    )
    assert result.stdout == b"/usr\ngiven\na b||c\n|[]|"
    assert (result.stderr, result.exit_code) == (b"err\n", 4)
    file = io.BytesIO()
    await shell.script("seq 1000", stdout_to=file)
    assert len(file.getvalue()) == 3893
    assert (await shell.script("sleep 60", timeout=0.2)).timed_out
