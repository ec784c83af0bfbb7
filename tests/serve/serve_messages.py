"""Messages of every protocol of the server, whole ones and spoilt ones: the same number is the same message."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
from grpc_messages import GrpcMessages
from mutate import mutate_bytes, mutate_json

from fastgru.bench.serving.target import Target
from fastgru.bench.serving.wire import Http, Json, WebSocket

__all__ = ["MODEL", "Messages"]

MODEL = "gru"
_HEADERS = (
    b"Transfer-Encoding: chunked", b"Content-Length: 5", b"Content-Encoding: gzip", b"Expect: 100-continue",
    b"Connection: close", b"Host: evil.example", b"Origin: https://evil.example", b"Upgrade: websocket",
    b"Inference-Header-Content-Length: 99999999999999999999", b"Inference-Header-Content-Length: -1",
    b"Authorization: Bearer nobody", b"X: " + 9_000 * b"x", b" folded", b"Content-Length: 1e3", b"Range: bytes=0-1",
)  # fmt: skip
_CONTROL = (
    {"type": "open", "sequence_id": 3}, {"type": "reset"}, {"type": "save"}, {"type": "load"}, {"type": "keepalive"},
    {"type": "finalize"}, {"type": "close"}, {"type": "open", "sequence_id": "t", "keep": True}, {"type": "other"}, {},
)  # fmt: skip


class Messages:
    """What a client sends over a new connection: `message(number)` gives one, made of whole ones and spoilt.

    saved: a state of the model.
    """

    def __init__(self, port: int, saved: bytes, hidden: int = 16) -> None:
        self.port, self.saved = port, saved
        self.frame = np.random.default_rng(0).standard_normal((1, 1, hidden)).astype(np.float32)
        self.wires = {kind: kind(Target.local(port), MODEL) for kind in (Http, Json, WebSocket)}
        self.makers: list[Callable[[random.Random], bytes]] = [
            self.binary, self.json, self.json, self.query, self.endpoint, self.endpoint, self.state, self.stream,
            self.stream, self.control,
        ]  # fmt: skip
        self.grpc = GrpcMessages(MODEL, self.frame)

    @staticmethod
    def is_grpc(number: int) -> bool:
        """Whether the message is for the port of gRPC."""
        return number % 4 == 3

    def message(self, number: int) -> bytes:
        rng = random.Random(number)
        if self.is_grpc(number):
            return self.grpc.message(rng)
        return self.makers[number // 4 % len(self.makers)](rng)

    def whole(self) -> list[bytes]:
        """A message of each kind that nothing was done to, to be sure that what is spoilt was good."""
        return [
            self._http().encode(0, self.frame),
            self._http().encode(5, self.frame, start=True),
            self.wires[Json].encode(0, self.frame),
            self._request("GET", f"/v2/models/{MODEL}"),
        ]

    def _http(self) -> Http:
        wire = self.wires[Http]
        assert isinstance(wire, Http)
        return wire

    def _request(self, method: str, path: str, body: bytes = b"", *more: bytes) -> bytes:
        head = [f"{method} {path} HTTP/1.1".encode("latin-1"), b"Host: 127.0.0.1:%d" % self.port, *more]
        if body or method in ("POST", "PUT"):
            head.append(b"Content-Length: %d" % len(body))
        return b"\r\n".join([*head, b"", b""]) + body

    def _spoil(self, request: bytes, rng: random.Random) -> bytes:
        """A change in the head, a header more, the body cut off, chunks, or a second request behind it."""
        head, _, body = request.partition(b"\r\n\r\n")
        way = rng.randrange(8)
        if way < 2:
            head = mutate_bytes(head, rng)
        elif way == 2:
            lines = head.split(b"\r\n")
            lines.insert(rng.randrange(1, len(lines) + 1), rng.choice(_HEADERS))
            head = b"\r\n".join(lines)
        elif way == 3:
            lines = head.split(b"\r\n")
            del lines[rng.randrange(len(lines))]
            head = rng.choice((b"\r\n", b"\r\n", b"\n")).join(lines)
        elif way == 4:
            body = body[: rng.randrange(len(body) + 1)]
        elif way == 5:
            head = b"\r\n".join(line for line in head.split(b"\r\n") if not line.startswith(b"Content-Length"))
            size = mutate_bytes(b"%x" % len(body), rng) if rng.random() < 0.5 else b"%x" % len(body)
            head, body = head + b"\r\nTransfer-Encoding: chunked", size + b"\r\n" + body + b"\r\n0\r\n\r\n"
        elif way == 6:
            return request + mutate_bytes(request, rng)
        return head + b"\r\n\r\n" + body

    def _parameters(self, rng: random.Random) -> dict[str, Any]:
        """Good ones, or of any kind."""
        if rng.random() < 0.5:
            return {"sequence_id": rng.choice((1, 2, 3, "t")), "sequence_start": True} if rng.random() < 0.7 else {}
        choices: dict[str, Any] = {
            "sequence_id": rng.choice((1, 2, 3, 0, -1, 2**64, "t", "", "x" * 300, 1.5, None, [], True)),
            "sequence_start": rng.choice((True, False, "true", 1)),
            "sequence_end": rng.choice((True, False, 0)),
            "sequence_step": rng.choice((0, 1, 5, -1, 2**63, "1")),
            "timeout": rng.choice((0, 1, 1000, 10**9, -5, 2**70, "5")),
            "binary_data_output": rng.choice((True, False, 2)),
            "priority": 1,
        }
        return {name: choices[name] for name in rng.sample(list(choices), rng.choice((0, 1, 2, 2, 3)))}

    def _object(self, rng: random.Random, **tensor: Any) -> bytes:
        frame = {"name": "x", "datatype": "FP32", "shape": list(self.frame.shape), **tensor}
        whole = {"id": "1", "parameters": self._parameters(rng), "inputs": [frame], "outputs": [{"name": "y"}]}
        text = json.dumps(whole).encode()
        return mutate_json(text, rng) if rng.random() < 0.5 else text

    def binary(self, rng: random.Random) -> bytes:
        raw = self.frame.tobytes()
        if rng.random() < 0.3:
            raw = mutate_bytes(raw, rng)
        text = self._object(rng, parameters={"binary_data_size": rng.choice((len(raw), len(raw), 0, 1 << 40))})
        size = rng.choice((len(text), len(text), len(text), len(text) + 1, 0, len(text) + len(raw) + 1))
        more = b"Inference-Header-Content-Length: %d" % size
        request = self._request("POST", f"/v2/models/{MODEL}/infer", text + raw, more)
        return self._spoil(request, rng) if rng.random() < 0.3 else request

    def json(self, rng: random.Random) -> bytes:
        text = self._object(rng, data=self.frame.ravel().tolist())
        request = self._request("POST", f"/v2/models/{MODEL}/infer", text, b"Content-Type: application/json")
        return self._spoil(request, rng) if rng.random() < 0.3 else request

    def query(self, rng: random.Random) -> bytes:
        """A raw body, with the parameters in the URL."""
        values = "&".join(f"{name}={value}" for name, value in self._parameters(rng).items())
        path = mutate_bytes(f"/v2/models/{MODEL}/infer?{values}".encode(), rng).decode("latin-1")
        body = self.frame.tobytes()[: rng.choice((None, 0, 3, 8))]
        more = b"Content-Type: application/octet-stream", b"Inference-Header-Content-Length: 0"
        return self._request("POST", path if rng.random() < 0.5 else path.replace(" ", ""), body, *more)

    def endpoint(self, rng: random.Random) -> bytes:
        method = rng.choice(("GET", "GET", "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH", "BREW"))
        parts = ["", "v2", "models", MODEL, "versions", "1", "config", "stats", "ready", "sequences", "3", "state",
                 "infer", "stream", "repository", "index", "health", "live", "metrics", "fork", "reset", "..", "%00",
                 "%2e%2e", "*", "\xff"]  # fmt: skip
        known = rng.choice(
            ("/v2", "/v2/health/live", "/v2/health/ready", f"/v2/models/{MODEL}", f"/v2/models/{MODEL}/config",
             f"/v2/models/{MODEL}/stats", f"/v2/models/{MODEL}/ready", "/v2/models/stats", "/metrics",
             f"/v2/models/{MODEL}/sequences/3", f"/v2/models/{MODEL}/versions/1", f"/v2/models/{MODEL}/sequences")
        )  # fmt: skip
        path = known if rng.random() < 0.4 else "/".join(rng.choices(parts, k=rng.randrange(1, 8))) or "/"
        body = mutate_json(b'{"ready":true}', rng) if method != "GET" else b""
        return self._spoil(self._request(method, path, body), rng)

    def state(self, rng: random.Random) -> bytes:
        """The state of a session: another's bytes, or spoilt ones; fork, reset and end."""
        base = f"/v2/models/{MODEL}/sequences/{rng.choice(('3', 't', '0', '-1', '%22t%22', 'x' * 999, '%ff'))}"
        method, path, body = rng.choice(
            (
                ("PUT", base + "/state", rng.randbytes(rng.choice((0, 8, 64, 4096)))),
                ("PUT", base + "/state", self.saved),
                ("PUT", base + "/state", mutate_bytes(self.saved, rng)),
                ("PUT", base + "/state", b""),
                ("GET", base + "/state", b""),
                ("DELETE", base, b""),
                ("POST", base + "/reset", b""),
                ("POST", base + "/fork", mutate_json(b'{"id":4}', rng)),
            )
        )
        request = self._request(method, path, body)
        return self._spoil(request, rng) if rng.random() < 0.4 else request

    def stream(self, rng: random.Random) -> bytes:
        """A WebSocket: the handshake, and binary messages of every size, fragmented, masked wrongly, spoilt."""
        wire = self.wires[WebSocket]
        hello = wire.hello(rng.choice((0, 0, 3, 4, 2**63)))
        if rng.random() < 0.2:
            return self._spoil(hello, rng)
        frames = []
        for _ in range(rng.choice((1, 2, 3))):
            payload = self.frame.tobytes()[: rng.choice((None, None, None, 0, 5))]
            opcode = rng.choice((2, 2, 2, 1, 0, 8, 9, 10, 3, 11))
            frame = WebSocket.message(payload * rng.choice((1, 1, 1, 3, 5000)), opcode)
            if rng.random() < 0.5:
                frame = mutate_bytes(frame[:16], rng) + frame[16:]
            frames.append(frame)
        return hello + b"".join(frames)

    def control(self, rng: random.Random) -> bytes:
        """A WebSocket and messages of text."""
        texts = [json.dumps(rng.choice(_CONTROL)).encode() for _ in range(rng.choice((1, 2, 4)))]
        texts = [mutate_json(text, rng) if rng.random() < 0.6 else text for text in texts]
        parts = [WebSocket.message(text, 1) for text in texts]
        parts.insert(rng.randrange(len(parts) + 1), WebSocket.message(self.frame.tobytes(), 2))
        return self.wires[WebSocket].hello(rng.choice((3, 4, 5))) + b"".join(parts)
