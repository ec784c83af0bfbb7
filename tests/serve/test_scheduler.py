"""Jobs: whatever runs together, each session gets the bits of a stream of its own; and what is refused, and when."""

from __future__ import annotations

import asyncio
import gc
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgru import GRU, Embedding, Gate, Linear, Model, Sequential
from fastgru.serve.cost import LONG_NS
from fastgru.serve.errors import ServeError
from fastgru.serve.models import Served
from fastgru.serve.repository import Repository
from fastgru.serve.scheduler import Job, Scheduler
from fastgru.serve.settings import Settings

I, H = 8, 8


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32) / 2


def gru(seed: int = 0) -> GRU:
    gate = [Gate(normal(H, I, seed=seed + k), normal(H, H, seed=seed + k + 3)) for k in range(3)]
    return GRU.from_gates(reset=gate[0], update=gate[1], candidate=gate[2])


MODEL = Model(Sequential(gru(), gru(1), Linear(normal(3, H))).to_graph(initial_state=True))
TOKENS = Model(Sequential(Embedding(normal(11, I)), gru()).to_graph(initial_state=True))


def serve(model: Model = MODEL, **options: Any) -> Served:
    return Repository({"m": model}, Settings(**{"capacity": 16, **options})).get("m")


def job(served: Served, session: Any, *frames: np.ndarray, within_s: float = 60, **more: Any) -> Job:
    made = Job(served, session, frames, time.monotonic_ns() + int(within_s * 1e9), lambda job: None)
    for name, value in more.items():
        setattr(made, name, value)
    return made


def running(work: Callable[[Scheduler], Awaitable[None]], **options: Any) -> None:
    async def main() -> None:
        scheduler = Scheduler(**options)
        try:
            await work(scheduler)
        finally:
            await scheduler.drain(10)

    asyncio.run(main())


def refusal(caught: pytest.ExceptionInfo[ServeError]) -> tuple[int, str]:
    return caught.value.status, caught.value.reason


@pytest.fixture(scope="module")
def served() -> Served:
    return serve()


def test_all_that_is_ready_runs_in_one_push_with_the_bits_of_streams():
    served = serve()

    async def work(scheduler: Scheduler) -> None:
        sessions = {k: served.sessions.begin(k) for k in (1, 2, "2", 3, 4)}
        streams = {k: MODEL.stream() for k in sessions}
        for step in range(5):
            frames = {k: normal(1, 1, I, seed=step * 10 + n) for n, k in enumerate(sessions)}
            jobs = [job(served, sessions[k], frames[k]) for k in sessions]
            for k, done in zip(sessions, await asyncio.gather(*map(scheduler.run, jobs)), strict=True):
                assert done.error is None
                np.testing.assert_array_equal(done.outputs[0], streams[k].push(frames[k]))
        assert served.statistics.batches.keys() == {5}
        assert served.statistics.requests == served.statistics.inferences == 25
        assert served.statistics.executions == 5
        for k, session in sessions.items():
            assert served.sessions.save(session) == streams[k].save_state()

    running(work)


def test_a_session_has_one_job_at_a_time_in_order(served):
    async def work(scheduler: Scheduler) -> None:
        session, stream = served.sessions.begin("order"), MODEL.stream()
        frames = [normal(1, 1, I, seed=k) for k in range(20)]
        jobs = [job(served, session, frame) for frame in frames]
        answered = []
        for one in jobs:
            one.done = answered.append
            scheduler.submit(one)
        while len(answered) < len(jobs):
            await asyncio.sleep(0)
        assert answered == jobs
        for one, frame in zip(jobs, frames, strict=True):
            np.testing.assert_array_equal(one.outputs[0], stream.push(frame))
        assert session.step == 20
        assert scheduler.jobs == scheduler.bytes == 0
        assert abs(scheduler._load.short_ns) < 1

    running(work)


@pytest.mark.parametrize("steps", [2, 7, 100, 1000])
def test_sequences_are_cut_with_the_same_bits(served, steps):
    assert served.group((normal(steps, 1, I),), False).parts

    async def work(scheduler: Scheduler) -> None:
        session, stream = served.sessions.begin(f"cut {steps}"), MODEL.stream()
        for seed in range(3):
            x = normal(steps, 1, I, seed=seed)
            done, alone = await asyncio.gather(
                scheduler.run(job(served, session, x)), scheduler.run(job(served, None, x))
            )
            np.testing.assert_array_equal(done.outputs[0], stream.push(x))
            np.testing.assert_array_equal(alone.outputs[0], MODEL.stream().push(x))
        assert served.sessions.save(session) == stream.save_state()

    running(work)


def test_without_a_sequence_a_request_begins_from_zeros_and_keeps_nothing(served):
    async def work(scheduler: Scheduler) -> None:
        frames = [normal(2, rows, I, seed=rows) for rows in (1, 1, 3, 5, 70)]
        jobs = await asyncio.gather(*[scheduler.run(job(served, None, x)) for x in frames])
        for done, x in zip(jobs, frames, strict=True):
            np.testing.assert_array_equal(done.outputs[0], MODEL.stream(x.shape[1]).push(x))
        with pytest.raises(ServeError, match="have 3 rows, expected 1 in a sequence") as caught:
            await scheduler.run(job(served, served.sessions.begin("wide"), frames[2]))
        assert refusal(caught) == (400, "shape")

    before = len(served.pool.sessions)
    running(work)
    assert len(served.pool.sessions) == before + 1


def test_a_job_that_fails_fails_alone_and_moves_nothing():
    served = serve(TOKENS)

    async def work(scheduler: Scheduler) -> None:
        sessions = [served.sessions.begin(k) for k in (1, 2, 3)]
        streams = [TOKENS.stream() for _ in sessions]
        for step in range(3):
            ids = [np.array([[k + step]]) for k in range(3)]
            if step == 1:
                ids[1] = np.array([[99]])
            jobs = await asyncio.gather(
                *[scheduler.run(job(served, *pair)) for pair in zip(sessions, ids, strict=True)]
            )
            for k, done in enumerate(jobs):
                if (k, step) == (1, 1):
                    assert (done.error.status, done.outputs) == (400, None)
                    assert "99" in str(done.error)
                else:
                    np.testing.assert_array_equal(done.outputs[0], streams[k].push(ids[k]))
        assert [session.step for session in sessions] == [3, 2, 3]
        # In the middle of a sequence that is cut, too.
        whole = np.array([[1]] * 9 + [[99]])
        assert (await scheduler.run(job(served, sessions[0], whole))).error.status == 400
        assert served.sessions.save(sessions[0]) == streams[0].save_state()
        # Nor does a start that fails end what there was, and what was never there is not there after it.
        assert (await scheduler.run(job(served, sessions[0], whole, begins=True))).error.status == 400
        assert served.sessions.save(sessions[0]) == streams[0].save_state()
        assert (await scheduler.run(job(served, served.sessions.begin(9), whole, begins=True))).error.status == 400
        assert served.sessions.find(9) is None
        # What was sent after such a start does not begin from zeros in silence.
        session = served.sessions.begin(9)
        jobs = [job(served, session, whole, begins=True), job(served, session, np.array([[1]]))]
        assert [one.error.status for one in await asyncio.gather(*map(scheduler.run, jobs))] == [400, 410]

    running(work)
    assert served.statistics.failed == {"frames": 5, "ended": 1}


def test_a_deadline_that_passes_before_a_job_has_begun_is_told(served):
    now = [time.monotonic_ns()]

    async def work(scheduler: Scheduler) -> None:
        session, x = served.sessions.begin("deadline"), normal(1, 1, I)
        one, two = (Job(served, session, (x,), now[0] + ns, lambda job: None) for ns in (10**8, 10**9))
        waits = [asyncio.ensure_future(scheduler.run(each)) for each in (one, two)]
        await asyncio.sleep(0)
        now[0] += 2 * 10**8
        await asyncio.gather(*waits)
        assert (one.error.status, one.error.reason) == (503, "deadline")
        assert "the deadline of the request passed 100 ms before it could run" in str(one.error)
        np.testing.assert_array_equal(two.outputs[0], MODEL.stream().push(x))

    running(work, clock=lambda: now[0])


@pytest.mark.parametrize("shape", [(0, 1, I), (1, 0, I)])
def test_frames_without_an_element_are_answered_or_refused(served, shape):
    async def work(scheduler: Scheduler) -> None:
        try:
            done = await scheduler.run(job(served, None, normal(*shape)))
        except ServeError as error:
            reason = error.reason
        else:
            reason = done.error.reason if done.error else ""
            assert done.error is not None or done.outputs[0].shape == (*shape[:2], 3)
        assert reason in ("", "shape", "frames")

    running(work)


def test_starts_and_ends_belong_to_their_jobs(served):
    async def work(scheduler: Scheduler) -> None:
        x = [normal(1, 1, I, seed=k) for k in range(4)]
        session, stream = served.sessions.begin("again"), MODEL.stream()
        first, second, anew, last = (job(served, session, frame) for frame in x)
        anew.begins = last.ends = True
        jobs = await asyncio.gather(*map(scheduler.run, (first, second, anew, last)))
        wanted = [stream.push(x[0]), stream.push(x[1])]
        stream.reset()
        wanted += [stream.push(x[2]), stream.push(x[3])]
        for done, y in zip(jobs, wanted, strict=True):
            np.testing.assert_array_equal(done.outputs[0], y)
        assert session.ended
        with pytest.raises(ServeError, match="has ended: its client has ended it") as caught:
            scheduler.submit(job(served, session, x[0]))
        assert refusal(caught) == (410, "ended")
        with pytest.raises(ServeError, match="has not begun"):
            served.sessions.get("again")

    running(work)


def test_steps_run_in_their_order_or_not_at_all(served):
    async def work(scheduler: Scheduler) -> None:
        session, stream = served.sessions.begin("steps"), MODEL.stream()
        x = [normal(1, 1, I, seed=k) for k in range(4)]
        jobs = [job(served, session, frame, step=k) for k, frame in enumerate(x)]
        done = await asyncio.gather(*[scheduler.run(jobs[k]) for k in (2, 0, 3, 1)])
        assert {one.error for one in done} == {None}
        for one, frame in zip(jobs, x, strict=True):
            np.testing.assert_array_equal(one.outputs[0], stream.push(frame))
        for step in (0, 3):
            with pytest.raises(
                ServeError, match=f"step {step} of sequence 'steps' has already come; the next step is 4"
            ) as e:
                scheduler.submit(job(served, session, x[0], step=step))
            assert refusal(e) == (409, "step")
        early = await scheduler.run(job(served, session, x[0], step=6, within_s=0.05))
        assert (early.error.status, early.error.reason) == (503, "step")
        other = served.sessions.begin("early")
        wait = asyncio.ensure_future(scheduler.run(job(served, other, x[0], step=1)))
        await asyncio.sleep(0)
        served.sessions.end(other)
        assert (await wait).error.status == 410
        with pytest.raises(ServeError, match="expected 0 for the first step"):
            scheduler.submit(job(served, session, x[0], step=4, begins=True))
        assert served.sessions.save(session) == stream.save_state()
        assert scheduler.jobs == scheduler.bytes == 0

    running(work)


def test_a_sequence_may_begin_behind_its_end(served):
    async def work(scheduler: Scheduler) -> None:
        x = [normal(1, 1, I, seed=k) for k in range(5)]
        session = served.sessions.begin("behind")
        jobs = [job(served, session, frame) for frame in x]
        jobs[0].begins = jobs[1].ends = jobs[3].begins = True
        await asyncio.gather(*map(scheduler.run, jobs))
        for first, second in ((0, 1), (3, 4)):
            stream = MODEL.stream()
            np.testing.assert_array_equal(jobs[first].outputs[0], stream.push(x[first]))
            np.testing.assert_array_equal(jobs[second].outputs[0], stream.push(x[second]))
        assert (jobs[2].error.status, jobs[2].error.reason) == (410, "ended")
        anew = served.sessions.get("behind")
        assert anew is not session
        assert (anew.step, anew.next, anew.busy) == (2, 2, False)
        served.sessions.end(anew)

    running(work)


def test_a_step_that_came_early_is_not_kept_beyond_its_answer(served):
    async def work(scheduler: Scheduler) -> None:
        session, x = served.sessions.begin("early"), normal(1, 1, I)
        jobs = [job(served, session, x.copy(), step=step) for step in (1, 0)]
        frame = weakref.ref(jobs[0].frames[0])
        await asyncio.gather(*map(scheduler.run, jobs))
        served.sessions.end(session)
        jobs.clear()
        await asyncio.sleep(0)
        gc.collect()
        assert frame() is None

    running(work)


def test_the_idle_time_of_a_sequence_begins_with_the_end_of_a_request(served):
    async def work(scheduler: Scheduler) -> None:
        session = served.sessions.begin("long")
        made = job(served, session, normal(1, 1, I), begins=True)
        session.last_used_ns = 0
        scheduler.submit(made)
        made.submitted_ns -= 10**12
        while session.running:
            await asyncio.sleep(0)
        assert time.monotonic_ns() - session.last_used_ns < 10**11

    running(work)


def test_a_step_after_one_that_failed_is_not_run():
    served = serve(TOKENS)

    async def work(scheduler: Scheduler) -> None:
        session, stream = served.sessions.begin(1), TOKENS.stream()
        ids = [[[1]], [[99]], [[2]], [[3]]]
        steps = (0, 1, 2, None)
        jobs = [job(served, session, np.array(i), step=s) for i, s in zip(ids, steps, strict=True)]
        done = await asyncio.gather(*map(scheduler.run, jobs))
        assert [one.error and one.error.status for one in done] == [None, 400, 409, None]
        stream.push(np.array([[1]]))
        np.testing.assert_array_equal(done[3].outputs[0], stream.push(np.array([[3]])))
        assert (session.step, session.next) == (2, 2)
        assert (await scheduler.run(job(served, session, np.array([[4]]), step=2))).error is None

    running(work)


def test_what_would_come_too_late_is_refused_at_once(served):
    async def work(scheduler: Scheduler) -> None:
        session, x = served.sessions.begin("late"), normal(1, 1, I)
        for _ in range(2_000):
            scheduler.submit(job(served, session, x))
        with pytest.raises(ServeError, match=r"requests are before it|did not read the request") as caught:
            scheduler.submit(job(served, None, x, within_s=0.002))
        assert refusal(caught) == (503, "overload")
        assert 0 < caught.value.retry_after_s < 1
        served.sessions.end(session)

    running(work)
    assert served.statistics.failed["overload"] == 1


def test_frames_that_wait_have_a_bound(served):
    async def work(scheduler: Scheduler) -> None:
        session, x = served.sessions.begin("bytes"), normal(1, 1, I)
        for _ in range(10):
            scheduler.submit(job(served, session, x))
        with pytest.raises(ServeError, match="already has 320 bytes of requests and answers") as caught:
            scheduler.submit(job(served, session, x))
        assert refusal(caught) == (503, "in_flight")

    running(work, max_bytes=10 * I * 4)


def test_clients_that_have_gone_are_not_computed_for(served):
    async def work(scheduler: Scheduler) -> None:
        session, stream, x = served.sessions.begin("gone"), MODEL.stream(), normal(1, 1, I)
        jobs = [job(served, session, x) for _ in range(4)]
        waits = [asyncio.ensure_future(scheduler.run(one)) for one in jobs]
        await asyncio.sleep(0)
        waits[1].cancel()
        jobs[2].cancel()
        await asyncio.gather(*waits, return_exceptions=True)
        assert waits[1].cancelled()
        for k in (0, 3):
            np.testing.assert_array_equal(jobs[k].outputs[0], stream.push(x))
        assert jobs[2].error.reason == "cancelled"
        assert session.step == 2

    running(work)


def test_jobs_of_a_session_that_has_ended_are_not_run(served):
    async def work(scheduler: Scheduler) -> None:
        session = served.sessions.begin("ends")
        jobs = [job(served, session, normal(1, 1, I)) for _ in range(3)]
        waits = [asyncio.ensure_future(scheduler.run(one)) for one in jobs]
        await asyncio.sleep(0)
        served.sessions.end(session, "deleted")
        other = served.sessions.begin("ends")
        await asyncio.gather(*waits)
        assert [one.error and one.error.status for one in jobs] == [None, 410, 410]
        assert served.sessions.find("ends") is other
        served.sessions.end(other)

    before = len(served.pool.sessions)
    running(work)
    assert len(served.pool.sessions) == before


def test_what_a_client_does_with_its_answer_disturbs_nobody(served, caplog):
    async def work(scheduler: Scheduler) -> None:
        one, two = job(served, None, normal(1, 1, I)), job(served, None, normal(1, 1, I))
        one.done = lambda job: 1 / 0
        scheduler.submit(one)
        assert (await scheduler.run(two)).error is None

    running(work)
    assert "ZeroDivisionError" in caplog.text


def test_a_fault_of_a_tick_does_not_hold_up_what_comes_after_it(monkeypatch):
    served = serve()

    def fail(*_: object) -> None:
        raise OverflowError("no more can be counted")

    async def work(scheduler: Scheduler) -> None:
        faults: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context["exception"]))
        jobs = [job(served, served.sessions.begin(k), normal(1, 1, I)) for k in range(3)]
        done: list[Job] = []
        with monkeypatch.context() as patch:
            patch.setattr(type(served.statistics), "pushed", fail)
            for each in jobs[:2]:
                each.done = done.append
                scheduler.submit(each)
                each.cost_ns = 2 * LONG_NS  # so that each is a tick of its own
            while len(faults) < 2:
                await asyncio.sleep(0)
        assert [*map(type, faults)] == [OverflowError, OverflowError]
        assert all(each.outputs is not None for each in jobs[:2])
        scheduler._load.short_ns = 0.0
        await asyncio.sleep(0.001)
        jobs[2].done = done.append
        scheduler.submit(jobs[2], at_once=True)
        assert done == jobs[2:]

    running(work)


def test_answers_with_nan_are_counted():
    served = serve()

    async def work(scheduler: Scheduler) -> None:
        x = normal(1, 1, I)
        bad = x.copy()
        bad[0, 0, 0] = np.nan
        jobs = [job(served, served.sessions.begin(k), bad if k in (2, 5) else x) for k in range(1, 7)]
        await asyncio.gather(*map(scheduler.run, jobs))
        await scheduler.run(job(served, None, bad))
        assert [bool(np.isnan(one.outputs[0]).any()) for one in jobs] == [k in (2, 5) for k in range(1, 7)]

    running(work)
    assert served.statistics.nonfinite == 3


def test_the_server_goes_down_when_it_has_answered():
    served = serve()

    async def main() -> None:
        scheduler = Scheduler()
        jobs = [job(served, None, normal(500, 1, I)) for _ in range(3)]
        waits = [asyncio.ensure_future(scheduler.run(one)) for one in jobs]
        await asyncio.sleep(0)
        await scheduler.drain(30)
        assert all(one.outputs for one in jobs)
        with pytest.raises(ServeError, match="shutting down") as caught:
            scheduler.submit(job(served, None, normal(1, 1, I)))
        assert refusal(caught) == (503, "draining")
        await asyncio.gather(*waits)

    asyncio.run(main())


LIVES = st.lists(
    st.tuples(
        st.sampled_from(["push", "push", "push", "start", "end", "reset", "fork", "save", "load", "stop"]),
        st.integers(0, 4),
        st.sampled_from([1, 1, 1, 2, 5]),
    ),
    max_size=40,
)


@settings(max_examples=40)
@given(lives=LIVES)
def test_any_life_of_sessions_has_the_bits_of_streams_in_process(served, lives):
    asyncio.run(_live(served, lives))
    assert len(served.pool.sessions) == len(served.sessions)


async def _live(served: Served, lives: list[tuple[str, int, int]]) -> None:
    """Everything that is done to sessions is done to streams; pushes wait for no answer until states are looked at."""
    scheduler, sessions = Scheduler(), served.sessions
    for session in sessions:
        sessions.end(session)
    streams: dict[int, Any] = {}
    waits: list[tuple[Any, np.ndarray]] = []
    saved: bytes | None = None

    async def settled() -> None:
        for wait, y in waits:
            done = await wait
            assert done.error is None
            np.testing.assert_array_equal(done.outputs[0], y)
        waits.clear()

    for number, (what, k, steps) in enumerate(lives):
        name = k + 1
        if what in ("push", "start", "end"):
            begins = what == "start" or name not in streams
            if begins:
                streams[name] = MODEL.stream()
            x = normal(steps, 1, I, seed=number)
            session = sessions.begin(name) if begins else sessions.get(name)
            one = job(served, session, x, begins=begins, ends=what == "end")
            waits.append((asyncio.ensure_future(scheduler.run(one)), streams[name].push(x)))
            await asyncio.sleep(0)
            if what == "end":
                await settled()
                del streams[name]
                assert sessions.find(name) is None
            continue
        await settled()
        if name not in streams:
            continue
        session = sessions.get(name)
        if what == "reset":
            sessions.reset(session)
            streams[name].reset()
        elif what == "save":
            saved = sessions.save(session)
            assert saved == streams[name].save_state()
        elif what == "load" and saved is not None:
            sessions.load(session, saved)
            streams[name].load_state(saved)
        elif what == "fork" and name + 5 not in streams:
            sessions.fork(session, name + 5)
            streams[name + 5] = streams[name].fork()
        elif what == "stop":
            sessions.end(session)
            del streams[name]
    await settled()
    for name, stream in streams.items():
        assert sessions.save(sessions.get(name)) == stream.save_state()
    await scheduler.drain(10)


def test_what_is_refused_for_the_work_around_it_is_taken_again_some_time():
    """Nothing has run for long: what the loop was thought to do for each job is forgotten by and by."""
    served = serve()

    async def work(scheduler: Scheduler) -> None:
        scheduler._load.besides_ns = 1e9
        session = served.sessions.begin(1)
        reasons = []
        for _ in range(500):
            try:
                await scheduler.run(job(served, session, normal(1, 1, I), within_s=0.2))
            except ServeError as error:
                reasons.append(error.reason)
                continue
            break
        assert set(reasons) == {"too_long"}
        assert len(reasons) < 200

    running(work)
