"""Triton's own client against a server in a process of its own: an independent reading of the protocol.

It is installed beside the extra `serve` in an environment that `.ci/run` makes; elsewhere these tests are skipped.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from users import child

pytest.importorskip("uvicorn", reason="needs the extra 'serve'")
pytest.importorskip("tritonclient.http", reason="needs tritonclient[http], in an environment of its own")

import tritonclient.http as triton
from protocol_models import DATATYPES, normal, of_dtype, stateful, stateless
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

# geventhttpclient leaves sockets to the collector of garbage.
pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")
MODEL = stateful()
DTYPES = [name for name in DATATYPES.values() if name != "float64"]  # which is a precision of the whole server
_SERVE = """
import sys, fastgru.serve
fastgru.serve.run(sys.argv[1:], port=0, idle_seconds=100, started=lambda server: print(server.urls[0], flush=True))
"""


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("models")
    models = {"gru": MODEL, "pair": stateless(), **{f"of-{name}": of_dtype(name) for name in DTYPES}}
    for name, model in models.items():
        model.save(folder / f"{name}.safetensors")
    command = [sys.executable, "-c", _SERVE, *map(str, sorted(folder.iterdir()))]
    with child(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[3]) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip().removeprefix("http://")
        finally:
            process.terminate()
            assert process.wait(60) == 0


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[Any]:
    with triton.InferenceServerClient(url) as made:
        yield made


def given(name: str, array: np.ndarray, *, binary: bool = True) -> Any:
    made = triton.InferInput(name, list(array.shape), np_to_triton_dtype(array.dtype))
    made.set_data_from_numpy(array, binary_data=binary)
    return made


def test_health_and_metadata(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    assert client.is_model_ready("gru")
    assert client.is_model_ready("gru", "1")
    assert not client.is_model_ready("other")
    assert client.get_server_metadata()["name"] == "fastgru"
    metadata = client.get_model_metadata("gru")
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, -1, 8]}]
    assert client.get_model_config("gru", "1")["sequence_batching"]["max_sequence_idle_microseconds"] == 100_000_000


@pytest.mark.parametrize("name", DTYPES)
@pytest.mark.parametrize("binary", [True, False])
def test_every_datatype(client: Any, name: str, binary: bool) -> None:
    x = np.array([[0, 1, 1], [1, 0, 0]], name)
    outputs = [triton.InferRequestedOutput("y", binary_data=binary)]
    result = client.infer(f"of-{name}", [given("x", x, binary=binary)], outputs=outputs, request_id="r 1")
    np.testing.assert_array_equal(result.as_numpy("y"), x)
    assert result.as_numpy("y").dtype == x.dtype
    assert result.get_response()["id"] == "r 1"


def test_outputs_as_they_are_asked_for(client: Any) -> None:
    a, b = normal(5, 2), normal(5, 2, seed=1)
    inputs = [given("b", b, binary=False), given("a", a)]
    every = client.infer("pair", inputs)
    np.testing.assert_array_equal(every.as_numpy("total"), a + b)
    outputs = [triton.InferRequestedOutput("ratio", binary_data=False), triton.InferRequestedOutput("total")]
    both = client.infer("pair", inputs, outputs=outputs)
    np.testing.assert_array_equal(both.as_numpy("total"), a + b)
    np.testing.assert_array_equal(both.as_numpy("ratio"), every.as_numpy("ratio"))
    assert client.infer("pair", inputs, outputs=outputs[:1]).as_numpy("total") is None


def test_sequences(client: Any) -> None:
    streams = {sequence: MODEL.stream() for sequence in (1, (1 << 64) - 1, "a sequence", "1")}
    for step in range(5):
        for k, (sequence, stream) in enumerate(streams.items()):
            x = normal(1 + k, 1, 8, seed=step)
            result = client.infer(
                "gru", [given("x", x, binary=step % 2 == 0)], sequence_id=sequence, sequence_start=step == 0,
                sequence_end=step == 4, timeout=10_000_000,
            )  # fmt: skip
            np.testing.assert_array_equal(result.as_numpy("y"), stream.push(x))


def test_requests_at_once(url: str) -> None:
    with triton.InferenceServerClient(url, concurrency=8) as client:
        x = [normal(3, 1, 8, seed=k) for k in range(32)]
        pending = [
            client.async_infer("gru", [given("x", each)], sequence_id=100 + k, sequence_start=True, sequence_end=True)
            for k, each in enumerate(x)
        ]
        for each, request in zip(x, pending, strict=True):
            np.testing.assert_array_equal(request.get_result().as_numpy("y"), MODEL.stream().push(each))


def test_the_clients_own_body_and_the_answer_it_parses(client: Any) -> None:
    x = normal(1, 1, 8)
    body, length = triton.InferenceServerClient.generate_request_body([given("x", x)], request_id="7")
    assert length is not None
    assert length < len(body)
    result = client.infer("gru", [given("x", x)])
    assert result.get_output("y")["parameters"] == {"binary_data_size": 12}


def refused(client: Any, status: int, *arguments: Any, **more: Any) -> str:
    with pytest.raises(InferenceServerException) as caught:
        client.infer(*arguments, **more)
    assert caught.value.status() == str(status)
    return str(caught.value.message())


def test_misuse_has_the_status_codes_of_triton(client: Any) -> None:
    x = normal(1, 1, 8)
    assert "has not begun" in refused(client, 400, "gru", [given("x", x)], sequence_id=77)
    assert "'other'" in refused(client, 404, "other", [given("x", x)])
    assert "version '3'" in refused(client, 404, "gru", [given("x", x)], model_version="3")
    assert "'z'" in refused(client, 400, "gru", [given("z", x)])
    assert "FP64" in refused(client, 400, "gru", [given("x", x.astype(np.float64))])
    assert "FP16" in refused(client, 400, "gru", [given("x", x.astype(np.float16))])
    assert "BYTES" in refused(client, 400, "gru", [given("x", np.array([[[b"a"] * 8]], object))])
    assert "[-1, -1, 8]" in refused(client, 400, "gru", [given("x", normal(1, 1, 7))])
    assert "priority" in refused(client, 400, "gru", [given("x", x)], priority=1)
    assert "'mine'" in refused(client, 400, "gru", [given("x", x)], parameters={"mine": 1})
    outputs = [triton.InferRequestedOutput("y", class_count=2)]
    assert "classification" in refused(client, 400, "gru", [given("x", x)], outputs=outputs)
    assert "shared_memory" in refused(client, 400, "gru", [_in_shared_memory()])
    assert "compressed" in refused(client, 415, "gru", [given("x", x)], request_compression_algorithm="gzip")


def _in_shared_memory() -> Any:
    made = triton.InferInput("x", [1, 1, 8], "FP32")
    made.set_shared_memory("region", 32)
    return made


def test_statistics(client: Any) -> None:
    before = client.get_inference_statistics("pair")["model_stats"][0]["inference_stats"]["success"]["count"]
    for _ in range(3):
        client.infer("pair", [given("a", normal(1, 2)), given("b", normal(1, 2))])
    (after,) = client.get_inference_statistics("pair", "1")["model_stats"]
    assert after["inference_stats"]["success"]["count"] == before + 3
    assert len(client.get_inference_statistics()["model_stats"]) == 2 + len(DTYPES)


def test_the_repository(client: Any) -> None:
    assert {entry["state"] for entry in client.get_model_repository_index()} == {"READY"}
    client.unload_model("pair")
    assert not client.is_model_ready("pair")
    client.load_model("pair")
    assert client.is_model_ready("pair")
    with pytest.raises(InferenceServerException, match="was not named"):
        client.load_model("other")
    with pytest.raises(InferenceServerException, match="the file of the model says everything else"):
        client.load_model("pair", config="{}")
