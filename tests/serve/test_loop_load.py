"""How busy the loop is, what is refused for it before it is read, and when a job runs at once."""

from __future__ import annotations

import asyncio

import numpy as np
from test_scheduler import MODEL, I, job, normal, running, serve

from fastgru.serve.load import Load
from fastgru.serve.scheduler import Scheduler


def test_what_is_read_came_after_the_turn_before_this_one_or_just_now() -> None:
    load, second = Load(), 1_000_000_000
    assert load.lag_ns(second) == 0
    assert load.sees(second)
    assert load.lag_ns(second + 1_000) == 1_000  # nothing was there before
    for turn in range(1, 5):
        assert not load.sees(second + 80_000 * turn - 1_000)  # the others of the turn
        load.end_iteration(second + 80_000 * turn)
        assert load.is_behind
        assert not load.sees(second + 80_000 * turn + 1)  # the first of the next
    assert load.lag_ns(second + 330_000) == 330_000 - 240_001  # since the begin of the turn before
    load.end_iteration(second + 330_000)  # a short one
    assert not load.is_behind
    assert load.lag_ns(second + 340_000) == 0
    assert load.sees(second + 340_000)
    load.end_iteration(second + 440_000)
    assert load.is_behind
    load.end_iteration(second + 441_000)  # nothing had come
    assert not load.is_behind
    assert load.lag_ns(second + 500_000) == 0


def test_what_a_job_takes_besides_its_push_is_learnt_and_forgotten() -> None:
    load = Load()
    first = load.besides_ns
    for _ in range(200):
        load.ran(2, 100_000)
    assert abs(load.besides_ns - 50_000) < 5_000
    for _ in range(200):
        load.refuses()
    assert abs(load.besides_ns - first) < 1_000
    for _ in range(2_000):
        load.ran(1, 0)  # by a clock that has not moved
    assert load.besides_ns >= 1_000


def test_a_job_without_company_runs_at_once_and_others_in_a_tick() -> None:
    served, session = (made := serve()), made.sessions.begin("a")  # type: ignore[union-attr]

    async def work(scheduler: Scheduler) -> None:
        stream = MODEL.stream()
        first, second, third = [job(served, session, normal(1, 1, I, seed=k)) for k in range(3)]
        scheduler.submit(first, at_once=True)
        np.testing.assert_array_equal(first.outputs[0], stream.push(first.frames[0]))
        scheduler.submit(second, at_once=True)
        assert second.outputs is None
        await asyncio.sleep(0.01)
        np.testing.assert_array_equal(second.outputs[0], stream.push(second.frames[0]))
        again = job(served, served.sessions.begin("b"), normal(1, 1, I))  # type: ignore[union-attr]
        third.done = lambda _: scheduler.submit(again, at_once=True)  # never within another
        scheduler.submit(third, at_once=True)
        assert third.outputs is not None
        assert again.outputs is None
        await asyncio.sleep(0.01)
        assert again.outputs is not None

    running(work)


def test_what_would_be_too_late_is_refused_without_a_job() -> None:
    served = serve()
    group = next(iter(served.groups.values()))

    async def work(scheduler: Scheduler) -> None:
        assert scheduler.admission.refusal(served, group, 1_000_000_000) is None
        assert not scheduler.admission.is_late(group, 1_000_000_000, 0)
        assert scheduler.admission.is_late(group, 1, 0)
        error = scheduler.admission.refusal(served, group, 1)
        assert error is not None
        assert (error.status, error.reason) == (503, "too_long")
        assert scheduler.admission.refusal(served, group, 1) is error
        await asyncio.sleep(0.01)
        assert scheduler.admission.refusal(served, group, 1) is not error
        scheduler._load.short_ns += 1e9
        late = scheduler.admission.refusal(served, group, 500_000_000)
        assert late is not None
        assert (late.reason, late.retry_after_s is not None) == ("overload", True)
        scheduler._load.short_ns -= 1e9
        waited = scheduler.admission.refusal(served, group, 500_000_000, 600_000_000)  # on a server that is idle now
        assert waited is not None
        assert "did not read the request for up to 600 ms" in str(waited)
        assert (waited.reason, waited.retry_after_s) == ("overload", 0.001)
        assert scheduler.admission.is_late(group, 500_000_000, 600_000_000)
        assert scheduler.admission.refusal(served, group, 500_000_000) is None

    running(work)
    assert served.statistics.failed == {"too_long": 3, "overload": 2}
