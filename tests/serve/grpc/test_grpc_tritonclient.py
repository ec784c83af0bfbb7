"""Triton's own client over gRPC: an independent reading of the protocol.

It is installed beside the extra `serve` in an environment that `.ci/run` makes; elsewhere these tests are skipped. The
server is in this process, with Triton's generated messages beside its own of the same names.
"""

from __future__ import annotations

import queue
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

pytest.importorskip("uvicorn", reason="needs the extra 'serve'")
pytest.importorskip("hpack", reason="needs the extra 'serve'")
pytest.importorskip("tritonclient.grpc", reason="needs tritonclient[grpc], in an environment of its own")

import tritonclient.grpc as triton
from grpc_server import served
from protocol_models import DATATYPES, normal, of_dtype, stateful, stateless
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

MODEL = stateful()
DTYPES = [name for name in DATATYPES.values() if name != "float64"]  # which is a precision of the whole server


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    models = {"gru": MODEL, "pair": stateless(), **{f"of-{name}": of_dtype(name) for name in DTYPES}}
    with served(models, idle_seconds=100) as (_, port), triton.InferenceServerClient(f"127.0.0.1:{port}") as made:
        yield made


def given(name: str, array: np.ndarray) -> Any:
    made = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    made.set_data_from_numpy(array)
    return made


def test_health_and_metadata(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("gru", "1")
    assert not client.is_model_ready("other")
    assert client.get_server_metadata().name == "fastgru"
    (x,) = client.get_model_metadata("gru").inputs
    assert (x.name, x.datatype, list(x.shape)) == ("x", "FP32", [-1, -1, 8])
    config = client.get_model_config("gru").config
    assert config.sequence_batching.max_sequence_idle_microseconds == 100_000_000
    assert config.input[0].data_type == 11
    assert client.get_model_config("pair", as_json=True)["config"]["name"] == "pair"


@pytest.mark.parametrize("name", DTYPES)
def test_every_datatype(client: Any, name: str) -> None:
    x = np.array([[0, 1, 1], [1, 0, 0]], name)
    result = client.infer(f"of-{name}", [given("x", x)], request_id="r 1")
    np.testing.assert_array_equal(result.as_numpy("y"), x)
    assert result.as_numpy("y").dtype == x.dtype
    assert result.get_response().id == "r 1"


def test_outputs_as_they_are_asked_for(client: Any) -> None:
    a, b = normal(5, 2), normal(5, 2, seed=1)
    result = client.infer("pair", [given("b", b), given("a", a)], outputs=[triton.InferRequestedOutput("ratio")])
    np.testing.assert_array_equal(result.as_numpy("ratio"), a / b)
    assert result.as_numpy("total") is None


def test_sequences(client: Any) -> None:
    streams = {sequence: MODEL.stream() for sequence in (1, (1 << 63) - 1, "a sequence", "1")}
    for step in range(5):
        for k, (sequence, stream) in enumerate(streams.items()):
            x = normal(1 + k, 1, 8, seed=step)
            result = client.infer(
                "gru", [given("x", x)], sequence_id=sequence, sequence_start=step == 0, sequence_end=step == 4,
                timeout=10_000_000,
            )  # fmt: skip
            np.testing.assert_array_equal(result.as_numpy("y"), stream.push(x))


def test_a_stream(client: Any) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    here = MODEL.stream()
    for step in range(20):
        x = normal(1, 1, 8, seed=step)
        client.async_stream_infer(
            "gru", [given("x", x)], request_id=str(step), sequence_id="s", sequence_start=step == 0,
            enable_empty_final_response=True,
        )  # fmt: skip
        result, error = answers.get(timeout=30)
        assert error is None
        np.testing.assert_array_equal(result.as_numpy("y"), here.push(x))
        assert result.get_response().parameters["triton_final_response"].bool_param
    client.async_stream_infer("gru", [given("x", x)], request_id="bad", sequence_id=404)
    result, error = answers.get(timeout=30)
    assert "has not begun" in error.message()
    client.async_stream_infer("gru", [given("x", x)], sequence_id="s", sequence_end=True)
    result, error = answers.get(timeout=30)
    np.testing.assert_array_equal(result.as_numpy("y"), here.push(x))
    client.stop_stream()
    assert answers.empty()


def refused(client: Any, status: str, *arguments: Any, **more: Any) -> str:
    with pytest.raises(InferenceServerException) as caught:
        client.infer(*arguments, **more)
    assert caught.value.status() == f"StatusCode.{status}"
    return str(caught.value.message())


def test_misuse_has_the_status_codes_of_triton(client: Any) -> None:
    x = normal(1, 1, 8)
    wrong = "INVALID_ARGUMENT"
    assert "has not begun" in refused(client, wrong, "gru", [given("x", x)], sequence_id=77)
    assert "'other'" in refused(client, "NOT_FOUND", "other", [given("x", x)])
    assert "version '3'" in refused(client, "NOT_FOUND", "gru", [given("x", x)], model_version="3")
    assert "'z'" in refused(client, wrong, "gru", [given("z", x)])
    assert "FP64" in refused(client, wrong, "gru", [given("x", x.astype(np.float64))])
    assert "FP16" in refused(client, wrong, "gru", [given("x", x.astype(np.float16))])
    assert "BYTES" in refused(client, wrong, "gru", [given("x", np.array([[[b"a"] * 8]], object))])
    assert "[-1, -1, 8]" in refused(client, wrong, "gru", [given("x", normal(1, 1, 7))])
    assert "priority" in refused(client, wrong, "gru", [given("x", x)], priority=1)
    assert "'mine'" in refused(client, wrong, "gru", [given("x", x)], parameters={"mine": 1})
    outputs = [triton.InferRequestedOutput("y", class_count=2)]
    assert "classification" in refused(client, wrong, "gru", [given("x", x)], outputs=outputs)
    shared = triton.InferInput("x", [1, 1, 8], "FP32")
    shared.set_shared_memory("region", 32)
    assert "shared_memory" in refused(client, wrong, "gru", [shared])
    for ask in (client.get_system_shared_memory_status, client.get_trace_settings, client.get_log_settings):
        with pytest.raises(InferenceServerException, match="does not implement") as caught:
            ask()
        assert caught.value.status() == "StatusCode.UNIMPLEMENTED"


def test_statistics_and_the_repository(client: Any) -> None:
    before = client.get_inference_statistics("pair").model_stats[0].inference_stats.success.count
    for _ in range(3):
        client.infer("pair", [given("a", normal(1, 2)), given("b", normal(1, 2))])
    (after,) = client.get_inference_statistics("pair", "1").model_stats
    assert after.inference_stats.success.count == before + 3
    assert len(client.get_inference_statistics().model_stats) == 2 + len(DTYPES)
    assert {entry.state for entry in client.get_model_repository_index().models} == {"READY"}
    client.unload_model("pair")
    assert not client.is_model_ready("pair")
    client.load_model("pair")
    assert client.is_model_ready("pair")
    with pytest.raises(InferenceServerException, match="was not named"):
        client.load_model("other")
    with pytest.raises(InferenceServerException, match="the file of the model says everything else"):
        client.load_model("pair", config="{}")


def test_requests_at_once(client: Any) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    frames = [normal(3, 1, 8, seed=k) for k in range(32)]
    for k, x in enumerate(frames):
        client.async_infer(
            "gru", [given("x", x)], lambda result, error: answers.put((result, error)), request_id=str(k),
            sequence_id=100 + k, sequence_start=True, sequence_end=True,
        )  # fmt: skip
    for _ in frames:
        result, error = answers.get(timeout=30)
        assert error is None
        x = frames[int(result.get_response().id)]
        np.testing.assert_array_equal(result.as_numpy("y"), MODEL.stream().push(x))
