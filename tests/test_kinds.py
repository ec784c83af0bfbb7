"""Objects of the wrong kind: each message says what to do with them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgru
from fastgru import GRU, FastGRUError, Gate, Linear, Sequential, SessionPool, Tanh
from fastgru.kinds import way_of_file, way_round

I, H = 3, 4


def normal(*shape: int) -> np.ndarray:
    return np.random.default_rng(shape).standard_normal(shape).astype(np.float32)


GATES = {name: Gate(normal(H, I), normal(H, H)) for name in ("reset", "update", "candidate")}
NET = Sequential(GRU.from_gates(**GATES), Linear(normal(2, H)))
MODEL = NET.to_model()
TWO = NET.to_model(initial_state=True)
X = normal(5, 1, I)


def foreign(package: str, name: str, **members: Any) -> Any:
    """An object of a subclass of a class of another package."""
    base = type(name, (), {"__module__": f"{package}.inner", **members})
    return type("Mine", (base,), {"__module__": "__main__"})()


def cannot(*_: object, **__: object) -> None:
    raise RuntimeError("Can't call numpy() on Tensor that requires grad.")


TENSOR = foreign("torch", "Tensor", __array__=cannot)


@pytest.mark.parametrize(
    ("value", "way"),
    [
        (foreign("torch", "Module"), "torch.onnx.export"),
        (foreign("keras", "Model"), r"save\('model\.keras'\)"),
        (foreign("tensorflow", "Model"), r"save\('model\.keras'\)"),
        (foreign("onnx", "ModelProto"), "SerializeToString()"),
        (foreign("onnxruntime", "InferenceSession"), "the path of the file that it was made from"),
        (NET, "runs as it is"),
        (MODEL, "runs as it is"),
        (MODEL.graph, r"fastgru\.Model\(graph\) runs it"),
        ({"gru.weight_ih_l0": X}, "from_torch"),
        (["a.onnx", "b.onnx"], "one file at a time"),
        (io.BytesIO(b"abc"), r"what its read\(\) gives"),
        (fastgru.Model, "Model is a class"),
    ],
)
def test_what_is_no_file(value: Any, way: str) -> None:
    for read in (fastgru.load, fastgru.load_graph, fastgru.read_weights):
        with pytest.raises(
            fastgru.InvalidModelError, match=rf"source: got \w+, expected the path of a file.*: .*{way}"
        ):
            read(value)


def test_nothing_is_said_of_what_is_not_known() -> None:
    assert way_round(7) == way_of_file(None) == ""


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"x": X}, r"got dict, expected an array of numbers: arrays by name go to run\("),
        (None, "got NoneType, expected an array of numbers"),
        (TENSOR, r"Mine cannot become an array \(Can't call.*: give it as tensor\.detach\(\)\.cpu\(\)\.numpy\(\)"),
        (foreign("pandas", "DataFrame"), r"got Mine, expected an array of numbers: .*frame\[columns\]\.to_numpy"),
        (np.array([[["a", 1, None]]], object), "got an array of objects"),
        (np.ones((5, 1, I), np.int64), r"got dtype int64, expected .*: give it as np\.asarray\(x, np\.float32\)"),
        ([[[1, 2, 3]]], r"got dtype int64, expected .*: give it as np\.asarray\(x, np\.float32\)"),
        (np.ones((5, 1, I), bool), r"got dtype bool, expected .*: give it as np\.asarray\(x, np\.float32\)"),
        (np.ones((5, 1, I), complex), "got dtype complex128"),
        ("a.npy", "got dtype"),
    ],
)
def test_what_is_no_array(value: Any, message: str) -> None:
    for call in (MODEL, NET, GRU.from_gates(**GATES)):
        with pytest.raises(fastgru.ShapeError, match=message):
            call(value)
    if not isinstance(value, dict | str):
        for call in (NET.stream().push, lambda x: MODEL.run({"x": x}), lambda x: NET.run({"x": x})):
            with pytest.raises(fastgru.ShapeError, match=message):
                call(value)


def test_lists_and_other_floats_are_taken() -> None:
    for call in (MODEL, NET):
        assert np.array_equal(call(X.tolist()), call(X))
        assert call(X.astype(np.float16)).shape == (5, 1, 2)


def test_arrays_by_name_and_in_order() -> None:
    with pytest.raises(fastgru.ShapeError, match=r"got 1 inputs, expected 2: x, h0: arrays by name go to model\.run\("):
        TWO({"x": X, "h0": X})
    for value in (X, [X]):
        for run in (MODEL.run, NET.run):
            with pytest.raises(fastgru.ShapeError, match=r"expected arrays by name: x, such as \{'x': array\}"):
                run(value)  # type: ignore[arg-type]
    with pytest.raises(fastgru.ShapeError, match="out: got a dict, expected an array, or a tuple"):
        NET.stream().push(X, out={"y": X})  # type: ignore[arg-type]
    ids = fastgru.Embedding(normal(7, 2))
    with pytest.raises(fastgru.ShapeError, match=r"give it as np\.asarray\(x, np\.int64\)"):
        ids(np.ones(3))
    with pytest.raises(fastgru.ShapeError, match=r"np\.asarray\(x, np\.int64\)"):
        ids.to_model()(np.ones((2, 3)))


@pytest.mark.parametrize("suffix", [".onnx", ".pt", ".PTH", ".h5", ".keras", ".json", ".npz", ".pkl"])
def test_names_of_other_formats(suffix: str, tmp_path: Path) -> None:
    for save in (MODEL.save, NET.save):
        with pytest.raises(fastgru.UnsupportedModelError, match=rf"(?i)\{suffix} is the name of another format; save"):
            save(tmp_path / f"model{suffix}")
    for write in (MODEL.to_onnx, NET.to_onnx):
        if suffix == ".onnx":
            write(tmp_path / "model.onnx")
            continue
        with pytest.raises(fastgru.UnsupportedModelError, match=r"another format; .*to_onnx writes ONNX"):
            write(tmp_path / f"model{suffix}")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"] * (suffix == ".onnx")
    NET.save(tmp_path / "model.v2")
    assert np.array_equal(fastgru.load(tmp_path / "model.v2")(X), NET(X))


def test_what_is_no_path() -> None:
    for value in (None, 7, io.BytesIO()):
        with pytest.raises(fastgru.UnsupportedModelError, match="expected the path of a file to write"):
            MODEL.save(value)  # type: ignore[arg-type]


MODULE = foreign("torch", "Module", state_dict=dict)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GRU.from_torch("a.pt"), r"weights: got str.*read_weights\(path\)"),
        (lambda: Linear.from_torch(Path("a.pt"), "fc"), r"expected a mapping.*read_weights\(path\)"),
        (lambda: GRU.from_torch(MODULE), r"weights: got Mine.*state_dict\(\)"),
        (
            lambda: fastgru.from_architecture({"inputs": {"x": ["N", 2]}, "layers": ["Tanh"]}, MODULE),
            r"weights: got Mine.*state_dict\(\)",
        ),
        (lambda: fastgru.Model("a.onnx"), r"Model: got str, expected a Graph: fastgru\.load reads files"),
        (lambda: fastgru.Model(NET), r"Model: got Sequential, expected a Graph: its to_model\(\) makes one"),
        (lambda: fastgru.Model(MODEL), "Model: got Model, expected a Graph: it runs as it is"),
        (lambda: SessionPool("a.onnx", 4), r"SessionPool: got str, expected a model or a layer: fastgru\.load"),
        (lambda: SessionPool(MODULE, 4), r"SessionPool: got Mine.*torch\.onnx\.export"),
        (lambda: Sequential([Tanh(), Tanh()]), r"expected layers, got list: write Sequential\(\*layers\)"),
        (lambda: Sequential(Tanh), r"expected layers, got type: Tanh is a class: give an object of it, Tanh\("),
        (lambda: Sequential(MODULE), r"expected layers, got Mine: .*from_torch"),
        (lambda: TWO.stream(state=["h0"]), "state: got list, expected a mapping of inputs to outputs"),
        (lambda: fastgru.quantize(MODULE), r"source: got Mine.*torch\.onnx\.export"),
        (lambda: fastgru.verify({"a": X}), r"source: got dict.*from_torch"),
    ],
)
def test_what_is_of_another_kind(make: Any, message: str) -> None:
    with pytest.raises(FastGRUError, match=message):
        make()


def test_objects_of_torch() -> None:
    torch = pytest.importorskip("torch")
    assert np.array_equal(MODEL(torch.from_numpy(X)), MODEL(X))
    with pytest.raises(fastgru.ShapeError, match=r"detach\(\)\.cpu\(\)"):
        MODEL(torch.from_numpy(X).requires_grad_())
    with pytest.raises(fastgru.InvalidModelError, match=r"torch\.onnx\.export"):
        fastgru.load(torch.nn.GRU(3, 4))
