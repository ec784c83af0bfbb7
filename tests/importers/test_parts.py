"""Parts of models: what lies between some tensors, of ONNX, Keras and our own files, against the whole."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import fastgru
from fastgru.errors import InvalidModelError, UnsupportedModelError

DATA = Path(__file__).parents[1] / "data" / "keras"
X = np.random.default_rng(1).standard_normal((4, 2, 3)).astype(np.float32)


def onnx_file(*, odd: bool = False, value_info: bool = False) -> bytes:
    """x (T, N, 3), h0 -> GRU -> squeezed "s" -> linear "m", "y"; with `odd` an operator that nobody knows before m."""
    rng = np.random.default_rng(0)
    I, H, O = 3, 4, 2
    shapes = {"W": (1, 3 * H, I), "R": (1, 3 * H, H), "fc": (H, O), "bias": (O,)}
    constants = [numpy_helper.from_array(rng.standard_normal(s).astype(np.float32), n) for n, s in shapes.items()]
    nodes = [
        helper.make_node(
            "GRU", ["x", "W", "R", "", "", "h0"], ["Y", "hn"], name="gru", hidden_size=H, linear_before_reset=1
        ),
        helper.make_node("Squeeze", ["Y", "axes"], ["s"]),
        *([helper.make_node("Oddity", ["s"], ["o"], domain="odd")] if odd else []),
        helper.make_node("MatMul", ["o" if odd else "s", "fc"], ["m"]),
        helper.make_node("Add", ["m", "bias"], ["y"]),
    ]  # fmt: skip
    form = {"x": ["T", "N", I], "h0": [1, "N", H], "y": ["T", "N", O], "hn": [1, "N", H], "o": ["T", "N", H]}
    infos = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in form.items()}
    graph = helper.make_graph(
        nodes,
        "g",
        [infos["x"], infos["h0"]],
        [infos["y"], infos["hn"]],
        [*constants, numpy_helper.from_array(np.array([1]), "axes")],
        value_info=[infos["o"]] if value_info else [],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("odd", 1)]
    return helper.make_model(graph, opset_imports=opsets).SerializeToString()


H0 = np.ones((1, 2, 4), np.float32)


@pytest.mark.parametrize("own", [False, True])
def test_parts_put_together_are_the_whole(own: bool, tmp_path: Path) -> None:
    source: Any = onnx_file()
    whole = fastgru.load(source)
    expected, hn = whole(X, H0)
    if own:
        whole.save(tmp_path / "m.safetensors")
        source = tmp_path / "m.safetensors"
    first = fastgru.load(source, outputs=["s", "hn"])
    assert [spec.name for spec in first.inputs] == ["x", "h0"]
    s, last = first(X, H0)
    assert np.array_equal(last, hn)
    second = fastgru.load(source, inputs=["s"], outputs=["y"])
    assert [(spec.name, spec.shape, spec.dims[:2]) for spec in second.inputs] == [("s", (None, None, 4), ("T", "N"))]
    assert np.array_equal(second(s), expected)
    assert second.graph.num_parameters == 4 * 2 + 2
    assert fastgru.load(source, inputs="s", outputs="m").graph.num_parameters == 8
    assert first.graph.states == {"h0": "hn"}
    stream = first.stream(2)
    assert np.array_equal(np.concatenate([stream.push(x[None]) for x in X]).shape, s.shape)
    told = fastgru.load(source, inputs={"s": (5, None, 4)}, outputs=["y"])
    assert told.inputs[0].shape == (5, None, 4)


@pytest.mark.parametrize("value_info", [False, True])
def test_what_is_not_between_is_not_read(value_info: bool) -> None:
    source = onnx_file(odd=True, value_info=value_info)
    with pytest.raises(UnsupportedModelError, match="Oddity"):
        fastgru.load(source)
    s = fastgru.load(source, outputs=["s"])(X, H0)
    if not value_info:
        with pytest.raises(
            UnsupportedModelError, match=r"does not have the dtype and shape of 'o'.*Oddity.*inputs=\{'o'"
        ):
            fastgru.load(source, inputs=["o"], outputs=["y"])
    inputs: Any = ["o"] if value_info else {"o": (None, None, 4)}
    rest = fastgru.load(source, inputs=inputs, outputs=["y"])
    assert np.array_equal(rest(s), fastgru.load(onnx_file())(X, H0)[0])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"inputs": ["z"]}, r"inputs names 'z', which is not a tensor of the model"),
        ({"outputs": ["Hn"]}, r"outputs names 'Hn'.*did you mean hn\?"),
        ({"inputs": ["s"]}, r"the outputs need 'x', 'h0', too"),
        ({"inputs": ["x", "h0", "m"], "outputs": ["s"]}, r"the outputs do not need 'm'"),
        ({"outputs": []}, r"outputs is \[\], expected a list of names"),
        ({"outputs": {"y": None}}, r"outputs is .*, expected a list of names"),
        ({"inputs": ["s", "s"]}, r"expected a list of names, each once"),
        ({"inputs": {"s": "text"}, "outputs": ["y"]}, r"'s' is 'text', expected sizes"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("own", [False, True])
def test_names_that_do_not_fit(options: dict[str, Any], message: str, own: bool, tmp_path: Path) -> None:
    source: Any = onnx_file()
    if own:
        fastgru.load(source).save(tmp_path / "m.safetensors")
        source = tmp_path / "m.safetensors"
    with pytest.raises(InvalidModelError, match=message):
        fastgru.load(source, **options)


def gain(x: Any, weights: dict[str, Any]) -> Any:
    scale, shift = weights.values()
    return x * scale + shift


def custom(kind: str) -> tuple[bytes, Any]:
    version, suffix = kind.split("-")
    with zipfile.ZipFile(DATA / f"{version}_custom.zip") as files:
        return files.read(f"own_code.{suffix}"), np.load(io.BytesIO(files.read("own_code.npz")))


@pytest.mark.parametrize("kind", ["keras2-keras", "keras2-h5", "keras3-keras", "keras3-h5"])
def test_the_parts_around_code_of_ones_own(kind: str) -> None:
    file, arrays = custom(kind)
    objects: dict[str, Any] = {"Gain": gain, "MyGRU": "GRU"}
    first = fastgru.load(file, outputs=["rnn"], custom_objects=objects)
    y = first(arrays["in:x"])
    blended = y * (2 * y + 1) - y
    shape = (None, None, 4)
    inputs: Any = ["blend"] if kind.startswith("keras3") else {"blend": shape}
    if kind.startswith("keras2"):
        with pytest.raises(
            UnsupportedModelError, match=r"does not follow from the file.*inputs=\{'blend': \(None, \.\.\., features\)"
        ):
            fastgru.load(file, inputs=["blend"], custom_objects={"cube": lambda x: x**3})
    last = fastgru.load(file, inputs=inputs, custom_objects={"cube": lambda x: x**3})
    assert [(spec.name, spec.shape) for spec in last.inputs] == [("blend", shape)]
    np.testing.assert_allclose(last(blended), arrays["out0"], atol=2e-6)
    both = fastgru.load(
        file, inputs=["rnn"], outputs=["scaled"], custom_objects={**objects, "scaled": lambda t, by: t * by}
    )
    assert both.inputs[0].shape == shape
    assert np.array_equal(both(y), 2 * y)


def test_parts_of_keras_keep_weights_and_states() -> None:
    with zipfile.ZipFile(DATA / "keras3_recurrent.zip") as files:
        file, arrays = files.read("stateful_lstm.keras"), np.load(io.BytesIO(files.read("stateful_lstm.npz")))
    whole = fastgru.load(file)
    x = next(arrays[name] for name in arrays if name.startswith("in:"))
    feed = {
        s.name: x if n == 0 else np.zeros([k or 2 for k in s.shape or ()], np.float32)
        for n, s in enumerate(whole.inputs)
    }
    full = fastgru.load(file, outputs=["low", "middle", whole.outputs[0].name])
    results = full.run({spec.name: feed[spec.name] for spec in full.inputs})
    part = fastgru.load(file, inputs=["low"], outputs=["middle"])
    given = {spec.name: results["low"] if spec.name == "low" else feed[spec.name] for spec in part.inputs}
    assert len(given) == 2
    assert np.array_equal(part.run(given)["middle"], results["middle"])
    for options, message in (
        ({"outputs": ["lo"]}, r"outputs names 'lo', which is not a layer of the model; did you mean low\?"),
        ({"inputs": ["middle"], "outputs": ["low"]}, "need"),
    ):
        with pytest.raises(InvalidModelError, match=message):
            fastgru.load(file, **options)


def test_masks_do_not_cross_a_cut() -> None:
    pytest.importorskip("h5py")
    from keras_files import archive, layer

    first = {"class_name": "InputLayer", "config": {"name": "x", "batch_shape": [None, 5, 3], "dtype": "float32"}}
    layers = [first, layer("Masking", "mask", mask_value=0.0), layer("GlobalAveragePooling1D", "mean")]
    file = archive({"class_name": "Sequential", "config": {"name": "m", "layers": layers}}, {})
    with pytest.raises(UnsupportedModelError, match="the output of 'mask' has a mask"):
        fastgru.load(file, inputs=["mask"])
    assert fastgru.load(file, inputs={"mask": (None, 5, 3)})(np.ones((1, 5, 3))).shape == (1, 3)


@pytest.mark.parametrize("own", [False, True])
def test_a_shape_given_for_an_input_of_the_model_replaces_its_own(own: bool, tmp_path: Path) -> None:
    source: Any = onnx_file()
    if own:
        fastgru.load(source).save(tmp_path / "m.safetensors")
        source = tmp_path / "m.safetensors"
    part = fastgru.load(source, inputs={"x": (4, None, 3), "h0": None})
    assert [spec.shape for spec in (*part.inputs, part.outputs[0])] == [(4, None, 3), (1, None, 4), (4, None, 2)]
    assert part(X, H0)[0].shape == (4, 2, 2)
    for wrong in ("abc", (None, "T", 3)):
        with pytest.raises(InvalidModelError, match=r"'x' is .*, expected sizes"):
            fastgru.load(source, inputs={"x": wrong, "h0": None})


def test_a_shape_given_for_an_input_of_a_keras_model_replaces_its_own() -> None:
    with zipfile.ZipFile(DATA / "keras3.zip") as files:
        file = files.read("gate_functions.keras")
    (spec,) = fastgru.load(file).inputs
    assert spec.shape is not None
    part = fastgru.load(file, inputs={spec.name: (None, 6, spec.shape[2])})
    assert part.inputs[0].shape == (None, 6, spec.shape[2])
    with pytest.raises(InvalidModelError, match="expected sizes, with None for free ones"):
        fastgru.load(file, inputs={spec.name: "abc"})
    with pytest.raises(InvalidModelError, match="expected None for the batch, its first size"):
        fastgru.load(file, inputs={spec.name: (3, 6, spec.shape[2])})
