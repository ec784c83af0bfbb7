"""`GRUSpec` validates itself and says everything that is wrong at once."""

from __future__ import annotations

import json

import numpy as np
import pytest

from fastgru.errors import InvalidModelError, SpecError
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.spec import (
    RECURRENT,
    Activation,
    GRUSpec,
    GRUWeights,
    LSTMSpec,
    LSTMWeights,
    RNNSpec,
    check_weights,
    spec_of,
)


def test_defaults_are_those_of_torch():
    spec = GRUSpec(3, 4)
    assert (spec.direction, spec.reset_after, spec.clip, spec.batch_first) == ("forward", True, None, False)
    assert spec.gate_activations == (Activation("sigmoid"),)
    assert GRUSpec(3, 4, "bidirectional").candidate_activations == (Activation("tanh"),) * 2
    assert GRUSpec(3, 4, "bidirectional").output_size == 8


def test_every_fault_is_listed():
    with pytest.raises(SpecError) as caught:
        GRUSpec(0, True, "sideways", clip=-1.0, mask_output="keep", gate_activations=(Activation("tanh"),) * 2)
    for said in ("input_size is 0", "hidden_size is True", "sideways", "clip is -1.0", "'keep'", "2 entries for 1"):
        assert said in str(caught.value)


def test_a_spec_survives_json():
    spec = GRUSpec(3, np.int64(4), "bidirectional", clip=2.0, gate_activations=(Activation("hard_sigmoid"),) * 2)
    assert GRUSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    with pytest.raises(SpecError, match="unknown fields peephole"):
        GRUSpec.from_dict({"input_size": 1, "hidden_size": 1, "peephole": True})
    with pytest.raises(SpecError, match="missing fields hidden_size"):
        GRUSpec.from_dict({"input_size": 1})


@pytest.mark.parametrize(
    "fields",
    [
        3,
        {"direction": ["forward"]},
        {"clip": "2"},
        {"clip": float("nan")},
        {"clip": True},
        {"reset_after": "no"},
        {"batch_first": 2},
        {"mask_output": {}},
        {"gate_activations": 3},
        {"gate_activations": ["sigmoid"]},
        {"gate_activations": [{"kind": ["sigmoid"]}]},
        {"gate_activations": [{"kind": "elu", "alpha": "1"}]},
        {"gate_activations": [{"kind": "elu", "gamma": 1}]},
        {"gate_activations": [{}]},
        {5: 6},
    ],
)
def test_nothing_but_a_spec_error_comes_of_bad_fields(fields):
    with pytest.raises(SpecError):
        GRUSpec.from_dict({"input_size": 1, "hidden_size": 1, **fields} if isinstance(fields, dict) else fields)


def test_weights_that_do_not_fit():
    good = GRUWeights(np.zeros((12, 3)), np.zeros((12, 4)))
    check_weights(GRUSpec(3, 4), [good])
    with pytest.raises(SpecError) as caught:
        check_weights(
            GRUSpec(3, 4, "bidirectional"),
            [GRUWeights(np.zeros((12, 4)), np.zeros((12, 4), int), np.zeros(3), np.zeros(12, "V2"))],
        )
    said = str(caught.value)
    assert "1 direction(s), expected 2" in said
    assert "weight_ih has shape (12, 4), expected (12, 3)" in said
    assert "weight_hh has dtype int64" in said
    assert "bias_ih has shape (3,), expected (12,)" in said
    assert "bias_hh has dtype |V2" in said


X = TensorSpec("x", "float32", (None, 3))
NODE = Node("unary", ("x",), ("y",), {"kind": "exp"})


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (Graph((X, X), (), ()), "input 'x' is defined twice"),
        (Graph((X,), (), (Node("unary", ("z",), ("y",)),)), "reads 'z'"),
        (Graph((X,), (), (NODE, NODE)), "defines 'y' a second time"),
        (Graph((X,), (TensorSpec("w", "float32", None),), (NODE,)), "no node defines output 'w'"),
        (Graph((X,), (TensorSpec("y", "float32", None),), (NODE,), states={"x": "h"}), "state 'x' -> 'h'"),
    ],
)
def test_graphs_that_contradict_themselves(graph, said):
    with pytest.raises(InvalidModelError, match=said):
        graph.validate()


def test_dtypes_are_a_closed_list():
    with pytest.raises(InvalidModelError, match="complex64"):
        TensorSpec("x", "complex64", None)


def test_the_other_layers_say_their_own_name_and_survive_json():
    for spec in (
        LSTMSpec(3, 4, "bidirectional", clip=2.0, cell_activations=(Activation("relu"),) * 2, input_forget=True),
        RNNSpec(3, 4, activations=(Activation("elu", 0.5),), mask_output="zero"),
    ):
        op = {kind: name for name, kind in RECURRENT.items()}[type(spec)]
        assert spec_of(op, {"spec": json.loads(json.dumps(spec.to_dict()))}) == spec
    with pytest.raises(SpecError, match=r"^LSTM spec: input_forget is 3.*; cell_activations has 2 entries for 1"):
        LSTMSpec(3, 4, input_forget=3, cell_activations=(Activation("tanh"),) * 2)
    with pytest.raises(SpecError, match=r"^RNN spec: unknown fields reset_after"):
        RNNSpec.from_dict({"input_size": 1, "hidden_size": 1, "reset_after": True})
    weights = LSTMWeights(np.zeros((16, 3)), np.zeros((12, 4)), peephole=np.zeros(16))
    with pytest.raises(SpecError, match=r"weight_hh has shape \(12, 4\).*peephole has shape \(16,\), expected \(12,\)"):
        check_weights(LSTMSpec(3, 4), [weights])
