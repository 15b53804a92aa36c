"""The asyncio face: cancelled at any moment, nothing is left."""

from __future__ import annotations

import asyncio

import pytest

import tiffin
from tiffin.aio import AsyncEngine
from tiffin.errors import CommandNotFound, ConflictError


@pytest.mark.parametrize("after_s", [0, 0.002, 0.01, 0.02, 0.05, 0.3])
def test_cancelled_at_any_moment_it_leaves_nothing(engine: tiffin.Engine, busybox: str, after_s: float) -> None:
    async def work() -> None:
        async with AsyncEngine(engine.root) as aio:
            tasks = [asyncio.create_task(aio.run(busybox, ["sleep", "60"], auto_remove=keep)) for keep in (True, False)]
            await asyncio.sleep(after_s)
            for task in tasks:
                task.cancel()
            for task in tasks:
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert await aio.containers(all=True) == []

    asyncio.run(work())


def test_a_time_limit(engine: tiffin.Engine, busybox: str) -> None:
    async def work() -> None:
        async with AsyncEngine(engine.root) as aio:
            with pytest.raises(ConflictError) as caught:
                await aio.run(busybox, ["sleep", "60"], timeout_s=0.2, name="slow", auto_remove=False)
            assert str(caught.value) == "container 'slow' still ran after the time allowed, and was killed"
            assert await aio.containers(all=True) == []

    asyncio.run(work())


def test_it_stays_when_asked_to(engine: tiffin.Engine, busybox: str) -> None:
    async def work() -> None:
        async with AsyncEngine(engine.root) as aio:
            result = await aio.run(busybox, ["echo", "hi"], auto_remove=False, name="kept")
            assert result.stdout == "hi\n"
            assert [line.data async for line in aio.logs("kept")] == [b"hi\n"]
            with pytest.raises(CommandNotFound):
                await aio.run(busybox, ["nosuch"])
            await aio.remove("kept")
            assert await aio.containers(all=True) == []

    asyncio.run(work())


def test_events_are_followed_without_a_thread(engine: tiffin.Engine, busybox: str) -> None:
    async def watch() -> list[str]:
        async with AsyncEngine(engine.root) as aio:
            run = asyncio.create_task(aio.run(busybox, ["true"]))
            seen = []
            async for event in aio.events(filters={"type": ["container"]}, follow=True):
                seen.append(event.action)
                if event.action == "destroy":
                    break
            await run
            assert await aio.stats_all() == []
            return seen

    assert asyncio.run(asyncio.wait_for(watch(), 30)) == ["create", "attach", "start", "die", "destroy"]
