"""Nodes of integers, and how they are held against ONNX Runtime."""

from __future__ import annotations

import numpy as np
from onnx import helper
from onnx_build import make_model, ort_run

import fastgru
from fastgru.importers.onnx import read_onnx
from fastgru.reference import run_graph

RNG = np.random.default_rng(7)


def normal(*shape):
    return RNG.standard_normal(shape).astype(np.float32)


def whole(dtype, *shape):
    limits = np.iinfo(dtype)
    return RNG.integers(limits.min, limits.max + 1, shape).astype(dtype)


def ours(model, feeds, **options):
    return fastgru.load(model.SerializeToString(), **options).run(feeds)


def node_model(op, feeds, held, outputs, *, opset=13, names=None, **attributes):
    names = names or [*feeds, *held]
    node = helper.make_node(op, names, list(outputs), name="the_node", **attributes)
    return make_model([node], feeds, outputs, held, opset=opset)


def agree(model, feeds):
    """The definition and the engine against ONNX Runtime, to the integer."""
    theirs = ort_run(model, feeds)
    graph = read_onnx(model.SerializeToString())
    for got in (run_graph(graph, feeds, dtype="float32"), ours(model, feeds)):
        for name, want in theirs.items():
            assert (got[name].shape, got[name].dtype) == (want.shape, want.dtype), name
            np.testing.assert_array_equal(got[name], want, err_msg=name)


def near(model, feeds):
    (name, want), *_ = ort_run(model, feeds).items()
    for got in (run_graph(read_onnx(model.SerializeToString()), feeds, dtype="float32"), ours(model, feeds)):
        assert got[name].dtype == want.dtype
        apart = np.abs(got[name].astype(int) - want)
        assert apart.max() <= 1
        assert np.count_nonzero(apart) <= 1 + want.size // 200
    assert np.ptp(want.astype(int)) > 40
