"""What is not implemented is named, all of it at once; what is damaged ends in an error of ours."""

from __future__ import annotations

import json
import zipfile
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keras_files import archive, functional, layer, legacy, node, sequential
from test_keras_golden import FOLDER

from fastgru.errors import FastGRUError, InvalidModelError, UnsupportedModelError
from fastgru.importers.keras import read_keras

INPUT = {"batch_input_shape": [None, 5, 3]}
GRU_NAMES = ["g/kernel:0", "g/recurrent_kernel:0", "g/bias:0"]
GRU_ARRAYS = list(zip(GRU_NAMES, (np.ones((3, 6), "f4"), np.ones((2, 6), "f4"), np.ones((2, 6), "f4")), strict=True))


def gru(**config: Any) -> dict[str, Any]:
    return layer("GRU", "g", **{"units": 2, "reset_after": True, **INPUT, **config})


def read(*layers: Any, arrays: Any = GRU_ARRAYS, version: str = "2.15.0") -> Any:
    return read_keras(legacy(sequential(*layers), {"g": arrays}, version=version))


def test_everything_unsupported_is_listed_at_once() -> None:
    with pytest.raises(UnsupportedModelError) as caught:
        read(gru(activation="my_function"), layer("ConvLSTM2D", "l", filters=3),
             layer("Lambda", "code", function="print('no')"), layer("Conv3D", "c", filters=2))  # fmt: skip
    message = str(caught.value)
    for part in (
        "4 things",
        "my_function",
        "layer 'l' (ConvLSTM2D)",
        "layer 'code' (Lambda)",
        "never run",
        "layer 'c' (Conv3D)",
    ):
        assert part in message


@pytest.mark.parametrize(
    ("layers", "part"),
    [
        ([gru(activation="gelu")], "gelu"),
        ([gru(), layer("MyPackage>Swirl", "s")], "class of your own"),
        ([gru(), {**layer("Dense", "s", units=1), "module": "my_package"}], "class of your own"),
        ([gru(), {**layer("Dense", "s", units=1), "registered_name": "Custom>Dense"}], "class of your own"),
        ([gru(), layer("Dense", "s", units=1, dtype={"class_name": "QuantizedDTypePolicy"})], "quantised"),
        ([layer("RNN", "g", cell=layer("MyCell", "c", units=2), **INPUT)], "MyCell"),
        ([layer("Bidirectional", "g", layer=layer("ConvLSTM2D", "c", units=2), **INPUT)], "use one of CuDNNGRU"),
        ([gru(), layer("TimeDistributed", "t", layer=layer("Dense", "i"))], "its input has 2 axes"),
        ([gru(return_sequences=True), layer("TimeDistributed", "t", layer=layer("Lambda", "i"))], "'i'.*never run"),
        ([layer("BatchNormalization", "b", axis=[1, 2], **INPUT)], "axis"),
        ([layer("LayerNormalization", "b", axis=[1], **INPUT)], "last axes"),
        ([layer("Masking", "m", **INPUT), layer("Softmax", "s")], "mask"),
        ([layer("Masking", "m", **INPUT), layer("CuDNNGRU", "g", units=2)], "mask"),
        ([layer("Masking", "m", **INPUT), layer("CuDNNLSTM", "g", units=2)], "use LSTM"),
    ],
)  # fmt: skip
def test_refusals_name_the_layer_and_the_reason(layers: Any, part: str) -> None:
    with pytest.raises(UnsupportedModelError, match=part) as caught:
        read(*layers)
    assert "layer '" in str(caught.value)


def test_models_without_a_configuration_are_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="class of your own"):
        read_keras(archive({"class_name": "MyModel", "module": "me", "config": {}}, {}))
    with pytest.raises(UnsupportedModelError, match=r"read_weights"):
        read_keras(weights_alone())
    with pytest.raises(UnsupportedModelError, match="the shape of its input"):
        read_keras(legacy(sequential(layer("GRU", "g", units=2)), {"g": GRU_ARRAYS}))


def weights_alone() -> bytes:
    import io

    import h5py

    buffer = io.BytesIO()
    with h5py.File(buffer, "w") as file:
        file["g/g/kernel:0"] = np.ones((3, 6), "f4")
    return buffer.getvalue()


def test_a_stateful_layer_called_twice_is_refused() -> None:
    config = functional(
        node(layer("InputLayer", "a", **INPUT)),
        node(gru(stateful=True), [["a", 0, 0, {}]], [["a", 0, 0, {}]]),
        inputs=[["a", 0, 0]], outputs=[["g", 0, 0], ["g", 1, 0]],
    )  # fmt: skip
    with pytest.raises(UnsupportedModelError, match="stateful, and called more than once"):
        read_keras(legacy(config, {"g": GRU_ARRAYS}))


@pytest.mark.parametrize(
    ("layers", "arrays", "part"),
    [
        ([gru()], GRU_ARRAYS[:2], "its bias is missing"),
        ([gru(units=3)], GRU_ARRAYS, "units is 3"),
        ([gru(reset_after=False)], GRU_ARRAYS, r"bias has shape \(2, 6\)"),
        ([gru(batch_input_shape=[None, 5, 4])], GRU_ARRAYS, "3 features"),
        ([gru(batch_input_shape=[None, 5])], GRU_ARRAYS, "three axes"),
        ([gru(batch_input_shape=[None, -5, 3])], GRU_ARRAYS, "shape"),
        ([gru(units="two")], GRU_ARRAYS, "units is 'two'"),
        ([gru(units=10**40)], GRU_ARRAYS, "expected an integer"),
        ([gru(return_sequences=1)], GRU_ARRAYS, "return_sequences is 1"),
        ([gru(), gru()], GRU_ARRAYS, "two layers are called 'g'"),
        ([gru(), "x"], GRU_ARRAYS, "expected an object"),
        ([gru(), layer("Bidirectional", "b", layer=None)], GRU_ARRAYS, "expected an object"),
        ([gru(), layer("Reshape", "r", target_shape=[3])], GRU_ARRAYS, "target_shape"),
        ([gru(), layer("Permute", "r", dims=[2, 1])], GRU_ARRAYS, "dims"),
    ],
)  # fmt: skip
def test_contradictions_name_the_layer(layers: Any, arrays: Any, part: str) -> None:
    with pytest.raises(InvalidModelError, match=part):
        read(*layers, arrays=arrays)


@pytest.mark.parametrize(
    ("nodes", "outputs", "part"),
    [
        ([["h", 0, 0, {}]], [["g", 0, 0]], "not in the file"),
        ([["a", 0, 3, {}]], [["g", 0, 0]], "output 3"),
        ([["g", 0, 0, {}]], [["g", 0, 0]], "cycle"),
        ([["a", 0, 0, {}]], [["g", 5, 0]], "does not exist"),
        ([["a", 0, 0, {}]], [["g", 0, 7]], "does not exist"),
        ([["a", "0", 0, {}]], [["g", 0, 0]], "inbound_nodes"),
    ],
)
def test_a_functional_model_that_contradicts_itself(nodes: Any, outputs: Any, part: str) -> None:
    config = functional(
        node(layer("InputLayer", "a", **INPUT)), node(gru(), nodes), inputs=[["a", 0, 0]], outputs=outputs
    )
    with pytest.raises(InvalidModelError, match=part):
        read_keras(legacy(config, {"g": GRU_ARRAYS}))


@pytest.mark.parametrize("text", ["{", "[" * 100_000, '{"class_name": 3}', "null", '{"class_name": "Sequential"}'])
def test_configurations_that_are_no_model(text: str) -> None:
    with pytest.raises(FastGRUError):
        read_keras(legacy(text, {}))


def test_models_nested_in_models_without_end() -> None:
    config = sequential(layer("Dense", "d", units=1, batch_input_shape=[None, 3]))
    for n in range(200):
        config = {"class_name": "Sequential", "config": {"name": f"m{n}", "layers": [config]}}
    with pytest.raises(InvalidModelError, match="nested"):
        read_keras(legacy(config, {}))


@pytest.mark.parametrize("version", ["4.0", "0.3", "x", ""])
def test_unknown_versions(version: str) -> None:
    expected = (UnsupportedModelError, InvalidModelError)
    with pytest.raises(expected, match="keras_version"):
        read(gru(), version=version or "none")


def test_files_that_are_no_keras_model() -> None:
    with pytest.raises(InvalidModelError, match="expected a Keras model"):
        read_keras(b'{"layers": []}')


@given(st.data())
def test_damaged_files_end_in_an_error_of_ours(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["keras2.zip", "keras3.zip"]))
    member = data.draw(st.sampled_from(["masking.h5", "masking.keras", "cells.h5", "nested.keras"]))
    content = bytearray(zipfile.ZipFile(FOLDER / name).read(member))
    if data.draw(st.booleans()):
        content = content[: data.draw(st.integers(0, len(content) - 1))]
    else:
        for _ in range(data.draw(st.integers(1, 20))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_keras(bytes(content))
    except FastGRUError:
        pass


VALUES = st.sampled_from(
    [None, 0, -1, 2**31 - 1, 2**40, 10**30, 1.5, "x", [], [1], {}, True, [[["a", 0, 0]]], "Sequential"]
)


@given(st.data())
def test_configurations_with_anything_anywhere(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["keras3.zip", "keras3_networks.zip"]))
    files = zipfile.ZipFile(FOLDER / name)
    plain = ["merges", "cells", "nested", "operations", "bidirectional_unlike"]
    networks = ["convolutions_1d", "convolutions_2d", "pools", "frames", "attention", "distributed", "speech_mask"]
    networks += ["functions_of_tensors", "heads", "other_normalisations", "distributed_masks"]
    member = data.draw(st.sampled_from(plain if name == "keras3.zip" else networks))
    with zipfile.ZipFile(files.open(f"{member}.keras")) as inner:
        config, weights = json.loads(inner.read("config.json")), inner.read("model.weights.h5")
    places: list[Any] = []

    def collect(value: Any) -> None:
        for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
            places.append((value, key))
            collect(value[key])

    collect(config)
    for _ in range(data.draw(st.integers(1, 3))):
        holder, key = places[data.draw(st.integers(0, len(places) - 1))]
        holder[key] = data.draw(VALUES)
    import io

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as out:
        out.writestr("metadata.json", '{"keras_version": "3.15.1"}')
        out.writestr("config.json", json.dumps(config))
        out.writestr("model.weights.h5", weights)
    try:
        read_keras(buffer.getvalue())
    except FastGRUError:
        pass
