"""What a terminal sends to all processes of a group is for the program, not for the sandboxes that it starts."""

from __future__ import annotations

from tests.services.bench import Bench

PROGRAM = """
import asyncio, os, signal, threading
from pytest_hermes.sandbox.local import LocalSandbox
from pytest_hermes.task import SandboxSpec

signal.signal(signal.SIGINT, lambda number, frame: None)
ended = threading.Event()

def press():
    while not ended.wait(0.0005):
        os.killpg(0, signal.SIGINT)

async def main():
    for number in range(20):
        sandbox = LocalSandbox(SandboxSpec(), name=str(number), isolation=("auto", "none")[number % 2])
        await sandbox.start()
        blocked = await sandbox.exec("grep SigBlk /proc/self/status")
        assert blocked.stdout.split()[1].strip(b"0") == b"", blocked
        await sandbox.close()
    print("all started")

threading.Thread(target=press).start()
try:
    asyncio.run(main())
finally:
    ended.set()
"""


def test_ctrl_c_ends_no_sandbox_that_starts(bench: Bench) -> None:
    bench.file("program.py", PROGRAM)
    code, said = bench.python("program.py")
    assert (code, said) == (0, "all started\n")
