"""Inference by the protocol: what goes in is what the model gets, and what it gives comes out, in JSON and in bytes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

pytest.importorskip("orjson", reason="needs the extra 'serve'")

from asgi import App, Reply, call, protocol, run
from protocol_models import DATATYPES, in_bytes, in_json, normal, of_dtype, stateful, stateless, tensor

Asks = Callable[..., Awaitable[Reply]]
MODEL = stateful()


@cache
def _app(name: str) -> App:
    made = {"stateful": stateful, "stateless": stateless, "two columns": lambda: of_dtype("float32", 2)}.get(name)
    return protocol({"m": of_dtype(name) if made is None else made()})


def serve(work: Callable[[Asks], Awaitable[Any]], model: str = "stateful") -> Any:
    async def ask() -> Any:
        app = _app(model)
        return await work(lambda *arguments, **more: call(app, *arguments, **more))

    return run(ask())


def infer(body: Any, headers: dict[str, str] | None = None, *, model: str = "stateful") -> Reply:
    """One request to one model."""
    return serve(lambda ask: ask("POST", "/v2/models/m/infer", body, headers), model)


def refused(body: Any, headers: dict[str, str] | None = None, **more: Any) -> str:
    """The sentence that a request gets with 400."""
    reply = infer(body, headers, **more)
    assert reply.status == 400, reply
    assert {*reply.json} == {"error", "reason"}
    return reply.json["error"]


def test_json_in_and_out() -> None:
    x = normal(5, 1, 8)
    reply = infer({"id": 'a"b', **in_json(x)})
    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    answer = reply.json
    (y,) = answer.pop("outputs")
    assert answer == {"id": 'a"b', "model_name": "m", "model_version": "1"}
    assert (y["name"], y["datatype"], y["shape"]) == ("y", "FP32", [5, 1, 3])
    np.testing.assert_array_equal(np.array(y["data"], np.float32).reshape(5, 1, 3), MODEL.stream().push(x))


def test_data_may_be_nested_as_its_shape_is() -> None:
    x = normal(2, 1, 8)
    nested = {"inputs": [tensor("x", "FP32", x, data=x.tolist())]}
    assert infer(nested).json == infer(in_json(x)).json
    for wrong in ([*x.tolist(), []], x.tolist()[0], [[x.ravel().tolist()]], [[[0.0] * 8], [[0.0] * 7 + [[]]]]):
        assert "data" in refused({"inputs": [tensor("x", "FP32", x, data=wrong)]})


@pytest.mark.parametrize("name", ["", "name", "a" * 33])  # the bytes of the tensor lie at any address
def test_bytes_in_and_out(name: str) -> None:
    x = normal(5, 1, 8)
    body, headers = in_bytes(x)
    if name:
        length = int(headers["Inference-Header-Content-Length"])
        text = json.dumps({"id": name, **json.loads(body[:length])}).encode()
        body, headers = text + body[length:], {"Inference-Header-Content-Length": str(len(text))}
    reply = infer(body, headers)
    assert (reply.status, reply.headers["content-type"]) == (200, "application/octet-stream")
    answer, following = reply.object_and_bytes
    output = {"name": "y", "datatype": "FP32", "shape": [5, 1, 3], "parameters": {"binary_data_size": 60}}
    assert answer == {**({"id": name} if name else {}), "model_name": "m", "model_version": "1", "outputs": [output]}
    np.testing.assert_array_equal(np.frombuffer(following, np.float32).reshape(5, 1, 3), MODEL.stream().push(x))


@pytest.mark.parametrize("datatype", DATATYPES)
@pytest.mark.parametrize("form", ["json", "bytes", "raw"])
def test_every_datatype(datatype: str, form: str) -> None:
    dtype = np.dtype(DATATYPES[datatype])
    if dtype.kind == "b":
        x = np.array([[True, False, True], [False, False, True]])
    elif dtype.kind == "f":
        x = np.array([[0.1, -1e30, 3], [1e-40, 0, -0.0]], dtype)
    else:
        least, most = np.iinfo(dtype).min, np.iinfo(dtype).max
        x = np.array([[least, most, 1], [0, 2, most - 1]], dtype)
    given = tensor("x", datatype, x)
    if form == "json":
        reply = infer({"inputs": [{**given, "data": x.tolist()}]}, model=dtype.name)
        (output,) = reply.json["outputs"]
        got = np.array(output["data"], dtype).reshape(x.shape)
    else:
        text = json.dumps({"inputs": [{**given, "parameters": {"binary_data_size": x.nbytes}}]})
        text = (
            text.replace('"inputs"', '"parameters": {"binary_data_output": true}, "inputs"') if form == "bytes" else ""
        )
        headers = {"Inference-Header-Content-Length": str(len(text))}
        reply = infer(text.encode() + x.tobytes(), headers, model=dtype.name)
        answer, following = reply.object_and_bytes
        (output,) = answer["outputs"]
        got = np.frombuffer(following, dtype).reshape(x.shape)
    assert (output["datatype"], output["shape"]) == (datatype, [2, 3])
    np.testing.assert_array_equal(got, x)


@pytest.mark.parametrize("datatype", ["FP16", "BF16", "BYTES", "FP8", ""])
def test_datatypes_that_no_model_takes_are_refused_by_name(datatype: str) -> None:
    x = np.zeros((1, 1, 8), np.float16)
    for more in ({"data": [0] * 8}, {"parameters": {"binary_data_size": 16}}):
        assert repr(datatype) in refused({"inputs": [tensor("x", datatype, x, **more)]})


def test_outputs_that_are_asked_for_come_in_that_order_each_in_its_form() -> None:
    a, b = np.float32([[1, 2]]), np.float32([[4, 8]])
    inputs = [tensor("b", "FP32", b, data=[4, 8]), tensor("a", "FP32", a, data=[1, 2])]

    def ask(outputs: Any, **parameters: Any) -> Reply:
        return infer({"inputs": inputs, "outputs": outputs, "parameters": parameters}, model="stateless")

    total, ratio = ({"name": n, "datatype": "FP32", "shape": [1, 2]} for n in ("total", "ratio"))
    assert ask([{"name": "ratio"}]).json["outputs"] == [{**ratio, "data": [0.25, 0.25]}]
    both = ask([{"name": "ratio", "parameters": {"binary_data": True}}, {"name": "total"}])
    answer, following = both.object_and_bytes
    size = {"parameters": {"binary_data_size": 8}}
    assert answer["outputs"] == [{**ratio, **size}, {**total, "data": [5.0, 10.0]}]
    assert following == np.float32([0.25, 0.25]).tobytes()
    given = ask([{"name": "total", "parameters": {"binary_data": False}}, {"name": "ratio"}], binary_data_output=True)
    assert given.object_and_bytes[0]["outputs"] == [{**total, "data": [5.0, 10.0]}, {**ratio, **size}]
    every, following = ask([], binary_data_output=True).object_and_bytes
    assert every["outputs"] == [{**total, **size}, {**ratio, **size}]
    assert following == np.float32([5, 10, 0.25, 0.25]).tobytes()


def test_what_is_not_finite_is_null_in_json_and_counted() -> None:
    a, b = np.float32([[0, 1], [1, -1]]), np.float32([[0, 0], [2, 0]])
    inputs = [tensor("a", "FP32", a, data=a.tolist()), tensor("b", "FP32", b, data=b.tolist())]
    total, ratio = infer({"inputs": inputs}, model="stateless").json["outputs"]
    assert (ratio["data"], ratio["parameters"]) == ([None, None, 0.5, None], {"non_finite": 3})
    assert "parameters" not in total
    request = {"inputs": inputs, "outputs": [{"name": "ratio", "parameters": {"binary_data": True}}]}
    _, following = infer(request, model="stateless").object_and_bytes
    np.testing.assert_array_equal(np.frombuffer(following, np.float32), [np.nan, np.inf, 0.5, -np.inf])


def test_a_body_of_bytes_alone() -> None:
    x = normal(1, 1, 8)
    reply = infer(x.tobytes(), {"Inference-Header-Content-Length": "0"})
    _, following = reply.object_and_bytes
    np.testing.assert_array_equal(np.frombuffer(following, np.float32).reshape(1, 1, 3), MODEL.stream().push(x))
    assert infer(normal(9, 1, 8).tobytes(), {"Inference-Header-Content-Length": "0"}).object_and_bytes[0]["outputs"][0][
        "shape"
    ] == [9, 1, 3]  # the batch of a body alone is 1
    assert "shape" in refused(b"", {"Inference-Header-Content-Length": "0"})
    assert "shape" in refused(x.tobytes()[:-1], {"Inference-Header-Content-Length": "0"})
    assert "a FP32 [-1, 2]" in refused(b"1234", {"Inference-Header-Content-Length": "0"}, model="stateless")
    rows = infer(bytes(24), {"Inference-Header-Content-Length": "0"}, model="int16")
    assert rows.object_and_bytes[0]["outputs"][0]["shape"] == [4, 3]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b'{"inputs": [NaN]}', "JSON has no such number"),
        (b'{"inputs": [1e999]}', "not JSON"),
        (b"\xff\xfe{}", "not JSON"),
        (b"[" * 33 + b"]" * 33, "nested 33 deep"),
        (b'{"id": "' + b"[" * 40 + b'", "inputs": []}', "takes x FP32"),  # brackets in a text are no nesting
        (b"[" + b"[]," * (1 << 18) + b"0]", "lists and objects"),
        (b"[]", "a list, expected an object"),
        (b"3", "a number, expected an object"),
        (b"{}", "inputs"),
        (b'{"inputs": {}}', "inputs"),
        (b'{"inputs": [3]}', "an input is a number"),
        (b'{"inputs": [], "outputs": 3}', "lists"),
        (b'{"inputs": [], "more": 3}', "'more'"),
        (b'{"inputs": [], "id": 3}', "id is 3"),
        (b'{"inputs": [], "parameters": []}', "takes x FP32"),  # as many clients write that there are none
        (b'{"inputs": [], "parameters": [1]}', "expected an object"),
        (b'{"inputs": [], "parameters": false}', "expected an object"),
        (b'{"inputs": [], "model_name": 3}', "model_name"),
        (b'{"inputs": []}', "got inputs none: model 'm' takes x FP32 [-1, -1, 8]"),
    ],
)
def test_what_is_no_request_is_400(text: bytes, word: str) -> None:
    assert word in refused(text)


ONE = tensor("x", "FP32", np.zeros((1, 1, 8)), data=[0] * 8)


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"name": "h0"}, "no input 'h0'"),  # the server keeps the states
        ({"name": 3}, "input 3"),
        ({"datatype": "INT32"}, "got INT32, expected FP32"),
        ({"datatype": None}, "input 'x'"),
        ({"shape": [1, 1, 7], "data": [0] * 7}, "expected float32 [-1, -1, 8]"),
        ({"shape": [8]}, "expected float32 [-1, -1, 8]"),
        ({"shape": [1, 1, -8]}, "list of the sizes of an array"),
        ({"shape": [1, 1, 8.0]}, "list of the sizes of an array"),
        ({"shape": [1, 1, True]}, "list of the sizes of an array"),
        ({"shape": [1 << 50, 1, 8]}, "list of the sizes of an array"),
        ({"shape": [0, 1 << 40, 1 << 40, 1 << 40], "data": []}, "list of the sizes of an array"),
        ({"shape": [1] * 70 + [8]}, "list of the sizes of an array"),
        ({"shape": "118"}, "both texts, and shape, a list"),
        ({"shape": [2, 1, 8]}, "data has 8 values"),
        ({"data": [0] * 7 + ["0"]}, 'data has "0", expected values of FP32'),
        ({"data": [0] * 7 + [None]}, "data has null, expected values of FP32"),
        ({"data": [0] * 7 + [True]}, "data has true, expected values of FP32"),
        (
            {"data": [0] * 7 + [float("nan")]},
            "input 'x': data has NaN, and JSON has no such number; send the values as",
        ),
        ({"data": [0] * 7 + [-float("inf")]}, "input 'x': data has Infinity, and JSON has no such number"),
        (
            {"data": [[[0] * 7 + [float("nan")]]]},
            "the request has NaN, and JSON has no such number; send the values as",
        ),
        ({"data": [0] * 7 + [1e300]}, "outside the range of FP32"),
        ({"data": "00000000"}, "expected data"),
        ({"data": None}, "expected data"),
        ({"parameters": {"binary_data_size": 32}}, "expected data, a list, or"),
        ({"parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 8}}, "shared_memory_region"),
        ({"parameters": 3}, "expected an object"),
        ({"parameters": 0}, "expected an object"),
        ({"more": 1}, "'more'"),
    ],
)
def test_an_input_that_is_not_the_models_is_400(changed: dict[str, Any], word: str) -> None:
    assert word in refused({"inputs": [{**ONE, **changed}]})


@pytest.mark.parametrize(
    ("datatype", "value"),
    [("INT8", 128), ("UINT16", -1), ("INT64", 1 << 63), ("INT32", 1.5), ("BOOL", 1), ("INT8", True)],
)
def test_values_that_are_not_of_the_datatype_are_400(datatype: str, value: Any) -> None:
    given = tensor("x", datatype, np.zeros((1, 3)), data=[0, 0, value])
    if datatype == "BOOL":
        given["data"][:2] = [True, False]
    assert "data" in refused({"inputs": [given]}, model=DATATYPES[datatype])


def test_a_byte_that_is_no_bool_is_400() -> None:
    assert "BOOL" in refused(b"\0\1\2", {"Inference-Header-Content-Length": "0"}, model="bool")


@pytest.mark.parametrize(
    ("changed", "word"),
    [
        ({"inputs": [ONE, ONE]}, "twice"),
        ({"inputs": [ONE, {**ONE, "name": "z"}]}, "'z'"),
        ({"outputs": [{"name": "z"}]}, "outputs of model 'm': y"),
        ({"outputs": [{"name": "y"}] * 2}, "got outputs 'y', 'y', expected"),
        ({"outputs": [3]}, "an output is 3"),
        ({"outputs": [{"name": "y", "parameters": {"classification": 2}}]}, "classification"),
        ({"outputs": [{"name": "y", "parameters": {"binary_data": 1}}]}, "true or false"),
        ({"outputs": [{"name": "y", "more": 1}]}, "'more'"),
        ({"model_name": "n"}, "the request is for model 'n'"),
        ({"model_version": "2"}, "version '2'"),
        ({"parameters": {"priority": 1}}, "'priority'"),
        ({"parameters": {"binary_data_output": 1}}, "true or false"),
        ({"parameters": {"timeout": -1}}, "timeout is -1"),
        ({"parameters": {"timeout": 1.0}}, "timeout is 1.0"),
        ({"parameters": {"timeout": True}}, "timeout is True"),
        ({"parameters": {"sequence_start": True}}, "sequence_id"),
        ({"parameters": {"sequence_step": 0}}, "sequence_id"),
        ({"parameters": {"sequence_id": 0}}, "sequence id 0"),
        ({"parameters": {"sequence_id": ""}}, "sequence id ''"),
        ({"parameters": {"sequence_id": -1}}, "sequence id -1"),
        ({"parameters": {"sequence_id": 1 << 64}}, "sequence id"),
        ({"parameters": {"sequence_id": True}}, "sequence id True"),
        ({"parameters": {"sequence_id": None}}, "sequence id None"),
        ({"parameters": {"sequence_id": "a" * 300}}, "sequence id"),
        ({"parameters": {"sequence_id": 1, "sequence_start": 1}}, "sequence_start is 1"),
        ({"parameters": {"sequence_id": 1}}, "has not begun"),
    ],
)
def test_a_request_that_asks_for_what_there_is_not_is_400(changed: dict[str, Any], word: str) -> None:
    assert word in refused({"inputs": [ONE], **changed})


@pytest.mark.parametrize("length", ["-1", "x", "", "33", "1" * 30, "1.0", "+1", "³"])
def test_a_length_of_the_object_that_is_none_is_400(length: str) -> None:
    assert "Inference-Header-Content-Length" in refused(bytes(32), {"Inference-Header-Content-Length": length})


def test_sizes_that_do_not_fit_the_body_are_400() -> None:
    body, headers = in_bytes(normal(1, 1, 8))
    assert "33 bytes follow" in refused(body + b"x", headers)
    assert "31 bytes follow" in refused(body[:-1], headers)
    assert "got 28 bytes, expected 32" in refused(body.replace(b": 32}", b": 28}"), headers)
    assert "binary_data_size" in refused(body.replace(b": 32}", b':"a"}'), headers)


def test_sequences_keep_their_states_whatever_the_form() -> None:
    async def work(ask: Asks) -> None:
        streams = {name: MODEL.stream() for name in (7, "7", "é")}
        for step in range(4):
            for name, stream in streams.items():
                x = normal(1, 1, 8, seed=step)
                expected = stream.push(x)
                parameters: dict[str, Any] = {
                    "sequence_id": name,
                    "sequence_start": step == 0,
                    "sequence_end": step == 3,
                }
                if step % 2:
                    reply = await ask("POST", "/v2/models/m/infer", *in_bytes(x, **parameters))
                    got = np.frombuffer(reply.object_and_bytes[1], np.float32)
                else:
                    reply = await ask("POST", "/v2/models/m/versions/1/infer", in_json(x, **parameters))
                    got = np.float32(reply.json["outputs"][0]["data"])
                np.testing.assert_array_equal(got.reshape(expected.shape), expected)
        reply = await ask("POST", "/v2/models/m/infer", in_json(x, sequence_id=7))
        assert (reply.status, reply.json["reason"]) == (400, "unknown_sequence")

    serve(work)


def test_parameters_may_stand_in_the_url() -> None:
    async def work(ask: Asks) -> None:
        raw, stream = {"Inference-Header-Content-Length": "0"}, MODEL.stream()
        for step, query in enumerate(
            ["sequence_id=a%20b&sequence_start=true", "sequence_id=a+b&timeout=1000000", 'sequence_id="a%20b"']
        ):
            x = normal(1, 1, 8, seed=step)
            reply = await ask("POST", f"/v2/models/m/infer?{query}", x.tobytes(), raw)
            assert reply.object_and_bytes[1] == stream.push(x).tobytes()
        body, headers = in_bytes(x, sequence_end=True)
        reply = await ask("POST", "/v2/models/m/infer?sequence_id=a%20b", body, headers)
        assert reply.object_and_bytes[1] == stream.push(x).tobytes()
        for query in ("more=1", "sequence_id=1&sequence_id=1", "sequence_id=0", "sequence_id=1&sequence_start=yes",
                      "sequence_id=", "timeout=a", "binary_data_output=true", "&".join(["a=1"] * 20)):  # fmt: skip
            reply = await ask("POST", f"/v2/models/m/infer?{query}", x.tobytes(), raw)
            assert reply.status == 400
        body, headers = in_bytes(x, sequence_id=1, sequence_start=True)
        assert (await ask("POST", "/v2/models/m/infer?sequence_id=1", body, headers)).status == 400

    serve(work)


def test_a_model_without_a_state_takes_no_sequence() -> None:
    inputs = [tensor(n, "FP32", np.zeros((1, 2)), data=[1, 1]) for n in "ab"]
    request = {"inputs": inputs, "parameters": {"sequence_id": 1, "sequence_start": True}}
    assert "keeps no state" in refused(request, model="stateless")


def test_a_model_that_is_not_there_is_404() -> None:
    for path in ("/v2/models/n/infer", "/v2/models/m/versions/2/infer"):
        reply = serve(lambda ask, path=path: ask("POST", path, in_json(normal(1, 1, 8))))
        assert (reply.status, reply.json["reason"]) == (404, "model")


def test_a_start_that_fails_leaves_nothing_behind() -> None:
    async def work(ask: Asks) -> None:
        wrong = in_json(normal(1, 2, 8), sequence_id=1, sequence_start=True)
        assert (await ask("POST", "/v2/models/m/infer", wrong)).status == 400  # two rows in a sequence
        reply = await ask("POST", "/v2/models/m/infer", in_json(normal(1, 1, 8), sequence_id=1))
        assert reply.json["reason"] == "unknown_sequence"

    serve(work)


def test_requests_without_a_sequence_stand_alone() -> None:
    async def work(ask: Asks) -> None:
        x = normal(3, 2, 8)  # two rows
        first, second = [await ask("POST", "/v2/models/m/infer", *in_bytes(x)) for _ in range(2)]
        assert first == second
        assert first.object_and_bytes[1] == MODEL.stream(batch_size=2).push(x).tobytes()

    serve(work)


@pytest.mark.parametrize("separator", [",", ", ", " ,\n"])
def test_a_long_list_is_read_and_written_in_parts(separator: str) -> None:
    a = normal(40_000, 2)
    values = separator.join(map(repr, a.ravel().tolist()))
    body = json.dumps({"inputs": [tensor("x", "FP32", a, data=[])]}).replace("[]", f"[{values}]")
    turns = []

    async def work(ask: Asks) -> Reply:
        async def others() -> None:
            while True:
                turns.append(len(turns))
                await asyncio.sleep(0)

        beside = asyncio.get_running_loop().create_task(others())
        try:
            return await ask("POST", "/v2/models/m/infer", body.encode())
        finally:
            beside.cancel()

    reply = serve(work, "two columns")
    (y,) = reply.json["outputs"]
    np.testing.assert_array_equal(np.float32(y["data"]).reshape(a.shape), a)
    assert len(turns) > 8


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("1," * 99_999 + "1", ""),
        ("1," * 99_998 + "1", "data has 99999 values"),
        ("1," * 100_000 + "1", "not a flat list, expected 100000 values"),
        ("1," * 100_000, "not JSON"),
        ("," + "1," * 99_999, "not JSON"),
        ("1," * 99_999 + "1e39", "outside the range of FP32"),
        ("1," * 99_999 + "true", "data has true, expected values of FP32"),
        ("1," * 99_999 + "{}", "data has {}, expected values of FP32"),
        ("1," * 99_999 + "x", "not JSON"),
        ("1," * 99_999 + "NaN", "data has NaN, and JSON has no such number; send the values as bytes"),
        (" " * 200_000, "not a flat list, expected 100000 values"),
        ("", "data has 0 values"),
    ],
)
def test_a_long_list_is_read_as_strictly_as_a_short_one(text: str, word: str) -> None:
    given = tensor("x", "FP32", np.zeros((50_000, 2)), data=[])
    body = json.dumps({"inputs": [given]}).replace("[]", f"[{text}]").encode()
    if word:
        assert word in refused(body, model="two columns")
    else:
        assert infer(body, model="two columns").status == 200


def test_a_long_text_that_is_no_flat_list_is_413() -> None:
    nested = {"inputs": [tensor("x", "FP32", np.zeros((300_000, 2)), data=[[0, 0]] * 300_000)]}
    reply = infer(nested, model="two columns")
    assert (reply.status, reply.json["reason"]) == (413, "json")
