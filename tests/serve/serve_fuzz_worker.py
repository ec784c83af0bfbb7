"""A process of `test_fuzzed_messages`: serve_fuzz_worker.py COUNT SEED FOLDER sends so many messages to a server.

Between them, sessions of every protocol go on undisturbed, and their outputs are compared with streams in process.
It prints one object of JSON: how often each status came, and what went wrong.
"""

from __future__ import annotations

import json
import re
import select
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from grpc_messages import Neighbour, faults_of_grpc, statuses_of_grpc
from serve_messages import MODEL, Messages

import fastgru
from bench.serve.models import frames_of, save_gru
from bench.serve.process import fastgru_server, free_port
from bench.serve.replayed import Replayed
from fastgru.bench.serving.load import Load
from fastgru.bench.serving.target import Target
from fastgru.bench.serving.wire import PROTOCOLS

BATCH = 20
HIDDEN = 16
QUIET_S, PATIENCE_S = 0.04, 10.0
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3}) ")


def exchange(port: int | Sequence[int], messages: Sequence[bytes], patience_s: float = 0.0) -> list[bytes]:
    """What comes back for each, over a connection of its own, until nothing has come for a moment.

    patience_s: for how long that moment waits for messages of which each has an answer.
    """
    sockets = {}
    replies = [b""] * len(messages)
    poll = select.poll()
    for i, message in enumerate(messages):
        to = port if isinstance(port, int) else port[i]
        client = socket.create_connection(("127.0.0.1", to), timeout=10)
        client.setblocking(False)
        sockets[client.fileno()] = i, client, message
        poll.register(client, select.POLLIN | select.POLLOUT)
    unsent = {fd: message for fd, (_, _, message) in sockets.items()}
    began = last = time.monotonic()
    alive = set(sockets)
    while alive and (time.monotonic() - last < QUIET_S or (time.monotonic() - began < patience_s and not all(replies))):
        for fd, event in poll.poll(5):
            i, client, _ = sockets[fd]
            try:
                if event & select.POLLOUT and unsent[fd]:
                    unsent[fd] = unsent[fd][client.send(unsent[fd]) :]
                    last = time.monotonic()
                if not unsent[fd]:
                    poll.modify(fd, select.POLLIN)
                if event & (select.POLLIN | select.POLLHUP | select.POLLERR):
                    got = client.recv(1 << 18)
                    replies[i] += got
                    last = time.monotonic()
                    if not got:
                        raise ConnectionError
            except BlockingIOError:
                continue
            except OSError:
                poll.unregister(fd)
                alive.discard(fd)
    for _, client, _ in sockets.values():
        client.close()
    return replies


def socket_frames(data: bytes) -> Iterator[tuple[int, bytes]]:
    """(opcode, payload) of what a server sent after its handshake; a frame that breaks the rules is an opcode of -1."""
    while len(data) >= 2:
        if data[1] & 0x80 or data[0] & 0x70:
            yield -1, data
            return
        size, begin = data[1], 2
        if size >= 126:
            begin = 4 if size == 126 else 10
            size = int.from_bytes(data[2:begin], "big")
        yield data[0] & 15, data[begin : begin + size]
        data = data[begin + size :]


def faults_of(reply: bytes) -> list[str]:
    found = [f"status {code}" for code in map(int, _STATUS.findall(reply)) if code >= 500 and code != 503]
    if b"Traceback" in reply:
        found.append("a traceback")
    head, blank, rest = reply.partition(b"\r\n\r\n")
    if blank and head.startswith(b"HTTP/1.1 101"):
        for opcode, payload in socket_frames(rest):
            if opcode not in (1, 2, 8, 9, 10):
                found.append(f"a frame with opcode {opcode}")
            elif opcode == 8 and payload[:2] == (1011).to_bytes(2, "big"):
                found.append(f"closed with 1011: {payload[2:]!r}")
            elif opcode == 1 and b'"status":500' in payload.replace(b" ", b""):
                found.append(f"{payload!r}")
    return found


class Neighbours:
    """A session of each protocol, whose outputs have to be those of a stream that is alone."""

    def __init__(self, port: int, grpc_port: int, path: Path) -> None:
        frames = frames_of(HIDDEN)
        self.connections = [
            Replayed(wire(Target.local(port), MODEL), 10**12 + i, frames, 5 * i)
            for i, wire in enumerate(PROTOCOLS.values())
        ]
        self.load, self.model = Load(self.connections), fastgru.load(path)
        self.grpc = Neighbour(grpc_port, MODEL, frames, self.model.stream(1))

    def step(self) -> None:
        self.load.closed_loop(0.0)
        self.grpc.step()

    def wrong(self) -> list[str]:
        found = [f"gRPC: {self.grpc.wrong} of {self.grpc.steps} answers are others"] if self.grpc.wrong else []
        for name, connection in zip(PROTOCOLS, self.connections, strict=True):
            if connection.refused or connection.replay(self.model.stream(1)) != connection.digest:
                found.append(f"{name}: other bits, or refused: {connection.refused[:5]}")
        return found


def left_over(port: int) -> list[str]:
    """What the server still has of those that have gone, some moments later."""
    end, wanted = time.monotonic() + 20, {b"connections": b"1", b"in_flight_bytes": b"0", b"pending_jobs": b"0"}
    while True:
        (reply,) = exchange(port, [b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"])
        found = dict(re.findall(rb"^fastgru_(connections|in_flight_bytes|pending_jobs) (\S+)", reply, re.MULTILINE))
        if found == wanted or time.monotonic() > end:
            return [] if found == wanted else [f"left over: {found}, expected {wanted}: {reply[:200]!r}"]
        time.sleep(0.2)


def main(count: int, seed: int, folder: Path) -> None:
    port, path = free_port(), save_gru(folder / f"{MODEL}.safetensors", HIDDEN)
    log, failures, statuses, base = folder / "server.log", [], Counter[str](), seed * 1_000_000
    grpc_port = free_port()
    with fastgru_server(path, port, "--grpc-port", str(grpc_port), log=log) as server:
        time.sleep(0.2)
        descriptors = server.descriptors()
        neighbours = Neighbours(port, grpc_port, path)
        messages = Messages(port, neighbours.model.stream(1).save_state(), HIDDEN)
        for message, reply in zip(messages.whole(), exchange(port, messages.whole(), PATIENCE_S), strict=True):
            if not reply.startswith(b"HTTP/1.1 200"):
                failures.append(f"a whole message: {message!r} -> {reply!r}")
        (reply,) = exchange(grpc_port, [messages.grpc.whole()], PATIENCE_S)
        if statuses_of_grpc(reply) != [b"0"]:
            failures.append(f"a whole message of gRPC: {reply!r}")
        for start in range(base, base + count, BATCH):
            batch = [messages.message(number) for number in range(start, min(start + BATCH, base + count))]
            ports = [grpc_port if messages.is_grpc(start + i) else port for i in range(len(batch))]
            for number, reply in enumerate(exchange(ports, batch), start):
                shown = f"{batch[number - start]!r:.600} -> {reply!r:.600}"
                if messages.is_grpc(number):
                    statuses.update([f"gRPC {status.decode()}" for status in statuses_of_grpc(reply)])
                    faults = faults_of_grpc(reply)
                else:
                    statuses.update(map(bytes.decode, _STATUS.findall(reply)))
                    faults = faults_of(reply)
                failures += [f"{number}: {fault}: {shown}" for fault in faults]
            neighbours.step()
        failures += neighbours.wrong()
        neighbours.load.close()
        neighbours.grpc.raw.socket.close()
        failures += left_over(port)
        if server.descriptors() > descriptors:
            failures.append(f"{server.descriptors()} descriptors, {descriptors} before")
        alive = server.process.poll() is None
    said = log.read_text(errors="replace")
    if not alive or server.ended != 0 or "Traceback" in said:
        failures.append(f"the server ended with {server.ended}: {said[-3000:]}")
    print(json.dumps({"failures": failures, "statuses": statuses}))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]))
