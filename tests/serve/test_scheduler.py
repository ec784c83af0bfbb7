"""Jobs: whatever runs together, each session gets the bits of a stream of its own."""

from __future__ import annotations

import asyncio
import time

import numpy as np

from fastgru import GRU, Gate, Linear, Model, Sequential
from fastgru.serve.models import Repository
from fastgru.serve.scheduler import Job, Scheduler
from fastgru.serve.settings import Settings

I, H = 8, 8


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32) / 2


def net() -> Model:
    gate = [Gate(normal(H, I, seed=k), normal(H, H, seed=k + 3)) for k in range(3)]
    gru = GRU.from_gates(reset=gate[0], update=gate[1], candidate=gate[2])
    return Model(Sequential(gru, Linear(normal(3, H))).to_graph(initial_state=True))


def test_sessions_get_the_bits_of_streams():
    model = net()
    served = Repository({"m": model}, Settings(capacity=16)).get("m")

    async def work() -> None:
        scheduler = Scheduler()
        sessions = {k: served.sessions.begin(k) for k in (1, 2, "2")}
        streams = {k: model.stream() for k in sessions}
        for step in range(4):
            frames = {k: normal(1, 1, I, seed=step * 10 + n) for n, k in enumerate(sessions)}
            deadline = time.monotonic_ns() + 10**9
            jobs = [Job(served, sessions[k], (frames[k],), deadline, print) for k in sessions]
            for k, job in zip(sessions, await asyncio.gather(*map(scheduler.run, jobs)), strict=True):
                assert job.error is None
                np.testing.assert_array_equal(job.outputs[0], streams[k].push(frames[k]))

    asyncio.run(work())
