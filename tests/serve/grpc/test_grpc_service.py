"""What the service says of the server and its models: what HTTP says, in messages."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("uvicorn", reason="not installed: the extra `serve`")
pytest.importorskip("hpack", reason="not installed: the extra `serve`")
pytest.importorskip("orjson", reason="not installed: the extra `serve`")
pytest.importorskip("grpc.aio", reason="not installed: grpcio")  # the name alone may be this folder's

import grpc
import numpy as np
from google.protobuf.json_format import MessageToDict
from grpc_server import Client, arrays, request, served
from protocol_models import normal, stateful, stateless

from fastgru.serve.grpc.messages import message
from fastgru.serve.grpc.methods import METHODS, NOT_HERE


@pytest.fixture(scope="module")
def running() -> Iterator[tuple[str, Client]]:
    with served({"gru": stateful(), "pair": stateless()}) as (server, port), Client(port) as client:
        yield server.urls[0], client


def of_http(url: str, path: str, body: bytes | None = None) -> Any:
    with urllib.request.urlopen(urllib.request.Request(url + path, body)) as reply:
        return json.load(reply)


def shown(answer: Any) -> Any:
    return MessageToDict(answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def plain(value: Any) -> Any:
    """As protobuf's JSON has it: whole numbers of 64 bits are texts."""
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list):
        return [plain(each) for each in value]
    return str(value) if type(value) is int else value


def test_metadata_is_that_of_http(running: tuple[str, Client]) -> None:
    url, client = running
    assert shown(client.ask("ServerMetadata")) == of_http(url, "/v2")
    for name in ("gru", "pair"):
        assert plain(shown(client.ask("ModelMetadata", name=name))) == plain(of_http(url, f"/v2/models/{name}"))
        config = shown(client.ask("ModelConfig", name=name, version="1"))["config"]
        assert plain(config).items() >= plain(of_http(url, f"/v2/models/{name}/config")).items()
    client.infer(request("gru", {"x": normal(1, 1, 8)}))
    assert plain(shown(client.ask("ModelStatistics"))) == plain(of_http(url, "/v2/models/stats"))
    assert plain(shown(client.ask("ModelStatistics", name="gru"))) == plain(of_http(url, "/v2/models/gru/stats"))
    for ours, theirs in zip(
        shown(client.ask("RepositoryIndex"))["models"], of_http(url, "/v2/repository/index", b""), strict=True
    ):
        assert ours.items() >= theirs.items()


def test_health(running: tuple[str, Client]) -> None:
    _, client = running
    assert client.ask("ServerLive").live
    assert client.ask("ServerReady").ready
    assert client.ask("ModelReady", name="gru").ready
    assert not client.ask("ModelReady", name="gru", version="2").ready
    assert not client.ask("ModelReady", name="other").ready
    check = client.channel.unary_unary(
        "/grpc.health.v1.Health/Check",
        request_serializer=message("HealthCheckRequest").SerializeToString,
        response_deserializer=message("HealthCheckResponse").FromString,
    )
    for name in ("", "inference.GRPCInferenceService"):
        assert check(message("HealthCheckRequest")(service=name)).status == 1
    with pytest.raises(grpc.RpcError) as caught:
        check(message("HealthCheckRequest")(service="other"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def refused(client: Client, method: str, /, **fields: Any) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        client.ask(method, **fields)
    return caught.value


def test_what_is_not_there(running: tuple[str, Client]) -> None:
    _, client = running
    for method in ("ModelMetadata", "ModelConfig", "ModelStatistics"):
        error = refused(client, method, name="other")
        assert error.code() is grpc.StatusCode.NOT_FOUND
        assert "'other'" in error.details()
    assert refused(client, "RepositoryIndex", repository_name="a").code() is grpc.StatusCode.UNIMPLEMENTED
    for method in [*NOT_HERE, "Nothing"]:
        call = client.channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
        with pytest.raises(grpc.RpcError) as caught:
            call(b"")
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert method in caught.value.details()


def test_every_method_is_described(running: tuple[str, Client]) -> None:
    _, client = running
    for method in METHODS:
        call = client.channel.unary_unary(f"/inference.GRPCInferenceService/{method}")
        code = call.future(b"").code()
        assert code is not grpc.StatusCode.UNIMPLEMENTED, method


def test_the_repository(running: tuple[str, Client]) -> None:
    _, client = running
    client.ask("RepositoryModelUnload", model_name="pair")
    assert not client.ask("ModelReady", name="pair").ready
    states = {entry.name: entry.state for entry in client.ask("RepositoryIndex").models}
    assert states == {"gru": "READY", "pair": "UNAVAILABLE"}
    assert [entry.name for entry in client.ask("RepositoryIndex", ready=True).models] == ["gru"]
    with pytest.raises(grpc.RpcError) as caught:
        client.infer(request("pair", {"a": normal(1, 2), "b": normal(1, 2)}))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    client.ask("RepositoryModelLoad", model_name="pair")
    client.infer(request("pair", {"a": normal(1, 2), "b": normal(1, 2)}))
    assert "was not named" in refused(client, "RepositoryModelLoad", model_name="other").details()
    parameter = message("ModelRepositoryParameter")(string_param="{}")
    error = refused(client, "RepositoryModelLoad", model_name="pair", parameters={"config": parameter})
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "the file of the model says everything else" in error.details()


def test_sequences_go_on_with_the_model_before_or_change_over(running: tuple[str, Client]) -> None:
    _, client = running
    here, other = stateful().stream(), stateful().stream()
    for step in range(6):
        if step == 2:
            client.ask("RepositoryModelLoad", model_name="gru")
        if step == 4:
            moves = message("ModelRepositoryParameter")(string_param="move")
            client.ask("RepositoryModelLoad", model_name="gru", parameters={"sessions": moves})
        x = normal(1, 1, 8, seed=step)
        given = request("gru", {"x": x}, sequence_id="lives", sequence_start=step == 0)
        np.testing.assert_array_equal(arrays(client.infer(given))["y"], here.push(x))
        given = request("gru", {"x": x}, sequence_id=f"other {step}", sequence_start=True)
        np.testing.assert_array_equal(arrays(client.infer(given))["y"], other.push(x))
        other.reset()
    wrong = message("ModelRepositoryParameter")(string_param="other")
    assert (
        '"keep" or "move"'
        in refused(client, "RepositoryModelLoad", model_name="gru", parameters={"sessions": wrong}).details()
    )


def test_a_plan_that_is_remembered_is_not_that_of_a_model_before(running: tuple[str, Client]) -> None:
    _, client = running
    given = request("pair", {"a": normal(1, 2), "b": normal(1, 2)})
    first = client.infer(given)
    (before,) = client.ask("ModelStatistics", name="pair").model_stats
    client.ask("RepositoryModelLoad", model_name="pair")
    assert client.infer(given) == first
    (after,) = client.ask("ModelStatistics", name="pair").model_stats
    assert after.inference_count == before.inference_count + 1  # counts go on
