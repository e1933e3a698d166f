"""The toolset `file`: read, write, change and search files of the sandbox. All of them may raise ToolProblem."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from .contents import as_text, read_whole, read_window, write_whole
from .patching import replace
from .searching import find_files, find_lines
from .session import SandboxSession
from .tool import Tool, ToolArguments, Toolset, Word


def _path(description: str) -> Any:
    return Field(
        min_length=1,
        description=f"{description}: absolute, relative to the terminal's current directory, or with ~ for the home.",
    )


class ReadArguments(ToolArguments):
    path: Word = _path("Path of the file")
    offset: int = Field(default=1, ge=1, le=2**53, description="Number of the first line to read, from 1.")
    limit: int = Field(default=500, ge=1, le=100_000, description="Maximum number of lines to read.")


async def read_file(session: SandboxSession, arguments: ReadArguments) -> dict[str, Any]:
    """Return `content`, `total_lines`, and a `hint` when there is more."""
    window = await read_window(session, arguments.path, arguments.offset, arguments.limit, session.output_limit)
    result: dict[str, Any] = {
        "content": as_text(window.data, arguments.path, cut=window.cut),
        "total_lines": window.total_lines,
    }
    last = arguments.offset + window.lines - 1
    if window.cut:
        result["hint"] = (
            f"cut off in line {last}, after {session.output_limit} of the file's {window.total_bytes} bytes; "
            "read fewer lines at a time, or parts of a long line with cut -c in the terminal"
        )
    elif window.total_lines and not window.data:
        result["hint"] = f"line {arguments.offset} is after the end of the file, line {window.total_lines}"
    elif last < window.total_lines:
        result["hint"] = f"lines {arguments.offset}–{last} of {window.total_lines}; continue with offset={last + 1}"
    return result


class WriteArguments(ToolArguments):
    path: Word = _path("Path of the file")
    content: str = Field(description="The complete new content of the file.")


async def write_file(session: SandboxSession, arguments: WriteArguments) -> dict[str, Any]:
    """Return `path`, `bytes_written`, and whether the file was `created`."""
    data = arguments.content.encode()
    created = await write_whole(session, arguments.path, data)
    return {"path": arguments.path, "bytes_written": len(data), "created": created}


class PatchArguments(ToolArguments):
    path: Word = _path("Path of the file")
    old_string: str = Field(
        min_length=1, description="The text to replace, exactly as it is in the file, including its indentation."
    )
    new_string: str = Field(description="The new text; an empty string deletes old_string.")
    replace_all: bool = Field(default=False, description="Replace all occurrences, where there may be several.")


async def patch(session: SandboxSession, arguments: PatchArguments) -> dict[str, Any]:
    """Return `path`, the number of `replacements` and the `first_line` that changed."""
    data = await read_whole(session, arguments.path)
    patched = replace(data, arguments.old_string, arguments.new_string, replace_all=arguments.replace_all)
    await write_whole(session, arguments.path, patched.data)
    return {"path": arguments.path, "replacements": patched.replacements, "first_line": patched.first_line}


class SearchArguments(ToolArguments):
    pattern: Word = Field(
        min_length=1,
        description=(
            "With target=content, an extended regular expression, as for grep -E (write [0-9] for \\d). "
            "With target=files, a glob such as *.py, or a part of the name."
        ),
    )
    path: Word = Field(default=".", min_length=1, description="The directory or file to search.")
    target: Literal["content", "files"] = Field(
        default="content", description="Whether to search the content of files or their names."
    )
    file_glob: Word | None = Field(
        default=None, description="Search only files with a name like this glob, such as *.py."
    )
    limit: int = Field(default=50, ge=1, le=1000, description="Maximum number of matches to return.")


async def search_files(session: SandboxSession, arguments: SearchArguments) -> dict[str, Any]:
    """Return `matches` (`path`, `line`, `text`) or `files`, and a `hint` when there are more."""
    find, key = (find_lines, "matches") if arguments.target == "content" else (find_files, "files")
    found = await find(session, arguments.pattern, arguments.path, arguments.file_glob, arguments.limit)
    result: dict[str, Any] = {key: found.matches}
    if found.more:
        result["hint"] = "there are more; raise limit, or narrow the search with path or file_glob"
    return result


TOOLSET = Toolset(
    "file",
    (
        Tool(
            "read_file",
            (
                "Read a text file, or some of its lines. Prefer this tool to cat: it returns the content exactly as it "
                "is in the file, and the number of lines."
            ),
            ReadArguments,
            read_file,
        ),
        Tool(
            "write_file",
            "Write a complete text file. Replaces an existing file, and creates missing directories. To change a part "
            "of a file, use patch.",
            WriteArguments,
            write_file,
        ),
        Tool(
            "patch",
            (
                "Change a part of a text file: replace old_string with new_string. old_string must occur exactly once "
                "in the file, so include some lines around the change. Read the file first."
            ),
            PatchArguments,
            patch,
        ),
        Tool(
            "search_files",
            "Search a directory and everything below it, for lines by a regular expression or for files by name. Skips "
            "binary files and .git.",
            SearchArguments,
            search_files,
        ),
    ),
)
