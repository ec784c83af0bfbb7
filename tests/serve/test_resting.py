"""Connections whose requests came too late are not read for a while, and no longer than that."""

from __future__ import annotations

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("orjson", reason="needs the extra 'serve'")

from protocol_models import in_bytes
from test_scheduler import I, normal, running, serve

from fastgru.serve.app import Answer
from fastgru.serve.errors import ServeError
from fastgru.serve.load import Load
from fastgru.serve.resting import Resting
from fastgru.serve.scheduler import Scheduler
from fastgru.serve.settings import Settings
from fastgru.serve.v2.again import Again
from fastgru.serve.v2.infer import Inference

LATE = ServeError(503, "too late", reason="overload")


class Transport:
    def __init__(self) -> None:
        self.is_read, self.is_closed = True, False

    def pause_reading(self) -> None:
        assert self.is_read
        self.is_read = False

    def resume_reading(self) -> None:
        assert not self.is_read
        assert not self.is_closed
        self.is_read = True

    def is_closing(self) -> bool:
        return self.is_closed


class Line:
    """A connection, which is the asker as well."""

    def __init__(self) -> None:
        self.transport, self.unread_ns = Transport(), 0
        self.answers: list[Answer] = []

    @property
    def line(self) -> Line:
        return self

    def reply(self, answer: Answer) -> None:
        self.answers.append(answer)


@pytest.fixture
def load() -> Load:
    """Of a loop that is behind, where a request takes 20 us."""
    load = Load()
    load.besides_ns = 20_000.0
    load.sees(1)
    load.turns(1_000_000)
    assert load.is_behind
    return load


def test_one_after_the_other_gets_its_turn(load: Load) -> None:
    resting, lines = Resting(load), [Line() for _ in range(3)]
    for k, line in enumerate(lines):
        resting.refused(line, LATE, 100 + k)
    assert [line.unread_ns for line in lines] == [100, 101, 102]
    assert len(resting) == 3
    assert resting.turns(400_100)
    assert [line.transport.is_read for line in lines] == [True, False, False]
    assert lines[0].unread_ns == 100  # what is read in this turn may have waited since
    resting.refused(lines[0], LATE, 400_200)  # and the connection does not rest for it again
    assert lines[0].transport.is_read
    assert not resting.turns(500_000)
    assert [line.unread_ns for line in lines] == [0, 101, 102]
    assert resting.turns(800_100)
    assert [line.transport.is_read for line in lines] == [True, True, False]
    resting.refused(lines[0], LATE, 800_200)
    assert not lines[0].transport.is_read
    resting.end()
    assert all(line.transport.is_read for line in lines)
    resting.turns(800_300)
    assert not resting
    assert [line.unread_ns for line in lines] == [0, 0, 0]


def test_they_take_a_twentieth_of_the_time(load: Load) -> None:
    resting, lines, now = Resting(load), [Line() for _ in range(100)], 1
    for line in lines:
        resting.refused(line, LATE, now)
    for _ in range(10):
        now += 800_000
        resting.turns(now)
    assert sum(line.transport.is_read for line in lines) == 20  # 8 ms, of which 0.4 ms, at 20 us each


def test_a_loop_that_is_not_behind_lets_nobody_rest() -> None:
    resting, line = Resting(Load()), Line()
    resting.refused(line, LATE, 1)
    assert line.transport.is_read
    assert not resting


def test_other_refusals_and_closed_connections_do_not_rest(load: Load) -> None:
    resting, line, gone, later = Resting(load), Line(), Line(), Line()
    resting.refused(line, ServeError(503, "never in time", reason="too_long"), 1)
    resting.refused(line, ServeError(404, "no such sequence", reason="unknown_sequence"), 1)
    gone.transport.is_closed = True
    resting.refused(gone, LATE, 1)
    assert not resting
    resting.refused(later, LATE, 1)
    later.transport.is_closed = True
    resting.turns(400_001)
    assert not resting
    assert not later.transport.is_read


@pytest.mark.parametrize("timeout_us", [500_000, None])
def test_a_request_that_has_waited_unread_is_late_by_that(timeout_us: int | None) -> None:
    served = serve()
    body, headers = in_bytes(normal(1, 1, I))
    length = int(headers["Inference-Header-Content-Length"])
    given = json.loads(body[:length]) | ({} if timeout_us is None else {"parameters": {"timeout": timeout_us}})
    text = json.dumps(given).encode()
    data = text + body[length:]

    request = SimpleNamespace(
        headers={b"inference-header-content-length": b"%d" % len(text)}, query=b"", identity=SimpleNamespace(key=None)
    )
    request.fail = lambda error: Answer(error.status, [], error.reason.encode())

    async def work(scheduler: Scheduler) -> None:
        line, again = Line(), Again(Inference(served, scheduler, Settings()), request)  # type: ignore[arg-type]

        async def asked() -> tuple[int, bytes]:
            again.begin(data, 0, line)
            while not line.answers:
                await asyncio.sleep(0)
            answer = line.answers.pop()
            return answer.status, answer.body

        assert (await asked())[0] == 200
        assert line.transport.is_read
        scheduler._load.short_ns += 60e9  # more than the deadline of the server
        scheduler._load._since_ns = scheduler._clock()
        assert await asked() == (503, b"overload")
        assert not line.transport.is_read
        scheduler._load.short_ns -= 60e9
        while scheduler.resting:
            await asyncio.sleep(0.001)
        assert line.transport.is_read
        assert (await asked())[0] == 200
        line.unread_ns = scheduler._clock() - 1_000_000_000
        assert await asked() == ((503, b"overload") if timeout_us else (200, ANY))
        assert line.transport.is_read

    running(work)


class _Any:
    def __eq__(self, other: object) -> bool:
        return True


ANY: Any = _Any()
