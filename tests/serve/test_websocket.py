"""The server's side of RFC 6455: messages whole whatever the frames and reads, and a code for every breach of it."""

from __future__ import annotations

import asyncio
import json
import os
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("uvicorn", reason="needs the extra 'serve'")

import itertools

from asgi import run
from protocol_models import normal, stateful
from web import serving

from fastgru.serve import websocket
from fastgru.serve.websocket import WebSocket

MASK = b"\x01\xf2\x83\x74"


class Transport:
    """What is written to it, and what it was told."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closed = self.aborted = self.eof = False
        self.reading = True

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.written += data

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.closed or self.aborted

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.eof = True

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    @property
    def frames(self) -> list[tuple[int, bytes]]:
        """(first byte, payload) of what was written."""
        found, data = [], bytes(self.written)
        while data:
            first, size, head = data[0], data[1], 2
            if size == 126:
                (size,), head = struct.unpack_from(">H", data, 2), 4
            elif size == 127:
                (size,), head = struct.unpack_from(">Q", data, 2), 10
            found.append((first, data[head : head + size]))
            data = data[head + size :]
        return found

    @property
    def code(self) -> int | None:
        """Of the close frame."""
        first, payload = self.frames[-1] if self.written else (0, b"")
        return struct.unpack_from(">H", payload)[0] if first == 0x88 and payload else None


class Receiver:
    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.lost: list[int] = []

    def on_binary(self, data: bytes) -> None:
        self.messages.append(("binary", data))

    def on_text(self, data: bytes) -> None:
        self.messages.append(("text", data))

    def on_blocked(self, blocked: bool) -> None:
        self.messages.append(("blocked", bytes([blocked])))

    def on_lost(self, code: int) -> None:
        self.lost.append(code)


def encoded(first: int, payload: bytes = b"", *, mask: bytes = MASK, masked: int = 0x80, size: int = -1) -> bytes:
    """A frame of a client. size: as it is written, where it is not the true one."""
    n = len(payload) if size < 0 else size
    if n < 126:
        head = bytes((first, masked | n))
    elif n < 1 << 16:
        head = struct.pack(">BBH", first, masked | 126, n)
    else:
        head = struct.pack(">BBQ", first, masked | 127, n)
    body = bytes([byte ^ mask[i % 4] for i, byte in enumerate(payload)]) if masked else payload
    return head + (mask if masked else b"") + body


def close_frame(code: int, reason: bytes = b"") -> bytes:
    return encoded(0x88, struct.pack(">H", code) + reason)


def fed(*reads: bytes, max_size: int = 1 << 20) -> tuple[Transport, Receiver]:
    """What becomes of a connection that reads these bytes."""
    transport, receiver = Transport(), Receiver()

    async def work() -> None:
        socket = WebSocket(transport, receiver, max_size=max_size, ping_s=None)  # type: ignore[arg-type]
        for data in reads:
            socket.data_received(data)
        await asyncio.sleep(0)
        socket.connection_lost(None)

    run(work())
    return transport, receiver


messages = st.lists(
    st.tuples(
        st.booleans(), st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=3), st.binary(max_size=125)
    ),
    max_size=5,
)


@given(messages, st.lists(st.integers(1, 40), max_size=30), st.binary(min_size=4, max_size=4))
def test_messages_are_whole_whatever_the_fragments_and_reads(
    given_messages: Any, reads: list[int], mask: bytes
) -> None:
    stream, expected, pings = b"", [], []
    for is_text, payload, cuts, ping in given_messages:
        data = payload.hex().encode() if is_text else payload
        at = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
        for i, (begin, end) in enumerate(itertools.pairwise(at)):
            first = (0 if i else 1 if is_text else 2) | (0x80 if i == len(at) - 2 else 0)
            stream += encoded(first, data[begin:end], mask=mask) + encoded(0x89, ping, mask=mask)
            pings.append((0x8A, ping))
        expected.append(("text" if is_text else "binary", data))
    parts, begin = [], 0
    for size in reads:
        parts.append(stream[begin : begin + size])
        begin += size
    transport, receiver = fed(*parts, stream[begin:])
    assert receiver.messages == expected
    assert transport.frames == pings
    assert not transport.closed


BREACHES: Any = {
    "no mask": (encoded(0x82, b"abc", masked=0), 1002),
    "no mask, long": (encoded(0x82, bytes(300), masked=0), 1002),
    "reserved bit 1": (encoded(0xC2, b"abc"), 1002),
    "reserved bit 2": (encoded(0xA2, b"abc"), 1002),
    "reserved bit 3": (encoded(0x92, b"abc"), 1002),
    "reserved bit of a ping": (encoded(0xC9), 1002),
    **{f"opcode {code}": (encoded(0x80 | code), 1002) for code in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "a ping in fragments": (encoded(0x09), 1002),
    "a close in fragments": (encoded(0x08), 1002),
    "a long ping": (encoded(0x89, bytes(126)), 1002),
    "a long close": (close_frame(1000, bytes(124)), 1002),
    "nothing to continue": (encoded(0x80, b"abc"), 1002),
    "nothing to go on with": (encoded(0x00, b"abc"), 1002),
    "a message within another": (encoded(0x02, b"a") + encoded(0x82, b"b"), 1002),
    "a text within a binary message": (encoded(0x02, b"a") + encoded(0x01, b"b"), 1002),
    "a size in too many bytes": (b"\x82\xfe\x00\x05" + MASK, 1002),
    "a size in far too many bytes": (b"\x82\xff" + struct.pack(">Q", 500) + MASK, 1002),
    "a negative size": (b"\x82\xff" + struct.pack(">Q", 1 << 63) + MASK, 1009),
    "too large": (encoded(0x82, size=1_001), 1009),
    "far too large": (encoded(0x82, size=1 << 40), 1009),
    "too large in fragments": (encoded(0x02, bytes(600)) + encoded(0x80, bytes(401)), 1009),
    "no UTF-8": (encoded(0x81, b"\xff"), 1007),
    "half a character": (encoded(0x81, "é".encode()[:1]), 1007),
    "a surrogate": (encoded(0x81, b"\xed\xa0\x80"), 1007),
    "no UTF-8 over fragments": (encoded(0x01, "é".encode()[:1]) + encoded(0x80, b"a"), 1007),
    "a close of one byte": (encoded(0x88, b"\x03"), 1002),
    **{
        f"close code {code}": (close_frame(code), 1002)
        for code in (0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
    "a close whose reason is no UTF-8": (close_frame(1000, b"\xff"), 1007),
}


@pytest.mark.parametrize(("data", "code"), BREACHES.values(), ids=BREACHES)
@pytest.mark.parametrize("bytewise", [False, True])
def test_a_breach_ends_the_connection_with_its_code(data: bytes, code: int, bytewise: bool) -> None:
    before, after = encoded(0x82, b"before"), encoded(0x82, b"after")
    stream = before + data + after
    transport, receiver = fed(*[bytes([byte]) for byte in stream] if bytewise else [stream], max_size=1_000)
    assert receiver.messages == [("binary", b"before")]
    assert (transport.code, transport.eof) == (code, True)


@pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 4999])
def test_a_close_is_answered_with_its_code(code: int) -> None:
    transport, receiver = fed(close_frame(code, "adieu é".encode()) + encoded(0x82, b"after"))
    assert (transport.code, transport.closed, receiver.messages, receiver.lost) == (code, True, [], [code])


def test_a_close_without_a_code() -> None:
    transport, receiver = fed(encoded(0x88))
    assert (transport.frames, transport.closed, receiver.lost) == ([(0x88, b"")], True, [1005])
    assert fed()[1].lost == [1006]


def test_characters_over_fragments_and_a_message_of_the_largest_size() -> None:
    text = "é\U0001f600".encode()
    parts = [encoded(0x01, text[:1]), *[encoded(0x00, text[i : i + 1]) for i in range(1, 5)], encoded(0x80, text[5:])]
    assert fed(b"".join(parts))[1].messages == [("text", text)]
    largest = os.urandom(70_000)
    assert fed(encoded(0x82, largest), max_size=70_000)[1].messages == [("binary", largest)]
    assert fed(encoded(0x02, largest) + encoded(0x80), max_size=70_000)[1].messages == [("binary", largest)]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 100_000])
def test_answers_of_every_size(size: int) -> None:
    transport, data = Transport(), os.urandom(size)

    async def work() -> None:
        socket = WebSocket(transport, Receiver(), ping_s=None)  # type: ignore[arg-type]
        socket.send_binary(data)
        socket.send_text(b"text")
        socket.close(1001, "é" * 100)
        socket.send_binary(b"after")
        socket.connection_lost(None)

    run(work())
    assert transport.frames[:2] == [(0x82, data), (0x81, b"text")]
    assert (len(transport.frames), transport.code) == (3, 1001)
    assert transport.frames[2][1][2:].decode() == "é" * 61  # as much of it as a control frame holds


def test_messages_wait_until_they_are_wanted() -> None:
    transport = Transport()

    class Shy(Receiver):
        def on_binary(self, data: bytes) -> None:
            super().on_binary(data)
            socket.set_reading(False)

    async def work() -> None:
        nonlocal socket
        receiver = Shy()
        socket = WebSocket(transport, receiver, ping_s=None)  # type: ignore[arg-type]
        stream = b"".join([encoded(0x82, bytes([i])) for i in range(5)])
        socket.data_received(stream[:-2])
        socket.data_received(stream[-2:])  # a read that was on its way
        for count in range(1, 6):
            assert len(receiver.messages) == count
            assert not transport.reading
            socket.set_reading(True)
            assert transport.reading
            await asyncio.sleep(0)
            await asyncio.sleep(0)
        assert [data for _, data in receiver.messages] == [bytes([i]) for i in range(5)]
        socket.connection_lost(None)

    socket: Any = None
    run(work())


def test_a_client_without_a_sign_of_life_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "_CLOSE_SECONDS", 0.01)
    dead, alive = Transport(), Transport()

    async def work() -> None:
        sockets = [WebSocket(t, Receiver(), ping_s=0.1) for t in (dead, alive)]  # type: ignore[arg-type]
        for _ in range(20):
            await asyncio.sleep(0.02)
            sockets[1].data_received(encoded(0x8A))
        for socket in sockets:
            socket.connection_lost(None)

    run(work())
    assert dead.frames[0] == (0x89, b"")
    assert (dead.code, dead.aborted) == (1011, True)
    assert {first for first, _ in alive.frames} == {0x89}
    assert not alive.aborted


def test_a_client_that_does_not_answer_a_close_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "_CLOSE_SECONDS", 0.01)
    transport = Transport()

    async def work() -> None:
        socket = WebSocket(transport, Receiver(), ping_s=None)  # type: ignore[arg-type]
        socket.shutdown()
        await asyncio.sleep(0.1)

    run(work())
    assert (transport.code, transport.aborted) == (1001, True)


def test_a_receiver_that_fails_costs_its_connection_alone() -> None:
    transport = Transport()

    class Faulty(Receiver):
        def on_binary(self, data: bytes) -> None:
            raise RuntimeError("a secret of the server")

    async def work() -> None:
        socket = WebSocket(transport, Faulty(), ping_s=None)  # type: ignore[arg-type]
        socket.data_received(encoded(0x82, b"abc"))
        socket.connection_lost(None)

    run(work())
    assert transport.code == 1011
    assert b"secret" not in transport.written


def test_a_handshake_that_is_none_is_refused_in_json() -> None:
    async def work() -> None:
        async with serving({"m": stateful()}) as web:
            for more, sentence in (
                (b"Sec-WebSocket-Version: 13\r\n", "missing Sec-WebSocket-Key header"),
                (b"Sec-WebSocket-Version: 12\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n", "12"),
            ):
                head = b"GET /v2/models/m/stream HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
                writer.write(head + more + b"\r\n")
                answer = await asyncio.wait_for(reader.read(), 20)
                assert answer.startswith(b"HTTP/1.1 4")
                head, _, body = answer.partition(b"\r\n\r\n")
                assert b"Content-Type: application/json" in head
                assert f"Content-Length: {len(body)}".encode() in head
                told = json.loads(body)
                assert told["reason"] == "malformed"
                assert sentence in told["error"]
                writer.close()

    run(work())


def test_frames_that_come_with_the_handshake_and_a_client_in_fragments() -> None:
    model = stateful()

    async def work() -> None:
        async with serving({"m": model}) as web:
            x = normal(4, 1, 8)
            head = (
                b"GET /v2/models/m/stream HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            )
            reader, writer = await asyncio.open_connection("127.0.0.1", web.port)
            writer.write(head)
            await asyncio.sleep(0)
            writer.write(encoded(0x82, x.tobytes()))  # before the answer to the handshake
            answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)
            assert answer.startswith(b"HTTP/1.1 101 ")
            writer.write(encoded(0x88, b"\x03\xe8"))
            rest = await asyncio.wait_for(reader.read(), 20)
            assert rest.endswith(b"\x88\x02\x03\xe8")
            writer.close()
            async with web.connect(ping_interval=None) as client:
                await client.send([x[i].tobytes() for i in range(4)])  # one message in fragments
                assert await client.recv() == model.stream().push(x).tobytes()
                assert await asyncio.wait_for(await client.ping(b"here"), 20) >= 0
            async with web.connect(compression="deflate") as client:  # offered, and not taken
                assert client.protocol.extensions == []
                await client.send(x.tobytes())
                assert await client.recv() == model.stream().push(x).tobytes()

    run(work())


@given(st.lists(st.sampled_from(list(BREACHES.values())), max_size=3), st.binary(max_size=40), st.data())
def test_mutated_bytes_never_surprise(breaches: Any, more: bytes, data: Any) -> None:
    stream = bytearray(
        encoded(0x82, b"before") + b"".join([each for each, _ in breaches]) + more + encoded(0x81, b"{}")
    )
    for _ in range(data.draw(st.integers(0, 4))):
        stream[data.draw(st.integers(0, len(stream) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(stream)))
    transport, receiver = fed(bytes(stream[:cut]), bytes(stream[cut:]), max_size=1_000)
    assert transport.code != 1011
    assert len(receiver.lost) == 1
