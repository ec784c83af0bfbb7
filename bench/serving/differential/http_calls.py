"""The script of calls over HTTP. They run in order, because a call changes the server for those after it.

One call is left out because it ends the process of Triton 2.51: a shape of 2**43 values with data of eight.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np

from bench.serving.differential.asking import DTYPES, Asker, types_of

__all__ = ["OF_MODELS", "VALUES", "run"]

Json = Any
BINARY = "Inference-Header-Content-Length"
GRU, PAIR = "POST /v2/models/gru/infer", "POST /v2/models/pair/infer"
# The datatypes that models here may have.
OF_MODELS = [name for name in DTYPES if name not in ("FP16", "UINT32", "UINT64")]
VALUES = {"BOOL": [True, False, True], "FP32": [0.5, -1.25, 3.0], "FP64": [0.5, -1.25, 3.0]}


def tensor(name: str, datatype: str, shape: list[int], data: Json = None, **parameters: Json) -> dict[str, Json]:
    made: dict[str, Json] = {"name": name, "datatype": datatype, "shape": shape}
    if data is not None:
        made["data"] = data
    return {**made, "parameters": parameters} if parameters else made


def frame(step: int = 0, steps: int = 1, rows: int = 1) -> dict[str, Json]:
    """x (steps, rows, 8)."""
    x = np.random.default_rng(step).standard_normal((steps, rows, 8)).round(3)
    return tensor("x", "FP32", list(x.shape), x.ravel().tolist())


def of_sequence(sequence: Json, step: int = 0, *, steps: int = 1, rows: int = 1, **more: Json) -> dict[str, Json]:
    return {"parameters": {"sequence_id": sequence, **more}, "inputs": [frame(step, steps, rows)]}


def alone(x: dict[str, Json] | None = None, **members: Json) -> dict[str, Json]:
    """Return a request to the GRU that begins a sequence and ends it."""
    parameters = {"sequence_id": 9, "sequence_start": True, "sequence_end": True}
    return {"parameters": parameters, "inputs": [frame() if x is None else x], **members}


def pair(**members: Json) -> dict[str, Json]:
    inputs = [tensor("a", "FP32", [1, 2], [1, 2]), tensor("b", "FP32", [1, 2], [4, 8])]
    return {"inputs": inputs, **members}


def binary(request: Json, *arrays: Any) -> tuple[bytes, dict[str, str]]:
    """Return the body and headers of a request with bytes after its JSON object."""
    text = json.dumps(request).encode()
    return text + b"".join([np.ascontiguousarray(a).tobytes() for a in arrays]), {BINARY: str(len(text))}


def run(ask: Asker) -> None:
    """Make all calls of the script."""
    for part in (_server, _models, _datatypes, _forms, _members, _tensors, _bytes, _sequences, _misuse, _statistics):
        part(ask)
    _repository(ask)


def _server(ask: Asker) -> None:
    ask.http("server/metadata", "GET /v2", show=types_of)
    for what in ("live", "ready"):
        ask.http(f"server/{what}", f"GET /v2/health/{what}")
        ask.http(f"server/{what}/post", f"POST /v2/health/{what}", b"{}")
    ask.http("server/metadata/slash", "GET /v2/", show=types_of)
    ask.http("server/metadata/post", "POST /v2", b"{}")
    ask.http("server/metadata/delete", "DELETE /v2")
    for name, path in {
        "root": "/", "nothing": "/v2/nothing", "health": "/v2/health", "models": "/v2/models", "v1": "/v1",
        "health-nothing": "/v2/health/nothing", "favicon": "/favicon.ico", "v2-deep": "/v2/a/b/c/d",
        "metrics": "/metrics", "logging": "/v2/logging", "trace": "/v2/trace/setting",
        "memory": "/v2/systemsharedmemory/status", "memory-cuda": "/v2/cudasharedmemory/status",
    }.items():  # fmt: skip
        ask.http(f"server/path/{name}", f"GET {path}", show=types_of)


def _models(ask: Asker) -> None:
    for name in ("gru", "pair"):
        ask.http(f"model/{name}/metadata", f"GET /v2/models/{name}")
    ask.http("model/gru/metadata/version", "GET /v2/models/gru/versions/1")
    for name in ("gru", "gru/versions/1"):
        ask.http(f"model/{name}/ready", f"GET /v2/models/{name}/ready")
        ask.http(f"model/{name}/config", f"GET /v2/models/{name}/config", show=types_of)
        ask.http(f"model/{name}/stats/fields", f"GET /v2/models/{name}/stats", show=_fields)
    for name in ("other", "gru/versions/2", "gru/versions/x", "gru/versions/-1", "gru/versions/01", "gru/versions/"):
        for what in ("", "/ready", "/config", "/stats"):
            ask.http(f"model/{name}{what}/there-is-none", f"GET /v2/models/{name}{what}")
        ask.http(f"model/{name}/infer/there-is-none", f"POST /v2/models/{name}/infer", alone())
    ask.http("model/stats/fields", "GET /v2/models/stats", show=_fields)
    ask.http("model/gru/infer/get", "GET /v2/models/gru/infer")
    ask.http("model/gru/infer/put", "PUT /v2/models/gru/infer", alone())
    ask.http("model/gru/metadata/post", "POST /v2/models/gru", b"{}")
    ask.http("model/gru/ready/post", "POST /v2/models/gru/ready", b"{}")
    ask.http("model/gru/config/post", "POST /v2/models/gru/config", b"{}")
    ask.http("model/gru/nothing", "GET /v2/models/gru/nothing")
    ask.http("model/gru/nothing/post", "POST /v2/models/gru/nothing", b"{}")
    ask.http("model/gru/generate", "POST /v2/models/gru/generate", b'{"x": 1}')
    ask.http("model/gru/infer/query", f"{GRU}?unknown=1", alone())


def _fields(answer: Json) -> Json:
    """Return the fields of the first model. batch_stats is emptied, because it has entries only after a run."""
    (first, *_) = answer["model_stats"]
    first["batch_stats"] = []
    return {"model_stats": [types_of(first)]}


def _datatypes(ask: Asker) -> None:
    for datatype in OF_MODELS:
        x, path = np.array(VALUES.get(datatype, [1, 2, 3]), DTYPES[datatype]), f"POST /v2/models/of_{datatype}/infer"
        sent_json = tensor("x", datatype, [1, 3], x.tolist())
        sent_bytes = tensor("x", datatype, [1, 3], binary_data_size=x.nbytes)
        for asked, name in ((False, "json"), (True, "bytes")):
            outputs = [{"name": "y", "parameters": {"binary_data": asked}}]
            ask.http(f"infer/{datatype}/json-{name}", path, {"inputs": [sent_json], "outputs": outputs})
            body, headers = binary({"inputs": [sent_bytes], "outputs": outputs}, x)
            ask.http(f"infer/{datatype}/bytes-{name}", path, body, headers)
        ask.http(f"infer/{datatype}/metadata", f"GET /v2/models/of_{datatype}")
        ask.http(f"infer/{datatype}/raw", path, x.tobytes(), {BINARY: "0"})
    ends = {
        "UINT8": [0, 255], "INT8": [-128, 127], "UINT16": [0, 65535], "INT16": [-32768, 32767],
        "INT32": [-(2**31), 2**31 - 1], "INT64": [-(2**63), 2**63 - 1],
    }  # fmt: skip
    for datatype, (least, most) in ends.items():
        path = f"POST /v2/models/of_{datatype}/infer"
        ask.http(f"infer/{datatype}/ends", path, {"inputs": [tensor("x", datatype, [1, 3], [least, 0, most])]})
        for name, value in {"below": least - 1, "above": most + 1, "fraction": 0.5, "text": "1", "bool": True}.items():
            given = {"inputs": [tensor("x", datatype, [1, 3], [0, value, 0])]}
            ask.http(f"infer/{datatype}/value/{name}", path, given)
    path = "POST /v2/models/of_BOOL/infer"
    for name, value in {"number": 1, "text": "true", "null": None, "two": 2}.items():
        ask.http(f"infer/BOOL/value/{name}", path, {"inputs": [tensor("x", "BOOL", [1, 3], [True, value, True])]})
    body, headers = binary({"inputs": [tensor("x", "BOOL", [1, 3], binary_data_size=3)]}, np.array([0, 2, 255], "u1"))
    ask.http("infer/BOOL/value/byte", path, body, headers)
    for name, value in {"text": "1", "bool": True, "null": None, "list": [1], "above": 1e39, "whole": 1}.items():
        given = {"inputs": [tensor("x", "FP32", [1, 3], [0, value, 0])]}
        ask.http(f"infer/FP32/value/{name}", "POST /v2/models/of_FP32/infer", given)


def _forms(ask: Asker) -> None:
    """Try the forms that a request may have."""
    ask.http("form/pair", PAIR, pair())
    ask.http("form/order", PAIR, {"inputs": pair()["inputs"][::-1]})
    ask.http("form/id", PAIR, pair(id="a"))
    ask.http("form/id/empty", PAIR, pair(id=""))
    ask.http("form/id/number", PAIR, pair(id=7))
    ask.http("form/id/long", PAIR, pair(id="a" * 200))
    ask.http("form/outputs/one", PAIR, pair(outputs=[{"name": "ratio"}]))
    ask.http("form/outputs/order", PAIR, pair(outputs=[{"name": "ratio"}, {"name": "total"}]))
    ask.http("form/outputs/none", PAIR, pair(outputs=[]))
    ask.http("form/outputs/null", PAIR, pair(outputs=None))
    ask.http("form/outputs/twice", PAIR, pair(outputs=[{"name": "ratio"}, {"name": "ratio"}]))
    ask.http("form/outputs/unknown", PAIR, pair(outputs=[{"name": "other"}]))
    ask.http("form/outputs/no-name", PAIR, pair(outputs=[{}]))
    ask.http("form/outputs/object", PAIR, pair(outputs={"name": "ratio"}))
    ask.http("form/outputs/classes", PAIR, pair(outputs=[{"name": "ratio", "parameters": {"classification": 2}}]))
    mixed = [{"name": "ratio", "parameters": {"binary_data": True}}, {"name": "total"}]
    ask.http("form/outputs/mixed", PAIR, pair(outputs=mixed))
    ask.http("form/outputs/bytes", PAIR, pair(parameters={"binary_data_output": True}))
    some = [{"name": "ratio", "parameters": {"binary_data": False}}, {"name": "total"}]
    ask.http("form/outputs/bytes-but-one", PAIR, pair(parameters={"binary_data_output": True}, outputs=some))
    nested = [tensor("a", "FP32", [2, 2], [[1, 2], [3, 4]]), tensor("b", "FP32", [2, 2], [[4, 8], [1, 2]])]
    ask.http("form/nested", PAIR, {"inputs": nested})
    nested = [tensor("a", "FP32", [2, 2], [[1, 2, 3], [4]]), tensor("b", "FP32", [2, 2], [[4, 8], [1, 2]])]
    ask.http("form/nested/ragged", PAIR, {"inputs": nested})
    nested = [tensor("a", "FP32", [2, 2], [[1], [2], [3], [4]]), tensor("b", "FP32", [2, 2], [[4, 8], [1, 2]])]
    ask.http("form/nested/other-shape", PAIR, {"inputs": nested})
    empty = [tensor("a", "FP32", [0, 2], []), tensor("b", "FP32", [0, 2], [])]
    ask.http("form/empty", PAIR, {"inputs": empty})
    nan = [tensor("a", "FP32", [1, 2], [0, 1]), tensor("b", "FP32", [1, 2], [0, 0])]
    ask.http("form/non-finite", PAIR, {"inputs": nan})
    ask.http("form/non-finite/bytes", PAIR, {"inputs": nan, "parameters": {"binary_data_output": True}})
    text = json.dumps(pair()).encode()
    for name, headers in {
        "no-type": {"Content-Type": ""}, "text": {"Content-Type": "text/plain"},
        "octets": {"Content-Type": "application/octet-stream"}, "accept": {"Accept": "text/html"},
        "accept-gzip": {"Accept-Encoding": "gzip"}, "gzip": {"Content-Encoding": "gzip"},
        "expect": {"Expect": "100-continue"}, "length": {BINARY: str(len(text))},
    }.items():  # fmt: skip
        ask.http(f"form/header/{name}", PAIR, text, headers)
    ask.http("form/spaces", PAIR, b" \n" + json.dumps(pair(), indent=3).encode() + b"\n ")
    ask.http("form/comment", PAIR, b"/* */" + text)
    ask.http("form/trailing-comma", PAIR, text[:-1] + b",}")
    ask.http("form/after", PAIR, text + b"x")
    ask.http("form/twice", PAIR, text + text)
    ask.http("form/key-twice", PAIR, b'{"id":"a","id":"b",' + text[1:])


def _members(ask: Asker) -> None:
    for name, body in {
        "nothing": b"", "cut": b'{"inputs": [', "list": b"[]", "text": b'"a"', "null": b"null", "object": b"{}",
        "no-utf-8": b'{"id": "\xff\xfe"}', "nul": b"\0" * 40, "deep": b"[" * 2000, "nan": b'{"inputs": NaN}',
    }.items():  # fmt: skip
        ask.http(f"member/body/{name}", PAIR, body)
    for name, inputs in {
        "object": {}, "null": None, "text": "a", "numbers": [1, 2], "none": [], "one": pair()["inputs"][:1],
        "twice": pair()["inputs"][:1] * 2, "three": [*pair()["inputs"], tensor("c", "FP32", [1], [1])],
        "name": [{**pair()["inputs"][0], "name": "x"}, pair()["inputs"][1]],
        "no-name": [{"datatype": "FP32", "shape": [1, 2], "data": [1, 2]}, pair()["inputs"][1]],
        "name-number": [{**pair()["inputs"][0], "name": 1}, pair()["inputs"][1]],
    }.items():  # fmt: skip
        ask.http(f"member/inputs/{name}", PAIR, {"inputs": inputs})
    ask.http("member/unknown", PAIR, pair(mine=1))
    ask.http("member/model", PAIR, pair(model_name="other"))
    for name, parameters in {
        "null": None, "list": [], "empty": {}, "number": 1, "unknown": {"mine": 1}, "unknown-text": {"mine": "a"},
        "unknown-object": {"mine": {}}, "priority": {"priority": 1}, "timeout": {"timeout": 10_000_000},
        "timeout-negative": {"timeout": -1}, "timeout-text": {"timeout": "a"},
        "binary-text": {"binary_data_output": "a"},
        "triton": {"triton_enable_empty_final_response": True},
    }.items():  # fmt: skip
        ask.http(f"member/parameters/{name}", PAIR, pair(parameters=parameters))


def _tensors(ask: Asker) -> None:
    """Try faults of a tensor."""
    x = frame()
    for name, change in {
        "datatype": {"datatype": "FP64"}, "datatype-int": {"datatype": "INT32"},
        "datatype-unknown": {"datatype": "FP3"},
        "datatype-small": {"datatype": "fp32"}, "datatype-none": {"datatype": None},
        "datatype-fp16": {"datatype": "FP16"},
        "datatype-bf16": {"datatype": "BF16"}, "datatype-uint64": {"datatype": "UINT64"},
        "datatype-text": {"datatype": "BYTES"}, "rank": {"shape": [1, 8]}, "rank-more": {"shape": [1, 1, 1, 8]},
        "size": {"shape": [1, 1, 7], "data": [0.5] * 7}, "shape-empty": {"shape": []}, "shape-text": {"shape": "1"},
        "shape-none": {"shape": None}, "shape-negative": {"shape": [1, -1, 8]},
        "shape-fraction": {"shape": [1, 1.5, 8]},
        "shape-zero": {"shape": [1, 0, 8], "data": []},
        "data-less": {"data": [0.5] * 7}, "data-more": {"data": [0.5] * 9}, "data-none": {"data": None},
        "data-number": {"data": 1}, "data-text": {"data": "a"}, "data-object": {"data": {}},
        "unknown": {"mine": 1}, "parameters-unknown": {"parameters": {"mine": 1}},
        "parameters-list": {"parameters": []},
        "parameters-number": {"parameters": 1}, "parameters-null": {"parameters": None},
        "memory": {"data": None, "parameters": {"shared_memory_region": "r", "shared_memory_byte_size": 32}},
    }.items():  # fmt: skip
        given = {key: value for key, value in {**x, **change}.items() if value is not None or key == "parameters"}
        ask.http(f"tensor/{name}", GRU, alone(given))


def _bytes(ask: Asker) -> None:
    x = np.arange(8, dtype=np.float32)
    right = alone(tensor("x", "FP32", [1, 1, 8], binary_data_size=32))
    ask.http("bytes/right", GRU, *binary(right, x))
    ask.http("bytes/less", GRU, *binary(right, x[:7]))
    ask.http("bytes/more", GRU, *binary(right, np.zeros(9, np.float32)))
    ask.http("bytes/none", GRU, *binary(right))
    for name, size in {
        "size-less": 28,
        "size-more": 36,
        "size-zero": 0,
        "size-negative": -1,
        "size-text": "32",
    }.items():
        ask.http(f"bytes/{name}", GRU, *binary(alone(tensor("x", "FP32", [1, 1, 8], binary_data_size=size)), x))
    both = tensor("x", "FP32", [1, 1, 8], x.tolist(), binary_data_size=32)
    ask.http("bytes/both", GRU, *binary(alone(both), x))
    ask.http("bytes/neither", GRU, *binary(alone(tensor("x", "FP32", [1, 1, 8])), x))
    body, headers = binary(right, x)
    for name, length in {
        "beyond": "100000", "short": "10", "negative": "-1", "text": "a", "empty": "", "huge": "9" * 30, "plus": "+5",
    }.items():  # fmt: skip
        ask.http(f"bytes/length/{name}", GRU, body, {BINARY: length})
    ask.http("bytes/length/missing", GRU, body)
    ask.http("bytes/length/exact", GRU, body, headers)
    inputs = [tensor("b", "FP32", [1, 2], binary_data_size=8), tensor("a", "FP32", [1, 2], binary_data_size=8)]
    values = np.array([[4, 8], [1, 2]], np.float32)
    ask.http("bytes/two", PAIR, *binary({"inputs": inputs}, values))
    ask.http("bytes/mixed", PAIR, *binary({"inputs": [inputs[0], pair()["inputs"][0]]}, values[0]))
    ask.http("bytes/raw-two", PAIR, values.tobytes(), {BINARY: "0"})
    large = np.zeros(17 << 20, np.uint8)
    given = tensor("x", "UINT8", [large.size // 3, 3], binary_data_size=large.size // 3 * 3)
    body, headers = binary({"inputs": [given]}, large[: large.size // 3 * 3])
    ask.http("bytes/oversized", "POST /v2/models/of_UINT8/infer", body, headers, show=lambda answer: None)


def _sequences(ask: Asker) -> None:
    most = (1 << 64) - 1
    for sequence, model in ((21, "gru"), (most, "gru"), ("a text", "gru_text"), ("22", "gru_text"), (22, "gru_text")):
        path = f"POST /v2/models/{model}/infer"
        for step in range(4):
            begins, ends = step == 0, step == 3
            more: Json = {"sequence_start": begins, "sequence_end": ends} if step % 2 == 0 or ends else {}
            ask.http(f"sequence/{model}/{sequence!r}/{step}", path, of_sequence(sequence, step, **more))
        ask.http(f"sequence/{model}/{sequence!r}/after-its-end", path, of_sequence(sequence, 4))
    ask.http("sequence/steps", GRU, of_sequence(30, 0, steps=5, sequence_start=True))
    ask.http("sequence/steps/one-more", GRU, of_sequence(30, 1))
    ask.http("sequence/start-again", GRU, of_sequence(30, 0, steps=5, sequence_start=True))
    ask.http("sequence/end", GRU, of_sequence(30, 1, sequence_end=True))
    ask.http("sequence/in-one", GRU, of_sequence(31, 0, sequence_start=True, sequence_end=True))
    ask.http("sequence/in-one/after", GRU, of_sequence(31, 0))
    ask.http("sequence/in-one/again", GRU, of_sequence(31, 0, sequence_start=True, sequence_end=True))
    given = of_sequence(32, 0, sequence_start=True)
    ask.http("sequence/outputs", GRU, {**given, "outputs": [{"name": "y", "parameters": {"binary_data": True}}]})
    ask.http("sequence/refused", GRU, {**of_sequence(32), "inputs": [tensor("x", "FP32", [1, 1, 7], [0] * 7)]})
    ask.http("sequence/refused/goes-on", GRU, of_sequence(32, 1))
    ask.http("sequence/refused/end", GRU, {**of_sequence(32, sequence_end=True), "inputs": []})
    ask.http("sequence/refused/end/goes-on", GRU, of_sequence(32, 2, sequence_end=True))


def _misuse(ask: Asker) -> None:
    ask.http("misuse/unknown", GRU, of_sequence(77))
    ask.http("misuse/unknown-end", GRU, of_sequence(77, sequence_end=True))
    ask.http("misuse/unknown-text", "POST /v2/models/gru_text/infer", of_sequence("none"))
    ask.http("misuse/none", GRU, {"inputs": [frame()]})
    ask.http("misuse/none-start", GRU, {"inputs": [frame()], "parameters": {"sequence_start": True}})
    ask.http("misuse/rows", GRU, of_sequence(40, 0, rows=2, sequence_start=True, sequence_end=True))
    for name, sequence in {
        "zero": 0, "negative": -1, "fraction": 1.5, "beyond": 1 << 64, "bool": True, "null": None, "list": [1],
    }.items():  # fmt: skip
        ask.http(f"misuse/id/{name}", GRU, of_sequence(sequence, sequence_start=True, sequence_end=True))
    for name, text in {"empty": "", "128": "a" * 128, "129": "a" * 129, "300": "a" * 300, "unicode": "ä€"}.items():
        given = of_sequence(text, sequence_start=True, sequence_end=True)
        ask.http(f"misuse/text/{name}", "POST /v2/models/gru_text/infer", given)
    ask.http("misuse/text/of-numbers", GRU, of_sequence("a", sequence_start=True, sequence_end=True))
    for name, value in {"number": 1, "text": "true", "null": None, "zero": 0}.items():
        ask.http(f"misuse/start/{name}", GRU, of_sequence(41, sequence_start=value, sequence_end=True))
        ask.http(f"misuse/end/{name}", GRU, of_sequence(42, sequence_start=True, sequence_end=value))
    given = {**pair(), "parameters": {"sequence_id": 1, "sequence_start": True, "sequence_end": True}}
    ask.http("misuse/no-state", PAIR, given)


def _statistics(ask: Asker) -> None:
    """Ask for statistics after three requests, one of which is refused, to a model that had none before."""
    path = "POST /v2/models/counted/infer"
    for k in range(2):
        ask.http(f"statistics/infer/{k}", path, {"inputs": [tensor("x", "FP32", [2, 3], [k] * 6)]})
    ask.http("statistics/refused", path, {"inputs": [tensor("x", "FP32", [1, 2], [1, 2])]})
    ask.http("statistics", "GET /v2/models/counted/stats", show=_counts)


def _counts(answer: Json) -> Json:
    """Return the counts as they are, without the times."""
    (model,) = answer["model_stats"]
    stats = {name: each["count"] for name, each in model["inference_stats"].items()}
    batches = [
        {"batch_size": batch["batch_size"], **{name: each["count"] for name, each in batch.items() if name[0] == "c"}}
        for batch in model["batch_stats"]
    ]
    counts = {name: model[name] for name in ("name", "version", "inference_count", "execution_count")}
    return {**counts, "inference_stats": stats, "batch_stats": batches, "last": model["last_inference"] > 1e12}


def _index(answer: Json) -> Json:
    return sorted(answer, key=lambda entry: str(entry["name"]))


def _repository(ask: Asker) -> None:
    def index(name: str, body: Json = b"") -> None:
        ask.http(f"repository/{name}", "POST /v2/repository/index", body, show=_index)

    index("index")
    index("index/object", {})
    index("index/ready", {"ready": True})
    index("index/ready-text", {"ready": "a"})
    index("index/unknown", {"mine": 1})
    index("index/no-json", b"{")
    ask.http("repository/index/get", "GET /v2/repository/index")
    ask.http("repository/nothing", "POST /v2/repository/nothing", b"{}")

    def change(name: str, model: str, what: str, body: Json = b"") -> None:
        ask.http(f"repository/{name}", f"POST /v2/repository/models/{model}/{what}", body)

    change("load", "pair", "load")
    change("load/object", "pair", "load", {})
    change("load/parameters", "pair", "load", {"parameters": {}})
    change("load/unknown-parameter", "pair", "load", {"parameters": {"mine": 1}})
    change("load/config", "pair", "load", {"parameters": {"config": "{"}})
    change("load/file", "pair", "load", {"parameters": {"file:1/model.py": "AAAA"}})
    change("load/no-json", "pair", "load", b"{")
    change("load/other", "other", "load")
    change("load/nothing", "pair", "nothing")
    ask.http("repository/load/get", "GET /v2/repository/models/pair/load")
    ask.http("repository/load/infer", PAIR, pair())
    change("unload/other", "other", "unload")
    change("unload", "counted", "unload", {"parameters": {"unload_dependents": False}})
    ask.until("POST /v2/repository/index", b"", lambda index: "UNLOADING" not in str(index))
    for what in ("", "/ready", "/config", "/stats"):
        ask.http(f"repository/unloaded{what}", f"GET /v2/models/counted{what}")
    given = {"inputs": [tensor("x", "FP32", [1, 3], [1, 2, 3])]}
    ask.http("repository/unloaded/infer", "POST /v2/models/counted/infer", given)
    ask.http("repository/unloaded/server-ready", "GET /v2/health/ready")
    index("unloaded/index")
    index("unloaded/index/ready", {"ready": True})
    change("unload/again", "counted", "unload")
    change("load/back", "counted", "load")
    ask.http("repository/back/infer", "POST /v2/models/counted/infer", given)
    ask.http("repository/back/statistics", "GET /v2/models/counted/stats", show=_counts)
