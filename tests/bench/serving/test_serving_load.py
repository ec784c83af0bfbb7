"""Loads against servers that stall, refuse and close: what is counted, and what the percentiles must show."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from scripted import Scripted, scripted

from fastgru.bench.serving.connection import connections_of
from fastgru.bench.serving.load import Load
from fastgru.bench.serving.outcome import Outcome, percentile
from fastgru.bench.serving.schedule import constant, periodic, poisson
from fastgru.bench.serving.target import Target
from fastgru.bench.serving.wire import Http

FRAMES = [np.full((1, 4), k, np.float32) for k in range(3)]
STALL_S = 0.2


def load_of(server: Scripted, connections: int = 1, *, sessions: bool = False, **more: Any) -> Load:
    wire = Http(Target.local(server.port), "m")
    ids = [10 + k if sessions else 0 for k in range(connections)]
    return Load(connections_of(wire, ids, FRAMES), **more)


def check_sum(out: Outcome) -> None:
    """Every frame that was due is in one count."""
    assert out.due == out.answered + out.refused + sum(out.errors.values()) + out.lost + out.skipped


@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize("shared", [False, True])
def test_a_stall_is_in_the_percentiles_of_an_open_loop(connections: int, shared: bool) -> None:
    """200 requests a second and a stall of 200 ms: 40 requests were due in it, and 20 of them waited 100 ms or more.

    That is a tenth of all 200, so that p90 tells of it, though no more than one request a connection was under way.
    """
    with scripted() as server:
        load = load_of(server, connections, shared=shared)
        threading.Timer(0.3, server.stall, [STALL_S]).start()
        out = load.open_loop(*constant(connections, 200, 1.0))
        load.close()
    check_sum(out)
    assert out.answered == out.due == 200
    waited = np.sort(out.latencies)[::-1] / 1e9
    assert (waited >= 0.1).sum() >= 19
    assert waited[0] >= 0.19
    assert percentile(out.latencies, 90) >= 0.095e9
    assert percentile(out.latencies, 99) >= 0.185e9
    assert out.late_by(100) >= 19


def test_a_closed_loop_tells_of_the_same_stall_once_a_connection() -> None:
    with scripted() as server:
        load = load_of(server, 2)
        threading.Timer(0.2, server.stall, [STALL_S]).start()
        out = load.closed_loop(0.6)
        load.close()
    check_sum(out)
    assert np.sort(out.latencies)[-1] >= 0.19e9
    assert not out.late_by(10_000)


def test_refusals_are_counted_and_are_no_latencies() -> None:
    refusal = 503, b'{"error": "no", "reason": "overload"}'
    with scripted(lambda number, said: refusal if number % 2 else (200, b"{}")) as server:
        load = load_of(server)
        out = load.open_loop(*poisson(1, 500, 0.4))
        load.close()
    check_sum(out)
    assert out.refused == out.reasons["overload"] == len(out.refusals) == 100
    assert out.answered == 100
    assert not out.failed
    assert out.late_by(1e6) == 100  # however late one may be: a refused frame has no answer


def test_errors_keep_an_example() -> None:
    with scripted(lambda number, said: (400, b'{"error": "what is\\nthis", "reason": "shape"}')) as server:
        load = load_of(server, 2)
        out = load.open_loop(*constant(2, 500, 0.1))
        load.close()
    check_sum(out)
    assert dict(out.errors) == {"400 shape": 50}
    assert out.examples["400 shape"].startswith('{"error"')
    assert out.failed == 50
    assert np.isnan(out.us(50))


def test_a_server_that_closes_takes_frames_along_and_is_connected_to_again() -> None:
    with scripted(lambda number, said: None if number % 10 == 0 else (200, b"{}")) as server:
        load = load_of(server, 2)
        out = load.open_loop(*constant(2, 400, 0.5))
        load.close()
        assert server.connections >= 2 + 19
    check_sum(out)
    assert out.errors["closed before the answer"] + out.errors["connection reset"] == 20 == out.failed
    assert sum(out.broken.values()) == 20
    assert out.answered == 180


def test_nobody_there_is_counted_too() -> None:
    with scripted() as server:
        load = load_of(server, 2)
        server.close()
        out = load.open_loop(*constant(2, 200, 0.5), grace_s=1)
        load.close()
    check_sum(out)
    assert not out.answered
    assert out.failed == 100
    assert "connection refused" in out.broken
    assert out.statuses.keys() == {-1}


def test_an_answer_that_closes_the_connection_loses_nothing() -> None:
    with scripted(closing=True) as server:
        load = load_of(server, 2)
        out = load.open_loop(*constant(2, 200, 0.3))
        load.close()
        assert server.connections >= 60
    check_sum(out)
    assert out.answered == 60
    assert not out.broken


def test_chunks_and_more_than_one_answer_at_once() -> None:
    with scripted(lambda number, said: (200, b"x" * 70_001), chunked=True) as server:
        load = load_of(server)
        out = load.closed_loop(0.1)
        load.close()
    check_sum(out)
    assert out.answered == server.came > 0


def test_a_session_begins_once_and_ends_in_order() -> None:
    with scripted() as server:
        load = load_of(server, 3, sessions=True)
        out = load.open_loop(*periodic(3, 50, 0.2))
        load.end_sessions()
        load.close()
    assert out.answered == 30
    said = [each["parameters"] for each in server.said]
    for session in (10, 11, 12):
        mine = [each for each in said if each["sequence_id"] == session]
        assert [each.get("sequence_start", False) for each in mine] == [True] + [False] * 10
        assert [each.get("sequence_end", False) for each in mine] == [False] * 10 + [True]


def test_a_session_that_the_server_has_forgotten_begins_anew() -> None:
    lost = 400, b'{"error": "no such sequence", "reason": "unknown_sequence"}'
    with scripted(lambda number, said: lost if number == 5 else (200, b"{}")) as server:
        load = load_of(server, sessions=True)
        load.open_loop(*constant(1, 100, 0.1))
        load.close()
    starts = [each["parameters"].get("sequence_start", False) for each in server.said]
    assert starts == [True, False, False, False, False, True, False, False, False, False]


def test_a_run_that_is_stopped_has_what_came_until_then() -> None:
    stop = threading.Event()
    with scripted() as server:
        load = load_of(server, stop=stop.is_set)
        threading.Timer(0.2, stop.set).start()
        out = load.open_loop(*constant(1, 200, 30.0))
        load.close()
    check_sum(out)
    assert out.stopped
    assert 0 < out.due < 6000
    assert not out.failed


def test_percentiles_are_answers_that_came_and_none_where_there_are_too_few() -> None:
    values = np.arange(1, 101)
    assert [percentile(values, p) for p in (50, 90, 99, 100)] == [50, 90, 99, 100]
    assert percentile(values, 99.9) is None
    assert percentile(values[:50], 99) is None
    assert percentile(values[:0], 100) is None
    assert percentile(np.arange(1, 1001), 99.9) == 999


def test_the_loop_tells_how_late_it_was() -> None:
    out = Outcome(seconds=1.0, due=100, latencies=np.full(100, 3_000_000), behind=np.full(100, 2_000_000))
    assert "its loop was 2.0 ms late" in out.client_limits
    out.client_cpu_s = 0.95
    assert "95 % of a core" in out.client_limits
    calm = Outcome(seconds=1.0, due=100, latencies=np.full(100, 3_000_000), behind=np.full(100, 20_000))
    assert not calm.client_limits
    assert calm.holds(3)
    assert not calm.holds(2)


def test_schedules_have_the_rate_that_was_asked_for() -> None:
    due, who = constant(3, 1000, 2.0)
    assert len(due) == 2000
    assert set(np.diff(due)) == {1_000_000}
    assert list(who[:4]) == [0, 1, 2, 0]
    due, _ = poisson(3, 1000, 20.0)
    gaps = np.diff(due) / 1e6
    assert len(due) == 20_000
    assert abs(gaps.mean() - 1) < 0.05
    assert abs(gaps.std() - 1) < 0.05
    due, who = periodic(5, 100, 1.0)
    assert all(len(set(np.diff(due[who == k]) // 1000)) <= 2 for k in range(5))
    assert (np.diff(due) >= 0).all()
