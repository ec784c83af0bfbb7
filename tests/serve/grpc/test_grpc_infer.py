"""Inference over gRPC, by a client of grpcio: values, sequences, streams, and what is refused."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="not installed: the extra `serve`")
pytest.importorskip("hpack", reason="not installed: the extra `serve`")
pytest.importorskip("orjson", reason="not installed: the extra `serve`")
pytest.importorskip("grpc.aio", reason="not installed: grpcio")  # the name alone may be this folder's

import grpc
from grpc_server import Client, arrays, request, served
from protocol_models import DATATYPES, normal, of_dtype, stateful, stateless

MODEL = stateful()
DTYPES = [name for name in DATATYPES.values() if name != "float64"]  # which is a precision of the whole server


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    models = {"gru": MODEL, "pair": stateless(), **{f"of-{name}": of_dtype(name) for name in DTYPES}}
    with served(models) as (_, found):
        yield found


@pytest.fixture(scope="module")
def client(port: int) -> Iterator[Client]:
    with Client(port) as made:
        yield made


def refused(client: Client, given: Any, **more: Any) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        client.infer(given, **more)
    return caught.value


@pytest.mark.parametrize("typed", [False, True])
@pytest.mark.parametrize("name", DTYPES)
def test_every_datatype(client: Client, name: str, typed: bool) -> None:
    x = np.array([[0, 1, 1], [1, 0, 0]], name)
    answer = client.infer(request(f"of-{name}", {"x": x}, typed=typed, request_id="é 1"))
    assert (answer.id, answer.model_name, answer.model_version) == ("é 1", f"of-{name}", "1")
    np.testing.assert_array_equal(arrays(answer)["y"], x)


def test_the_extremes_of_typed_integers_and_those_beyond(client: Client) -> None:
    x = np.array([[-128, 127, 0]], np.int8)
    np.testing.assert_array_equal(arrays(client.infer(request("of-int8", {"x": x}, typed=True)))["y"], x)
    given = request("of-int8", {"x": x}, typed=True)
    given.inputs[0].contents.int_contents[0] = 128
    assert "outside the range of INT8" in refused(client, given).details()


def test_float64_on_a_server_of_its_own() -> None:
    x = normal(2, 3).astype(np.float64) / 3
    with served({"wide": of_dtype("float64")}) as (_, port), Client(port) as client:
        for typed in (False, True):
            np.testing.assert_array_equal(arrays(client.infer(request("wide", {"x": x}, typed=typed)))["y"], x)


def test_outputs_as_they_are_asked_for(client: Client) -> None:
    a, b = normal(5, 2), normal(5, 2, seed=1)
    given = request("pair", {"b": b, "a": a})
    assert [*arrays(client.infer(given))] == ["total", "ratio"]
    given.outputs.add(name="ratio")
    (only,) = arrays(client.infer(given)).items()
    np.testing.assert_array_equal(only[1], a / b)
    given.outputs.add(name="none")
    assert "'none'" in refused(client, given).details()
    empty = client.infer(request("pair", {"a": normal(0, 2), "b": normal(0, 2)}))
    assert arrays(empty)["total"].shape == (0, 2)


def test_sequences_have_the_bits_of_streams(client: Client) -> None:
    streams = {sequence: MODEL.stream() for sequence in (1, (1 << 64) - 1, "a sequence", "1")}
    for step in range(5):
        for k, (sequence, stream) in enumerate(streams.items()):
            x = normal(1 + k, 1, 8, seed=step)
            given = request(
                "gru", {"x": x}, typed=step % 2 == 0, sequence_id=sequence, sequence_start=step == 0,
                sequence_end=step == 4, timeout=10_000_000,
            )  # fmt: skip
            np.testing.assert_array_equal(arrays(client.infer(given))["y"], stream.push(x))


def test_numbered_steps(client: Client) -> None:
    x = normal(1, 1, 8)
    client.infer(request("gru", {"x": x}, sequence_id="n", sequence_start=True, sequence_step=0))
    client.infer(request("gru", {"x": x}, sequence_id="n", sequence_step=1))
    error = refused(client, request("gru", {"x": x}, sequence_id="n", sequence_step=1))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "has already come" in error.details()
    assert ("fastgru-reason", "step") in error.trailing_metadata()


@pytest.mark.parametrize(
    ("change", "code", "says"),
    [
        (lambda r: setattr(r, "model_name", "other"), "NOT_FOUND", "'other'"),
        (lambda r: setattr(r, "model_version", "3"), "NOT_FOUND", "version '3'"),
        (lambda r: setattr(r.parameters["sequence_id"], "int64_param", 77), "INVALID_ARGUMENT", "has not begun"),
        (lambda r: setattr(r.parameters["sequence_id"], "int64_param", -1), "INVALID_ARGUMENT", "sequence id -1"),
        (lambda r: setattr(r.parameters["sequence_id"], "double_param", 1.0), "INVALID_ARGUMENT", "sequence id 1.0"),
        (lambda r: setattr(r.parameters["sequence_start"], "bool_param", True), "INVALID_ARGUMENT", "need a sequence"),
        (lambda r: setattr(r.parameters["sequence_start"], "int64_param", 1), "INVALID_ARGUMENT", "true or false"),
        (lambda r: setattr(r.parameters["priority"], "uint64_param", 1), "INVALID_ARGUMENT", "'priority'"),
        (lambda r: setattr(r.parameters["mine"], "string_param", "a"), "INVALID_ARGUMENT", "'mine'"),
        (lambda r: r.parameters["timeout"].SetInParent(), "INVALID_ARGUMENT", "no value"),
        (lambda r: setattr(r.parameters["binary_data_output"], "bool_param", True), "INVALID_ARGUMENT", "for HTTP"),
        (lambda r: setattr(r.inputs[0], "name", "z"), "INVALID_ARGUMENT", "'z'"),
        (lambda r: setattr(r.inputs[0], "datatype", "FP64"), "INVALID_ARGUMENT", "FP64"),
        (lambda r: setattr(r.inputs[0], "datatype", "FP16"), "INVALID_ARGUMENT", "no model takes it"),
        (lambda r: setattr(r.inputs[0], "datatype", "BF16"), "INVALID_ARGUMENT", "no model takes it"),
        (lambda r: setattr(r.inputs[0], "datatype", "BYTES"), "INVALID_ARGUMENT", "no model takes it"),
        (lambda r: setattr(r.inputs[0], "datatype", "FP8"), "INVALID_ARGUMENT", "no such datatype"),
        (lambda r: r.inputs[0].shape.__setitem__(2, 7), "INVALID_ARGUMENT", "32"),
        (lambda r: r.inputs[0].shape.__setitem__(0, -1), "INVALID_ARGUMENT", "list of the sizes of an array"),
        (lambda r: r.inputs[0].shape.extend([1 << 62] * 3), "INVALID_ARGUMENT", "list of the sizes of an array"),
        (lambda r: setattr(r.inputs[0].parameters["shared_memory_region"], "string_param", "a"), "INVALID_ARGUMENT",
         "'shared_memory_region'"),
        (lambda r: setattr(r.outputs.add(name="y").parameters["classification"], "int64_param", 2), "INVALID_ARGUMENT",
         "'classification'"),
        (lambda r: r.raw_input_contents.append(b""), "INVALID_ARGUMENT", "2 raw_input_contents"),
        (lambda r: r.raw_input_contents.__setitem__(0, b"123"), "INVALID_ARGUMENT", "3"),
        (lambda r: r.inputs[0].contents.fp32_contents.append(1), "INVALID_ARGUMENT", "has contents"),
        (lambda r: r.inputs.pop(), "INVALID_ARGUMENT", "expected one for each of 0"),
        (lambda r: setattr(r, "id", "x" * 257), "INVALID_ARGUMENT", "at most 256"),
    ],
)  # fmt: skip
def test_misuse_has_a_status_and_a_sentence(client: Client, change: Any, code: str, says: str) -> None:
    given = request("gru", {"x": normal(1, 1, 8)})
    change(given)
    error = refused(client, given)
    assert error.code().name == code
    assert says in error.details()


def test_typed_contents_in_the_wrong_field_and_too_many(client: Client) -> None:
    given = request("gru", {"x": normal(1, 1, 8)}, typed=True)
    given.inputs[0].contents.fp64_contents.append(1)
    assert "got fp64_contents, expected fp32_contents" in refused(client, given).details()
    many = request("gru", {"x": np.zeros((1 << 15, 1, 8), np.float32)}, typed=True)
    error = refused(client, many)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "raw_input_contents" in error.details()


def test_what_is_no_message(client: Client) -> None:
    for data, says in (
        (b"\xff", "a field"), (b"\x0a\x05ab", "ends within"),
        (b"\x0a\x03gru\x2a\x03\xff\xff\xff", "not a ModelInferRequest"), (b"\x0a", "ends within"),
        (b"\x0a\xff\xff\xff\xff\xff\xff\xff", "ends within"),
        (b"\x3a\0" * 1025, "1024"),
        (b"\x0a\x01\xff", "not UTF-8"), (b"", "model ''"), (b"\x42\x00", "tag 66"),
    ):  # fmt: skip
        error = refused(client, data)
        assert error.code().name in ("INVALID_ARGUMENT", "NOT_FOUND"), data
        assert says in error.details()


def test_a_message_larger_than_a_body_may_be() -> None:
    with served({"gru": MODEL}, max_body_bytes=100_000) as (_, port), Client(port) as client:
        x = np.zeros((3_000, 1, 8), np.float32)
        assert arrays(client.infer(request("gru", {"x": x})))["y"].shape == (3_000, 1, 3)
        error = refused(client, request("gru", {"x": np.zeros((4_000, 1, 8), np.float32)}))
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "expected at most 100000" in error.details()


def test_large_messages_in_frames_and_windows(client: Client) -> None:
    x = np.random.default_rng(0).standard_normal((60_000, 1, 8), dtype=np.float32)  # 2 MB, and 720 kB back
    np.testing.assert_array_equal(
        arrays(client.infer(request("gru", {"x": x}, sequence_id=9, sequence_start=True)))["y"], MODEL.stream().push(x)
    )


def test_a_compressed_message_is_refused(port: int) -> None:
    with Client(port, grpc.insecure_channel(f"127.0.0.1:{port}", compression=grpc.Compression.Gzip)) as client:
        error = refused(client, request("gru", {"x": np.zeros((99, 1, 8), np.float32)}))
        assert error.code() is grpc.StatusCode.UNIMPLEMENTED


def test_a_deadline_that_cannot_be_kept_is_refused_at_once(client: Client) -> None:
    given = request("gru", {"x": np.zeros((60_000, 1, 8), np.float32)}, timeout=10)
    error = refused(client, given)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    trailers = dict(error.trailing_metadata())
    assert trailers["fastgru-reason"] in ("too_long", "overload", "deadline")
    assert int(trailers["grpc-retry-pushback-ms"]) >= -1


def test_the_deadline_of_the_client(client: Client) -> None:
    given = request("gru", {"x": np.zeros((60_000, 1, 8), np.float32)})
    assert refused(client, given, timeout=0.001).code().name in ("DEADLINE_EXCEEDED", "UNAVAILABLE")


def test_a_cancelled_call_cancels_its_job(port: int, client: Client) -> None:
    def cancelled() -> int:
        return client.ask("ModelStatistics", name="gru").model_stats[0].inference_stats.fail.count

    before, x = cancelled(), normal(1, 1, 8)
    client.infer(request("gru", {"x": x}, sequence_id="c", sequence_start=True))
    call = client.channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")
    waiting = call.future(request("gru", {"x": x}, sequence_id="c", sequence_step=3).SerializeToString())  # too early
    time.sleep(0.1)
    waiting.cancel()
    time.sleep(0.1)
    for step in (1, 2):
        client.infer(request("gru", {"x": x}, sequence_id="c", sequence_step=step))
    until = time.monotonic() + 10
    while cancelled() == before and time.monotonic() < until:
        time.sleep(0.01)
    assert cancelled() == before + 1


# Streams.


def test_a_stream_answers_in_order_and_goes_on_after_errors(client: Client) -> None:
    stream, here = client.stream(), MODEL.stream()
    frames = [normal(1, 1, 8, seed=k) for k in range(6)]
    first = stream.ask(request("gru", {"x": frames[0]}, request_id="0", sequence_id=5, sequence_start=True))
    np.testing.assert_array_equal(arrays(first.infer_response)["y"], here.push(frames[0]))
    assert first.infer_response.parameters["triton_final_response"].bool_param
    stream.send(request("gru", {"x": frames[1]}, request_id="1", sequence_id=5))
    stream.send(request("gru", {"x": frames[1]}, request_id="2", sequence_id=404))
    stream.send(b"\xff\xff")
    stream.send(request("gru", {"x": frames[2]}, request_id="3", sequence_id=5))
    stream.send(request("other", {"x": frames[2]}, request_id="4"))
    stream.close()
    answers = list(stream.answers)
    assert [a.infer_response.id for a in answers] == ["1", "2", "", "3", "4"]
    assert [bool(a.error_message) for a in answers] == [False, True, True, False, True]
    assert "has not begun" in answers[1].error_message
    for k in (0, 3):
        np.testing.assert_array_equal(arrays(answers[k].infer_response)["y"], here.push(frames[1 if k == 0 else 2]))
    assert stream.answers.code() is grpc.StatusCode.OK


def test_many_requests_without_waiting(client: Client) -> None:
    stream, count = client.stream(), 1_000
    streams = {sequence: MODEL.stream() for sequence in ("a", "b")}
    for k in range(count):
        x = normal(1, 1, 8, seed=k)
        given = request("gru", {"x": x}, request_id=str(k), sequence_id="ab"[k % 2], sequence_start=k < 2)
        stream.send(given)
    stream.close()
    for k, answer in enumerate(stream.answers):
        assert answer.infer_response.id == str(k), answer.error_message
        x = normal(1, 1, 8, seed=k)
        np.testing.assert_array_equal(arrays(answer.infer_response)["y"], streams["ab"[k % 2]].push(x))
    assert k == count - 1


def test_a_stream_that_ends_at_its_first_error_if_it_is_told_to(client: Client) -> None:
    stream = client.stream(metadata=(("triton_grpc_error", "true"),))
    x = normal(1, 1, 8)
    assert not stream.ask(request("gru", {"x": x})).error_message
    stream.send(request("gru", {"x": x}, sequence_id=404))
    with pytest.raises(grpc.RpcError) as caught:
        next(stream.answers)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    stream.close()


def test_the_empty_final_response_is_the_answer_itself(client: Client) -> None:
    stream, x = client.stream(), normal(1, 1, 8)
    answer = stream.ask(request("gru", {"x": x}, triton_enable_empty_final_response=True))
    assert answer.infer_response.parameters["triton_final_response"].bool_param
    assert "true or false" in stream.ask(request("gru", {"x": x}, triton_enable_empty_final_response=1)).error_message
    stream.close()
    assert list(stream.answers) == []


def test_a_stream_that_is_cancelled_leaves_others_alone(client: Client) -> None:
    x, first, second = normal(1, 1, 8), client.stream(), client.stream()
    first.ask(request("gru", {"x": x}, sequence_id=1, sequence_start=True))
    first.answers.cancel()
    first.close()
    assert not second.ask(request("gru", {"x": x}, sequence_id=2, sequence_start=True)).error_message
    second.close()
    assert list(second.answers) == []


def test_requests_of_many_threads(client: Client) -> None:
    wrong: list[int] = []

    def run(k: int) -> None:
        here = MODEL.stream()
        for step in range(20):
            x = normal(1, 1, 8, seed=100 * k + step)
            answer = client.infer(request("gru", {"x": x}, sequence_id=1_000 + k, sequence_start=step == 0))
            if not np.array_equal(arrays(answer)["y"], here.push(x)):
                wrong.append(k)

    threads = [threading.Thread(target=run, args=(k,)) for k in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_over_tls(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    more = ["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    try:
        subprocess.run([*command, *more], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("needs openssl")
    with served({"gru": MODEL}, tls_cert=cert, tls_key=key) as (server, port):
        assert server.urls[1] == f"grpcs://127.0.0.1:{port}"
        trusted = grpc.ssl_channel_credentials(cert.read_bytes())
        channel = grpc.secure_channel(f"localhost:{port}", trusted)
        x = np.zeros((9_000, 1, 8), np.float32)
        with Client(port, channel) as client:
            np.testing.assert_array_equal(arrays(client.infer(request("gru", {"x": x})))["y"], MODEL.stream().push(x))
