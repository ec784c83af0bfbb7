"""A model is loaded anew, or unloaded, while sessions live: whose frames run with what, and what is let go when."""

from __future__ import annotations

import asyncio
import errno
import gc
import json
import os
import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="needs the extra 'serve'")

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

import fastgru
from fastgru import GRU, Gate, Linear, Model, Sequential
from fastgru.serve import swap
from fastgru.serve.durable.records import Records
from fastgru.serve.errors import ServeError
from fastgru.serve.models import Served
from fastgru.serve.repository import Repository
from fastgru.serve.scheduler import Job, Scheduler
from fastgru.serve.settings import Settings
from fastgru.streaming.state_blob import pack_state, unpack_state
from tests.asgi import call
from tests.web import Web, serving, tell

I = 4
DEADLINE_NS = 60 * 10**9


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32) / 2


def net(seed: int = 0, hidden: int = 8, outputs: int = 3) -> Model:
    gates = [Gate(normal(hidden, I, seed=seed + k), normal(hidden, hidden, seed=seed + k + 3)) for k in range(3)]
    gru = GRU.from_gates(reset=gates[0], update=gates[1], candidate=gates[2])
    return Model(Sequential(gru, Linear(normal(outputs, hidden, seed=seed))).to_graph(initial_state=True))


def stateless(factor: int = 2, columns: int = 4) -> Model:
    return Model(Sequential(Linear(np.eye(3, columns, dtype=np.float32) * factor)).to_graph())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    net(1).save(tmp_path / "m.safetensors")
    return tmp_path / "m.safetensors"


def x(step: int, columns: int = I) -> np.ndarray:
    return normal(1, 1, columns, seed=100 + step)


def job(served: Served, session: Any, frame: np.ndarray) -> Job:
    return Job(served, session, (frame,), time.monotonic_ns() + DEADLINE_NS, lambda job: None)


def work(path: Path, run: Callable[[Repository, Scheduler], Awaitable[None]], **settings: Any) -> None:
    async def main() -> None:
        repository, scheduler = Repository({"m": path}, Settings(**{"capacity": 8, **settings})), Scheduler()
        await run(repository, scheduler)
        await scheduler.drain(1)

    asyncio.run(main())


def test_sessions_go_on_with_the_model_before_and_new_ones_begin_with_the_new(path):
    async def run(repository: Repository, scheduler: Scheduler) -> None:
        before = repository.get("m")
        one, stream = before.sessions.begin(1), fastgru.load(path).stream()
        for step in range(2):
            done = await scheduler.run(job(before, one, x(step)))
            np.testing.assert_array_equal(done.outputs[0], stream.push(x(step)))
        net(2).save(path)
        now = await swap.load(repository, scheduler, "m")
        assert repository.get("m") is now is before.latest
        assert now.of(1) is before
        assert now.of(2) is now.of(1, "other") is now.of(None) is now
        assert [state for _, _, state, _ in repository.index()] == ["READY", "UNLOADING"]
        assert "1 sequences go on" in repository.index()[1][3]
        two, other = now.sessions.begin(2), fastgru.load(path).stream()
        for step in range(2, 5):
            jobs = [job(one.home, one, x(step)), job(two.home, two, x(step)), job(now, None, x(step))]
            done = await asyncio.gather(*map(scheduler.run, jobs))
            np.testing.assert_array_equal(done[0].outputs[0], stream.push(x(step)))
            np.testing.assert_array_equal(done[1].outputs[0], other.push(x(step)))
            np.testing.assert_array_equal(done[2].outputs[0], fastgru.load(path).stream().push(x(step)))
        assert now.sessions.save(one) == stream.save_state()
        fork = now.sessions.fork(one, 3)
        assert fork.home is before
        now.sessions.reset(one)
        now.sessions.load(one, stream.save_state())
        with pytest.raises(ServeError, match="belongs to another model"):
            now.sessions.load(two, stream.save_state())
        assert (before.live, now.live, len(now.sessions)) == (2, 1, 3)

    work(path, run)


def test_the_memory_of_the_model_before_goes_with_its_last_session(path):
    async def run(repository: Repository, scheduler: Scheduler) -> None:
        before = repository.get("m")
        seen = [weakref.ref(each) for each in (before.model, before.pool, before.model._runnable)]
        one, two = before.sessions.begin(1), before.sessions.begin(2)
        await scheduler.run(job(before, one, x(0)))
        gc.collect()
        gc.freeze()  # as the server does: nothing may hang on a circle
        gc.disable()
        try:
            net(2).save(path)
            now = await swap.load(repository, scheduler, "m")
            requests = before.statistics.requests
            now.sessions.end(one)
            repository.sweep()
            assert now.formers == [before]
            answers: list[Any] = []
            last = job(before, two, x(0))
            last.done = answers.append
            scheduler.submit(last)
            now.sessions.end(two)
            repository.sweep()
            assert now.formers == [before]  # a job of it is on its way
            while not answers:
                await asyncio.sleep(0)
            assert answers.pop().outputs is not None
            del last
            repository.sweep()
            assert now.formers == []
            assert now.is_alone
            assert not before.is_loaded
            await asyncio.sleep(0)
            assert [reference() for reference in seen] == [None] * 3
            assert now.counts.requests == requests + 1
        finally:
            gc.enable()
            gc.unfreeze()

    work(path, run)


def moved(stream: Any, to: Model) -> Any:
    """A stream of another model that goes on from the state of this one."""
    made = to.stream()
    made.load_state(pack_state(unpack_state(stream.save_state(), stream.runnable.fingerprint), to.fingerprint))
    return made


def test_sessions_move_where_the_caller_says_so(path):
    async def run(repository: Repository, scheduler: Scheduler) -> None:
        before = repository.get("m")
        model = fastgru.load(path)
        idle, busy = before.sessions.begin(1), before.sessions.begin(2)
        streams = [model.stream(), model.stream()]
        for session, stream in zip((idle, busy), streams, strict=True):
            await scheduler.run(job(before, session, x(0)))
            stream.push(x(0))
        net(2).save(path)
        read, held = repository.read, threading.Event()
        repository.read = lambda name: (held.wait(20), read(name))[1]  # type: ignore[method-assign]
        loading = asyncio.ensure_future(swap.load(repository, scheduler, "m", moves=True))
        await asyncio.sleep(0.01)
        assert repository.get("m") is before  # it goes on until the other is read
        jobs = [job(before, busy, x(step)) for step in (1, 2, 3)]
        answers: list[Any] = []
        for each in jobs:
            each.done = answers.append
        submitted = False

        def put(served: Served) -> Served:
            nonlocal submitted
            for each in jobs:  # one runs, two wait
                scheduler.submit(each)
            submitted = True
            return Repository.put(repository, served)

        repository.put = put  # type: ignore[method-assign]
        held.set()
        now = await loading
        assert submitted
        assert idle.home is now
        while len(answers) < 3:
            await asyncio.sleep(0)
        assert busy.home is now
        new = fastgru.load(path)
        np.testing.assert_array_equal(jobs[0].outputs[0], streams[1].push(x(1)))
        streams = [moved(stream, new) for stream in streams]
        for each, step in zip(jobs[1:], (2, 3), strict=True):
            np.testing.assert_array_equal(each.outputs[0], streams[1].push(x(step)))
        done = await scheduler.run(job(now, idle, x(1)))
        np.testing.assert_array_equal(done.outputs[0], streams[0].push(x(1)))
        assert now.sessions.save(busy) == streams[1].save_state()
        assert (busy.step, busy.next, idle.step) == (4, 4, 2)
        repository.sweep()
        assert now.formers == []
        assert (before.live, now.live, now.statistics.pending, scheduler.jobs, scheduler.bytes) == (0, 2, 0, 0, 0)

    work(path, run)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (net(2, hidden=6), r"'h0' float32 \[.*8\], and has 'h0' float32 \[.*6\]"),
        (net(2, outputs=5), r"it had 'x' .*3\], and has 'x' .*5\]"),
    ],
)
def test_sessions_that_cannot_move_are_told_before_anything_changes(path, model, message):
    async def run(repository: Repository, scheduler: Scheduler) -> None:
        before = repository.get("m")
        one = before.sessions.begin(1)
        model.save(path)
        with pytest.raises(ServeError, match=message) as caught:
            await swap.load(repository, scheduler, "m", moves=True)
        assert (caught.value.status, caught.value.reason) == (409, "state")
        assert repository.get("m") is one.home is before
        assert before.is_alone
        assert await swap.load(repository, scheduler, "m") is not before
        assert one.home is before

    work(path, run)


def test_a_file_without_states_does_not_take_the_place_of_one_with_sessions(path):
    async def run(repository: Repository, scheduler: Scheduler) -> None:
        before = repository.get("m")
        one = before.sessions.begin(1)
        stateless().save(path)
        with pytest.raises(ServeError, match="keeps no state, but 1 sequences of the old model are open") as caught:
            await swap.load(repository, scheduler, "m")
        assert caught.value.status == 409
        before.sessions.end(one)
        assert not (await swap.load(repository, scheduler, "m")).is_stateful

    work(path, run)


def test_a_broken_file_leaves_the_model_before(path):
    async def run(repository: Repository, scheduler: Scheduler) -> None:
        before = repository.get("m")
        for content in (b"", b"no model", path.read_bytes()[:-7]):
            path.write_bytes(content)
            with pytest.raises(ServeError, match="model 'm' does not load: ") as caught:
                await swap.load(repository, scheduler, "m")
            assert (caught.value.status, caught.value.reason) == (400, "load")
        path.unlink()
        with pytest.raises(ServeError, match="does not load"):
            await swap.load(repository, scheduler, "m")
        with pytest.raises(ServeError, match="'other' was not named at the start; the models named then are m"):
            await swap.load(repository, scheduler, "other")
        assert repository.get("m") is before
        assert (await scheduler.run(job(before, before.sessions.begin(1), x(0)))).outputs is not None

    work(path, run)


def test_loads_at_once_come_one_after_another_and_are_done_when_their_clients_have_gone(path):
    async def run(repository: Repository, scheduler: Scheduler) -> None:
        read, at_once, most = repository.read, 0, 0

        def reading(name: str) -> Served:
            nonlocal at_once, most
            at_once += 1
            most = max(most, at_once)
            time.sleep(0.01)
            at_once -= 1
            return read(name)

        repository.read = reading  # type: ignore[method-assign]
        first = repository.get("m")
        loads = [asyncio.ensure_future(swap.load(repository, scheduler, "m")) for _ in range(3)]
        await asyncio.sleep(0.005)
        loads[0].cancel()
        await asyncio.gather(*loads, return_exceptions=True)
        assert most == 1
        assert not first.is_loaded
        assert len({loads[1].result(), loads[2].result(), first}) == 3

    work(path, run)


def test_unloading_answers_what_was_taken_and_then_ends_the_sessions(path):
    async def run(repository: Repository, scheduler: Scheduler) -> None:
        before = repository.get("m")
        told: list[tuple[str, int]] = []
        old = before.sessions.begin(1)
        net(2).save(path)
        now = await swap.load(repository, scheduler, "m")
        new = now.sessions.begin(2)
        jobs = [job(each.home, each, x(step)) for step in range(3) for each in (old, new)] + [job(now, None, x(0))]
        late = job(now, new, x(0))
        late.step = 9
        answered: list[Job] = []
        for each in (*jobs, late):
            each.done = answered.append
            scheduler.submit(each)
        old.on_end = new.on_end = lambda reason: told.append((reason, len(answered)))
        await swap.unload(repository, "m")
        assert all(each.outputs is not None for each in jobs)
        assert late.error is not None
        assert [reason for reason, _ in told] == ["unloaded"] * 2
        assert all(count >= 4 for _, count in told)  # the last of each session, and its answer
        assert repository.index() == [("m", "1", "UNAVAILABLE", "unloaded")]
        assert (before.is_loaded, now.is_loaded, scheduler.jobs) == (False, False, 0)
        with pytest.raises(ServeError, match="is not loaded"):
            repository.get("m")
        with pytest.raises(ServeError, match="is not loaded"):
            await swap.unload(repository, "m")
        await swap.load(repository, scheduler, "m")
        assert len(repository.get("m").sessions) == 0

    work(path, run)


# Over HTTP and WebSocket.


async def text(client: ClientConnection) -> Any:
    return json.loads(await asyncio.wait_for(client.recv(decode=True), 20))


def request(step: int, **parameters: Any) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 1, I], "data": x(step).ravel().tolist()}
    return json.dumps({"inputs": [tensor], "parameters": parameters}).encode()


async def infer(web: Web, step: int, **parameters: Any) -> np.ndarray:
    reply = await call(web.app, "POST", "/v2/models/m/infer", request(step, **parameters))
    assert reply.status == 200, reply.body
    return np.array(json.loads(reply.body)["outputs"][0]["data"], np.float32)


async def load(web: Web, **parameters: Any) -> Any:
    body = json.dumps({"parameters": parameters}).encode()
    return await call(web.app, "POST", "/v2/repository/models/m/load", body, headers={"as": "root"})


def serve(run: Callable[[Web], Awaitable[None]], path: Path, **options: Any) -> None:
    async def main() -> None:
        async with serving({"m": path}, **options) as web:
            await asyncio.wait_for(run(web), 60)

    asyncio.run(main())


def test_requests_find_their_sequences_across_models(path):
    async def run(web: Web) -> None:
        old, new = fastgru.load(path).stream(), net(2, hidden=6).stream()
        assert (await infer(web, 0, sequence_id=7, sequence_start=True)).tobytes() == old.push(x(0)).tobytes()
        net(2, hidden=6).save(path)
        assert (await load(web)).status == 200
        assert (await infer(web, 1, sequence_id=7)).tobytes() == old.push(x(1)).tobytes()
        assert (await infer(web, 1)).tobytes() == net(2, hidden=6).stream().push(x(1)).tobytes()
        assert (await infer(web, 1, sequence_id=8, sequence_start=True)).tobytes() == new.push(x(1)).tobytes()
        base = "/v2/models/m/sequences"
        reply = await call(web.app, "GET", base)
        shown = {each["id"]: each["fingerprint"] for each in json.loads(reply.body)["sequences"]}
        assert shown.keys() == {7, 8}
        assert len(set(shown.values())) == 2
        reply = await call(web.app, "GET", f"{base}/7/state")
        assert reply.body == old.save_state()
        assert (await call(web.app, "PUT", f"{base}/7/state", reply.body)).status == 200
        assert (await call(web.app, "POST", f"{base}/7/fork", b'{"id": 9}')).status == 200
        assert (await call(web.app, "PUT", f"{base}/8/state", reply.body)).status == 409
        assert (await infer(web, 2, sequence_id=9)).tobytes() == old.push(x(2)).tobytes()
        assert (await call(web.app, "DELETE", f"{base}/9")).status == 200
        # A sequence that begins anew is one of the new model.
        new = net(2, hidden=6).stream()
        assert (await infer(web, 3, sequence_id=7, sequence_start=True)).tobytes() == new.push(x(3)).tobytes()
        web.repository.sweep()
        assert web.repository.get("m").is_alone
        reply = await call(web.app, "GET", "/v2/models/m/stats")
        (stats,) = json.loads(reply.body)["model_stats"]
        assert (stats["version"], stats["inference_count"]) == ("1", 6)

    serve(run, path)


def test_a_stream_goes_on_and_a_new_one_begins_with_the_new_model(path):
    async def run(web: Web) -> None:
        old = fastgru.load(path).stream()
        async with web.connect() as client, web.connect() as unopened:
            await client.send(x(0).tobytes())
            assert await client.recv() == old.push(x(0)).tobytes()
            net(2, hidden=6).save(path)
            assert (await load(web)).status == 200
            new = net(2, hidden=6).stream()
            await unopened.send(x(0).tobytes())
            assert await unopened.recv() == new.push(x(0)).tobytes()
            await client.send(x(1).tobytes())
            assert await client.recv() == old.push(x(1)).tobytes()
            assert (await tell(client, "finalize"))["type"] == "finalized"
            assert (await tell(client, "open", sequence_id=5, keep=True))["type"] == "opened"
            new = net(2, hidden=6).stream()
            await client.send(x(2).tobytes())
            assert await client.recv() == new.push(x(2)).tobytes()
            net(3).save(path)
            assert (await load(web)).status == 200
            async with web.connect("?sequence_id=5&continue=true") as other:
                assert (await text(client))["event"] == "taken"
                await other.send(x(3).tobytes())
                assert await other.recv() == new.push(x(3)).tobytes()

    serve(run, path)


def test_a_stream_moves_between_two_frames(path):
    async def run(web: Web) -> None:
        old, to = fastgru.load(path).stream(), net(2)
        async with web.connect() as client:
            await client.send(x(0).tobytes())
            assert await client.recv() == old.push(x(0)).tobytes()
            to.save(path)
            assert (await load(web, sessions="away")).status == 400
            assert (await load(web, sessions="move")).status == 200
            new = moved(old, to)
            for step in range(1, 4):
                await client.send(x(step).tobytes())
                assert await client.recv() == new.push(x(step)).tobytes()
            answer = await tell(client, "save")
            assert answer["step"] == 4
            net(3, hidden=6).save(path)
            reply = await load(web, sessions="move")
            assert (reply.status, json.loads(reply.body)["reason"]) == (409, "state")
            await client.send(x(4).tobytes())
            assert await client.recv() == new.push(x(4)).tobytes()
        while len(web.repository.get("m").sessions):  # it ends with its connection, whatever it has gone on with
            await asyncio.sleep(0.01)

    serve(run, path)


def test_streams_without_a_state_change_over_or_are_told(tmp_path):
    path = tmp_path / "m.safetensors"
    stateless(2).save(path)
    frame = normal(1, 4)

    async def run(web: Web) -> None:
        async with web.connect() as client:
            await client.send(frame.tobytes())
            assert await client.recv() == stateless(2)(frame).tobytes()
            stateless(3).save(path)
            assert (await load(web)).status == 200
            await client.send(frame.tobytes())
            assert await client.recv() == stateless(3)(frame).tobytes()
            stateless(3, columns=5).save(path)
            assert (await load(web)).status == 200
            assert (await text(client))["event"] == "unloaded"
            with pytest.raises(ConnectionClosed) as caught:
                await client.recv()
            assert caught.value.rcvd is not None
            assert caught.value.rcvd.code == 1001

    serve(run, path)


def test_a_stream_hears_of_the_end_over_http_at_once(path):
    async def run(web: Web) -> None:
        async with web.connect("?sequence_id=5") as client:
            await client.send(x(0).tobytes())
            await client.recv()
            assert (await call(web.app, "DELETE", "/v2/models/m/sequences/5")).status == 200
            event = await asyncio.wait_for(text(client), 5)
            assert (event["type"], event["event"], event["sequence_id"]) == ("event", "ended", 5)
            await client.send(x(1).tobytes())
            assert (await text(client))["status"] == 410
            assert (await tell(client, "open"))["type"] == "opened"

    serve(run, path)


def test_sessions_on_disk_stay_with_their_model_or_move_with_the_others(path, tmp_path):
    from fastgru.serve.durable.folder import Folder

    async def main() -> None:
        settings = Settings(capacity=8, state_dir=tmp_path / "states")
        folder = Folder(settings)
        repository, scheduler = Repository({"m": path}, settings, folder=folder), Scheduler()
        before, stream = repository.get("m"), fastgru.load(path).stream()
        one = before.sessions.begin(1)
        await scheduler.run(job(before, one, x(0)))
        stream.push(x(0))
        before.sessions._park(one)
        net(2).save(path)
        now = await swap.load(repository, scheduler, "m")
        repository.sweep()
        assert (now.formers, before.parked, now.of(1)) == ([before], 1, before)
        one = now.sessions.get(1)
        done = await scheduler.run(job(one.home, one, x(1)))
        np.testing.assert_array_equal(done.outputs[0], stream.push(x(1)))
        now.sessions._park(one)
        net(3).save(path)
        newest = await swap.load(repository, scheduler, "m", moves=True)
        stream = moved(stream, fastgru.load(path))
        assert (newest.formers, newest.of(1), newest.parked) == ([], newest, 1)
        one = newest.sessions.get(1)
        assert (one.home, one.step) == (newest, 2)
        done = await scheduler.run(job(newest, one, x(2)))
        np.testing.assert_array_equal(done.outputs[0], stream.push(x(2)))
        await scheduler.drain(1)
        folder.close()

    asyncio.run(main())


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("order", ["park load sweep", "load park sweep", "load park"])
def test_a_parked_stream_goes_on_behind_a_load(path, tmp_path, seed, order):
    async def run(web: Web) -> None:
        old = fastgru.load(path).stream()
        async with web.connect("?sequence_id=5") as client:
            await client.send(x(0).tobytes())
            assert await client.recv() == old.push(x(0)).tobytes()
            sessions = web.repository.get("m").sessions
            for what in order.split():
                if what == "park":
                    sessions._park(sessions.get(5))
                elif what == "load":
                    net(seed).save(path)
                    assert (await load(web)).status == 200
                    others = [sessions.begin(n) for n in range(10, 14)]
                    for other in others[:2]:
                        sessions.end(other)
                else:
                    web.repository.sweep()
            await client.send(x(1).tobytes())
            assert await client.recv() == old.push(x(1)).tobytes()
            assert (await tell(client, "keepalive"))["step"] == 2
            sessions._park(sessions.get(5))
            assert (await tell(client, "open"))["reason"] == "open"

    serve(run, path, state_dir=tmp_path / "states")


def test_a_parked_stream_hears_of_the_end_of_its_model(path, tmp_path):
    async def run(web: Web) -> None:
        old = fastgru.load(path).stream()
        async with web.connect("?sequence_id=5") as client:
            await client.send(x(0).tobytes())
            assert await client.recv() == old.push(x(0)).tobytes()
            sessions = web.repository.get("m").sessions
            sessions._park(sessions.get(5))
            await swap.unload(web.repository, "m")
            assert (await text(client))["event"] == "unloaded"
        assert (await load(web)).status == 200
        async with web.connect("?sequence_id=5&continue=true") as client:
            await client.send(x(1).tobytes())
            assert await client.recv() == old.push(x(1)).tobytes()

    serve(run, path, state_dir=tmp_path / "states")


@pytest.mark.parametrize("full", ["records", "answers"])
def test_sessions_stay_where_the_disk_has_no_space_for_them_elsewhere(path, tmp_path, monkeypatch, full):
    from fastgru.serve.durable.folder import Folder

    def fails(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    async def main() -> None:
        settings = Settings(capacity=2_000, state_dir=tmp_path / "states")
        folder = Folder(settings)
        repository, scheduler = Repository({"m": path}, settings, folder=folder), Scheduler()
        before, streams = repository.get("m"), [fastgru.load(path).stream() for _ in range(3)]
        sessions = [before.sessions.begin(n + 1) for n in range(3)]
        chunk = np.concatenate([x(step) for step in range(400)])  # its answer is long
        for session, stream in zip(sessions, streams, strict=True):
            await scheduler.run(job(before, session, chunk))
            stream.push(chunk)
        net(2).save(path)
        if full == "records":
            monkeypatch.setattr(os, "posix_fallocate", fails)
        else:
            monkeypatch.setattr(Records, "_put_beside", fails)
        now = await swap.load(repository, scheduler, "m", moves=True)
        assert {session.home for session in sessions} == {before}
        monkeypatch.undo()
        others = [now.sessions.begin(n) for n in range(100, 110)]
        assert len({session.place.number for session in others}) == len(others)
        for session, stream in zip(sessions, streams, strict=True):
            done = await scheduler.run(job(before, session, x(1)))
            np.testing.assert_array_equal(done.outputs[0], stream.push(x(1)))
        await scheduler.drain(1)
        folder._lock.release()  # as the system does
        folder = Folder(settings)
        served = Repository({"m": path}, settings, folder=folder).get("m")
        assert {each.id for _, each in served.sessions.parked()} == {*range(100, 110)}
        with pytest.raises(ServeError, match="belongs to another model"):
            served.sessions.get(1)
        folder.close()

    asyncio.run(main())
