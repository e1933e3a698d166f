"""What a local sandbox costs, beside bare bash processes in the same run.

    python tests/performance/sandbox_local.py [--sandboxes 100] [--in-flight 32]

Figures are milliseconds unless they say otherwise; CPU counts this process and all of its children.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal

from pytest_hermes.sandbox import bubblewrap
from pytest_hermes.sandbox.local import LocalSandbox
from pytest_hermes.sandbox.shell import Shell
from pytest_hermes.sandbox.transfer import upload_dir
from pytest_hermes.task import SandboxSpec

if TYPE_CHECKING:
    from tests.performance.cpu_time import CpuTime
else:
    from cpu_time import CpuTime


#: What the whole job may take, in seconds, on a machine of two cores.
BUDGET = 2.5

Isolation = Literal["none", "bubblewrap"]


async def measured(repeats: int, job: Callable[[], Awaitable[object]]) -> tuple[float, float]:
    """Wall and CPU milliseconds of one run of `job`."""
    gc.collect()
    with CpuTime() as cpu:
        cpu.add(os.getpid())
        wall = time.perf_counter()
        for _ in range(repeats):
            await job()
        return (time.perf_counter() - wall) / repeats * 1e3, cpu.seconds / repeats * 1e3


async def opened(isolation: Isolation) -> LocalSandbox:
    sandbox = LocalSandbox(SandboxSpec(), name="performance", isolation=isolation)
    await sandbox.start()
    return sandbox


async def bare() -> None:
    await asyncio.to_thread(subprocess.run, ["bash", "-c", "true"], stdin=subprocess.DEVNULL, capture_output=True)


async def start_and_close(isolation: Isolation) -> None:
    await (await opened(isolation)).close()


async def crowd(isolation: Isolation, count: int, in_flight: int) -> None:
    """Start, three commands and close, many times."""
    free = asyncio.Semaphore(in_flight)

    async def one() -> None:
        async with free:
            sandbox = await opened(isolation)
            for _ in range(3):
                assert (await sandbox.exec("true")).exit_code == 0
            await sandbox.close()

    await asyncio.gather(*(one() for _ in range(count)))


async def memory(isolation: Isolation) -> float:
    """MB that an idle sandbox adds (proportional set size of its processes)."""
    before = shared_out()
    sandboxes = [await opened(isolation) for _ in range(8)]
    after = shared_out()
    await asyncio.gather(*(sandbox.close() for sandbox in sandboxes))
    return (after - before) / len(sandboxes) / 1e6


def shared_out() -> int:
    """Bytes of all processes below this one, each page divided among those that share it."""
    total, ahead = 0, [os.getpid()]
    while ahead:
        pid = ahead.pop()
        try:
            with open(f"/proc/{pid}/smaps_rollup") as file:
                total += next(int(line.split()[1]) for line in file if line.startswith("Pss:")) * 1024
            with open(f"/proc/{pid}/task/{pid}/children") as file:
                ahead += map(int, file.read().split())
        except OSError:
            continue
    return total


async def gigabyte(sandbox: LocalSandbox) -> float:
    """MB/s of output that is read and counted."""
    result = await sandbox.exec("head -c 1000000000 /dev/zero")
    assert result.stdout_total == 1_000_000_000
    return 1000 / result.duration


def make_many(path: str) -> None:
    for number in range(10_000):
        os.makedirs(f"{path}/{number % 100}", exist_ok=True)
        with open(f"{path}/{number % 100}/{number}", "w") as file:
            file.write(f"file {number}\n")


async def many_files(sandbox: LocalSandbox) -> tuple[float, float]:
    """Seconds to upload 10,000 files, and to unpack them once more on the same disk."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as path:
        make_many(path)
        started = time.perf_counter()
        await upload_dir(sandbox, path, "many")
        took = time.perf_counter() - started
    return took, (await sandbox.exec("mkdir again; tar -c many | tar -x -C again")).duration


async def report(isolation: Isolation, count: int, in_flight: int, command_wall: float) -> float:
    print(f"\n{isolation}")
    wall, used = await measured(20, lambda: start_and_close(isolation))
    print(f"  start + close         {wall:8.1f} wall {used:8.1f} cpu   {wall / command_wall:5.1f} bare commands")
    sandbox = await opened(isolation)
    wall, used = await measured(100, lambda: sandbox.exec("true"))
    print(f"  exec                  {wall:8.1f} wall {'':>8}       {wall / command_wall:5.1f} bare commands")
    shell = Shell(sandbox)
    await shell.run("cd /; export A=1; f() { :; }")
    wall, used = await measured(100, lambda: shell.run("true"))
    print(f"  command of a session  {wall:8.1f} wall {'':>8}       {wall / command_wall:5.1f} bare commands")
    print(f"  output                {await gigabyte(sandbox):8.0f} MB/s")
    took, again = await many_files(sandbox)
    print(f"  10,000 files up       {took:8.2f} s                 {took / again:5.1f} x tar | tar")
    await sandbox.close()
    print(f"  idle                  {await memory(isolation):8.1f} MB")
    best = float("inf")
    for _ in range(3):
        wall, used = await measured(1, lambda: crowd(isolation, count, in_flight))
        best = min(best, wall / 1e3)
    print(f"  {count} x (start, 3 execs, close), {in_flight} at once: {best:.2f} s wall, {used / 1e3:.2f} s cpu")
    return best


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sandboxes", type=int, default=100)
    parser.add_argument("--in-flight", type=int, default=32)
    args = parser.parse_args()
    await asyncio.gather(*(bare() for _ in range(20)))
    wall, used = await measured(100, bare)
    print(f"bare `bash -c true`     {wall:8.1f} wall {used:8.1f} cpu")
    isolations: list[Isolation] = ["none", "bubblewrap"]
    problem = bubblewrap.probe().problem
    if problem is not None:
        print(f"bubblewrap is left out: {problem}")
        isolations.pop()
    slowest = max([await report(isolation, args.sandboxes, args.in_flight, wall) for isolation in isolations])
    print(f"\nslowest crowd {slowest:.2f} s, budget {BUDGET} s")
    return int(slowest > BUDGET)


if __name__ == "__main__":
    raise SystemExit(asyncio.run(main()))
