"""Sessions that are on disk: taken up after a restart, parked and resumed, refused where that is right."""

from __future__ import annotations

import asyncio
import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
import pytest

pytest.importorskip("orjson", reason="not installed: the extra `serve`")

from asgi import Reply, call, run

from fastgru import GRU, Gate, Model, Sequential
from fastgru.serve.app import Application, Identity
from fastgru.serve.durable import mapped, records, slots
from fastgru.serve.durable.folder import Folder
from fastgru.serve.errors import ServeError
from fastgru.serve.jobs import Job
from fastgru.serve.models import Served
from fastgru.serve.repository import Repository
from fastgru.serve.scheduler import Scheduler
from fastgru.serve.session import PARKED
from fastgru.serve.sessions import Sessions
from fastgru.serve.settings import Settings, SettingsError
from fastgru.serve.steps import record
from fastgru.serve.v2.routes import Protocol
from fastgru.simd.target import TARGET, TARGETS


def normal(*shape: int, seed: int = 0) -> np.ndarray[Any, Any]:
    return np.random.default_rng((seed, *shape)).standard_normal(shape).astype(np.float32) / 2


def net(seed: int = 0) -> Model:
    gate = [Gate(normal(4, 4, seed=seed + k), normal(4, 4, seed=seed + k + 3)) for k in range(3)]
    return Model(
        Sequential(GRU.from_gates(reset=gate[0], update=gate[1], candidate=gate[2])).to_graph(initial_state=True)
    )


MODEL, OTHER = net(), net(7)
ANOTHER = next(target for target in TARGETS if target != TARGET)


class Clock:
    """Of a test, in nanoseconds."""

    ns = 10**12

    def __call__(self) -> int:
        return self.ns

    def wait(self, seconds: float) -> None:
        self.ns += int(seconds * 1e9)


class Server:
    """What a process has of sessions; `restart` is what SIGKILL and a start leave of it."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.path, self.options, self.clock = path, options, Clock()
        self.folder: Folder | None = None
        self.models: dict[str, Model] = {"m": MODEL}
        self.restart()

    def restart(self, model: Model | None = None) -> Served:
        if model is not None:
            self.models = {"m": model}
        if self.folder is not None:
            self.folder._lock.release()  # as the system does
        settings = Settings(state_dir=self.path, **self.options)
        self.folder = Folder(settings)
        self.repository = Repository(self.models, settings, self.clock, self.folder)
        self.served = self.repository.get("m")
        return self.served

    @property
    def sessions(self) -> Sessions:
        sessions = self.served.sessions
        assert sessions is not None
        return sessions

    def state(self, name: int | str, key: str | None = None) -> bytes:
        return self.sessions.save(self.sessions.get(name, key))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path / "states", capacity=4)
    yield made
    assert made.folder is not None
    made.folder.close()


def refused(call: Callable[[], Any]) -> ServeError:
    with pytest.raises(ServeError) as caught:
        call()
    return caught.value


def saved(seed: int, model: Model = MODEL) -> bytes:
    stream = model.stream()
    stream.push(normal(3, 1, 4, seed=seed))
    return stream.save_state()


def test_whatever_changes_a_state_is_there_after_a_restart(server: Server) -> None:
    sessions = server.sessions
    sessions.begin("new", "ann")
    sessions.begin(1, None, saved(1))
    sessions.fork(sessions.get(1), "forked")
    sessions.load(sessions.begin("loaded"), saved(2))
    server.restart()
    assert len(server.sessions) == 0
    assert len(server.served.keeper) == 4
    assert [each.id for _, each in server.sessions.parked(("ann",))] == ["new"]
    assert [each.id for _, each in server.sessions.parked((None,))] == [1, "forked", "loaded"]
    assert len(server.sessions.parked()) == 4
    assert server.state(1) == server.state("forked") == saved(1)
    assert server.state("loaded") == saved(2)
    assert server.state("new", "ann") == MODEL.stream().save_state()
    assert refused(lambda: server.sessions.get("new")).reason == "unknown_sequence"
    server.sessions.reset(server.sessions.get(1))
    server.sessions.end(server.sessions.get("loaded"))
    server.restart()
    assert server.state(1) == MODEL.stream().save_state()
    assert refused(lambda: server.sessions.get("loaded")).reason == "unknown_sequence"


def test_one_that_is_idle_is_parked_and_taken_up_by_its_id(server: Server) -> None:
    sessions = server.sessions
    first = sessions.begin(1, None, saved(1))
    told: list[str] = []
    first.on_end = told.append
    sessions.begin(2, None, saved(2))
    server.clock.wait(301)
    sessions.expire()
    assert (len(sessions), len(server.served.keeper), sessions.evicted) == (0, 2, 0)
    assert server.state(2) == saved(2)
    assert (first.ended, told) == (PARKED, [])
    sessions.revive(first)
    assert (first.ended, sessions.find(1)) == ("", first)
    assert sessions.save(first) == saved(1)
    assert len(server.served.keeper) == 0


def test_a_state_is_loaded_into_a_parked_sequence_of_a_key_that_has_gone(server: Server) -> None:
    """As into a live one: the administrator's request names its key."""
    server.sessions.begin(1, "carol", saved(1))
    server.restart()

    async def put(name: int) -> Reply:
        protocol = Protocol(server.repository, Scheduler(), Settings(), lambda: True)
        admin = Identity("root", True, frozenset(("root",)))
        app = Application(protocol.routes(), {}, authorize=lambda scope: admin)
        return await call(app, "PUT", f"/v2/models/m/sequences/{name}/state?key=carol", saved(2))

    reply = run(put(1))
    assert (reply.status, reply.json["key"], server.state(1, "carol")) == (200, "carol", saved(2))
    reply = run(put(2))  # it has never begun
    assert (reply.status, reply.json["reason"]) == (404, "key")


def test_places_in_memory_are_for_those_that_are_used(server: Server) -> None:
    for n in range(1, 9):
        server.sessions.begin(n, None, saved(n))
        server.clock.wait(301)
        server.sessions.expire()
    for n in range(1, 5):
        assert server.state(n) == saved(n)
    assert refused(lambda: server.sessions.get(5)).reason == "capacity"
    assert refused(lambda: server.sessions.begin(5)).reason == "capacity"
    server.clock.wait(301)
    server.sessions.expire()
    assert server.state(5) == saved(5)


def test_the_connection_of_a_parked_session(server: Server) -> None:
    """Whoever takes it up or begins it anew gets the session that the connection has; its end ends it."""
    sessions, told = server.sessions, list[str]()
    session = sessions.begin(1, None, saved(1))
    session.on_end = told.append
    server.clock.wait(301)
    sessions.expire()
    assert sessions.begin(1) is session
    server.clock.wait(301)
    sessions.expire()
    sessions.forget(1)
    assert told == ["taken"]
    assert refused(lambda: sessions.revive(session)).status == 410
    other = sessions.begin(2)
    other.on_end = told.append
    server.clock.wait(301)
    sessions.expire()
    sessions.leave(other)
    assert len(server.served.keeper) == 0
    kept = sessions.begin(3)
    kept.keep = True
    sessions.leave(kept)
    assert sessions.find(3) is kept


def test_connections_that_end_with_the_server_leave_their_sessions(server: Server) -> None:
    session = server.sessions.begin(1, None, saved(1))
    server.folder.drain()
    server.sessions.leave(session)
    server.restart()
    assert server.state(1) == saved(1)


def test_parked_sessions_have_their_time_and_their_number(tmp_path: Path) -> None:
    server = Server(tmp_path / "states", parked_seconds=0.05, parked_sessions=3, idle_seconds=1)
    told: list[str] = []
    for n in range(1, 6):
        server.sessions.begin(n).on_end = told.append
    server.clock.wait(2)
    server.sessions.expire()
    assert [parked.id for parked in server.served.keeper.parked()] == [3, 4, 5]
    assert told == ["idle", "idle"]
    error = refused(lambda: server.sessions.get(1))
    assert (error.status, error.reason) == (410, "evicted")
    assert "0.05 s" in error.message
    while server.sessions.expire() and len(server.served.keeper):
        pass
    assert server.sessions.evicted == 5
    server.restart()
    assert refused(lambda: server.sessions.get(3)).reason == "unknown_sequence"


def test_all_that_were_in_memory_when_a_process_ended_are_there_in_the_next(tmp_path: Path) -> None:
    server = Server(tmp_path / "states", capacity=5, parked_sessions=2)
    for n in range(1, 6):
        server.sessions.begin(n, None, saved(n))
    server.restart()
    server.sessions.expire()
    for n in range(1, 6):
        assert server.state(n) == saved(n)


def test_sessions_of_another_model_wait_for_it(server: Server) -> None:
    server.sessions.begin(1, None, saved(1))
    server.sessions.begin(2, None, saved(2))
    server.restart(OTHER)
    error = refused(lambda: server.sessions.get(1))
    assert (error.status, error.reason) == (409, "state")
    assert "another model" in error.message
    assert refused(lambda: server.sessions.get(3)).reason == "unknown_sequence"
    assert refused(lambda: server.sessions.fork(server.sessions.begin(4), 1)).reason == "state"
    server.sessions.begin(2)  # anew, on purpose
    server.restart(MODEL)
    assert server.state(1) == saved(1)
    assert refused(lambda: server.sessions.get(2)).status == 409
    server.sessions.end(server.sessions.get(1))
    server.restart(OTHER)
    assert server.state(2) == OTHER.stream().save_state()
    assert len(list(server.path.glob("*.records"))) == 1  # nobody waits for the other one


@pytest.mark.parametrize("known", [True, False])
def test_sessions_of_another_target_are_refused_until_that_is_asked_for(
    server: Server, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, known: bool
) -> None:
    another = crc32(ANOTHER.name.encode()) & 0xFFFF if known else 0
    with monkeypatch.context() as patch:
        patch.setattr(records, "OWN_TARGET", another)
        for n in (1, 2, 3):
            server.sessions.begin(n, None, saved(n), step=40 + n)
    server.sessions.begin(4)
    caplog.clear()
    server.restart()
    assert "3 sequences of model m were made by another target" in caplog.text
    error = refused(lambda: server.sessions.get(1))
    assert (error.status, error.reason) == (409, "state")
    assert all(word in error.message for word in ("step 41", TARGET.name, "--any-target", "sequence_start"))
    assert (ANOTHER.name if known else "does not know") in error.message
    assert server.state(4) == MODEL.stream().save_state()
    assert [parked.id for parked in server.served.keeper.parked()] == [1, 2, 3]
    server.sessions.anew(2)  # on purpose
    server.sessions.begin(3, None, saved(9), step=5)
    server.restart()
    assert server.state(2) == MODEL.stream().save_state()
    assert (server.state(3), server.sessions.get(3).step) == (saved(9), 5)
    assert refused(lambda: server.sessions.get(1)).status == 409
    server.options["any_target"] = True
    server.restart()
    assert (server.state(1), server.sessions.get(1).step) == (saved(1), 41)
    server.sessions.reset(server.sessions.get(1))  # a record of this target
    server.options["any_target"] = False
    server.restart()
    assert server.state(1) == MODEL.stream().save_state()


def test_the_hashes_of_all_targets_differ() -> None:
    assert sorted(slots.target_name(code) for code in slots._TARGET_NAMES) == sorted(each.name for each in TARGETS)
    assert slots.target_name(slots.OWN_TARGET) == TARGET.name


def test_a_model_that_was_not_served_at_the_start_takes_its_sessions_up(server: Server) -> None:
    session = server.sessions.begin(1)
    stream = MODEL.stream()
    y = stream.push(normal(1, 1, 4))
    server.served.pool.load(session.handle, stream.save_state())
    server.served.keeper.record(session, server.served.pool, 1, (y,))
    server.restart(OTHER)
    assert refused(lambda: server.sessions.get(1)).status == 409
    server.repository._sources["m"] = MODEL
    server.served = server.repository.load("m")
    assert server.state(1) == stream.save_state()
    (again,) = server.served.keeper.answer(server.sessions.get(1))
    assert np.array_equal(again, y)


def test_a_disk_that_does_not_confirm_undoes_what_was_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(tmp_path / "states", state_sync=True)
    session, x = server.sessions.begin(1), (normal(1, 1, 4),)
    stream = MODEL.stream()

    def job(**more: Any) -> Job:
        made = Job(server.served, session, x, 0, lambda _: None)
        for name, value in more.items():
            setattr(made, name, value)
        made.outputs = server.served.group(x, True).alone(session.handles, x)
        record(server.served.keeper, [made])
        return made

    assert job().error is None
    session.step = session.next = 1
    stream.push(x[0])

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(server.served.keeper._records, "sync", broken)
    for made in (job(), job(ends=True, step=1)):
        assert (made.outputs, made.error.status, made.error.reason) == (None, 503, "state_dir")
        assert (session.step, server.sessions.save(session)) == (1, stream.save_state())
    assert refused(lambda: server.sessions.reset(session)).reason == "state_dir"
    assert refused(lambda: server.sessions.begin(2)).reason == "state_dir"
    monkeypatch.undo()
    assert server.state(1) == stream.save_state()
    assert job(ends=True, step=1).error is None
    server.restart()
    assert refused(lambda: server.sessions.get(1)).reason == "unknown_sequence"
    assert server.served.keeper.last_step(1, None) == 2
    assert refused(lambda: server.sessions.get(2)).reason == "unknown_sequence"


def test_a_model_that_is_unloaded_finds_its_sessions_again(server: Server) -> None:
    server.sessions.begin(1, None, saved(1))
    server.repository.unload("m")
    server.repository.load("m")
    server.served = server.repository.get("m")
    assert server.state(1) == saved(1)


def test_models_of_names_that_begin_alike_have_files_of_their_own(tmp_path: Path) -> None:
    server = Server(tmp_path / "states")
    server.models = {"m": MODEL, "m.0123456789abcdef.records": MODEL}
    server.restart()
    server.sessions.begin(1, None, saved(1))
    server.restart()
    assert server.state(1) == saved(1)
    assert len(server.repository.get("m.0123456789abcdef.records").keeper) == 0


def test_a_damaged_record_is_told_of(server: Server, caplog: pytest.LogCaptureFixture) -> None:
    server.sessions.begin(1, None, saved(1))
    session = server.sessions.begin(2, None, saved(2))
    server.sessions.load(session, saved(3))
    places = [server.sessions.get(n).place for n in (1, 2)]
    begins = [mapped._ALIGNMENT + place.at[place.parity] + 70 for place in places]
    (file,) = server.path.glob("*.records")
    with open(file, "r+b") as out:
        for at in begins:
            out.seek(at)
            out.write(b"damage")
    server.restart()
    assert server.state(2) == saved(2)  # the one before
    error = refused(lambda: server.sessions.get(1))
    assert (error.status, error.reason) == (410, "damaged")
    server.sessions.begin(1)
    assert server.state(1) == MODEL.stream().save_state()
    assert "it was that of 1" in caplog.text
    assert "1 records of model m are damaged" in caplog.text


def test_a_record_that_is_damaged_while_it_is_parked(server: Server) -> None:
    server.sessions.begin(1, None, saved(1))
    place = server.sessions.get(1).place
    server.clock.wait(301)
    server.sessions.expire()
    place.rooms[place.parity][:4] ^= 1
    assert refused(lambda: server.sessions.get(1)).reason == "damaged"
    assert server.sessions.begin(1).step == 0


def test_a_full_disk_refuses_and_ends_nothing(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    session = server.sessions.begin(1, None, saved(1))
    server.served.keeper._records.free.clear()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    error = refused(lambda: server.sessions.begin(2))
    assert (error.status, error.reason, error.retry_after_s) == (503, "state_dir", 1.0)
    assert "No space left on device" in error.message
    assert (server.sessions.find(2), len(server.served.pool)) == (None, 1)
    server.sessions.load(session, saved(2))
    monkeypatch.undo()
    server.sessions.begin(2)
    assert server.state(1) == saved(2)


def test_a_disk_that_is_full_when_a_sequence_begins_behind_an_end(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end is answered and kept, so that its place is not free; what comes behind it is refused, and told so."""

    async def main() -> None:
        scheduler = Scheduler()
        session = server.sessions.begin(1)
        server.served.keeper._records.free.clear()

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", full)
        jobs = []
        for step, begins, ends in ((0, False, True), (0, True, False), (1, False, False)):
            until = time.monotonic_ns() + 10**10
            job = Job(server.served, session, (normal(1, 1, 4),), until, lambda _: None)
            job.step, job.begins, job.ends = step, begins, ends
            jobs.append(job)
        last, first, second = await asyncio.wait_for(asyncio.gather(*map(scheduler.run, jobs)), 20)
        assert last.outputs is not None
        assert [(job.error.status, job.error.reason) for job in (first, second)] == [(503, "state_dir")] * 2
        assert (scheduler.jobs, scheduler.bytes, scheduler._running, len(server.sessions)) == (0, 0, False, 0)
        monkeypatch.undo()
        assert server.sessions.get(1, numbered=True).step == 1
        await scheduler.drain(1)

    asyncio.run(main())


@pytest.mark.parametrize("last", [MODEL, OTHER])
def test_of_two_models_with_a_session_the_one_that_was_used_last_goes_on(server: Server, last: Model) -> None:
    """A process ended when one had it already, and the other not given it up."""
    first = OTHER if last is MODEL else MODEL
    for model in (first, last):
        server.restart(model)
        server.served.keeper._others = list  # as if it had ended before they were told
        server.sessions.begin(1, None, saved(1, model))
    server.restart(last)
    assert server.state(1) == saved(1, last)
    server.restart(first)
    assert refused(lambda: server.sessions.get(1)).reason == "state"


def test_one_server_has_the_folder(server: Server) -> None:
    with pytest.raises(SettingsError, match=rf"states' is in use by another server \(process {os.getpid()}\)"):
        Folder(Settings(state_dir=server.path))


def test_a_folder_is_private_and_made_where_it_is_not_there(tmp_path: Path) -> None:
    server = Server(tmp_path / "a" / "b")
    assert stat.S_IMODE(server.path.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in server.path.iterdir())


@pytest.mark.parametrize("kind", ["a file", "damaged", "no space"])
def test_a_folder_that_cannot_be_used_is_named(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "states"
    if kind == "a file":
        path.write_text("")
    elif kind == "damaged":
        server = Server(path)
        server.folder.close()
        (file,) = path.glob("*.records")
        os.truncate(file, 10)
    else:
        server = Server(path)
        server.sessions.begin(1)
        server.folder.close()

        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", full)
    settings = Settings(state_dir=path)
    with pytest.raises(SettingsError, match=rf"state_dir '{path}' cannot be used: .*"):
        Repository({"m": MODEL}, settings, folder=Folder(settings))


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes wherever it likes")
def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(SettingsError, match=r"cannot be used: .*ermission"):
        Folder(Settings(state_dir=tmp_path / "states"))


def test_options_that_need_the_folder_say_so() -> None:
    with pytest.raises(SettingsError, match="state_sync needs state_dir; parked_seconds needs state_dir"):
        Settings(state_sync=True, parked_seconds=5.0)
