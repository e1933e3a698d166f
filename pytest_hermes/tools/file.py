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
    return Field(min_length=1, description=f"{description}; relative to the terminal's current directory. ~ is home.")


class ReadArguments(ToolArguments):
    path: Word = _path("The file")
    offset: int = Field(default=1, ge=1, le=2**53, description="The first line to read, from 1.")
    limit: int = Field(default=500, ge=1, le=100_000, description="How many lines to read at most.")


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
            f"cut in line {last} after {session.output_limit} bytes, of {window.total_bytes} in the file; "
            "read fewer lines at a time, or parts of a long line with cut -c in the terminal"
        )
    elif window.total_lines and not window.data:
        result["hint"] = f"the file has only {window.total_lines} lines"
    elif last < window.total_lines:
        result["hint"] = f"lines {arguments.offset}–{last} of {window.total_lines}; go on with offset={last + 1}"
    return result


class WriteArguments(ToolArguments):
    path: Word = _path("The file")
    content: str = Field(description="The whole new content.")


async def write_file(session: SandboxSession, arguments: WriteArguments) -> dict[str, Any]:
    """Return `path`, `bytes_written`, and whether the file was `created`."""
    data = arguments.content.encode()
    created = await write_whole(session, arguments.path, data)
    return {"path": arguments.path, "bytes_written": len(data), "created": created}


class PatchArguments(ToolArguments):
    path: Word = _path("The file")
    old_string: str = Field(
        min_length=1, description="The text to replace, exactly as in the file, with its indentation."
    )
    new_string: str = Field(description="What to put there instead; empty to delete.")
    replace_all: bool = Field(default=False, description="Replace every occurrence instead of the only one.")


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
            "For content a regular expression as grep -E takes it (write [0-9] for \\d); "
            "for files a glob such as *.py, or a part of the name."
        ),
    )
    path: Word = Field(default=".", min_length=1, description="The directory or file to search.")
    target: Literal["content", "files"] = Field(
        default="content", description="Search lines of files, or names of files."
    )
    file_glob: Word | None = Field(default=None, description="Only files whose name matches, such as *.py.")
    limit: int = Field(default=50, ge=1, le=1000, description="How many matches to return at most.")


async def search_files(session: SandboxSession, arguments: SearchArguments) -> dict[str, Any]:
    """Return `matches` (`path`, `line`, `text`) or `files`, and a `hint` when there are more."""
    find, key = (find_lines, "matches") if arguments.target == "content" else (find_files, "files")
    found = await find(session, arguments.pattern, arguments.path, arguments.file_glob, arguments.limit)
    result: dict[str, Any] = {key: found.matches}
    if found.more:
        result["hint"] = f"only the first {len(found.matches)} are shown; narrow the search by path or file_glob"
    return result


TOOLSET = Toolset(
    "file",
    (
        Tool(
            "read_file",
            (
                "Read a text file, or a window of its lines. Prefer it to cat: the content comes exactly as it is "
                "in the file, with the number of lines."
            ),
            ReadArguments,
            read_file,
        ),
        Tool(
            "write_file",
            "Write a whole text file, replacing what is there; makes missing folders. To change a part, use patch.",
            WriteArguments,
            write_file,
        ),
        Tool(
            "patch",
            (
                "Change a part of a text file: replaces old_string by new_string. old_string must be in the file "
                "exactly once, so take some lines around the change with it. Read the file first."
            ),
            PatchArguments,
            patch,
        ),
        Tool(
            "search_files",
            "Search below a directory: lines by regular expression, or files by name. Skips binary files and .git.",
            SearchArguments,
            search_files,
        ),
    ),
)
