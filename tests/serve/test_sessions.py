"""Sessions: ids that clients chose, whose they are, how they end, and what is said to whoever comes after that."""

from __future__ import annotations

import gc
import weakref
from types import SimpleNamespace

import numpy as np
import pytest

from fastgru import GRU, Gate, Model, Sequential
from fastgru.serve.errors import ServeError
from fastgru.serve.ids import check_id
from fastgru.serve.sessions import Sessions
from fastgru.streaming import SessionPool


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32) / 2


def net(seed: int = 0) -> Model:
    gate = [Gate(normal(4, 4, seed=seed + k), normal(4, 4, seed=seed + k + 3)) for k in range(3)]
    return Model(
        Sequential(GRU.from_gates(reset=gate[0], update=gate[1], candidate=gate[2])).to_graph(initial_state=True)
    )


MODEL = net()


class Clock:
    """Of a test, in nanoseconds."""

    ns = 10**12

    def __call__(self) -> int:
        return self.ns

    def wait(self, seconds: float) -> None:
        self.ns += int(seconds * 1e9)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(clock: Clock) -> Sessions:
    home = SimpleNamespace(pool=SessionPool(MODEL, 16), fingerprint=MODEL.fingerprint, live=0, formers=(), keeper=None)
    return Sessions("m", home, 4, 300.0, clock)


def refused(call) -> ServeError:
    with pytest.raises(ServeError) as caught:
        call()
    return caught.value


@pytest.mark.parametrize("name", [1, (1 << 64) - 1, "a", "1", "x" * 256])
def test_ids_are_numbers_and_texts(name):
    assert check_id(name) is name


@pytest.mark.parametrize("name", [0, -1, 1 << 64, "", "x" * 257, 1.0, True, None, b"a"])
def test_what_is_no_id_is_refused(name):
    error = refused(lambda: check_id(name))
    assert (error.status, error.reason) == (400, "sequence_id")
    assert "from 1 to 2**64 - 1" in str(error)


def test_numbers_and_texts_are_kept_apart_and_so_are_keys(sessions):
    made = {sessions.begin(name, key) for name in (1, "1") for key in ("ann", "bob")}
    assert len(made) == len({session.handle for session in made}) == len(sessions) == 4
    assert sessions.begin(1, "ann") is sessions.get(1, "ann")
    assert {session.id for session in sessions.of("bob")} == {1, "1"}
    assert refused(lambda: sessions.get(1)).reason == "unknown_sequence"


def test_what_has_not_begun_is_not_there(sessions):
    error = refused(lambda: sessions.get("a"))
    assert error.status == 400
    assert "sequence 'a' of model 'm' has not begun: begin it with sequence_start" in str(error)
    assert sessions.find("a") is None


def test_a_full_server_says_when_to_come_again(sessions, clock):
    for name in range(1, 5):
        sessions.begin(name)
    clock.wait(100)
    error = refused(lambda: sessions.begin(5))
    assert (error.status, error.reason, error.retry_after_s) == (503, "capacity", 200.0)
    sessions.end(sessions.get(2))
    assert sessions.begin(5).id == 5


def test_sessions_that_nobody_uses_end_and_their_clients_hear_of_it(sessions, clock):
    idle, used, busy = (sessions.begin(name) for name in ("idle", "used", "busy"))
    heard: list[str] = []
    idle.on_end = heard.append
    assert sessions.expire() == 300
    clock.wait(200)
    sessions.keep_alive(used)
    busy.running = True
    clock.wait(150)
    assert sessions.expire() == pytest.approx(150)
    assert heard == ["idle"]
    assert (len(sessions), sessions.evicted, idle.ended) == (2, 1, "idle")
    error = refused(lambda: sessions.get("idle"))
    assert (error.status, error.reason) == (410, "evicted")
    assert "was ended after 300 s without a request, and its state is lost" in str(error)
    # Beginning anew is the way on; and what has ended otherwise is not remembered.
    again = sessions.begin("idle")
    assert sessions.get("idle") is again
    sessions.end(again)
    assert refused(lambda: sessions.get("idle")).reason == "unknown_sequence"
    busy.running = False
    clock.wait(301)
    sessions.expire()
    assert len(sessions) == len(sessions.home.pool) == 0


def test_what_has_ended_is_remembered_for_a_bounded_time_and_number(sessions, clock):
    for name in range(1, 21):
        sessions.begin(name)
        clock.wait(301)
        sessions.expire()
    assert [refused(lambda name=name: sessions.get(name)).reason for name in (16, 17, 20)] == [
        "unknown_sequence",
        "evicted",
        "evicted",
    ]
    clock.wait(3_601)
    assert refused(lambda: sessions.get(20)).reason == "unknown_sequence"
    sessions.expire()
    assert not sessions._idle._gone


def test_sessions_that_have_ended_take_no_memory(sessions):
    kept = sessions.begin("kept")
    ended = []
    for number in range(1, 1_000):
        session = sessions.begin(number)
        sessions.end(session)
        ended.append(weakref.ref(session.queue))
        del session
    gc.collect()
    assert sum(ref() is not None for ref in ended) < 100
    assert sessions.find("kept") is kept


def test_states_are_saved_loaded_forked_and_reset(sessions):
    one, stream, x = sessions.begin(1), MODEL.stream(), normal(1, 1, 4)
    sessions.home.pool.push_rows(one.handles, x)
    stream.push(x)
    saved = sessions.save(one)
    assert saved == stream.save_state()
    one.step = one.next = 1
    two = sessions.fork(one, 2)
    assert (two.step, two.next, sessions.save(two)) == (1, 1, saved)
    assert refused(lambda: sessions.fork(one, 2)).status == 409
    sessions.reset(one)
    assert sessions.save(one) == MODEL.stream().save_state()
    assert (one.step, one.next) == (0, 0)
    sessions.load(one, saved)
    assert sessions.save(one) == saved == sessions.save(sessions.begin(3, saved=saved))
    for wrong in (net(9).stream().save_state(), saved[:-1], b""):
        for call in (lambda w=wrong: sessions.load(one, w), lambda w=wrong: sessions.begin(9, saved=w)):
            assert (refused(call).status, refused(call).reason) == (409, "state")
    assert sessions.save(one) == saved
    assert sessions.find(9) is None


def test_a_busy_or_an_ended_session_is_left_alone(sessions):
    session = sessions.begin(1)
    session.running = True
    calls = [
        lambda: sessions.save(session),
        lambda: sessions.load(session, b""),
        lambda: sessions.reset(session),
        lambda: sessions.fork(session, 2),
    ]
    assert {refused(call).status for call in calls} == {409}
    # It ends at once for everybody, and its place is free when the job is done.
    sessions.end(session, "deleted")
    sessions.end(session, "again")
    assert session.ended == "deleted"
    assert (len(sessions), len(sessions.home.pool)) == (0, 1)
    sessions.release(session)
    assert len(sessions.home.pool) == 0
    assert {refused(call).status for call in calls} == {410}
