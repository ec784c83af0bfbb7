"""Files that Keras 2 and Keras 3 wrote, with the outputs that Keras gave (tools/make_keras_golden.py)."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastgru
from fastgru.importers.keras import read_keras
from fastgru.reference import check_node, run_graph

FOLDER = Path(__file__).parent.parent / "data" / "keras"
FILES = [
    (name, member)
    for name in ("keras2", "keras2_networks", "keras3", "keras3_recurrent", "keras3_networks")
    for member in zipfile.ZipFile(FOLDER / f"{name}.zip").namelist()
    if member.endswith((".h5", ".keras"))
]


def feed_of(graph: Any, golden: Any) -> dict[str, Any]:
    """The golden inputs by the graph's names: Keras calls the input of a Sequential by names of its own."""
    free = [spec for spec in graph.inputs if spec.name not in graph.states]
    given = {key[3:].split(":")[0]: golden[key] for key in golden.files if key.startswith("in:")}
    names = list(given) if set(given) == {s.name for s in free} else [s.name for s in free]
    assert len(names) == len(given)
    types = {spec.name: spec.dtype for spec in free}
    return {name: x.astype(types[name]) for name, x in zip(names, given.values(), strict=True)}


@pytest.mark.parametrize(("name", "member"), FILES, ids=[f"{n}-{m}" for n, m in FILES])
def test_outputs_are_those_of_keras(name: str, member: str) -> None:
    files = zipfile.ZipFile(FOLDER / f"{name}.zip")
    golden = np.load(io.BytesIO(files.read(member.rsplit(".", 1)[0] + ".npz")))
    graph = read_keras(files.read(member))
    for one in graph.nodes:
        check_node(one)
    assert graph.meta["version"] == files.read("version.txt").decode()
    feed = feed_of(graph, golden)
    states = {s.name: np.zeros((2, s.shape[1])) for s in graph.inputs if s.name in graph.states and s.shape}
    for call in ("out", "again"):
        expected = [golden[key] for key in golden.files if key.startswith(call)]
        if not expected:
            continue
        outputs = run_graph(graph, {**feed, **states})
        specs = [spec for spec in graph.outputs if spec.name not in graph.states.values()]
        assert len(specs) == len(expected)
        for spec, want in zip(specs, expected, strict=True):
            assert spec.shape is not None
            assert [s for s in spec.shape if s] == [w for s, w in zip(spec.shape, want.shape, strict=True) if s]
            assert np.abs(want).max() > 1e-2
            np.testing.assert_allclose(outputs[spec.name], want, rtol=0, atol=2e-6, err_msg=spec.name)
        states = {source: outputs[target] for source, target in graph.states.items()}


def test_a_stateful_layer_has_its_state_as_input_and_output() -> None:
    graph = read_keras(zipfile.ZipFile(FOLDER / "keras3.zip").read("stateful.keras"))
    assert dict(graph.states) == {
        "low_state_in": "low_state_out",
        "high_forward_state_in": "high_forward_state_out",
        "high_backward_state_in": "high_backward_state_out",
    }
    assert [spec.shape for spec in graph.inputs] == [(None, 4, 3), (None, 4), (None, 3), (None, 3)]


def test_a_stateful_lstm_has_two_states() -> None:
    graph = read_keras(zipfile.ZipFile(FOLDER / "keras3_recurrent.zip").read("stateful_lstm.keras"))
    layers = ("low", "middle", "high_forward", "high_backward")
    names = [f"{name}_{what}" for name in layers for what in ("state", "cell") if (name, what) != ("middle", "cell")]
    assert dict(graph.states) == {f"{name}_in": f"{name}_out" for name in names}


def test_an_input_of_an_embedding_is_of_integers() -> None:
    graph = read_keras(zipfile.ZipFile(FOLDER / "keras2.zip").read("encoder_decoder.h5"))
    assert [(spec.name, spec.dtype) for spec in graph.inputs] == [("source", "int32"), ("target", "int32")]
    assert [spec.name for spec in graph.outputs] == ["out", "decoder_1"]


NETWORKS = [member for name, member in FILES if name == "keras3_networks"]


@pytest.mark.parametrize("member", [m for m in NETWORKS if m.endswith(".keras")])
def test_the_engine_gives_what_keras_gives(member: str) -> None:
    files = zipfile.ZipFile(FOLDER / "keras3_networks.zip")
    golden = np.load(io.BytesIO(files.read(member.replace(".keras", ".npz"))))
    model = fastgru.load(files.read(member))
    outputs = model.run(feed_of(model.graph, golden))
    expected = [golden[key] for key in golden.files if key.startswith("out")]
    for spec, want in zip(model.outputs, expected, strict=True):
        np.testing.assert_allclose(outputs[spec.name], want, rtol=0, atol=1e-5, err_msg=spec.name)
