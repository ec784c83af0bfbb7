"""A server in a thread that speaks gRPC, a client of grpcio with messages of our own table, and raw frames."""

from __future__ import annotations

import asyncio
import queue
import socket
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import numpy as np
from hpack import Decoder, Encoder
from protocol_models import DATATYPES

from bench.serve.process import free_port
from fastgru import serve
from fastgru.serve.grpc.frames import FRAME_HEAD, PREFACE, frame
from fastgru.serve.grpc.messages import message

SERVICE = "/inference.GRPCInferenceService/"
NAMES = {dtype: name for name, dtype in DATATYPES.items()}
END_STREAM, END_HEADERS = 1, 4
KINDS = ("data", "headers", "priority", "reset", "settings", "push", "ping", "goaway", "window", "continuation")


@contextmanager
def served(models: Any, **options: Any) -> Iterator[tuple[Any, int]]:
    """The server, and the port of gRPC. It goes down at the end."""
    found: list[Any] = []
    ready = threading.Event()

    def started(server: Any) -> None:
        found.append((server, asyncio.get_running_loop()))
        ready.set()

    port = free_port()
    given = {"started": started, "port": 0, "grpc_port": port, **options}
    thread = threading.Thread(target=serve.run, args=(models,), kwargs=given)
    thread.start()
    assert ready.wait(60)
    (server, loop) = found[0]
    server.stop_soon = lambda: loop.call_soon_threadsafe(server.stop)

    def reload_soon() -> Future[None]:
        done: Future[None] = Future()
        loop.call_soon_threadsafe(lambda: done.set_result(server.reload()))
        return done

    server.reload_soon = reload_soon
    try:
        yield server, port
    finally:
        try:
            server.stop_soon()
        except RuntimeError:  # it has ended
            pass
        thread.join(30)
        assert not thread.is_alive()


class Client:
    """Of a channel of grpcio."""

    def __init__(self, port: int, channel: Any = None) -> None:
        import grpc

        self.channel = channel or grpc.insecure_channel(f"127.0.0.1:{port}")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.channel.close()

    def ask(self, method: str, /, metadata: Any = None, timeout: float = 30, **fields: Any) -> Any:
        """The answer to a request of these fields."""
        request, response = message(f"{method}Request"), message(f"{method}Response")
        call = self.channel.unary_unary(
            SERVICE + method, request_serializer=request.SerializeToString, response_deserializer=response.FromString
        )
        return call(request(**fields), timeout=timeout, metadata=metadata)

    def infer(self, request: Any, metadata: Any = None, timeout: float = 30) -> Any:
        call = self.channel.unary_unary(
            f"{SERVICE}ModelInfer", response_deserializer=message("ModelInferResponse").FromString
        )
        data = request if isinstance(request, bytes) else request.SerializeToString()
        return call(data, timeout=timeout, metadata=metadata)

    def stream(self, metadata: Any = None) -> Stream:
        return Stream(self.channel, metadata)


class Stream:
    """A call of ModelStreamInfer."""

    def __init__(self, channel: Any, metadata: Any) -> None:
        self.requests: queue.Queue[Any] = queue.Queue()
        self.answers = channel.stream_stream(
            f"{SERVICE}ModelStreamInfer", response_deserializer=message("ModelStreamInferResponse").FromString
        )(iter(self.requests.get, None), metadata=metadata, timeout=60)

    def send(self, request: Any) -> None:
        self.requests.put(request if isinstance(request, bytes) else request.SerializeToString())

    def ask(self, request: Any) -> Any:
        self.send(request)
        return next(self.answers)

    def close(self) -> None:
        self.requests.put(None)


def request(
    model: str, inputs: Mapping[str, np.ndarray], *, typed: bool = False, request_id: str = "", **parameters: Any
) -> Any:
    """A ModelInferRequest. typed: its values are in the contents of each input, else they are raw."""
    made = message("ModelInferRequest")(model_name=model, id=request_id)
    for name, value in parameters.items():
        kind = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}[type(value)]
        if type(value) is int and value >= 1 << 63:
            kind = "uint64_param"
        setattr(made.parameters[name], kind, value)
    for name, array in inputs.items():
        datatype = NAMES[array.dtype.name]
        given = made.inputs.add(name=name, datatype=datatype, shape=array.shape)
        if typed:
            getattr(given.contents, contents_of(datatype)).extend(array.ravel().tolist())
        else:
            made.raw_input_contents.append(array.tobytes())
    return made


def contents_of(datatype: str) -> str:
    if datatype in ("INT8", "INT16", "INT32", "UINT8", "UINT16", "UINT32"):
        return "int_contents" if datatype[0] == "I" else "uint_contents"
    return f"{datatype.lower()}_contents"


def arrays(answer: Any) -> dict[str, np.ndarray]:
    """The outputs of a ModelInferResponse."""
    return {
        output.name: np.frombuffer(raw, DATATYPES[output.datatype]).reshape(output.shape)
        for output, raw in zip(answer.outputs, answer.raw_output_contents, strict=True)
    }


class Raw:
    """A connection whose frames are written by hand. settled: begun with a preface and settings."""

    def __init__(self, port: int, *, settled: bool = True) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.data = b""
        self.encoder, self.decoder = Encoder(), Decoder()
        if settled:
            self.send(PREFACE, frame(4, 0, 0))

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, *parts: bytes) -> None:
        self.socket.sendall(b"".join(parts))

    def head(self, method: str = "ServerLive", **more: str) -> bytes:
        given = {
            ":method": "POST", ":scheme": "http", ":path": SERVICE + method, ":authority": "localhost",
            "content-type": "application/grpc", "te": "trailers",
        }  # fmt: skip
        given |= {name.replace("__", ":").replace("_", "-"): value for name, value in more.items()}
        return self.encoder.encode([(name, value) for name, value in given.items() if value])

    def open(self, number: int, method: str = "ServerLive", *, end: bool = False, **more: str) -> None:
        self.send(frame(1, END_HEADERS | (END_STREAM if end else 0), number, self.head(method, **more)))

    def call(self, number: int, data: bytes, *, end: bool = True) -> None:
        """A message of a stream."""
        self.send(frame(0, END_STREAM if end else 0, number, b"\0" + len(data).to_bytes(4, "big") + data))

    def read(self) -> tuple[str, int, int, bytes] | None:
        """The next frame: kind, flags, stream, payload; None where the server has closed."""
        while len(self.data) < 9 or len(self.data) < 9 + int.from_bytes(self.data[:3], "big"):
            try:
                got = self.socket.recv(65536)
            except ConnectionError:
                got = b""
            if not got:
                return None
            self.data += got
        word, flags, number = FRAME_HEAD.unpack_from(self.data)
        payload, self.data = self.data[9 : 9 + (word >> 8)], self.data[9 + (word >> 8) :]
        return KINDS[word & 255], flags, number, payload

    def until(self, *kinds: str) -> tuple[str, int, int, bytes] | None:
        """The next frame of one of these kinds."""
        while (found := self.read()) is not None and found[0] not in kinds:
            if found[0] == "headers":
                self.decoder.decode(found[3])
        return found

    def trailers(self) -> dict[str, str]:
        """The headers at the end of a call."""
        while True:
            found = self.until("headers")
            assert found is not None, "the server has closed"
            headers = dict(self.decoder.decode(found[3]))
            if found[1] & END_STREAM:
                return headers

    def farewell(self) -> int | None:
        """The code with which the server ends the connection, which it closes then."""
        found = self.until("goaway")
        while self.read() is not None:
            pass
        return None if found is None else int.from_bytes(found[3][4:8], "big")
