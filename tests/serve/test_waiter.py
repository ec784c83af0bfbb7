"""What a coroutine waits for until its job is done: with tasks of asyncio, and with what drives coroutines itself."""

from __future__ import annotations

import asyncio
import contextvars

import pytest

from fastgru.serve.waiter import Waiter


def test_a_task_goes_on_in_the_same_turn_of_the_loop_in_its_own_context():
    name: contextvars.ContextVar[str] = contextvars.ContextVar("name")
    seen = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        waiter = Waiter(loop)

        async def wait() -> str:
            name.set("its own")
            await waiter
            seen.append((name.get(), asyncio.current_task() is task))
            return "done"

        def wake() -> None:
            waiter.wake()
            seen.append("woken")

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        loop.call_soon(wake)
        assert await task == "done"

    asyncio.run(main())
    assert seen == [("its own", True), "woken"]


def test_what_a_running_task_wakes_goes_on_in_the_next_turn():
    async def main() -> None:
        waiter = Waiter(asyncio.get_running_loop())

        async def wait() -> None:
            await waiter

        task = asyncio.create_task(wait())
        await asyncio.sleep(0)
        waiter.wake()
        assert not task.done()
        await task

    asyncio.run(main())


def test_what_is_over_before_it_is_awaited_is_not_waited_for():
    async def main() -> None:
        waiter = Waiter(asyncio.get_running_loop())
        waiter.wake()
        await waiter
        assert not waiter.cancel()

    asyncio.run(main())


@pytest.mark.parametrize("begun", [True, False])
def test_a_task_is_cancelled(begun):
    async def main() -> None:
        waiter = Waiter(asyncio.get_running_loop())

        async def wait() -> None:
            await waiter

        task = asyncio.create_task(wait())
        if begun:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        waiter.wake()  # too late

    asyncio.run(main())


def test_a_wait_with_a_limit_ends():
    async def main() -> None:
        waiter = Waiter(asyncio.get_running_loop())

        async def wait() -> None:
            await waiter

        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wait(), 0.01)

    asyncio.run(main())
