"""Measures a server under a load, with the server's own counts, and on request a raw echo under the same load."""

from __future__ import annotations

import gc
import select
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from secrets import randbits

from fastgru.bench.serving.connection import Connection, connections_of
from fastgru.bench.serving.demand import Demand
from fastgru.bench.serving.echo import echoing
from fastgru.bench.serving.grpc import Grpc
from fastgru.bench.serving.inputs import frames_for, shapes_of
from fastgru.bench.serving.link import PIECE, kind_of
from fastgru.bench.serving.load import Load
from fastgru.bench.serving.outcome import Outcome
from fastgru.bench.serving.result import ServingResult, Step
from fastgru.bench.serving.server import Counts, Server
from fastgru.bench.serving.target import Target
from fastgru.bench.serving.wire import PROTOCOLS, Echo, Wire
from fastgru.errors import FastGRUError

__all__ = ["measure_serving", "protocol_of"]

Shape = tuple[int, ...]
_PAUSE_S = 0.2  # for a server that updates its counts after the answer
_SESSIONS = count(randbits(40) << 16)  # ids that nobody else uses, within 63 bits


def protocol_of(server: Server, asked: str | None) -> str:
    """Return the requested protocol, or else binary if the server has the extension, or else JSON."""
    return asked or ("binary" if "binary_tensor_data" in server.extensions else "json")


def measure_serving(
    server: Server,
    demand: Demand,
    *,
    protocol: str,
    given: Mapping[str, Shape] | None = None,
    grpc_port: int = 8001,
    stop: Callable[[], bool] = lambda: False,
    progress: Callable[[str], None] = lambda text: None,
) -> ServingResult:
    """Run the load, and return the result of each of its steps.

    given: shapes of inputs. grpc_port: the port for gRPC on the server's host. stop: called in every iteration; True
    ends the run. Raises `FastGRUError` if the server does not accept the first request.
    """
    if protocol == "websocket" and demand.stateless:
        raise FastGRUError("a WebSocket is one stream: --stateless is for --protocol binary and json")
    if demand.floor and not hasattr(select, "epoll"):
        raise FastGRUError("--floor needs epoll, which Linux has")
    started = time.perf_counter()
    timeout_us = int(1000 * (demand.timeout_ms or 0))
    target = server.target.at_port(grpc_port) if protocol == "grpc" else server.target
    kind: type[Wire] = Grpc if protocol == "grpc" else PROTOCOLS[protocol]
    wire = kind(target, server.model, [each.name for each in server.inputs], timeout_us)
    shapes = _shapes_taken(server, demand, given or {})
    copies = 1 if wire.alike or demand.stateless else demand.most_connections
    frames = frames_for(server.inputs, shapes, copies)
    progress("encoding frames")
    ids = [0 if demand.stateless else next(_SESSIONS) for _ in range(demand.most_connections)]
    connections = connections_of(wire, ids, frames)
    size = len(connections[0].messages[0])
    counted: list[Counts] = []
    steps = _run(connections, demand, stop, progress, lambda: counted.append(server.counts()))
    floors: list[Step] = []
    if demand.floor and not stop():
        with echoing(size) as port:
            echo = connections_of(Echo(Target.local(port), size), [0] * len(ids), frames)
            floors = _run(echo, demand, stop, lambda text: progress(f"raw TCP echo, {text}"))
    grown = counted[-1].since(counted[0])
    return ServingResult(
        server, demand, protocol, tuple(shapes), size, tuple(steps), tuple(floors), grown, time.perf_counter() - started
    )


def _run(
    connections: Sequence[Connection],
    demand: Demand,
    stop: Callable[[], bool],
    progress: Callable[[str], None],
    between: Callable[[], None] = lambda: None,
) -> list[Step]:
    """Run each step. between: called before the first step, and after the last one while sessions are still open."""
    shared = demand.stateless and demand.open
    with _no_collection():
        progress(f"opening {len(connections)} connections")
        load = Load(connections, shared=shared, stop=stop)
        try:
            if demand.warm_up:
                progress("warming up")
                _offer(load, demand, demand.values[0], demand.warm_up, 1)
            between()
            steps = []
            for number, value in enumerate(demand.values):
                progress(demand.words(value))
                steps.append(Step(value, demand.words(value), _offer(load, demand, value, demand.seconds, number)))
                if stop():
                    break
                if number + 1 < len(demand.values):
                    time.sleep(_PAUSE_S)
            time.sleep(_PAUSE_S)
            between()
            load.end_sessions()
        finally:
            load.close()
    return steps


def _offer(load: Load, demand: Demand, value: float, seconds: float, seed: int) -> Outcome:
    if demand.open:
        return load.open_loop(*demand.schedule(value, seconds, seed))
    return load.closed_loop(seconds)


def _shapes_taken(server: Server, demand: Demand, given: Mapping[str, Shape]) -> list[Shape]:
    """Return the shapes of inputs that the server accepts, found with one request for each candidate.

    The requests go over HTTP whatever the protocol. If they belong to a sequence, they also end it.
    """
    refusals = []
    wire = PROTOCOLS[protocol_of(server, None)](server.target, server.model, [each.name for each in server.inputs])
    for shapes in shapes_of(server.inputs, demand.chunk, given):
        frames = frames_for(server.inputs, shapes, 1)
        session = 0 if demand.stateless and demand.chunk == 1 else next(_SESSIONS)
        message = wire.encode(session, frames[0], start=True, end=True) if session else wire.encode(0, frames[0])
        try:
            status, text = _exchanged(wire, message)
        except OSError as error:
            raise FastGRUError(f"the server does not answer a request: {kind_of(error)}") from error
        if status == 200:
            return shapes
        refusals.append(f"{list(shapes)}: {status} {text[:200].decode(errors='replace')}")
    kind = "a request of a sequence" if session else "a request"
    raise FastGRUError(
        f"the server does not take {kind} of {', '.join(map(str, server.inputs))}: {'; '.join(refusals)}"
    )


def _exchanged(wire: Wire, message: bytes) -> tuple[int, bytes]:
    """Return the status and body of the answer to one message, over a connection of its own."""
    with wire.target.connected() as made:
        made.sendall(message)
        data = b""
        while True:
            got = made.recv(PIECE)
            if not got:
                raise ConnectionResetError("closed before the answer")
            data += got
            while answer := wire.cut(data):
                if answer[0]:
                    return answer[0], answer[1]
                data = data[answer[2] :]


@contextmanager
def _no_collection() -> Iterator[None]:
    """Collect no garbage while the clock runs."""
    was_on = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
