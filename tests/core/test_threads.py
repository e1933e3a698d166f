"""Threads that hold up neither each other nor the end of the program."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import pytest

from pytest_hermes.core.threads import DaemonThreads


def test_calls_and_what_they_raise() -> None:
    threads = DaemonThreads("t")
    assert threads.submit(pow, 2, 5).result(10) == 32
    with pytest.raises(ZeroDivisionError):
        threads.submit(lambda: 1 / 0).result(10)
    with pytest.raises(SystemExit):
        threads.submit(sys.exit, 3).result(10)
    threads.shutdown()
    with pytest.raises(RuntimeError):
        threads.submit(pow, 2, 5)


def test_an_idle_thread_is_used_again_and_a_stuck_one_is_no_hindrance() -> None:
    threads = DaemonThreads("t")
    names = set()
    for _ in range(20):
        names.add(threads.submit(lambda: threading.current_thread().name).result(10))
        time.sleep(0.01)
    assert len(names) < 20
    free = threading.Event()
    stuck = [threads.submit(free.wait, 60) for _ in range(50)]
    assert threads.submit(pow, 2, 5).result(10) == 32
    free.set()
    assert all(future.result(10) for future in stuck)
    threads.shutdown()


STUCK = """
import asyncio, time
from pytest_hermes.background import BackgroundLoop

loop = BackgroundLoop()
async def stuck():
    await asyncio.to_thread(time.sleep, 600)

future = loop.submit(stuck())
time.sleep(0.3)
loop.close()
print("over")
"""


def test_a_program_ends_although_a_thread_is_stuck() -> None:
    ended = subprocess.run([sys.executable, "-c", STUCK], capture_output=True, text=True, timeout=60, check=True)
    assert ended.stdout == "over\n"
