"""Loaded models as chains: the same numbers, the same steps of a fit; and what is none."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from readme_files import make_readme_files

import fastgru
from fastgru import learn
from fastgru.cli.charmodel import DATA
from fastgru.errors import UnsupportedModelError
from fastgru.graph import Graph
from fastgru.learn.chain import why_not
from fastgru.learn.network import output_of, weight_names
from fastgru.learn.straight import straight
from fastgru.load import load_graph

TESTS = Path(__file__).parent.parent / "data"
DEMO = DATA / "demo.safetensors"


def chain_of(graph: Graph, output: str | None = None) -> Graph | None:
    return straight(graph, output_of(graph, output), why_not)


def test_states_in_and_out_are_those_of_the_layers() -> None:
    graph = load_graph(DEMO)
    chain = chain_of(graph)
    assert chain is not None
    assert [node.op for node in chain.nodes] == ["embedding", "gru", "gru", "linear"]
    assert weight_names(chain) == weight_names(graph)
    assert [spec.name for spec in chain.inputs] == ["tokens"]


def test_a_bias_and_axes_of_the_direction_are_no_layers(tmp_path: Path) -> None:
    make_readme_files(tmp_path)
    chain = chain_of(load_graph(tmp_path / "model.onnx"))
    assert chain is not None
    assert [node.op for node in chain.nodes] == ["gru", "linear"]


@pytest.mark.parametrize("name", ["before_11", "operator_15"])
def test_exports_of_tensorflow(name: str) -> None:
    assert chain_of(load_graph(TESTS / "onnx_tensorflow" / f"{name}.onnx")) is not None


def test_states_that_are_exchanged_are_no_chain() -> None:
    graph = load_graph(DEMO)
    nodes = tuple(replace(n, inputs=n.inputs[::-1]) if n.op == "concat" else n for n in graph.nodes)
    assert chain_of(replace(graph, nodes=nodes)) is None


@pytest.mark.parametrize("name", ["laststep_trace_17", "tagger_trace_13", "ragged_trace_14"])
def test_other_models_are_no_chain(name: str) -> None:
    graph = load_graph(TESTS / "onnx" / f"{name}.onnx")
    assert chain_of(graph, graph.outputs[0].name) is None


def test_a_model_with_other_inputs_is_refused() -> None:
    graph = load_graph(TESTS / "onnx" / "laststep_trace_17.onnx")
    with pytest.raises(UnsupportedModelError, match="lengths"):
        learn.fit(graph, (np.zeros((2, 5, 4)), np.zeros(2, np.int64)))


def test_a_step_of_a_loaded_model_is_that_of_the_definition() -> None:
    model = fastgru.load(DEMO)
    ids = np.random.default_rng(0).integers(0, 63, (3, 13))
    found = learn.fit(model, (ids[:, :-1], ids[:, 1:]), optimizer=learn.SGD, lr=1.0, dtype="float64")
    assert found.native
    x = {"tokens": ids[:, :-1], "h0": np.zeros((2, 3, 192))}
    expected = learn.gradients(model, x, ids[:, 1:], reduction="mean", output="logits")
    for name, gradient in expected.weights.items():
        after, before = (np.asarray(m.graph.constants[name]) for m in (found.net, model))
        np.testing.assert_allclose(after, before - gradient, rtol=0, atol=1e-6)


def test_steps_end_a_fit_and_nothing_better_changes_nothing() -> None:
    graph = load_graph(DEMO)
    ids = np.random.default_rng(1).integers(0, 63, (4, 41))
    data = ids[:, :-1], ids[:, 1:]
    asked = {"window": 10, "epochs": 9, "steps": 6}
    found = learn.fit(graph, data, held_out=data, lr=0.0, **asked)
    assert [step.step for step in found.history] == [1, 2, 3, 4, 5, 6]
    assert found.history[-1].held_out is not None
    assert found.history[-1].steps == 6
    assert found.best_epoch == 0
    assert found.before == pytest.approx(found.history[-1].held_out)
    for name, a in graph.constants.items():
        np.testing.assert_array_equal(a, found.net.constants[name])


def test_what_hears_of_steps_may_end_them_and_they_go_on(tmp_path: Path) -> None:
    graph = load_graph(DEMO)
    ids = np.random.default_rng(2).integers(0, 63, (4, 61))
    data, asked = (ids[:, :-1], ids[:, 1:]), {"window": 10, "epochs": 2, "clip_norm": 1.0}

    def hear(step: learn.FitStep) -> None:
        if step.step == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn.fit(graph, data, progress=hear, checkpoint=tmp_path / "kept", **asked)
    resumed = learn.fit(graph, data, checkpoint=tmp_path / "kept", **asked)
    whole = learn.fit(graph, data, **asked)
    assert resumed.history == whole.history
    for name, a in whole.net.constants.items():
        np.testing.assert_array_equal(a, resumed.net.constants[name])
