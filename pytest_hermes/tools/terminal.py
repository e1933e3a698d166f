"""The toolset `terminal`: commands in a shell that keeps its state, and commands in the background."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from ..sandbox.protocol import ExecResult
from .session import BackgroundCommand, SandboxSession
from .tool import Tool, ToolArguments, Toolset, Word


class TerminalArguments(ToolArguments):
    command: Word = Field(min_length=1, description="The bash command to run. It may have several lines.")
    timeout: float | None = Field(
        default=None,
        gt=0,
        description="Seconds after which the command is killed. Raise it for slow builds and tests.",
    )
    background: bool = Field(
        default=False,
        description="Start the command in the background, and return immediately with a session_id for process.",
    )


async def run_command(session: SandboxSession, arguments: TerminalArguments) -> dict[str, Any]:
    """Run one command: `output` (stdout and stderr in order), `exit_code`, `error`.

    A command that ran out of time has exit code 124 and an error; `truncated` tells how much of a long output is
    missing. In the background: `session_id` instead.
    """
    shell = await session.shell()
    if arguments.background:
        process = await shell.spawn(arguments.command, max_output=session.output_limit)
        session.background[process.id] = BackgroundCommand(arguments.command, process)
        return {"output": "", "exit_code": 0, "error": None, "session_id": process.id}
    timeout = arguments.timeout if arguments.timeout is not None else session.terminal_timeout
    result = await shell.run(arguments.command, timeout=timeout, max_output=session.output_limit)
    return describe(result, timeout)


def describe(result: ExecResult, timeout: float) -> dict[str, Any]:
    """Return the result of a command as the terminal tool reports it."""
    report: dict[str, Any] = {
        "output": _text(result.stdout + result.stderr),
        "exit_code": result.exit_code,
        "error": None,
    }
    if result.timed_out:
        report["error"] = (
            f"the command was killed after {timeout:g} s; set a longer timeout, or run it with background=true"
        )
    if result.truncated:
        report["truncated"] = {
            "total_bytes": result.stdout_total + result.stderr_total,
            "hint": "the middle of the output is left out; write the output to a file and search the file",
        }
    return report


class ProcessArguments(ToolArguments):
    action: Literal["list", "poll", "read", "wait", "kill"] = Field(
        description=(
            "list: show all background commands. poll: show whether a command is still running. read: return its "
            "output since the last read. wait: wait until it exits or the timeout is over. kill: kill it and its "
            "child processes."
        )
    )
    session_id: str | None = Field(
        default=None, description="The session_id that terminal returned. Required for every action except list."
    )
    timeout: float | None = Field(default=None, gt=0, description="Maximum number of seconds for the action wait.")


async def manage_process(session: SandboxSession, arguments: ProcessArguments) -> dict[str, Any]:
    """Manage one background command: `session_id`, `status`, `exit_code`, and `output` where it was asked for."""
    known = session.background
    if arguments.action == "list":
        return {"processes": [{**_status(each), "command": each.command} for each in known.values()]}
    if arguments.session_id is None:
        return {"error": f"action {arguments.action!r} needs a session_id; known: {', '.join(known) or 'none'}"}
    if arguments.session_id not in known:
        return {"error": f"there is no session_id {arguments.session_id!r}; known: {', '.join(known) or 'none'}"}
    background = known[arguments.session_id]
    if arguments.action == "poll":
        return _status(background)
    result: dict[str, Any] = {}
    if arguments.action == "wait":
        timeout = arguments.timeout if arguments.timeout is not None else session.terminal_timeout
        if await background.process.wait(timeout) is None:
            result["error"] = f"the command is still running after {timeout:g} s"
    elif arguments.action == "kill":
        await background.process.kill()
    stdout, stderr = background.process.read()
    return {**_status(background), "output": _text(stdout + stderr), **result}


def _status(background: BackgroundCommand) -> dict[str, Any]:
    exit_code = background.process.poll()
    return {
        "session_id": background.process.id,
        "status": "running" if exit_code is None else "exited",
        "exit_code": exit_code,
    }


def _text(output: bytes) -> str:
    return output.decode("utf-8", "replace")


TOOLSET = Toolset(
    "terminal",
    (
        Tool(
            "terminal",
            (
                "Run a bash command and get its output (stdout and stderr together) and its exit code. The current "
                "directory, exported variables and functions are kept for the next command. There is no keyboard "
                "input: answer the prompts of programs with flags such as -y, or through a pipe. The middle of a "
                "long output is left out. Use background=true for servers and other commands that do not end."
            ),
            TerminalArguments,
            run_command,
        ),
        Tool(
            "process",
            "Manage the commands that terminal started with background=true: list, poll, read, wait for or kill them.",
            ProcessArguments,
            manage_process,
        ),
    ),
)
