"""What is refused: answers that are too large, and by which words."""

from __future__ import annotations

import asyncio
import time

import numpy as np
import pytest

from fastgru import Linear, Model, Sequential
from fastgru.serve.cost import answer_bytes
from fastgru.serve.errors import ServeError
from fastgru.serve.repository import Repository
from fastgru.serve.scheduler import Job, Scheduler
from fastgru.serve.settings import Settings


def wide() -> Model:
    """One number to 4,096."""
    return Model(Sequential(Linear(np.ones((4_096, 1), np.float32))).to_graph())


def test_the_bytes_of_an_answer_are_known_before_it_is_made() -> None:
    assert answer_bytes(wide().graph, {"x": (7, 1)}) == 7 * 4_096 * 4


def test_an_answer_that_is_too_large_is_refused_before_it_is_made() -> None:
    served = Repository({"m": wide()}, Settings()).get("m")

    async def work() -> None:
        scheduler, deadline = Scheduler(max_bytes=1 << 20), time.monotonic_ns() + 60 * 10**9

        def job(rows: int) -> Job:
            return Job(served, None, (np.ones((rows, 1), np.float32),), deadline, lambda job: None)

        with pytest.raises(ServeError, match="the answer would have 1638400 bytes, more than") as caught:
            scheduler.submit(job(100))
        assert (caught.value.status, caught.value.reason) == (413, "answer")
        waiting = job(40)
        scheduler.submit(waiting)
        assert scheduler.bytes == 40 * (4 + 4_096 * 4)
        with pytest.raises(ServeError, match="this request of 491640 bytes would exceed") as caught:
            scheduler.submit(job(30))
        assert (caught.value.status, caught.value.reason) == (503, "in_flight")
        while scheduler.jobs:
            await asyncio.sleep(0)
        assert waiting.outputs is not None
        assert scheduler.bytes == 0
        done = await scheduler.run(job(30))
        assert done.outputs is not None
        assert done.outputs[0].shape == (30, 4_096)
        await scheduler.drain(1)

    asyncio.run(work())
