"""Whatever the protocol, the tick and the neighbours: a session gives the bits of a stream that is alone."""

from __future__ import annotations

import random
import urllib.request
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgru
from bench.serve.models import save_gru
from bench.serve.process import Process, fastgru_server, free_port
from bench.serve.replayed import Replayed
from fastgru.bench.serving.load import Load
from fastgru.bench.serving.schedule import periodic, poisson
from fastgru.bench.serving.target import Target
from fastgru.bench.serving.wire import PROTOCOLS

pytest.importorskip("uvicorn", reason="not installed: the extra `serve`")
pytest.importorskip("orjson", reason="not installed: the extra `serve`")

H = 16
LENGTHS = (1, 1, 3, 1, 40, 2, 1)
Array = np.ndarray[Any, Any]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_gru(tmp_path_factory.mktemp("replay") / "gru.safetensors", H)


@pytest.fixture(scope="module")
def model(path: Path) -> fastgru.Model:
    return fastgru.load(path)


@pytest.fixture(scope="module")
def server(path: Path) -> Iterator[Process]:
    log = path.with_name("server.log")
    with fastgru_server(path, free_port(), log=log) as process:
        yield process
    assert process.ended == 0, log.read_text(errors="replace")
    assert "Traceback" not in log.read_text(errors="replace")


def draw(lengths: Sequence[int], seed: int = 0) -> list[Array]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((n, 1, H), dtype=np.float32) for n in lengths]


def check(load: Load, model: fastgru.Model, least: int) -> None:
    for connection in load.connections:
        assert connection.answers >= least
        assert not connection.waiting
        assert not connection.refused
        assert connection.replay(model.stream(1)) == connection.digest, (type(connection.wire), connection.session)


@pytest.mark.parametrize("schedule", [periodic(48, 50, 1.0), poisson(48, 2_000, 1.0)], ids=["periodic", "poisson"])
def test_sessions_of_every_protocol_at_once(server: Process, model: fastgru.Model, schedule: Any) -> None:
    """Chunks of several lengths in the same ticks, three protocols, each session with its own part of the frames."""
    frames = draw(LENGTHS * 3)
    wires = [wire(Target.local(server.port)) for wire in PROTOCOLS.values()]
    base = random.Random(str(schedule)).randrange(1 << 40)
    load = Load([Replayed(wires[i % 3], base + i, frames, i) for i in range(48)])
    try:
        outcome = load.open_loop(*schedule, grace_s=60)
        assert outcome.statuses.keys() == {200}, outcome.line()
        assert not outcome.lost
        check(load, model, 20)
    finally:
        load.close()


def come_and_go(server: Process, model: fastgru.Model, sessions: int) -> None:
    """Waves of sessions with few ids, so that most are used again: after an end, or begun anew while they live."""
    rng, frames = random.Random(sessions), draw(LENGTHS)
    wires = [PROTOCOLS[name](Target.local(server.port)) for name in ("binary", "json")]
    for _ in range(max(1, sessions // 40)):
        ids = rng.sample(range(1, 100), 40)
        load = Load([Replayed(rng.choice(wires), i, frames, rng.randrange(99)) for i in ids])
        try:
            outcome = load.open_loop(*periodic(40, 250, rng.choice((0.008, 0.02))), grace_s=60)
            assert outcome.statuses.keys() == {200}, outcome.line()
            check(load, model, 2)
            for connection in load.connections[::2]:  # the others vanish
                connection.socket.setblocking(True)
                connection.socket.settimeout(60)
                connection.socket.sendall(connection.wire.farewell(connection.session, frames[0]))
                assert connection.socket.recv(65536).startswith(b"HTTP/1.1 200")
        finally:
            load.close()


def test_ids_are_used_again_starts_are_repeated_and_clients_vanish(server: Process, model: fastgru.Model) -> None:
    come_and_go(server, model, 800)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ten_thousand_sessions_come_and_go(server: Process, model: fastgru.Model) -> None:
    come_and_go(server, model, 10_000)


def test_a_state_goes_from_the_server_to_a_stream_and_back(server: Process, model: fastgru.Model) -> None:
    frames, url = draw(LENGTHS), f"http://127.0.0.1:{server.port}/v2/models/gru/sequences/424242/state"
    load = Load([Replayed(PROTOCOLS["binary"](Target.local(server.port)), 424242, frames)])
    try:
        load.open_loop(*periodic(1, 100, 0.05), grace_s=60)
        check(load, model, 5)
        (connection,) = load.connections
        with urllib.request.urlopen(url, timeout=60) as answer:
            blob = answer.read()
        stream = model.stream(1)
        stream.load_state(blob)
        alone = model.stream(1)
        for frame in frames[: connection.answers]:
            alone.push(frame)
        assert alone.save_state() == blob
        stream.push(frames[5])
        request = urllib.request.Request(url, data=stream.save_state(), method="PUT")
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.status in (200, 201, 204)
        alone.push(frames[5])
        connection.at, connection.digest = 6, 0
        load.open_loop(*periodic(1, 100, 0.01), grace_s=60)
        assert connection.digest == fold(alone.push(frames[6]))
    finally:
        load.close()


def fold(array: Any) -> int:
    return zlib.crc32(np.ascontiguousarray(array).tobytes())


def test_the_generator_finds_other_bits(server: Process, model: fastgru.Model) -> None:
    """The check itself: another first frame, and the digests differ."""
    load = Load([Replayed(PROTOCOLS["binary"](Target.local(server.port)), 99_999, draw(LENGTHS))])
    try:
        load.open_loop(*periodic(1, 100, 0.05), grace_s=60)
        check(load, model, 5)
        load.connections[0].begin += 1
        assert load.connections[0].replay(model.stream(1)) != load.connections[0].digest
    finally:
        load.close()
