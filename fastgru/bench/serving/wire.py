"""Messages on the wire, encoded before the clock starts: V2 with binary tensors, V2 as JSON, WebSocket, raw TCP.

A protocol encodes the frames of one session and cuts answers out of received data. Its messages are those of any client
of the protocol, so the server need not be ours.
"""

from __future__ import annotations

import json
import os
import re
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from fastgru.bench.serving.target import Target

__all__ = [
    "DATATYPES",
    "PING",
    "PROTOCOLS",
    "STREAM_ERROR",
    "UNASKED",
    "Answer",
    "Echo",
    "Frame",
    "Http",
    "Json",
    "Raw",
    "WebSocket",
    "Wire",
    "arrays_of",
]

Array = np.ndarray[Any, Any]
Frame = Array | Sequence[Array]  # for a model with one input, or with several
# The status (that of HTTP or one of those below), the body, the number of bytes of the answer, and whether the server
# closes the connection after it.
Answer = tuple[int, bytes, int, bool]
STREAM_ERROR: Final = -3  # for a protocol whose errors have no status
UNASKED: Final = 0  # a message of the server that answers no frame
PING: Final = -2

DATATYPES: Final[Mapping[str, str]] = {
    "bool": "BOOL",
    **{f"{kind}{bits}": f"{kind.upper()}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32, 64)},
    "float16": "FP16",
    "float32": "FP32",
    "float64": "FP64",
    "bfloat16": "BF16",
}
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_JSON = re.compile(rb"\r\ninference-header-content-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)


class Wire(ABC):
    """One protocol with one server. window: how many frames a connection may have under way.

    alike: whether the message of a frame is the same for all sessions.
    """

    window, alike = 1, False

    def __init__(self, target: Target, model: str = "gru", inputs: Sequence[str] = ("x",), timeout_us: int = 0) -> None:
        self.target, self.model, self.inputs, self.timeout_us = target, model, tuple(inputs), timeout_us

    def hello(self, session: int) -> bytes:
        """Return what a connection sends first, with an answer that ends with a blank line; nothing by default."""
        return b""

    @abstractmethod
    def encode(self, session: int, frame: Frame, *, start: bool = False) -> bytes:
        """The request for a frame of a session."""

    def farewell(self, session: int, frame: Frame) -> bytes:
        """Return the message that ends a session, which has an answer; b"" if sessions have no end."""
        return b""

    def fork(self) -> Wire:
        """Return the protocol object for a new connection: this one, unless it keeps state for each connection."""
        return self

    def greeting(self) -> bytes:
        """Return what a connection sends first, without an answer."""
        return b""

    def framed(self, message: bytes) -> bytes:
        """Return an encoded message, or the part of it that may be sent now."""
        return message

    def pong(self, body: bytes) -> bytes:
        """Return the answer to a ping with this body."""
        return b""

    @abstractmethod
    def cut(self, data: bytes) -> Answer | None:
        """Return the first whole answer in `data`; None if it is cut off. Raises `ConnectionError` for other data."""

    def tensor(self, body: bytes) -> bytes:
        """Return the bytes of the output in the body of an answer."""
        return body


class Echo(Wire):
    """Raw TCP: sends as many bytes as a frame's message has, and receives the same bytes."""

    def __init__(self, target: Target, size: int) -> None:
        super().__init__(target)
        self.size = size

    def encode(self, session: int, frame: Frame, *, start: bool = False) -> bytes:
        return _raw(frame).ljust(self.size, b"\0")[: self.size]

    def cut(self, data: bytes) -> Answer | None:
        return (200, data[: self.size], self.size, False) if len(data) >= self.size else None


class Http(Wire):
    """V2 with the binary extension, in both directions. Session 0 is a request without a sequence."""

    def farewell(self, session: int, frame: Frame) -> bytes:
        return self.encode(session, frame, end=True) if session else b""

    def encode(self, session: int, frame: Frame, *, start: bool = False, end: bool = False) -> bytes:
        described = [
            {**self._input(name, array), "parameters": {"binary_data_size": array.nbytes}}
            for name, array in zip(self.inputs, arrays_of(frame), strict=True)
        ]
        parameters = {**self._parameters(session, start, end), "binary_data_output": True}
        text = _compact({"parameters": parameters, "inputs": described})
        head = f"Inference-Header-Content-Length: {len(text)}\r\nContent-Type: application/octet-stream\r\n"
        return self._post(head, text + _raw(frame))

    def cut(self, data: bytes) -> Answer | None:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return None
        if not data.startswith(b"HTTP/1.1 ") or not data[9:12].isdigit():
            raise ConnectionError(f"no answer of HTTP/1.1: {data[:60]!r}")
        status, begin = int(data[9:12]), end + 4
        if status < 200:
            return UNASKED, b"", begin, False
        if length := _LENGTH.search(data, 0, end + 2):
            total = begin + int(length[1])
            body = data[begin:total]
            if len(data) < total:
                return None
        elif _CHUNKED.search(data, 0, end + 2):
            if (found := _unchunked(data, begin)) is None:
                return None
            body, total = found
        elif status in (204, 304):
            body, total = b"", begin
        else:
            raise ConnectionError("an answer of HTTP with neither a length nor chunks")
        if size := _JSON.search(data, 0, end + 2):
            body = body[int(size[1]) :]
        return status, body, total, _CLOSE.search(data, 0, end + 2) is not None

    def _parameters(self, session: int, start: bool, end: bool) -> dict[str, Any]:
        parameters: dict[str, Any] = {"timeout": self.timeout_us} if self.timeout_us else {}
        if session:
            parameters["sequence_id"] = session
        if start:
            parameters["sequence_start"] = True
        if end:
            parameters["sequence_end"] = True
        return parameters

    def _input(self, name: str, array: Array) -> dict[str, Any]:
        return {"name": name, "datatype": DATATYPES[array.dtype.name], "shape": list(array.shape)}

    def _post(self, head: str, body: bytes) -> bytes:
        return self._head(f"/v2/models/{self.model}/infer", f"{head}Content-Length: {len(body)}\r\n") + body

    def _head(self, path: str, head: str, method: str = "POST") -> bytes:
        target = self.target
        return (
            f"{method} {target.prefix}{path} HTTP/1.1\r\nHost: {target.host}\r\n{target.headers}{head}\r\n"
        ).encode()


class Json(Http):
    """V2 as JSON alone."""

    def encode(self, session: int, frame: Frame, *, start: bool = False, end: bool = False) -> bytes:
        described = [
            {**self._input(name, array), "data": array.ravel().tolist()}
            for name, array in zip(self.inputs, arrays_of(frame), strict=True)
        ]
        whole: dict[str, Any] = {"inputs": described}
        if parameters := self._parameters(session, start, end):
            whole = {"parameters": parameters, **whole}
        return self._post("Content-Type: application/json\r\n", _compact(whole))

    def tensor(self, body: bytes) -> bytes:
        (output,) = json.loads(body)["outputs"]
        dtype = next(name for name, datatype in DATATYPES.items() if datatype == output["datatype"])
        return np.asarray(output["data"], dtype).tobytes()


class Raw(Http):
    """HTTP with the bytes of a tensor as the body in both directions, for servers without a protocol."""

    path = "/"

    def encode(self, session: int, frame: Frame, *, start: bool = False, end: bool = False) -> bytes:
        raw = _raw(frame)
        return self._head(self.path, f"Content-Length: {len(raw)}\r\n") + raw


class WebSocket(Http):
    """One stream per connection, with one binary message for each frame, masked as a client's must be."""

    window, alike = 64, True

    def hello(self, session: int) -> bytes:
        query = f"sequence_id={session}" + (f"&timeout={self.timeout_us}" if self.timeout_us else "")
        upgrade = (
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\n"
            "Sec-WebSocket-Version: 13\r\n"
        )
        return self._head(f"/v2/models/{self.model}/stream?{query}", upgrade, "GET")

    def encode(self, session: int, frame: Frame, *, start: bool = False, end: bool = False) -> bytes:
        return self.message(_raw(frame), 0x2)

    def farewell(self, session: int, frame: Frame) -> bytes:
        return self.message((1000).to_bytes(2, "big"), 0x8)

    def pong(self, body: bytes) -> bytes:
        return self.message(body, 0xA)

    @staticmethod
    def message(payload: bytes, opcode: int) -> bytes:
        """Return one whole message of a client."""
        size, mask = len(payload), os.urandom(4)
        if size < 126:
            head = bytes((0x80 | opcode, 0x80 | size))
        elif size < 1 << 16:
            head = bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2, "big")
        else:
            head = bytes((0x80 | opcode, 0xFF)) + size.to_bytes(8, "big")
        key = np.frombuffer(mask * (size // 4 + 1), np.uint8)[:size]
        return head + mask + (np.frombuffer(payload, np.uint8) ^ key).tobytes()

    def cut(self, data: bytes) -> Answer | None:
        if len(data) < 2:
            return None
        size, begin = data[1], 2
        if size == 126:
            size, begin = int.from_bytes(data[2:4], "big"), 4
        elif size == 127:
            size, begin = int.from_bytes(data[2:10], "big"), 10
        if len(data) < begin + size:
            return None
        body, opcode = data[begin : begin + size], data[0] & 15
        status = {2: 200, 9: PING}.get(opcode, UNASKED)
        if opcode == 1 and (said := json.loads(body)).get("type") == "error":
            status = said["status"]
        return status, body, begin + size, opcode == 8


def arrays_of(frame: Frame) -> Sequence[Array]:
    """Return the arrays of a frame: one for each input of the model."""
    return (frame,) if isinstance(frame, np.ndarray) else frame


def _raw(frame: Frame) -> bytes:
    """Return the bytes of the arrays, one after another."""
    return b"".join(array.tobytes() for array in arrays_of(frame))


def _compact(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _unchunked(data: bytes, begin: int) -> tuple[bytes, int] | None:
    """Return the body in chunks that begins at `begin`, and its end; None if it is incomplete."""
    body = b""
    while (line := data.find(b"\r\n", begin)) >= 0:
        size = int(data[begin:line].partition(b";")[0], 16)
        if len(data) < line + 4 + size:
            return None
        if not size:  # trailers would end with another blank line
            end = data.find(b"\r\n\r\n", line)
            return None if end < 0 else (body, end + 4)
        body += data[line + 2 : line + 2 + size]
        begin = line + 4 + size
    return None


PROTOCOLS: Final = {"binary": Http, "json": Json, "websocket": WebSocket}
