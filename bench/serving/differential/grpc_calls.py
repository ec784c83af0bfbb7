"""A script of gRPC calls, message by message, as grpcio sends them.

messages: returns the class of a message by its name, from Triton's client or from this package.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any

import grpc
import numpy as np

from bench.serving.differential.asking import DTYPES, Asker, numbers, rounded, types_of
from bench.serving.differential.http_calls import OF_MODELS, VALUES

__all__ = ["run"]

Json = Any
Message = Any
Messages = Callable[[str], Any]
_SERVICE = "/inference.GRPCInferenceService"
_CONTENTS = {
    "BOOL": "bool_contents", "INT8": "int_contents", "INT16": "int_contents", "INT32": "int_contents",
    "INT64": "int64_contents", "UINT8": "uint_contents", "UINT16": "uint_contents", "UINT32": "uint_contents",
    "UINT64": "uint64_contents", "FP32": "fp32_contents", "FP64": "fp64_contents",
}  # fmt: skip


class Caller:
    """Calls one server, and keeps an observation for every call with `ask`."""

    def __init__(self, ask: Asker, port: int, messages: Messages) -> None:
        self.ask, self.messages = ask, messages
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}", [("grpc.max_receive_message_length", -1)])

    def call(
        self, name: str, method: str, data: bytes, answer: str, show: Callable[[Json], Json] | None = None
    ) -> None:
        """Make a call with the bytes of one message. answer: the reply's message. show: returns what is kept."""
        try:
            got = self.channel.unary_unary(method)(data, timeout=30)
        except grpc.RpcError as error:
            self.ask.keep(f"grpc/{name}", {"status": error.code().name})
            return
        value = as_json(self.messages(answer).FromString(got))
        self.ask.keep(f"grpc/{name}", {"status": "OK", "body": rounded(value) if show is None else show(value)})

    def method(self, call: str, method: str, show: Callable[[Json], Json] | None = None, /, **fields: Json) -> None:
        """Call a method of Triton's service, whose messages have its name."""
        request = self.messages(f"{method}Request")(**fields)
        self.call(call, f"{_SERVICE}/{method}", request.SerializeToString(), f"{method}Response", show)

    def infer(self, name: str, request: Message) -> None:
        self.call(name, f"{_SERVICE}/ModelInfer", request.SerializeToString(), "ModelInferResponse")

    def stream(self, name: str, requests: Sequence[Message]) -> None:
        """Send all requests in one stream, each after the answer to the one before. Keep every answer, and the end."""
        call = self.channel.stream_stream(f"{_SERVICE}/ModelStreamInfer")
        answers: list[Json] = []
        sent: SimpleQueue[bytes | None] = SimpleQueue()
        got = call(iter(sent.get, None), timeout=30)
        try:
            for request in requests:
                sent.put(request.SerializeToString())
                told = self.messages("ModelStreamInferResponse").FromString(next(got))
                answers.append("refused" if told.error_message else rounded(as_json(told.infer_response)))
            sent.put(None)
            answers += [rounded(as_json(self.messages("ModelStreamInferResponse").FromString(more))) for more in got]
            code = got.code().name
        except grpc.RpcError as error:
            sent.put(None)
            code = error.code().name
        self.ask.keep(f"grpc/stream/{name}", {"status": code, "body": answers})

    def request(self, model: str, *inputs: Message, **parameters: Json) -> Message:
        made = self.messages("ModelInferRequest")(model_name=model)
        made.inputs.extend([given for given, _ in inputs])
        made.raw_input_contents.extend([raw for _, raw in inputs if raw is not None])
        for name, value in parameters.items():
            field = {bool: "bool_param", int: "int64_param", str: "string_param", float: "double_param"}[type(value)]
            if type(value) is int and value >= 1 << 63:
                field = "uint64_param"
            setattr(made.parameters[name], field, value)
        return made

    def tensor(self, name: str, datatype: str, array: Any, *, raw: bool = True) -> Message:
        """Return an input with its bytes, or with None if its numbers are in fields."""
        array = np.asarray(array, DTYPES.get(datatype, "<f4"))
        made = self.messages("ModelInferRequest.InferInputTensor")(name=name, datatype=datatype, shape=array.shape)
        if raw:
            return made, array.tobytes()
        getattr(made.contents, _CONTENTS[datatype]).extend(array.ravel().tolist())
        return made, None

    def frame(self, step: int = 0, steps: int = 1, rows: int = 1, size: int = 8) -> Message:
        x = np.random.default_rng(step).standard_normal((steps, rows, size)).round(3)
        return self.tensor("x", "FP32", x)


def as_json(message: Message) -> Json:
    """Return all fields that are set, by their names, with the bytes of outputs as numbers."""
    found: dict[str, Json] = {}
    for field, value in message.ListFields():
        if field.name == "raw_output_contents":
            found["raw"] = [numbers(output.datatype, raw) for output, raw in zip(message.outputs, value, strict=True)]
        elif field.message_type is not None and field.message_type.GetOptions().map_entry:
            found[field.name] = {
                key: as_json(each) if hasattr(each, "ListFields") else each for key, each in value.items()
            }
        elif hasattr(value, "ListFields"):
            found[field.name] = as_json(value)
        elif hasattr(value, "append") or hasattr(value, "add"):
            found[field.name] = [as_json(each) if hasattr(each, "ListFields") else each for each in value]
        else:
            found[field.name] = value
    return json.loads(json.dumps(found))


def run(ask: Asker, port: int, messages: Messages) -> None:
    """Make all calls of the script."""
    caller = Caller(ask, port, messages)
    for part in (_server, _models, _datatypes, _requests, _sequences, _streams, _repository):
        part(caller)
    caller.channel.close()


def _server(c: Caller) -> None:
    for what in ("ServerLive", "ServerReady"):
        c.method(f"server/{what}", what)
    c.method("server/metadata", "ServerMetadata", types_of)
    check = "/grpc.health.v1.Health/Check"  # its answer has the form of the other method
    c.call("server/health", check, b"", "ServerLiveResponse")
    c.call("server/health/other", check, b"\n\5other", "ServerLiveResponse")
    for name, method in {
        "no-method": f"{_SERVICE}/Nothing", "no-service": "/other.Service/Call",
        "memory": f"{_SERVICE}/SystemSharedMemoryStatus",
        "memory-cuda": f"{_SERVICE}/CudaSharedMemoryStatus", "trace": f"{_SERVICE}/TraceSetting",
        "log": f"{_SERVICE}/LogSettings",
    }.items():  # fmt: skip
        c.call(f"server/{name}", method, b"", "ServerLiveResponse", lambda answer: None)
    c.call("server/no-message", f"{_SERVICE}/ModelMetadata", b"\xff\xff", "ModelMetadataResponse")


def _models(c: Caller) -> None:
    for name in ("gru", "pair"):
        c.method(f"model/{name}/metadata", "ModelMetadata", name=name)
    for name, version in (("gru", "1"), ("gru", ""), ("gru", "2"), ("gru", "x"), ("other", ""), ("", "")):
        at = f"model/{name}/{version or 'any'}"
        c.method(f"{at}/ready", "ModelReady", name=name, version=version)
        c.method(f"{at}/metadata", "ModelMetadata", types_of, name=name, version=version)
        c.method(f"{at}/config", "ModelConfig", types_of, name=name, version=version)
        c.method(f"{at}/stats", "ModelStatistics", _stats, name=name, version=version)


def _stats(answer: Json) -> Json:
    """Return only the names of models, because fields that are 0 are absent."""
    return sorted({model["name"] for model in answer["model_stats"]})


def _datatypes(c: Caller) -> None:
    for datatype in OF_MODELS:
        x = [VALUES.get(datatype, [1, 2, 3])]
        for raw, name in ((True, "raw"), (False, "fields")):
            c.infer(f"infer/{datatype}/{name}", c.request(f"of_{datatype}", c.tensor("x", datatype, x, raw=raw)))


def _pair(c: Caller) -> Message:
    return c.request("pair", c.tensor("a", "FP32", [[1, 2]]), c.tensor("b", "FP32", [[4, 8]]))


def _requests(c: Caller) -> None:
    """Try forms of requests, and faults in them."""

    def changed(name: str, change: Callable[[Message], Any]) -> None:
        request = _pair(c)
        change(request)
        c.infer(f"request/{name}", request)

    wanted = c.messages("ModelInferRequest.InferRequestedOutputTensor")
    for name, change in {
        "pair": lambda r: None,
        "id": lambda r: setattr(r, "id", "a"),
        "version": lambda r: setattr(r, "model_version", "1"),
        "version-other": lambda r: setattr(r, "model_version", "2"),
        "version-text": lambda r: setattr(r, "model_version", "x"),
        "model-other": lambda r: setattr(r, "model_name", "other"),
        "model-none": lambda r: setattr(r, "model_name", ""),
        "output-one": lambda r: r.outputs.append(wanted(name="ratio")),
        "output-unknown": lambda r: r.outputs.append(wanted(name="other")),
        "output-twice": lambda r: r.outputs.extend([wanted(name="ratio")] * 2),
        "output-none": lambda r: r.outputs.append(wanted()),
        "inputs-none": lambda r: (r.ClearField("inputs"), r.ClearField("raw_input_contents")),
        "inputs-one": lambda r: (r.inputs.pop(), r.raw_input_contents.pop()),
        "inputs-twice": lambda r: setattr(r.inputs[1], "name", "a"),
        "inputs-name": lambda r: setattr(r.inputs[1], "name", "x"),
        "inputs-order": lambda r: (setattr(r.inputs[0], "name", "b"), setattr(r.inputs[1], "name", "a")),
        "raw-less": lambda r: r.raw_input_contents.pop(),
        "raw-more": lambda r: r.raw_input_contents.append(b"1234"),
        "raw-short": lambda r: r.raw_input_contents.__setitem__(1, b"1234"),
        "raw-long": lambda r: r.raw_input_contents.__setitem__(1, bytes(12)),
        "raw-none": lambda r: r.ClearField("raw_input_contents"),
        "both": lambda r: r.inputs[0].contents.fp32_contents.extend([1, 2]),
        "datatype": lambda r: setattr(r.inputs[0], "datatype", "INT32"),
        "datatype-fp16": lambda r: setattr(r.inputs[0], "datatype", "FP16"),
        "datatype-bytes": lambda r: setattr(r.inputs[0], "datatype", "BYTES"),
        "datatype-unknown": lambda r: setattr(r.inputs[0], "datatype", "FP3"),
        "datatype-none": lambda r: setattr(r.inputs[0], "datatype", ""),
        "shape-rank": lambda r: r.inputs[0].shape.append(1),
        "shape-none": lambda r: r.inputs[0].ClearField("shape"),
        "shape-size": lambda r: r.inputs[0].shape.__setitem__(1, 3),
        "shape-negative": lambda r: r.inputs[0].shape.__setitem__(0, -1),
        "parameter-unknown": lambda r: setattr(r.parameters["mine"], "int64_param", 1),
        "parameter-none": lambda r: r.parameters["mine"].Clear(),
        "priority": lambda r: setattr(r.parameters["priority"], "uint64_param", 1),
        "timeout": lambda r: setattr(r.parameters["timeout"], "int64_param", 10_000_000),
        "timeout-text": lambda r: setattr(r.parameters["timeout"], "string_param", "a"),
        "memory": lambda r: setattr(r.inputs[0].parameters["shared_memory_region"], "string_param", "r"),
        "classes": lambda r: setattr(
            (r.outputs.add(name="ratio"), r.outputs[0])[1].parameters["classification"], "int64_param", 2
        ),
    }.items():
        changed(name, change)
    c.call("request/no-message", f"{_SERVICE}/ModelInfer", b"\xff\xff\xff", "ModelInferResponse")
    c.call("request/empty", f"{_SERVICE}/ModelInfer", b"", "ModelInferResponse")
    fields = [c.tensor(name, "FP32", [[1, 2]], raw=False) for name in "ab"]
    c.infer("request/fields", c.request("pair", *fields))
    c.infer("request/fields-less", c.request("pair", c.tensor("a", "FP32", [[1, 2]], raw=False), _short(c, fields[1])))
    c.infer("request/fields-and-raw", c.request("pair", fields[0], c.tensor("b", "FP32", [[1, 2]])))
    nan = [c.tensor("a", "FP32", [[0, 1]]), c.tensor("b", "FP32", [[0, 0]])]
    c.infer("request/non-finite", c.request("pair", *nan))
    c.infer(
        "request/no-rows",
        c.request("pair", c.tensor("a", "FP32", np.zeros((0, 2))), c.tensor("b", "FP32", np.zeros((0, 2)))),
    )
    c.infer("request/oversized", c.request("of_UINT8", c.tensor("x", "UINT8", np.zeros((6 << 20, 3), np.uint8))))


def _short(c: Caller, given: Message) -> Message:
    made = c.messages("ModelInferRequest.InferInputTensor")()
    made.CopyFrom(given[0])
    made.contents.fp32_contents.pop()
    return made, None


def _sequences(c: Caller) -> None:
    most = (1 << 64) - 1
    for sequence, model in (
        (51, "gru"),
        (most, "gru"),
        ("a grpc text", "gru_text"),
        ("52", "gru_text"),
        (52, "gru_text"),
    ):
        for step in range(3):
            given: Json = {"sequence_id": sequence, "sequence_start": step == 0, "sequence_end": step == 2}
            c.infer(f"sequence/{model}/{sequence!r}/{step}", c.request(model, c.frame(step), **given))
        c.infer(f"sequence/{model}/{sequence!r}/after-its-end", c.request(model, c.frame(), sequence_id=sequence))
    for name, parameters in {
        "none": {}, "unknown": {"sequence_id": 77}, "unknown-end": {"sequence_id": 77, "sequence_end": True},
        "no-id": {"sequence_start": True}, "zero": {"sequence_id": 0, "sequence_start": True, "sequence_end": True},
        "negative": {"sequence_id": -1, "sequence_start": True, "sequence_end": True},
        "id-bool": {"sequence_id": True, "sequence_start": True, "sequence_end": True},
        "id-fraction": {"sequence_id": 1.5, "sequence_start": True, "sequence_end": True},
        "start-number": {"sequence_id": 53, "sequence_start": 1, "sequence_end": True},
        "start-text": {"sequence_id": 53, "sequence_start": "true", "sequence_end": True},
        "in-one": {"sequence_id": 54, "sequence_start": True, "sequence_end": True},
    }.items():  # fmt: skip
        c.infer(f"misuse/{name}", c.request("gru", c.frame(), **parameters))
    for name, text in {"empty": "", "128": "a" * 128, "129": "a" * 129}.items():
        given = {"sequence_id": text, "sequence_start": True, "sequence_end": True}
        c.infer(f"misuse/text/{name}", c.request("gru_text", c.frame(), **given))
    c.infer(
        "misuse/text-of-numbers", c.request("gru", c.frame(), sequence_id="a", sequence_start=True, sequence_end=True)
    )
    c.infer("misuse/no-state", _with(_pair(c), sequence_id=1))
    c.infer("misuse/rows", c.request("gru", c.frame(rows=2), sequence_id=55, sequence_start=True, sequence_end=True))


def _with(request: Message, **parameters: int) -> Message:
    for name, value in parameters.items():
        request.parameters[name].int64_param = value
    return request


def _streams(c: Caller) -> None:
    def of(sequence: Json, step: int, model: str = "gru", **more: Json) -> Message:
        return c.request(model, c.frame(step), sequence_id=sequence, **more)

    first, last = {"sequence_start": True}, {"sequence_end": True}
    c.stream("sequence", [of(61, 0, **first), of(61, 1), of(61, 2, **last)])
    c.stream("of-texts", [of("t", 0, "gru_text", **first), of("t", 1, "gru_text", **last)])
    c.stream("two", [of(62, 0, **first), of(63, 0, **first), of(62, 1, **last), of(63, 2, **last)])
    c.stream("stateless", [_pair(c), _pair(c)])
    c.stream("models", [_pair(c), of(64, 0, **first, **last)])
    c.stream("unknown", [of(65, 0), of(65, 0, **first), of(65, 1, **last)])
    c.stream("refused", [of(66, 0, **first), c.request("gru", c.frame(size=7), sequence_id=66), of(66, 1, **last)])
    c.stream("other-model", [c.request("other", c.frame()), _pair(c)])
    c.stream("none", [])
    for name, parameter in (("final", True), ("final-not", False)):
        request = _pair(c)
        request.parameters["triton_enable_empty_final_response"].bool_param = parameter
        c.stream(name, [request])
    request = _pair(c)
    request.id = "a"
    c.stream("id", [request])
    c.stream("goes-on/begins", [of(67, 0, **first)])
    c.infer("stream/goes-on/unary", of(67, 1))
    c.stream("goes-on/ends", [of(67, 2, **last)])


def _repository(c: Caller) -> None:
    def index(name: str, **fields: Json) -> None:
        c.method(f"repository/{name}", "RepositoryIndex", lambda answer: sorted(map(str, answer["models"])), **fields)

    index("index")
    index("index/ready", ready=True)
    index("index/of-another", repository_name="other")
    c.method("repository/load", "RepositoryModelLoad", model_name="pair")
    c.method("repository/load/other", "RepositoryModelLoad", model_name="other")
    c.method("repository/load/none", "RepositoryModelLoad")
    c.method("repository/unload/other", "RepositoryModelUnload", model_name="other")
    c.method("repository/unload", "RepositoryModelUnload", model_name="counted")
    c.ask.until("POST /v2/repository/index", b"", lambda index: "UNLOADING" not in str(index))
    c.method("repository/unloaded/ready", "ModelReady", name="counted")
    c.method("repository/unloaded/metadata", "ModelMetadata", name="counted")
    c.infer("repository/unloaded/infer", c.request("counted", c.tensor("x", "FP32", [[1, 2, 3]])))
    index("unloaded/index")
    c.method("repository/load/back", "RepositoryModelLoad", model_name="counted")
    c.infer("repository/back/infer", c.request("counted", c.tensor("x", "FP32", [[1, 2, 3]])))
