"""How long 50 rewards take that each wait 1.1 s in a sync call: over the bridge, and in asyncio's threads.

python tests/performance/sync_rewards.py [REWARDS] [SECONDS]
"""

from __future__ import annotations

import asyncio
import os
import sys
import time

from pytest_hermes.tools.bridge import bridged, install_bridge, wait_for_sync


async def over_the_bridge(rewards: int, seconds: float) -> float:
    loop = asyncio.get_running_loop()
    install_bridge(loop)

    async def reward() -> float:
        wait_for_sync(asyncio.sleep(seconds), loop)
        return 1.0

    started = time.perf_counter()
    await asyncio.gather(*(bridged(reward()) for _ in range(rewards)))
    return time.perf_counter() - started


async def in_threads(rewards: int, seconds: float) -> float:
    loop = asyncio.get_running_loop()

    def reward() -> float:
        wait_for_sync(asyncio.sleep(seconds), loop)
        return 1.0

    started = time.perf_counter()
    await asyncio.gather(*(asyncio.to_thread(reward) for _ in range(rewards)))
    return time.perf_counter() - started


async def cost_of_a_call(calls: int) -> float:
    loop = asyncio.get_running_loop()

    async def answer() -> None:
        pass

    async def reward() -> None:
        for _ in range(calls):
            wait_for_sync(answer(), loop)

    started = time.perf_counter()
    await bridged(reward())
    return (time.perf_counter() - started) / calls


def main() -> None:
    rewards = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    seconds = float(sys.argv[2]) if len(sys.argv) > 2 else 1.1
    print(f"{rewards} rewards that wait {seconds} s each, {os.cpu_count()} cores")
    print(f"bridge:      {asyncio.run(over_the_bridge(rewards, seconds)):6.2f} s")
    print(f"thread pool: {asyncio.run(in_threads(rewards, seconds)):6.2f} s")
    print(f"one sync call that waits for nothing: {asyncio.run(cost_of_a_call(20_000)) * 1e6:.1f} µs")


if __name__ == "__main__":
    main()
