"""Whatever a body is, its answer is one of the protocol: never a 500, and the neighbours keep their bits."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

pytest.importorskip("orjson", reason="needs the extra 'serve'")

from asgi import App, Reply, call, protocol, run
from protocol_models import in_bytes, in_json, normal, stateful, stateless, tensor

from fastgru.serve.errors import ServeError
from fastgru.serve.repository import Repository
from fastgru.serve.scheduler import Scheduler
from fastgru.serve.settings import Settings
from fastgru.serve.v2.frames import take
from fastgru.serve.v2.infer import Inference

MODELS = {"m": stateful(), "pair": stateless()}
WORDS = [
    "id", "parameters", "inputs", "outputs", "name", "shape", "datatype", "data", "x", "y", "a", "FP32", "INT8",
    "BYTES", "sequence_id", "sequence_start", "sequence_end", "sequence_step", "timeout", "binary_data_size",
    "binary_data", "binary_data_output", "model_name", "", "\N{SNOWMAN}", "h0",
]  # fmt: skip
NUMBERS = [0, 1, -1, 8, 32, 7, 1 << 31, 1 << 53, 1 << 63, (1 << 64) - 1, 1 << 64, 0.5, -0.0, 1e308, 1e-320]
LEAVES = st.one_of(
    st.sampled_from([None, True, False, *NUMBERS, *WORDS]),
    st.integers(),
    st.floats(allow_nan=True),
    st.text(max_size=5),
)
VALUES = st.recursive(
    LEAVES,
    lambda each: (
        st.lists(each, max_size=9) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=3), each, max_size=5)
    ),
    max_leaves=12,
)
SEEDS: list[Any] = [
    in_json(normal(1, 1, 8)),
    in_json(normal(2, 1, 8), sequence_id=5, sequence_start=True, sequence_end=True, sequence_step=0, timeout=10**6),
    {**in_json(normal(1, 1, 8)), "id": "7", "outputs": [{"name": "y", "parameters": {"binary_data": True}}]},
    {"inputs": [tensor(n, "FP32", np.zeros((1, 2)), data=[1, 0]) for n in "ab"], "outputs": [{"name": "ratio"}]},
    {"inputs": [tensor("x", "FP32", normal(1, 1, 8), parameters={"binary_data_size": 32})]},
]


def _places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [at, *[place for key, each in inside for place in _places(each, (*at, key))]]


@st.composite
def changed(draw: st.DrawFn) -> Any:
    """A request in which something stands that does not belong there."""
    value = json.loads(json.dumps(draw(st.sampled_from(SEEDS))))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.sampled_from(_places(value)))
        if not place:
            continue
        holder = value
        for key in place[:-1]:
            holder = holder[key]
        how = draw(st.sampled_from(["set", "drop", "rename", "repeat"]))
        if how == "set":
            holder[place[-1]] = draw(VALUES)
        elif how == "drop":
            del holder[place[-1]]
        elif isinstance(holder, dict):
            holder[draw(st.sampled_from(WORDS))] = holder[place[-1]]
        else:
            holder.append(holder[place[-1]])
    return value


@st.composite
def bodies(draw: st.DrawFn) -> tuple[bytes, dict[str, str]]:
    """Bodies and headers, well formed and not."""
    text = json.dumps(draw(changed() | VALUES)).encode()
    tail = draw(st.sampled_from([b"", bytes(32), normal(1, 1, 8).tobytes()]) | st.binary(max_size=40))
    body = bytearray(text + tail)
    for _ in range(draw(st.sampled_from([0, 0, 1, 2]))):
        if body:
            at = draw(st.integers(0, len(body) - 1))
            body[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=3))
    length = draw(st.sampled_from([None, str(len(text)), "0", str(len(body)), "5", "-1", "999999", "x"]))
    headers = {} if length is None else {"Inference-Header-Content-Length": length}
    return bytes(body), headers


QUERIES = st.sampled_from(
    ["", "", "", "?sequence_id=9", "?sequence_id=9&sequence_start=true", "?timeout=x", "?a", "?%ff=%00"]
)


@cache
def _app() -> App:
    return protocol(MODELS, admin=False)


SOUND = (200, 400, 403, 404, 405, 409, 410, 413, 414, 415, 503)


async def _neighbour(app: App, step: int) -> bytes:
    body, headers = in_bytes(normal(1, 1, 8, seed=step), sequence_id="neighbour", sequence_start=step == 0)
    return (await call(app, "POST", "/v2/models/m/infer", body, headers)).object_and_bytes[1]


def _check(reply: Reply) -> None:
    assert reply.status in SOUND, reply
    assert b"Traceback" not in reply.body
    if reply.status != 200:
        assert {"error", "reason"} <= {*reply.json}


@settings(max_examples=150)
@given(st.lists(st.tuples(bodies(), QUERIES, st.sampled_from(["m", "m", "m", "pair"])), min_size=1, max_size=4))
def test_no_body_makes_the_server_fail(requests: list[tuple[tuple[bytes, dict[str, str]], str, str]]) -> None:
    async def work() -> None:
        app = _app()
        stream = MODELS["m"].stream()
        for step, ((body, headers), query, model) in enumerate(requests):
            assert await _neighbour(app, step) == stream.push(normal(1, 1, 8, seed=step)).tobytes()
            _check(await call(app, "POST", f"/v2/models/{model}/infer{query}", body, headers))
        assert await _neighbour(app, 9) == stream.push(normal(1, 1, 8, seed=9)).tobytes()

    run(work())


PATHS = st.lists(
    st.sampled_from(
        ["v2", "models", "m", "n", "infer", "ready", "config", "stats", "versions", "1", "2", "sequences", "state",
         "fork", "reset", "repository", "index", "load", "health", "live", "", ".", "..", "%2e%2e", "%2F", "%00",
         "%ff", "a" * 300]
    ),
    max_size=8,
)  # fmt: skip
METHODS = st.sampled_from(["GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "x"])


@settings(max_examples=100)
@given(METHODS, PATHS, QUERIES, st.binary(max_size=30) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_no_path_makes_the_server_fail(method: str, path: list[str], query: str, body: bytes) -> None:
    async def work() -> None:
        app = _app()
        _check(await call(app, method, "/" + "/".join(path) + query, body))

    run(work())


def _read(read: Any) -> Any:
    """What a body comes to: the plan and the bits of the arrays, or the sentence of its refusal."""
    try:
        plan, frames = read()
    except ServeError as error:
        return error.status
    regions = [(region.field, region.shape, region.offset) for region in plan.inputs]
    return plan._replace(inputs=regions), [(frame.dtype, frame.shape, frame.tobytes()) for frame in frames]


@settings(max_examples=150)
@given(changed(), st.sampled_from([(", ", ": "), (",", ":"), (" ,\n", "\t: ")]), st.data())
def test_a_list_that_is_read_by_itself_is_read_the_same(value: Any, separators: tuple[str, str], draw: Any) -> None:
    body = bytearray(json.dumps(value, separators=separators).encode())
    if draw.draw(st.booleans()):
        at = draw.draw(st.integers(0, len(body)))
        new = st.sampled_from([b'"data":[1]', b'"', b"\\", b"]", b"[", b",", b"-", b" "])
        body[at : at + draw.draw(st.integers(0, 1))] = draw.draw(new)

    inference = _inference()

    def whole() -> Any:
        plan = inference._plan(bytes(body), b"", 0)
        return plan, take(plan.inputs, bytes(body), 0)

    assert _read(lambda: inference._read_json(bytes(body), b"")) == _read(whole)


@cache
def _inference() -> Inference:
    async def make() -> Inference:
        return Inference(Repository(MODELS, Settings(capacity=8)).get("m"), Scheduler(), Settings())

    return run(make())
