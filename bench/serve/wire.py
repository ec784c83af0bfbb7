"""What goes over the wire, encoded before the clock starts: V2 with binary tensors, V2 as JSON, WebSocket, raw TCP.

A protocol encodes the frames of one session and cuts answers out of what has come. Its messages are those of any
client of the protocol, so that nothing here depends on this package.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["PROTOCOLS", "UNASKED", "Answer", "Echo", "Http", "Json", "Raw", "WebSocket", "Wire"]

Array = np.ndarray[Any, Any]
# The status, as HTTP has them or UNASKED, the body, and how many bytes the answer takes.
Answer = tuple[int, bytes, int]
UNASKED = 0  # what a server says that answers no frame

DATATYPES = {"float32": "FP32", "float64": "FP64", "int32": "INT32", "int64": "INT64", "uint8": "UINT8"}
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_JSON = re.compile(rb"\r\ninference-header-content-length: *(\d+)", re.IGNORECASE)


class Wire:
    """One protocol at one server. window: how many frames a connection may have under way."""

    window = 1

    def __init__(self, port: int, model: str = "gru", inputs: Sequence[str] = ("x",), timeout_us: int = 0) -> None:
        self.port, self.model, self.inputs, self.timeout_us = port, model, tuple(inputs), timeout_us

    def hello(self, session: int) -> bytes:
        """What a connection sends first, with an answer of its own that ends with a blank line; nothing by default."""
        return b""

    def encode(self, session: int, frame: Array, *, start: bool = False) -> bytes:
        raise NotImplementedError

    def farewell(self, session: int, frame: Array) -> bytes:
        """What ends a session in order, with an answer of its own."""
        raise NotImplementedError

    def cut(self, data: bytes) -> Answer | None:
        """The first whole answer in `data`; None where more has to come."""
        raise NotImplementedError

    def tensor(self, body: bytes) -> bytes:
        """The bytes of the output in the body of an answer."""
        return body


class Echo(Wire):
    """Raw TCP: the bytes of a frame, and the same back."""

    def __init__(self, port: int, size: int) -> None:
        super().__init__(port)
        self.size = size

    def encode(self, session: int, frame: Array, *, start: bool = False) -> bytes:
        return frame.tobytes().ljust(self.size, b"\0")[: self.size]

    def cut(self, data: bytes) -> Answer | None:
        return (200, data[: self.size], self.size) if len(data) >= self.size else None


class Http(Wire):
    """V2 with the binary extension, in and out. session 0 is a request without a sequence."""

    def farewell(self, session: int, frame: Array) -> bytes:
        return self.encode(session, frame, end=True)

    def encode(self, session: int, frame: Array, *, start: bool = False, end: bool = False) -> bytes:
        raw = frame.tobytes()
        text = json.dumps(
            {
                "parameters": {**self._parameters(session, start, end), "binary_data_output": True},
                "inputs": [{**self._input(frame), "parameters": {"binary_data_size": len(raw)}}],
            },
            separators=(",", ":"),
        ).encode()
        head = f"Inference-Header-Content-Length: {len(text)}\r\nContent-Type: application/octet-stream\r\n"
        return self._post(head, text + raw)

    def cut(self, data: bytes) -> Answer | None:
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return None
        length = _LENGTH.search(data, 0, end + 2)
        total = end + 4 + (int(length[1]) if length else 0)
        if len(data) < total:
            return None
        begin = end + 4
        size = _JSON.search(data, 0, end + 2)
        if size:
            begin += int(size[1])
        return int(data[9:12]), data[begin:total], total

    def _parameters(self, session: int, start: bool, end: bool) -> dict[str, Any]:
        parameters: dict[str, Any] = {"timeout": self.timeout_us} if self.timeout_us else {}
        if session:
            parameters["sequence_id"] = session
        if start:
            parameters["sequence_start"] = True
        if end:
            parameters["sequence_end"] = True
        return parameters

    def _input(self, frame: Array) -> dict[str, Any]:
        return {"name": self.inputs[0], "datatype": DATATYPES[frame.dtype.name], "shape": list(frame.shape)}

    def _post(self, head: str, body: bytes) -> bytes:
        return (
            f"POST /v2/models/{self.model}/infer HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n{head}"
            f"Content-Length: {len(body)}\r\n\r\n"
        ).encode() + body


class Json(Http):
    """V2 as JSON alone."""

    def encode(self, session: int, frame: Array, *, start: bool = False, end: bool = False) -> bytes:
        text = json.dumps(
            {
                "parameters": self._parameters(session, start, end),
                "inputs": [{**self._input(frame), "data": frame.ravel().tolist()}],
            },
            separators=(",", ":"),
        ).encode()
        return self._post("Content-Type: application/json\r\n", text)

    def tensor(self, body: bytes) -> bytes:
        (output,) = json.loads(body)["outputs"]
        dtype = next(name for name, datatype in DATATYPES.items() if datatype == output["datatype"])
        return np.asarray(output["data"], dtype).tobytes()


class Raw(Http):
    """HTTP with the bytes of a tensor as the body both ways: what servers without a protocol are given."""

    path = "/"

    def encode(self, session: int, frame: Array, *, start: bool = False, end: bool = False) -> bytes:
        raw = frame.tobytes()
        head = f"POST {self.path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nContent-Length: {len(raw)}\r\n\r\n"
        return head.encode() + raw


class WebSocket(Wire):
    """One stream a connection: a binary frame, masked as a client's has to be, for each frame."""

    window = 64

    def hello(self, session: int) -> bytes:
        return (
            f"GET /v2/models/{self.model}/stream?sequence_id={session} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\n"
            "Sec-WebSocket-Version: 13\r\n\r\n"
        ).encode()

    def encode(self, session: int, frame: Array, *, start: bool = False) -> bytes:
        return self.message(frame.tobytes(), 0x2)

    def farewell(self, session: int, frame: Array) -> bytes:
        return self.message((1000).to_bytes(2, "big"), 0x8)

    @staticmethod
    def message(payload: bytes, opcode: int) -> bytes:
        """One whole message of a client."""
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
        status = 200 if opcode == 2 else UNASKED
        if opcode == 1 and (said := json.loads(body)).get("type") == "error":
            status = said["status"]
        return status, body, begin + size


PROTOCOLS = {"binary": Http, "json": Json, "websocket": WebSocket}
