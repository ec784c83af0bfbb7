"""A model in two files: what `model.to_json` and what `model.save_weights` wrote."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_files import h5py, layer, legacy, sequential
from test_keras_golden import FOLDER, feed_of

import fastgru
from fastgru.errors import FastGRUError, InvalidModelError, UnreadTensorsError, UnsupportedModelError
from fastgru.importers.keras import find_configuration, read_keras
from fastgru.reference import run_graph

GOLDEN = zipfile.ZipFile(FOLDER / "keras3.zip")


def pair_of_archive(member: str) -> tuple[dict[str, Any], bytes]:
    """The two parts of a .keras archive, which is what Keras 3 writes one by one."""
    with zipfile.ZipFile(io.BytesIO(GOLDEN.read(f"{member}.keras"))) as inner:
        return json.loads(inner.read("config.json")), inner.read("model.weights.h5")


def pair_of_legacy(member: str) -> tuple[dict[str, Any], bytes]:
    """The same of a legacy .h5: its group model_weights is what save_weights writes at the top."""
    buffer = io.BytesIO()
    with h5py.File(io.BytesIO(GOLDEN.read(f"{member}.h5"))) as whole, h5py.File(buffer, "w") as file:
        group = whole["model_weights"]
        file.attrs["keras_version"] = whole.attrs["keras_version"].encode()
        for key in group:
            group.copy(key, file)
        config = json.loads(whole.attrs["model_config"])
    return config, buffer.getvalue()


@pytest.mark.parametrize("layout", [pair_of_archive, pair_of_legacy])
@pytest.mark.parametrize("member", ["nested", "sequential", "cells", "bidirectional_unlike"])
def test_two_files_are_the_whole(layout: Any, member: str) -> None:
    config, weights = layout(member)
    if layout is pair_of_archive:
        config["keras_version"] = GOLDEN.read("version.txt").decode()
    graph = read_keras(weights, configuration=find_configuration(json.dumps(config).encode()))
    golden = np.load(io.BytesIO(GOLDEN.read(f"{member}.npz")))
    outputs = list(run_graph(graph, feed_of(graph, golden)).values())
    expected = [golden[key] for key in golden.files if key.startswith("out")]
    for y, want in zip(outputs, expected, strict=True):
        np.testing.assert_allclose(y, want, rtol=0, atol=2e-6)


def test_masks_need_the_version_and_nothing_else_does() -> None:
    config, weights = pair_of_archive("masking")
    with pytest.raises(UnsupportedModelError, match=r"layer 'masking.*add \"keras_version\""):
        read_keras(weights, configuration=config)
    assert read_keras(weights, configuration={**config, "keras_version": "3.15.1"}).meta["version"] == "3.15.1"
    assert read_keras(pair_of_archive("nested")[1], configuration=pair_of_archive("nested")[0]).meta["version"] == "3"


def test_a_file_with_a_configuration_takes_no_other() -> None:
    config, weights = pair_of_archive("sequential")
    for name in ("sequential.keras", "sequential.h5"):
        with pytest.raises(UnsupportedModelError, match="contains its own configuration"):
            read_keras(GOLDEN.read(name), configuration=config)
    with pytest.raises(InvalidModelError, match="expected the weights of a Keras model"):
        read_keras(b'{"a": 1}', configuration=config)
    with pytest.raises(InvalidModelError, match="keras_version"):
        read_keras(weights, configuration={**config, "keras_version": 3})


def test_weights_of_another_model_are_noticed() -> None:
    (first, _), (_, second) = pair_of_archive("sequential"), pair_of_archive("nested")
    with pytest.raises(FastGRUError):
        read_keras(second, configuration=first)
    config = sequential(layer("Dense", "d", units=2, batch_input_shape=[None, 3]))
    arrays = [("d/kernel:0", np.ones((3, 2), "f4")), ("d/bias:0", np.ones(2, "f4"))]
    whole = legacy(config, {"d": arrays, "e": [("e/kernel:0", np.ones(3, "f4"))]})
    buffer = io.BytesIO()
    with h5py.File(io.BytesIO(whole)) as old, h5py.File(buffer, "w") as file:
        for key in old["model_weights"]:
            old["model_weights"].copy(key, file)
    with pytest.raises(UnreadTensorsError, match="e/e/kernel:0"):
        read_keras(buffer.getvalue(), configuration={**config, "keras_version": "2.2.4"})


@pytest.mark.parametrize("text", [b"inputs:\n  x: [1]\n", b'{"layers": [], "in_shape": []}', b'{"class_name": 3}'])
def test_other_descriptions_are_no_configuration(text: bytes) -> None:
    assert find_configuration(text) is None


def test_load_takes_the_configuration_as_the_architecture(tmp_path: Path) -> None:
    config, weights = pair_of_archive("nested")
    (tmp_path / "model.json").write_text(json.dumps(config))
    (tmp_path / "model.weights.h5").write_bytes(weights)
    golden = np.load(io.BytesIO(GOLDEN.read("nested.npz")))
    model = fastgru.load(
        tmp_path / "model.weights.h5",
        architecture=tmp_path / "model.json",
        outputs=["out", "concatenate"],
        precision="float64",
    )
    assert [spec.name for spec in model.outputs] == ["out", "concatenate"]
    y = model.run(feed_of(model.graph, golden))["out"]
    np.testing.assert_allclose(y, golden["out0"], rtol=0, atol=2e-6)
    assert fastgru.load(weights, architecture=config).graph.num_parameters == model.graph.num_parameters
    with pytest.raises(UnsupportedModelError, match="architecture of a Keras model, without its weights"):
        fastgru.load(tmp_path / "model.json")
    with pytest.raises(UnsupportedModelError, match="names its outputs"):
        fastgru.load(weights, architecture={"inputs": {}, "layers": []}, outputs=["out"])
    with pytest.raises(UnsupportedModelError, match="fallback= does not apply"):
        fastgru.load(weights, architecture=config, fallback="reference")
