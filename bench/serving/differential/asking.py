"""Calls to a server of the Open Inference Protocol, and observations of the answers for a comparison.

An observation is {"status", "type", "body"}: the status, the media type, and the body with its values (floats rounded)
or only with the types of its fields. Bytes after a JSON object are read by its datatypes. Of an error, only the types
of its fields are kept.
"""

from __future__ import annotations

import gzip
import http.client
import json
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

__all__ = ["DTYPES", "Asker", "numbers", "rounded", "types_of"]

_MOST_BYTES = 4_096  # of a tensor that is kept number by number
Json = Any
Observation = dict[str, Any]
DTYPES = {
    "BOOL": "?", "UINT8": "u1", "UINT16": "<u2", "UINT32": "<u4", "UINT64": "<u8", "INT8": "i1", "INT16": "<i2",
    "INT32": "<i4", "INT64": "<i8", "FP16": "<f2", "FP32": "<f4", "FP64": "<f8",
}  # fmt: skip


class Asker:
    """Calls one server, and keeps an observation for every call, by its name, in `seen`."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.seen: dict[str, Observation] = {}

    def keep(self, name: str, observation: Observation) -> None:
        if name in self.seen:
            raise ValueError(f"there are two calls {name!r}")
        self.seen[name] = observation

    def http(
        self,
        name: str,
        request: str,
        body: Json = b"",
        headers: Mapping[str, str] | None = None,
        *,
        show: Callable[[Json], Json] | None = None,
    ) -> None:
        """request: "METHOD /path". body: bytes, or data for JSON. show: returns what to keep of a 200 body."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.keep(name, _seen(*self._exchange(request, data, headers), show))

    def until(self, request: str, body: bytes, holds: Callable[[Json], bool]) -> None:
        """Ask until the answer meets a condition, for work that a server continues after it has answered."""
        for _ in range(100):
            if holds(json.loads(self._exchange(request, body)[2])):
                return
            time.sleep(0.05)
        raise TimeoutError(f"{request}: it does not come true in 5 s")

    def _exchange(
        self, request: str, data: bytes, headers: Mapping[str, str] | None = None
    ) -> tuple[int, Mapping[str, str], bytes]:
        method, _, path = request.partition(" ")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, data if data or method in ("POST", "PUT") else None, dict(headers or {}))
            answer = connection.getresponse()
            body = answer.read()
            if answer.headers.get("content-encoding") == "gzip":
                body = gzip.decompress(body)
            return answer.status, answer.headers, body
        finally:
            connection.close()


def _seen(status: int, headers: Mapping[str, str], body: bytes, show: Callable[[Json], Json] | None) -> Observation:
    seen: Observation = {"status": status}
    if not body:
        return seen
    seen["type"] = headers.get("content-type", "").partition(";")[0]
    length = headers.get("inference-header-content-length")
    text = body if length is None else body[: int(length)]
    try:
        value = json.loads(text)
    except ValueError:
        return {**seen, "body": "no JSON"}
    if length is not None:
        value["bytes"] = _tensors(value.get("outputs", ()), body[int(length) :])
    if status != 200:
        show = types_of
    return {**seen, "body": rounded(value) if show is None else show(value)}


def _tensors(outputs: Iterable[Json], data: bytes) -> dict[str, Json]:
    found: dict[str, Json] = {}
    for output in outputs:
        size = output.get("parameters", {}).get("binary_data_size")
        if size is not None:
            found[output["name"]] = numbers(output["datatype"], data[:size])
            data = data[size:]
    return {**found, "rest": len(data)} if data else found


def numbers(datatype: str, data: bytes) -> Json:
    """Return the numbers of a tensor as a list, or for many a text with a checksum; other datatypes as text."""
    if len(data) > _MOST_BYTES:
        return f"{len(data)} bytes with the CRC-32 {zlib.crc32(data):08x}"
    if datatype not in DTYPES:
        return data.decode("latin-1")
    return np.frombuffer(data, DTYPES[datatype]).tolist()


def rounded(value: Json) -> Json:
    """Return the value with floats rounded to four digits, and with texts for floats that JSON lacks."""
    if isinstance(value, float):
        return repr(value) if value != value or abs(value) == np.inf else round(value, 4) + 0.0
    if isinstance(value, dict):
        return {name: rounded(each) for name, each in value.items()}
    if isinstance(value, list):
        return [rounded(each) for each in value]
    return value


def types_of(value: Json) -> Json:
    """Return fields with the types of their values, and lists with their different elements."""
    if isinstance(value, dict):
        return {name: types_of(each) for name, each in value.items()}
    if isinstance(value, list):
        found: list[Json] = []
        for each in map(types_of, value):
            if each not in found:
                found.append(each)
        return found
    kinds: dict[type, str] = {str: "text", bool: "bool", int: "number", float: "number"}
    return None if value is None else kinds[type(value)]
