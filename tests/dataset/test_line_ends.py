"""Scripts that were saved on Windows."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_hermes.dataset.line_ends import line_end_notes, mended


@pytest.mark.parametrize(
    "script",
    [
        b"#!/bin/sh\r\nif true\r\nthen echo ok\r\nfi\r\n",
        b"#!/bin/sh\r\nif true\r\nthen echo ok\r\nfi\r",
        b"\xef\xbb\xbf#!/bin/sh\nif true\nthen echo ok\nfi\n",
        b"\xef\xbb\xbf#!/bin/sh\r\nif true\r\nthen echo ok\r\nfi",
        b"#!/bin/sh\r\nif true\nthen echo ok\nfi\n",
    ],
)
def test_a_system_can_run_them(tmp_path: Path, script: bytes) -> None:
    path = tmp_path / "test.sh"
    path.touch(mode=0o755)
    path.write_bytes(script)
    with pytest.raises(OSError, match=r"No such file|Exec format"):
        subprocess.run([path], check=False)
    path.write_bytes(mended(script))
    assert subprocess.run([path], capture_output=True, check=True).stdout == b"ok\n"
    (note,) = line_end_notes("test.sh", script)
    assert note == "test.sh was saved with Windows line ends or a byte order mark; pytest-hermes corrects this"


def test_lines_below_an_intact_first_one_are_left(tmp_path: Path) -> None:
    script = b"#!/bin/sh\nprintf '%s' 'GET / HTTP/1.1\r\n\r\n'\n"
    assert mended(script) == script
    assert line_end_notes("a", script) == ["some lines of a end in CRLF, unlike its first; they are left as they are"]


@given(st.binary().filter(lambda script: b"\r" not in script and not script.startswith(b"\xef\xbb\xbf")))
def test_what_windows_does_is_undone(script: bytes) -> None:
    assert mended(script) == script
    assert line_end_notes("a", script) == []
    assert mended(script.replace(b"\n", b"\r\n")) == script
    assert mended(mended(script)) == mended(script)
