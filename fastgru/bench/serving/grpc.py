"""V2 over gRPC: `ModelStreamInfer` with one stream per connection, in the few frames of HTTP/2 that this needs.

This needs no gRPC library, so none adds to what is measured. Flow-control windows are obeyed. Headers from the server
are not decoded, because the answers of a stream are in its data.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Final

from fastgru.bench.serving.target import Target
from fastgru.bench.serving.wire import DATATYPES, PING, STREAM_ERROR, UNASKED, Answer, Frame, Wire, arrays_of

__all__ = ["Grpc"]

_PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST, _SETTINGS, _PING, _GOAWAY, _WINDOW = 0, 1, 3, 4, 6, 7, 8
_END_STREAM, _ACK, _END_HEADERS, _PADDED = 1, 1, 4, 8
_LARGEST: Final = (1 << 31) - 1  # size of a window
_FIRST: Final = 65_535  # size of a window before any setting
_FRAME: Final = 16_384  # bytes of data in a frame


class Grpc(Wire):
    """A gRPC connection with its protocol state; each connection has its own object."""

    window = 16

    def __init__(self, target: Target, model: str = "gru", inputs: Sequence[str] = ("x",), timeout_us: int = 0) -> None:
        super().__init__(target, model, inputs, timeout_us)
        self._begin()

    def _begin(self) -> None:
        self._held, self._data = b"", b""  # data that no window has room for, and data that is not a whole message yet
        self._room = self._stream_room = self._initial = _FIRST  # bytes that the server has room for
        self._got = 0  # bytes of answers since the last window update
        self._answers: deque[tuple[int, bytes]] = deque()

    def fork(self) -> Wire:
        return Grpc(self.target, self.model, self.inputs, self.timeout_us)

    def greeting(self) -> bytes:
        self._begin()
        head = b"\x83\x86" + _literal(4, b"/inference.GRPCInferenceService/ModelStreamInfer")  # POST, http, :path
        head += _literal(1, self.target.host.encode())
        head += b"\x0f\x10" + _text(b"application/grpc") + b"\0" + _text(b"te") + _text(b"trailers")
        if self.target.headers:
            head += b"\x0f\x08" + _text(self.target.headers.strip().partition(": ")[2].encode())
        # No push, and the largest window for answers.
        settings = b"\0\x02\0\0\0\0" + b"\0\x04" + _LARGEST.to_bytes(4, "big")
        return (
            _PREFACE
            + _frame(_SETTINGS, 0, 0, settings)
            + _frame(_WINDOW, 0, 0, (_LARGEST - _FIRST).to_bytes(4, "big"))
            + _frame(_HEADERS, _END_HEADERS, 1, head)
        )

    def framed(self, message: bytes) -> bytes:
        self._held += message
        return self._released()

    def _released(self) -> bytes:
        """Return the data that the windows have room for, in frames."""
        frames = b""
        while self._held and (size := min(_FRAME, self._room, self._stream_room, len(self._held))) > 0:
            frames += _frame(_DATA, 0, 1, self._held[:size])
            self._held = self._held[size:]
            self._room -= size
            self._stream_room -= size
        return frames

    def encode(self, session: int, frame: Frame, *, start: bool = False, end: bool = False) -> bytes:
        arrays = arrays_of(frame)
        message = _field(1, self.model.encode())
        for name, value in (("sequence_start", start), ("sequence_end", end)):
            if value:
                message += _parameter(name, b"\x08\x01")
        for name, number in (("sequence_id", session), ("timeout", self.timeout_us)):
            if number:
                message += _parameter(name, b"\x10" + _varint(number))
        for name, array in zip(self.inputs, arrays, strict=True):
            shape = b"".join(map(_varint, array.shape))
            described = _field(1, name.encode()) + _field(2, DATATYPES[array.dtype.name].encode()) + _field(3, shape)
            message += _field(5, described)
        message += b"".join(_field(7, array.tobytes()) for array in arrays)
        return b"\0" + len(message).to_bytes(4, "big") + message

    def farewell(self, session: int, frame: Frame) -> bytes:
        return self.encode(session, frame, end=True) if session else b""

    def pong(self, body: bytes) -> bytes:
        return body

    def cut(self, data: bytes) -> Answer | None:
        """Return one answer, or a frame without answers. A frame with several answers is consumed with the last one."""
        if len(data) < 9:
            return None
        size, kind, flags = int.from_bytes(data[:3], "big") + 9, data[3], data[4]
        if len(data) < size:
            return None
        if not self._answers:
            payload = data[9:size]
            if kind != _DATA:
                return self._told(kind, flags, int.from_bytes(data[5:9], "big"), data[:size])
            self._take(payload[1 : len(payload) - payload[0]] if flags & _PADDED else payload)
            if flags & _END_STREAM:
                return UNASKED, b"\0\0the server has ended the stream", size, True
            if not self._answers:
                return self._more_room(size)
        status, body = self._answers.popleft()
        return status, body, 0 if self._answers else size, False

    def _more_room(self, size: int) -> Answer:
        """Return nothing, or a window update once half of the window is used."""
        if self._got < _LARGEST // 2:
            return UNASKED, b"", size, False
        more, self._got = self._got.to_bytes(4, "big"), 0
        return PING, _frame(_WINDOW, 0, 0, more) + _frame(_WINDOW, 0, 1, more), size, False

    def _take(self, payload: bytes) -> None:
        self._got += len(payload)
        data = self._data + payload
        while len(data) >= 5 and len(data) >= (size := 5 + int.from_bytes(data[1:5], "big")):
            message, data = data[5:size], data[size:]
            # An answer with an error_message has it as its first field.
            self._answers.append((STREAM_ERROR, message[2:]) if message[:1] == b"\x0a" else (200, message))
        self._data = data

    def _told(self, kind: int, flags: int, stream: int, data: bytes) -> Answer:
        """Handle a frame without answers, and return the reply that it needs, if any."""
        reply, payload, size = b"", data[9:], len(data)
        if kind == _SETTINGS and not flags & _ACK:
            for k in range(0, len(payload), 6):
                if payload[k : k + 2] == b"\0\x04":
                    self._stream_room += int.from_bytes(payload[k + 2 : k + 6], "big") - self._initial
                    self._initial = int.from_bytes(payload[k + 2 : k + 6], "big")
            reply = _frame(_SETTINGS, _ACK, 0, b"")
        elif kind == _PING and not flags & _ACK:
            reply = _frame(_PING, _ACK, 0, payload)
        elif kind == _WINDOW and stream:
            self._stream_room += int.from_bytes(payload, "big")
        elif kind == _WINDOW:
            self._room += int.from_bytes(payload, "big")
        elif kind in (_RST, _GOAWAY) or (kind == _HEADERS and flags & _END_STREAM):
            shown = "".join(chr(c) for c in payload if 32 <= c < 127)
            return UNASKED, f"\0\0the server has ended the stream: {shown}".encode(), size, True
        reply += self._released()
        return (PING if reply else UNASKED), reply, size, False


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _text(text: bytes) -> bytes:
    """Encode a string for HPACK, without compression."""
    if len(text) < 127:
        return bytes((len(text),)) + text
    return b"\x7f" + _varint(len(text) - 127) + text


def _literal(name: int, value: bytes) -> bytes:
    """Encode a header whose name is one of the first 15 in HPACK's static table."""
    return bytes((name,)) + _text(value)


def _varint(value: int) -> bytes:
    made = b""
    while value > 127:
        made += bytes((value & 127 | 128,))
        value >>= 7
    return made + bytes((value,))


def _field(number: int, value: bytes) -> bytes:
    """Encode a protobuf field with a length."""
    return bytes((number << 3 | 2,)) + _varint(len(value)) + value


def _parameter(name: str, value: bytes) -> bytes:
    """Encode an entry of the map of parameters; `value` is an InferParameter."""
    return _field(4, _field(1, name.encode()) + _field(2, value))
