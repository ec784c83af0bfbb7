"""Masks of Keras: what each layer does with one and hands on, as Keras 2 and 3 have it (tools/keras_sweep.py)."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from keras_files import archive, functional, layer, legacy, node

from fastgru.errors import UnsupportedModelError
from fastgru.importers.keras import read_keras
from fastgru.importers.keras.masks import MASKS
from fastgru.importers.keras.registry import MODELS, layers
from fastgru.reference import run_graph

ROOT = Path(__file__).parent.parent.parent
STORED = [
    (version, name.removesuffix(".json"))
    for version in "23"
    for name in zipfile.ZipFile(ROOT / f"tests/data/keras/masks-{version}.zip").namelist()
    if name.endswith(".json") and name != "inputs.json"
]


@pytest.mark.parametrize(("version", "member"), STORED, ids=["-".join(one) for one in STORED])
def test_every_form_after_every_form_gives_what_keras_gave(version: str, member: str) -> None:
    files = zipfile.ZipFile(ROOT / f"tests/data/keras/masks-{version}.zip")
    first, labels = json.loads(files.read(f"{member}.json"))
    inputs, want = (np.load(io.BytesIO(files.read(name))) for name in ("inputs.npz", f"{member}.npz"))
    graph = read_keras(files.read(f"{member}.keras"))
    feed = {spec.name: inputs[spec.name].astype(spec.dtype) for spec in graph.inputs}
    outputs = run_graph(graph, feed, dtype="float32")
    for label, y, key in zip(labels, outputs.values(), want.files, strict=True):
        expected = want[key]
        scale = max(1.0, float(np.nanmax(np.abs(expected), initial=0)))
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-5 * scale, err_msg=f"{first} > {label}")


def test_the_table_names_layers_that_are_read() -> None:
    assert MASKS.keys() <= {*layers(), *MODELS}


needs_keras = pytest.mark.skipif(importlib.util.find_spec("keras") is None, reason="Keras is not installed")


def sweep(*arguments: str) -> None:
    command = [sys.executable, str(ROOT / "tools" / "keras_sweep.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


@needs_keras
def test_some_pairs_give_what_the_installed_keras_gives() -> None:
    sweep("pairs", "GRU-state-name-return_sequences=True", "Bidirectional-GRU-None-plain-return_sequences=True")


@needs_keras
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("what", ["pairs", "files"])
def test_nothing_is_wrong_beside_the_installed_keras(what: str) -> None:
    sweep(what)


def masked(*more: dict[str, Any], outputs: Any) -> dict[str, Any]:
    """A model of Keras 3 that begins with x (N, 6, 4) and the masked m."""
    x = node(layer("InputLayer", "x", batch_shape=[None, 6, 4]))
    hide = node(layer("Masking", "m", mask_value=0.0), called("x"))
    return functional(x, hide, *more, inputs=["x", 0, 0], outputs=outputs)


def called(name: str, tensor: int = 0, call: int = 0, **keys: Any) -> dict[str, Any]:
    history = {"class_name": "__keras_tensor__", "config": {"keras_history": [name, call, tensor]}}
    return {"args": [history], "kwargs": keys}


def choices(config: dict[str, Any], version: str) -> int:
    """How often the graph asks a mask: once where Masking hides, and once where GlobalAveragePooling1D sees one."""
    return [n.op for n in read_keras(archive(config, {}, version=version)).nodes].count("where")


@pytest.mark.parametrize(("version", "count"), [("3.0.5", 1), ("3.3.3", 1), ("3.4.0", 2), ("3.15.1", 2)])
def test_merges_hand_masks_on_since_3_4(version: str, count: int) -> None:
    tensor = called("m")["args"][0]
    add = node(layer("Add", "a", trainable=True), {"args": [[tensor, tensor]], "kwargs": {}})
    mean = node(layer("GlobalAveragePooling1D", "y"), called("a"))
    assert choices(masked(add, mean, outputs=["y", 0, 0]), version) == count


@pytest.mark.parametrize(("version", "count"), [("3.10.0", 0), ("3.11.0", 2)])
def test_a_mask_that_a_call_names_travels_since_3_11(version: str, count: int) -> None:
    """It is that of `other`, where the layer's own input has none."""
    named = called("m")["args"][0]
    config = masked(
        node(layer("NotEqual", "other"), {"args": [named, 0.0], "kwargs": {}}),
        node(layer("Any", "some", axis=-1), called("other")),
        node(layer("Dropout", "d"), called("x", mask=called("some")["args"][0])),
        node(layer("GlobalAveragePooling1D", "y"), called("d")),
        outputs=["y", 0, 0],
    )
    for entry in config["config"]["layers"][2:4]:
        entry["module"] = "keras.src.ops.numpy"
    assert choices(config, version) == count


def nested(*, shared: bool) -> dict[str, Any]:
    """Keras 2: a model inside that is called with a mask, on an input that another layer reads, too, or on its own."""
    inner = {"layers": [node(layer("InputLayer", "i", batch_input_shape=[None, 6, 4])),
                        node(layer("Dropout", "o"), [["i", 0, 0, {}]])],
             "input_layers": [["i", 0, 0]], "output_layers": [["o", 0, 0]], "name": "inner"}  # fmt: skip
    config = functional(
        node(layer("InputLayer", "x", batch_input_shape=[None, 6, 4])),
        node(layer("InputLayer", "b", batch_input_shape=[None, 6], dtype="bool")),
        node(layer("Dropout", "before"), [["x", 0, 0, {}]]),
        node({"class_name": "Functional", "config": inner}, [["before", 0, 0, {"mask": ["b", 0, 0]}]]),
        node(layer("GlobalAveragePooling1D", "y"), [["inner", 1, 0, {}]]),
        node(layer("GlobalAveragePooling1D", "z"), [["before" if shared else "x", 0, 0, {}]]),
        inputs=[["x", 0, 0], ["b", 0, 0]], outputs=[["y", 0, 0], ["z", 0, 0]],
    )  # fmt: skip
    return config


def test_a_mask_that_keras_leaves_on_a_shared_input_is_refused() -> None:
    with pytest.raises(UnsupportedModelError, match=r"'inner'.*is called with a mask, which Keras also applies"):
        read_keras(legacy(nested(shared=True), {}, version="2.15.0"))
    graph = read_keras(legacy(nested(shared=False), {}, version="2.15.0"))
    assert [node.op for node in graph.nodes].count("where") == 1


def test_a_list_of_masks_is_one_for_each_input() -> None:
    config = functional(
        node(layer("InputLayer", "x", batch_input_shape=[None, 6, 4])),
        node(layer("InputLayer", "b", batch_input_shape=[None, 6], dtype="bool")),
        node(layer("GlobalAveragePooling1D", "y"), [["x", 0, 0, {"mask": [["b", 0, 0], ["x", 0, 0]]}]]),
        inputs=[["x", 0, 0], ["b", 0, 0]], outputs=[["y", 0, 0]],
    )  # fmt: skip
    graph = read_keras(legacy(config, {}, version="2.15.0"))
    assert [node.op for node in graph.nodes].count("where") == 1
