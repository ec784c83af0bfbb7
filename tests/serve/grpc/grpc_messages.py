"""What clients of gRPC send over a new connection, whole and spoilt, and what of the answers is a fault."""

from __future__ import annotations

import random
import struct
from collections.abc import Iterator

import numpy as np
from grpc_server import SERVICE, Raw, arrays, request
from hpack import Decoder, Encoder, HPACKError
from mutate import mutate_bytes

from fastgru.serve.errors import INTERNAL
from fastgru.serve.grpc.frames import FRAME_HEAD, PREFACE, frame
from fastgru.serve.grpc.messages import message
from fastgru.serve.grpc.methods import METHODS, NOT_HERE

__all__ = ["GrpcMessages", "Neighbour", "faults_of_grpc", "statuses_of_grpc"]

_INTERNAL, _UNKNOWN = b"13", b"2"
_FRAMES = 9


class GrpcMessages:
    """frame: of the model `name`."""

    def __init__(self, name: str, x: np.ndarray) -> None:
        self.name, self.x = name, x

    def whole(self) -> bytes:
        return PREFACE + frame(4, 0, 0) + self._call(Encoder(), 1, "ModelInfer", request(self.name, {"x": self.x}))

    def message(self, rng: random.Random) -> bytes:
        """Calls of any method, of which one layer is spoilt: the message, its field, the frames, or the bytes."""
        encoder, parts = Encoder(), [frame(4, 0, 0)]
        for k in range(rng.choice((1, 1, 2, 4))):
            method = rng.choice((*METHODS, *("ModelInfer", "ModelStreamInfer") * 6, rng.choice((*NOT_HERE, "None"))))
            body = self._body(method, rng)
            way = rng.randrange(6)
            if way < 3:
                body = mutate_bytes(body, rng)
            prefix = b"\0" + len(body).to_bytes(4, "big")
            if way == 3:
                prefix = rng.choice(
                    (b"\1" + prefix[1:], struct.pack(">BI", 0, rng.randrange(1 << 32)), prefix[:3], b"")
                )
            data = prefix + body
            if "Stream" in method and rng.random() < 0.5:
                data *= rng.choice((2, 5, 200))
            head = self._head(encoder, method, rng)
            calls = [frame(1, rng.choice((4, 4, 4, 4, 5, 0)), 2 * k + 1, head)]
            cut = rng.randrange(len(data) + 1) if rng.random() < 0.3 else len(data)
            pieces = [data[at : min(cut, at + (1 << 14))] for at in range(0, len(data), 1 << 14)]
            calls += [frame(0, 0, 2 * k + 1, piece) for piece in pieces]
            calls.append(frame(0, 1, 2 * k + 1))
            if way == 4:
                calls.insert(rng.randrange(len(calls) + 1), self._odd(rng))
            if way == 5 and rng.random() < 0.5:
                calls[rng.randrange(len(calls))] = mutate_bytes(rng.choice(calls)[:64], rng)
            parts += calls
        text = b"".join(parts)
        if rng.random() < 0.1:
            text = mutate_bytes(text, rng)
        preface = mutate_bytes(PREFACE, rng) if rng.random() < 0.03 else PREFACE
        return preface + text

    def _call(self, encoder: Encoder, number: int, method: str, given: object) -> bytes:
        data = given.SerializeToString()  # type: ignore[attr-defined]
        head = self._head(encoder, method, None)
        return frame(1, 4, number, head) + frame(0, 1, number, b"\0" + len(data).to_bytes(4, "big") + data)

    def _head(self, encoder: Encoder, method: str, rng: random.Random | None) -> bytes:
        headers = {
            ":method": "POST", ":scheme": "http", ":path": SERVICE + method, ":authority": "localhost",
            "content-type": "application/grpc", "te": "trailers",
        }  # fmt: skip
        if rng is not None and rng.random() < 0.2:
            name = rng.choice((*headers, "grpc-timeout", "host", "authorization", "x"))
            headers[name] = rng.choice(("", "1n", "9" * 9, "evil.example", "gzip", "x" * 3000, "GET", "5S", "Bearer a"))
        block = encoder.encode(list(headers.items()))
        return mutate_bytes(block, rng) if rng is not None and rng.random() < 0.05 else block

    def _body(self, method: str, rng: random.Random) -> bytes:
        if method not in ("ModelInfer", "ModelStreamInfer"):
            fields: dict[str, object] = {}
            if "Repository" in method:
                fields = {} if method == "RepositoryIndex" else {"model_name": rng.choice(("none", ""))}
            elif method in METHODS and "Server" not in method:
                fields = {"name": rng.choice((self.name, "none", "")), "version": rng.choice(("", "1", "2"))}
            return message(f"{method}Request")(**fields).SerializeToString() if method in METHODS else b""
        given = request(self.name, {"x": self.x}, typed=rng.random() < 0.3, request_id=rng.choice(("", "7")))
        for name in rng.sample(
            ("sequence_id", "sequence_start", "sequence_step", "timeout", "priority"), rng.choice((0, 1, 2))
        ):
            kind = rng.choice(("bool_param", "int64_param", "string_param", "double_param", "uint64_param"))
            value = {"b": True, "s": "t", "d": 1.5}.get(kind[0], rng.choice((1, 2, 3, 0, 1 << 62)))
            setattr(given.parameters[name], kind, value)
        return bytes(given.SerializeToString())

    @staticmethod
    def _odd(rng: random.Random) -> bytes:
        kind = rng.choice((2, 3, 4, 5, 6, 7, 8, 9, 10, 255))
        return frame(
            kind, rng.randrange(256), rng.choice((0, 1, 2, 3, 1 << 30)), rng.randbytes(rng.choice((0, 4, 5, 6, 8, 40)))
        )


def _frames(reply: bytes) -> Iterator[tuple[int, int, bytes]]:
    reply = reply.partition(b"HTTP/1.1 400")[0]  # said to what is no HTTP/2
    while len(reply) >= _FRAMES:
        word, flags, _ = FRAME_HEAD.unpack_from(reply)
        yield word & 255, flags, reply[_FRAMES : _FRAMES + (word >> 8)]
        reply = reply[_FRAMES + (word >> 8) :]


def statuses_of_grpc(reply: bytes) -> list[bytes]:
    """The statuses of the calls of a connection; "broken" where headers cannot be read."""
    decoder, found = Decoder(), []
    for kind, _, payload in _frames(reply):
        if kind == 1:
            try:
                headers = dict(decoder.decode(payload, raw=True))
            except HPACKError:
                return [*found, b"broken"]
            found += [headers[b"grpc-status"]] if b"grpc-status" in headers else []
    return found


def faults_of_grpc(reply: bytes) -> list[str]:
    found = [f"status {status!r}" for status in statuses_of_grpc(reply) if status in (_INTERNAL, _UNKNOWN, b"broken")]
    if b"Traceback" in reply or INTERNAL.encode() in reply:
        found.append("a fault of the server")
    for kind, _, payload in _frames(reply):
        if kind > 9 or (kind == 7 and payload[4:8] == (2).to_bytes(4, "big")):
            found.append(f"a frame {kind} {payload[:40]!r}")
    return found


class Neighbour:
    """A stream of one sequence, whose outputs have to be those of a stream that is alone."""

    def __init__(self, port: int, name: str, frames: list[np.ndarray], stream: object) -> None:
        self.raw, self.name, self.frames, self.stream = Raw(port), name, frames, stream
        self.raw.send(frame(8, 0, 0, (1 << 30).to_bytes(4, "big")), frame(4, 0, 0, b"\0\4\x7f\xff\xff\xff"))
        self.raw.open(1, "ModelStreamInfer")
        self.steps, self.wrong = 0, 0

    def step(self) -> None:
        x = self.frames[self.steps % len(self.frames)]
        given = request(self.name, {"x": x}, sequence_id=10**12 + 99, sequence_start=self.steps == 0)
        self.raw.call(1, given.SerializeToString(), end=False)
        found = self.raw.until("data", "reset", "goaway")
        assert found is not None
        assert found[0] == "data", found
        answer = message("ModelStreamInferResponse").FromString(found[3][5:])
        expected = self.stream.push(x)  # type: ignore[attr-defined]
        self.wrong += bool(answer.error_message) or not np.array_equal(arrays(answer.infer_response)["y"], expected)
        self.steps += 1
