"""What the server and its models say of themselves, and the repository."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("orjson", reason="needs the extra 'serve'")

from asgi import Reply, call, protocol, run
from protocol_models import in_bytes, in_json, normal, stateful, stateless

import fastgru

Asks = Callable[..., Awaitable[Reply]]
MODELS = {"m": stateful(), "pair": stateless()}


def serve(work: Callable[[Asks], Awaitable[Any]], models: dict[str, Any] | None = None, **options: Any) -> Any:
    async def served() -> Any:
        app = protocol(models or MODELS, **options)
        return await work(lambda *arguments, **more: call(app, *arguments, **more))

    return run(served())


def get(path: str, method: str = "GET", body: Any = b"", **options: Any) -> Reply:
    return serve(lambda ask: ask(method, path, body), **options)


def test_the_server() -> None:
    answer = get("/v2").json
    assert (answer["name"], answer["version"]) == ("fastgru", fastgru.__version__)
    assert {"binary_tensor_data", "sequence", "sequence(string_id)", "statistics"} <= {*answer["extensions"]}
    assert get("/v2/health/live").json == {"live": True}
    assert get("/v2/health/ready").json == {"ready": True}


@pytest.mark.parametrize("version", ["", "/versions/1"])
def test_a_model_shows_no_states_among_its_inputs(version: str) -> None:
    assert get(f"/v2/models/m{version}").json == {
        "name": "m",
        "versions": ["1"],
        "platform": "fastgru",
        "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, -1, 8]}],
        "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, -1, 3]}],
    }
    assert get(f"/v2/models/m{version}/ready").json == {"name": "m", "ready": True}
    config = get(f"/v2/models/m{version}/config", idle_seconds=2.5).json
    assert (config["name"], config["max_batch_size"]) == ("m", 0)
    assert config["input"] == [{"name": "x", "data_type": "TYPE_FP32", "dims": [-1, -1, 8]}]
    state = {"input_name": "h0", "output_name": "h_n", "data_type": "TYPE_FP32", "dims": [1, -1, 8]}
    assert config["sequence_batching"] == {"max_sequence_idle_microseconds": 2_500_000, "state": [state]}
    assert "sequence_batching" not in get(f"/v2/models/pair{version}/config").json


@pytest.mark.parametrize("path", ["", "/ready", "/config", "/stats", "/sequences"])
def test_a_model_that_is_not_there_is_404(path: str) -> None:
    assert get(f"/v2/models/n{path}").status == 404
    if path != "/sequences":
        assert get(f"/v2/models/m/versions/2{path}").status == 404


def test_the_repository_reads_again_what_was_named_at_the_start(tmp_path: Path) -> None:
    stateful().save(tmp_path / "m.safetensors")

    async def work(ask: Asks) -> None:
        x = normal(1, 1, 8)
        index = [{"name": "m", "version": "1", "state": "READY"}]
        assert (await ask("POST", "/v2/repository/index")).json == index
        started = in_json(x, sequence_id=1, sequence_start=True)
        assert (await ask("POST", "/v2/models/m/infer", started)).status == 200
        assert (
            await ask("POST", "/v2/repository/models/m/unload", {"parameters": {"unload_dependents": False}})
        ).json == {}
        assert (await ask("POST", "/v2/models/m/infer", in_json(x))).status == 404
        assert (await ask("GET", "/v2/models/m/ready")).status == 404
        assert (await ask("POST", "/v2/repository/models/m/unload")).status == 404
        (entry,) = (await ask("POST", "/v2/repository/index", {"ready": False})).json
        assert entry["state"] == "UNAVAILABLE"
        assert (await ask("POST", "/v2/repository/index", {"ready": True})).json == []
        assert (await ask("POST", "/v2/repository/models/m/load")).json == {}
        assert (await ask("POST", "/v2/models/m/infer", in_json(x))).status == 200
        again = await ask("POST", "/v2/models/m/infer", in_json(x, sequence_id=1))
        assert again.json["reason"] == "unknown_sequence"  # sequences end with their model
        (tmp_path / "m.safetensors").write_bytes(b"no model")
        reply = await ask("POST", "/v2/repository/models/m/load")
        assert (reply.status, reply.json["reason"]) == (400, "load")
        assert (await ask("POST", "/v2/models/m/infer", in_json(x))).status == 200  # the one before goes on
        (tmp_path / "m.safetensors").unlink()
        assert (await ask("POST", "/v2/repository/models/m/load")).status == 400

    serve(work, {"m": tmp_path / "m.safetensors"})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("index", {"ready": 1}),
        ("index", {"more": 1}),
        ("index", [1]),
        ("models/m/load", {"parameters": {"config": "{}"}}),
        ("models/m/load", {"parameters": {"file:1/m.onnx": "AAAA"}}),
        ("models/m/load", {"parameters": 1}),
        ("models/m/unload", {"parameters": {"more": True}}),
    ],
)
def test_what_the_repository_does_not_take_is_400(path: str, body: Any) -> None:
    assert get(f"/v2/repository/{path}", "POST", body).status == 400


def test_loading_is_for_administrators() -> None:
    for action in ("load", "unload"):
        assert get(f"/v2/repository/models/m/{action}", "POST", admin=False).status == 403
        assert get(f"/v2/repository/models/n/{action}", "POST").status == 404
    assert get("/v2/repository/index", "POST", admin=False).status == 200


def test_answers_in_json_have_the_floats_of_the_model() -> None:
    x = normal(1, 1, 8)
    (output,) = serve(lambda ask: ask("POST", "/v2/models/m/infer", in_json(x))).json["outputs"]
    np.testing.assert_array_equal(np.float32(output["data"]), MODELS["m"].stream().push(x).ravel())


def test_statistics_count_what_was_done() -> None:
    async def work(ask: Asks) -> None:
        for step in range(3):
            body, headers = in_bytes(normal(1, 1, 8), sequence_id=1, sequence_start=not step)
            assert (await ask("POST", "/v2/models/m/infer", body, headers)).status == 200
        assert (await ask("POST", "/v2/models/m/infer", {})).status == 400
        (one,) = (await ask("GET", "/v2/models/m/stats")).json["model_stats"]
        (same,) = (await ask("GET", "/v2/models/m/versions/1/stats")).json["model_stats"]
        both = (await ask("GET", "/v2/models/stats")).json["model_stats"]
        assert one == same == both[0]
        assert [each["name"] for each in both] == ["m", "pair"]
        assert (one["inference_count"], one["execution_count"]) == (3, 3)
        counts = one["inference_stats"]
        assert (counts["success"]["count"], counts["fail"]["count"], counts["queue"]["count"]) == (3, 1, 3)
        assert 0 < counts["compute_infer"]["ns"] <= counts["success"]["ns"]
        assert one["batch_stats"][0]["batch_size"] == 1
        assert one["batch_stats"][0]["compute_infer"]["count"] == 3
        assert one["last_inference"] > 1_700_000_000_000
        assert both[1]["inference_count"] == 0

    serve(work)
