"""Who uses the sessions of a pool, and when: one call at a time, from any thread, in a forked child, too; and a push
moves all of them or none."""

from __future__ import annotations

import os
import signal
import threading
import time

import numpy as np
import pytest
from slowness import within
from users import frames, network

from fastgru import GRU, Embedding, Model, Sequential
from fastgru.errors import ShapeError, StateError
from fastgru.kernels.operands.sessions import SLOT
from fastgru.process import EPOCH, process
from fastgru.streaming import SessionPool


def pooled(count: int, width: int = 64, *, native: bool = True, threads: int = 1) -> tuple[SessionPool, list[int]]:
    """A pool and its sessions, each of which has a state of its own. native: one program does the work."""
    pool = SessionPool(network(width, threads=threads), count + 1, batch_axes={"x": 1})
    if not native:
        pool._runnable.planned = lambda shapes: None  # type: ignore[method-assign]
    sessions = [pool.open() for _ in range(count)]
    pool.push_rows(sessions, frames(1, count, width))
    return pool, sessions


def words(pool: SessionPool, session: int) -> np.ndarray:
    return pool._store._slot_of(session).view(np.int64)


def test_a_session_is_for_one_call_at_a_time():
    """Other sessions of the pool are pushed, opened and closed beside it."""
    pool, (first, second, third) = pooled(3, 512)
    long, short = np.zeros((3_000, 2, 512), np.float32), frames(1, 1, 512)
    pool.push_rows([first, second], long[:1])
    saved, pushed = pool.save(first), []
    uses = {
        "push": lambda: pool.push({third: short, first: short}),
        "push_rows": lambda: pool.push_rows([third, first], frames(1, 2, 512)),
        "close": lambda: pool.close(first),
        "save": lambda: pool.save(first),
        "load": lambda: pool.load(first, saved),
        "reset": lambda: pool.reset(first),
        "fork": lambda: pool.fork(first),
    }

    def push() -> None:
        pushed.append(pool.push_rows(np.array([first, second]), long))

    pool.warm_up(long)
    other = threading.Thread(target=push)
    other.start()
    begin, busy = time.monotonic(), False
    while not busy and time.monotonic() - begin < within(60):
        busy = bool(words(pool, first)[SLOT.busy])
    before = pool.save(third)
    for use in uses.values():
        with pytest.raises(StateError, match=f"session {first} is in use"):
            use()
    assert pool.save(third) == before
    stream = network(512).stream()
    stream.load_state(before)
    np.testing.assert_array_equal(pool.push_rows([third], short), stream.push(short))
    pool.close(pool.open())
    assert not pushed, "the long push was over before the others were tried"
    other.join()
    assert pushed
    pool.load(first, saved)
    assert pool.save(first) == saved
    pool.close(first)
    assert pool.sessions == (second, third)


@pytest.mark.parametrize("native", [True, False])
def test_a_push_that_fails_leaves_every_state(native):
    gru = GRU.from_torch(
        {
            name: np.random.default_rng(1).normal(0, 0.3, shape).astype(np.float32)
            for name, shape in {"weight_ih_l0": (24, 4), "weight_hh_l0": (24, 8)}.items()
        }
    )
    table = np.random.default_rng(2).normal(0, 1, (11, 4)).astype(np.float32)
    model = Model(Sequential(Embedding(table), gru).to_graph(initial_state=True))
    pool = SessionPool(model, 70, batch_axes={"x": 1})
    if not native:
        pool._runnable.planned = lambda shapes: None
    sessions = [pool.open() for _ in range(70)]
    ids = np.arange(70).reshape(1, 70) % 11
    pool.push_rows(sessions, ids)
    before = [pool.save(session) for session in sessions]
    for row in (0, 40, 69):
        wrong = ids.copy()
        wrong[0, row] = 11
        for _ in range(2):
            with pytest.raises(ShapeError, match="index 11 is out of range for 11 entries"):
                pool.push_rows(np.array(sessions), wrong)
        with pytest.raises(ShapeError, match="index 11 is out of range"):
            pool.push({s: np.repeat(wrong[:, i : i + 1], 1 + i % 3, axis=0) for i, s in enumerate(sessions)})
        with pytest.raises(ShapeError, match="out"):
            pool.push_rows(sessions, ids, out=np.empty((1, 70, 9), np.float32))
        assert [pool.save(session) for session in sessions] == before
    stream = model.stream()
    stream.load_state(before[3])
    np.testing.assert_array_equal(pool.push_rows(sessions, ids)[:, 3:4], stream.push(ids[:, 3:4]))


class Ends(BaseException):
    pass


def test_a_push_that_an_exception_of_a_handler_ends_leaves_every_state():
    pool, sessions = pooled(40, 256)
    x = np.zeros((400, 40, 256), np.float32)
    pool.warm_up(x)
    before = [pool.save(session) for session in sessions]

    def ends(number, stack):
        raise Ends

    def push_until_it_ends(push):
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        for _ in range(100):
            push()
            for session, state in zip(sessions, before, strict=True):
                pool.load(session, state)

    was = signal.signal(signal.SIGALRM, ends)
    try:
        for push in (
            lambda: pool.push_rows(np.array(sessions), x),
            lambda: pool.push({s: x[: 399 + i % 2, i : i + 1] for i, s in enumerate(sessions)}),
        ):
            for _ in range(3):
                with pytest.raises(Ends):
                    push_until_it_ends(push)
                signal.setitimer(signal.ITIMER_REAL, 0)
                for session, state in zip(sessions, before, strict=True):
                    pool.load(session, state)  # which is in use by nobody
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, was)
    assert [pool.save(session) for session in sessions] == before


def test_a_handler_in_the_middle_of_a_push_has_the_mode_of_its_thread():
    """And may push other sessions; the caller has its mode back, too: denormal numbers are kept."""
    pool, sessions = pooled(40, 256)
    x, tiny, seen = np.zeros((400, 32, 256), np.float32), np.float32(1e-40), []
    pool.warm_up(x)
    pool.warm_up(x[:1])
    single = frames(1, 8, 256)

    def handler(number, stack):
        pool.push_rows(np.array(sessions[32:]), single)
        seen.append(float(tiny * np.float32(1)))

    was = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
    try:
        begin = time.monotonic()
        while len(seen) < 4 and time.monotonic() - begin < within(60):
            pool.push_rows(np.array(sessions[:32]), x)
            assert float(tiny * np.float32(1)) != 0
            pool.push({s: x[: 399 + i % 2, i : i + 1] for i, s in enumerate(sessions[:32])})
            assert float(tiny * np.float32(1)) != 0
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, was)
    assert len(seen) >= 4
    assert all(seen)


@pytest.mark.parametrize("native", [True, False])
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_may_use_sessions_that_a_thread_of_its_parent_was_pushing(native):
    pool, sessions = pooled(3, native=native)
    x = frames(1, 3)
    copies = [pool.fork(sessions[0])]
    want = pool.push_rows(copies, x[:, :1])
    words(pool, sessions[0])[SLOT.busy] = process[EPOCH]  # as a push of a thread leaves it that is not in the child
    with pytest.raises(StateError, match="in use"):
        pool.push_rows(sessions, x)
    if (child := os.fork()) == 0:
        try:
            os._exit(0 if np.array_equal(pool.push_rows(sessions, x)[:, :1], want) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    words(pool, sessions[0])[SLOT.busy] = 0
    np.testing.assert_array_equal(pool.push_rows(sessions, x)[:, :1], want)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_child_makes_teams_of_its_own():
    pool, sessions = pooled(16, 256, threads=2)
    x = frames(1, 16, 256)
    saved = [pool.save(session) for session in sessions]
    want = pool.push_rows(np.array(sessions), x)
    if (child := os.fork()) == 0:
        try:
            for session, state in zip(sessions, saved, strict=True):
                pool.load(session, state)
            os._exit(0 if np.array_equal(pool.push_rows(np.array(sessions), x), want) else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_threads_push_sessions_of_their_own():
    """At the same time, in pushes of every size, by rows and by session."""
    model = network()
    pool, faults = SessionPool(model, 64, batch_axes={"x": 1}), []

    def serve(number: int) -> None:
        rng = np.random.default_rng(number)
        streams = {pool.open(): model.stream() for _ in range(12)}
        for step in range(60):
            chosen = rng.permutation(list(streams))[: rng.integers(1, 13)]
            x = rng.standard_normal((1 + step % 2, len(chosen), 64)).astype(np.float32)
            if step % 3:
                y = pool.push_rows(chosen, x)
            else:
                got = pool.push({int(s): x[:, i : i + 1] for i, s in enumerate(chosen)})
                y = np.concatenate([*got.values()], 1)
            want = np.concatenate([streams[int(s)].push(x[:, i : i + 1]) for i, s in enumerate(chosen)], 1)
            if not np.array_equal(y, want):
                faults.append((number, step))
            if step % 7 == 0:
                gone = int(chosen[0])
                forked = pool.fork(gone)
                streams[forked] = streams.pop(gone)
                pool.close(gone)

    threads = [threading.Thread(target=serve, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not faults
    assert len(pool) == 48
