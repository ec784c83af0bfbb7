"""Long work: a sequence holds nobody up, and nobody holds up a sequence; and what is expected of both."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import numpy as np
import pytest

from fastgru import GRU, Gate, Model, Sequential
from fastgru.serve.cost import LONG_NS, Cost, operations
from fastgru.serve.errors import ServeError
from fastgru.serve.models import Served
from fastgru.serve.repository import Repository
from fastgru.serve.scheduler import Job, Scheduler
from fastgru.serve.settings import Settings


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32) / 2


def net() -> Model:
    gate = [Gate(normal(8, 8, seed=k), normal(8, 8, seed=k + 3)) for k in range(3)]
    return Model(
        Sequential(GRU.from_gates(reset=gate[0], update=gate[1], candidate=gate[2])).to_graph(initial_state=True)
    )


MODEL = net()


class Slow:
    """What pushes rows, and takes so long for each step: the engine is too fast for these tests."""

    def __init__(self, push_rows: Any, step_s: float) -> None:
        self.push_rows, self.step_s, self.threads = push_rows, step_s, set[str]()

    def __call__(self, handles: Any, frames: Any, out: Any = None) -> Any:
        self.threads.add(threading.current_thread().name)
        time.sleep(self.step_s * len(frames))
        return self.push_rows(handles, frames)


def slow(step_s: float, *shapes: tuple[int, ...]) -> tuple[Served, Slow]:
    """A model whose frames of these shapes take that long, and are known to."""
    served = Repository({"m": MODEL}, Settings(capacity=64)).get("m")
    pushes = Slow(served.pool.push_rows, step_s)
    for shape in shapes:
        group = served.group((np.zeros(shape, np.float32),), True)
        group.prepare((np.zeros(shape, np.float32),))
        group._push_rows = pushes
        for _ in range(200):
            group.cost.measured(1, int(step_s * shape[0] * 1e9))
    return served, pushes


def job(served: Served, session: Any, x: np.ndarray, within_s: float = 60) -> Job:
    return Job(served, session, (x,), time.monotonic_ns() + int(within_s * 1e9), lambda job: None)


def test_a_long_step_leaves_the_loop_free():
    served, pushes = slow(0.05, (1, 1, 8))

    async def work() -> None:
        scheduler = Scheduler()
        wait = asyncio.ensure_future(scheduler.run(job(served, served.sessions.begin(1), normal(1, 1, 8))))
        turns = 0
        while not wait.done():
            await asyncio.sleep(0.001)
            turns += 1
        assert turns > 10
        np.testing.assert_array_equal((await wait).outputs[0], MODEL.stream().push(normal(1, 1, 8)))
        await scheduler.drain(1)

    asyncio.run(work())
    assert pushes.threads == {"fastgru-compute"}


def test_a_step_waits_for_one_part_of_a_sequence_and_the_sequence_has_the_same_bits():
    served, _ = slow(0.002, (1, 1, 8), (640, 1, 8))
    x = normal(640, 1, 8)

    async def work() -> None:
        scheduler = Scheduler()
        one, two = served.sessions.begin(1), served.sessions.begin(2)
        long = asyncio.ensure_future(scheduler.run(job(served, one, x)))
        stream, steps = MODEL.stream(), 0
        await asyncio.sleep(0.01)
        while not long.done():
            frame = normal(1, 1, 8, seed=steps)
            began = time.monotonic()
            step = await scheduler.run(job(served, two, frame))
            took = time.monotonic() - began
            np.testing.assert_array_equal(step.outputs[0], stream.push(frame))
            assert long.done() or took < 0.64  # of the sequence's 1.28 s
            steps += 1
        assert steps > 5
        np.testing.assert_array_equal(long.result().outputs[0], MODEL.stream().push(x))
        await scheduler.drain(1)

    asyncio.run(work())


def test_a_sequence_whose_client_goes_leaves_its_session_as_it_was():
    served, _ = slow(0.002, (640, 1, 8))

    async def work() -> None:
        scheduler = Scheduler()
        session = served.sessions.begin(1)
        before = served.sessions.save(session)
        one = job(served, session, normal(640, 1, 8))
        wait = asyncio.ensure_future(scheduler.run(one))
        await asyncio.sleep(0.3)
        one.cancel()
        await wait
        assert one.error.reason == "cancelled"
        assert served.sessions.save(session) == before
        assert len(served.pool) == 1
        assert (scheduler.jobs, scheduler.bytes) == (0, 0)
        await scheduler.drain(1)

    asyncio.run(work())


def test_long_work_is_admitted_by_when_it_will_be_done():
    served, _ = slow(0.02, (1, 1, 8))

    async def work() -> None:
        scheduler = Scheduler()
        sessions = [served.sessions.begin(k) for k in range(1, 31)]
        taken: list[Job] = []
        refused: list[ServeError] = []
        for session in sessions:
            one = job(served, session, normal(1, 1, 8), within_s=0.2)
            try:
                scheduler.submit(one)
                taken.append(one)
            except ServeError as error:
                refused.append(error)
        assert 4 <= len(taken) <= 10
        assert len(taken) + len(refused) == 30
        assert {(error.status, error.reason) for error in refused} == {(503, "overload")}
        assert all(0 < error.retry_after_s < 1 for error in refused)
        with pytest.raises(ServeError, match="the request would take about 20 ms, but its deadline is") as caught:
            scheduler.submit(job(served, sessions[-1], normal(1, 1, 8), within_s=0.01))
        assert (caught.value.reason, caught.value.retry_after_s) == ("too_long", None)
        await scheduler.drain(5)
        assert sum(one.outputs is not None for one in taken) >= len(taken) // 2  # on a machine with other work, too

    asyncio.run(work())


def test_a_length_that_is_new_needs_no_trial():
    served = Repository({"m": MODEL}, Settings(capacity=4)).get("m")
    group = served.group((normal(100_000, 1, 8),), True)
    assert group.is_ready
    assert group.cost.one_ns > LONG_NS
    assert {end - begin for begin, end in group.parts} <= {1, 2, 4, 8, 16, 32, 64}


def test_shapes_that_are_new_are_planned_beside_the_loop():
    served = Repository({"m": MODEL}, Settings(capacity=4)).get("m")
    x = normal(1, 5, 8)
    group = served.group((x,), False)
    assert not group.is_ready
    assert group.cost.one_ns > LONG_NS

    async def work() -> None:
        scheduler = Scheduler()
        jobs = await asyncio.gather(*[scheduler.run(job(served, None, x)) for _ in range(3)])
        for one in jobs:
            np.testing.assert_array_equal(one.outputs[0], MODEL.stream(5).push(x))
        await scheduler.drain(1)

    asyncio.run(work())
    assert group.is_ready
    assert group.cost.one_ns < LONG_NS


def test_a_cost_follows_what_pushes_take():
    cost = Cost(5_000)
    assert (cost.ns(1), cost.ns(4), cost.one_ns) == (5_000, 20_000, 5_000)
    cost.measured(1, 1_000)
    assert (cost.ns(1), cost.ns(4), cost.one_ns) == (1_000, 4_000, 1_000)
    cost.measured(4, 2_000)
    assert (cost.ns(1), cost.ns(4), cost.ns(8)) == (1_000, 2_000, 4_000)
    cost.measured(1, 10**9)  # of a process that was stopped in between
    assert cost.one_ns == 1_125
    for _ in range(100):
        cost.measured(1, 3_000)
    assert cost.one_ns == pytest.approx(3_000, rel=0.01)
    assert [cost.most_rows(ns) for ns in (0, 3_000, 5_000, 16_000)] == [1, 1, 1, 32]


def test_operations_are_those_of_the_facts():
    one, ten = (operations(MODEL.graph, {"x": (steps, 1, 8), "h0": (1, 1, 8)}) for steps in (1, 10))
    assert one >= 2 * 3 * 8 * (8 + 8)
    assert 8 * one < ten < 12 * one
