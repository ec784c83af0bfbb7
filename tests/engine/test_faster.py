"""The table that `precision="auto"` goes by: whole, monotone in every size, and obeyed by models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import fastgru
from fastgru.engine import Executable
from fastgru.engine.faster import HERE, TABLE, row_of, slower, slower_everywhere
from fastgru.graph import Graph, Node, TensorSpec
from fastgru.precisions import AUTO, LOWP
from fastgru.simd.target import TARGET, TARGETS, runnable

OPS = ("gru", "linear", "matmul", "embedding")
SIZES = (1, 15, 16, 31, 32, 63, 64, 127, 128, 1024)


def network(H, O=40, V=30, D=24):
    rng = np.random.default_rng(0)

    def uniform(*shape):
        return rng.uniform(-0.1, 0.1, shape).astype(np.float32)

    gates = {name: fastgru.Gate(uniform(H, D), uniform(H, H), uniform(H)) for name in ("reset", "update", "candidate")}
    gru = fastgru.GRU.from_gates(**gates, reset_after=True)
    return fastgru.Sequential(fastgru.Embedding(uniform(V, D)), gru, fastgru.Linear(uniform(O, H))).to_graph()


def test_every_target_has_a_row_in_every_precision():
    rows = {row_of(target.short, {"avx512fp16": half}) for target in TARGETS for half in (False, True)}
    assert set(TABLE) == set(LOWP)
    assert all(set(table) == rows for table in TABLE.values())
    assert HERE.startswith(TARGET.short)


def test_a_bfloat16_instruction_of_half_the_rate_is_told_by_what_comes_with_it():
    level = "x86-64-v4+vnni+bf16"
    assert row_of(level, {}) == level
    assert slower("gru", (256, 256), "bfloat16", level) == ""
    assert "may be slower" in slower("gru", (256, 256), "bfloat16", row_of(level, {"avx512fp16": True}))
    assert row_of("x86-64-v4+amx", {"avx512fp16": True}) == "x86-64-v4+amx"


@pytest.mark.parametrize("precision", LOWP)
@pytest.mark.parametrize("op", OPS)
def test_what_pays_for_a_size_pays_for_every_larger_one(op, precision):
    for row in TABLE[precision]:
        pays = {(o, i): not slower(op, (o, i), precision, row) for o in SIZES for i in SIZES}
        for (o, i), does in pays.items():
            assert not does or all(pays[p, q] for p in SIZES for q in SIZES if p >= o and q >= i), (row, o, i)
        least = TABLE[precision][row]
        assert pays[1024, 1024] == (least is not None)
        assert not pays[15, 15]


@pytest.mark.parametrize("precision", LOWP)
def test_no_small_size_pays_anywhere(precision):
    assert slower_everywhere("gru", (64, 64), precision) == ""
    assert f"63 units are faster in float32: {precision} pays from 64" == slower_everywhere("gru", (63, 900), precision)
    assert "31 outputs" in slower_everywhere("linear", (31, 900), precision)
    assert "8 numbers a row" in slower_everywhere("embedding", (900, 8), precision)


@pytest.mark.parametrize("asked", AUTO)
@pytest.mark.parametrize("H", [8, 63, 64, 200])
def test_auto_is_the_first_that_the_table_allows(asked, H):
    chosen = Executable(network(H), precision=asked).weight_precisions
    shapes = {"embedding": (30, 24), "gru": (H, max(H, 24)), "linear": (40, H)}
    for weights in chosen.values():
        allowed = [of for of in AUTO[asked] if not slower(weights.op, shapes[weights.op], of)]
        assert weights.precision == (allowed or ["float32"])[0]
        assert weights.why


@pytest.mark.parametrize("precision", LOWP)
def test_a_precision_that_is_given_is_obeyed_however_slow(precision):
    for H in (1, 2, 63):
        chosen = Executable(network(H, O=1, D=1), precision=precision).weight_precisions
        assert [(each.precision, each.why) for each in chosen.values()] == [(precision, "")] * 3


def test_auto_may_be_one_of_the_precisions_of_a_mapping():
    graph = network(200)
    gru = next(node.outputs[0] for node in graph.nodes if node.op == "gru")
    chosen = Executable(graph, precision={"*": "auto-int8", gru: "float32"}).weight_precisions
    whole = Executable(graph, precision="auto-int8").weight_precisions
    assert chosen[gru].precision == "float32"
    assert {n: c for n, c in chosen.items() if n != gru} == {n: c for n, c in whole.items() if n != gru}
    assert Executable(graph, precision={gru: "auto"}).weight_precisions[gru].why
    with pytest.raises(fastgru.UnsupportedModelError, match="cannot be auto in a model that computes in float64"):
        Executable(graph, precision={"*": "float64", gru: "auto"})


@pytest.mark.parametrize("asked", AUTO)
def test_a_row_has_its_bits_whatever_comes_with_it(asked):
    model = fastgru.Model(network(128), precision=asked)
    ids = np.random.default_rng(1).integers(0, 30, (12, 9))
    y = model(ids)
    for rows in ([0], [3, 4], [8, 0, 5, 1]):
        np.testing.assert_array_equal(model(ids[:, rows]), y[:, rows])


@pytest.mark.parametrize("asked", AUTO)
def test_the_choice_given_again_has_the_same_bits(asked):
    model, ids = fastgru.Model(network(128), precision=asked), np.arange(12).reshape(6, 2)
    outright = {name: chosen.precision for name, chosen in model.weight_precisions.items()}
    np.testing.assert_array_equal(fastgru.Model(model.graph, precision=outright)(ids), model(ids))
    assert model.precision == asked
    counts = [list(outright.values()).count(p) for p in dict.fromkeys(outright.values())]
    told = ", ".join(f"{n} {p}" for n, p in zip(counts, dict.fromkeys(outright.values()), strict=True))
    assert repr(model).endswith(f"precision={asked!r} ({told}))")


def test_weights_that_a_file_has_small_are_not_rounded_again(tmp_path):
    small = fastgru.Model(network(128), precision="int8")
    small.save(tmp_path / "small.safetensors")
    auto = fastgru.load(tmp_path / "small.safetensors", precision="auto")
    for name, chosen in auto.weight_precisions.items():
        assert chosen.precision in ("int8", "float32")
        shape = {"embedding": (30, 24), "gru": (128, 128), "linear": (40, 128)}[chosen.op]
        assert (chosen.precision == "int8") == (not slower(chosen.op, shape, "int8")), name


def test_integers_of_a_file_that_float32_multiplies_as_they_are_stay_so():
    rng = np.random.default_rng(2)
    q, x = rng.integers(-127, 128, (128, 64)).astype(np.int8), rng.integers(0, 256, (3, 64)).astype(np.uint8)
    q[:, 0] = 127
    constants = {"q": q, "s": np.float32(0.01), "zero": np.uint8(128), "step": np.float32(0.02)}
    nodes = (
        Node("dequantize", ("x", "step", "zero"), ("floats",)),
        Node("dequantize", ("q", "s"), ("w",)),
        Node("linear", ("floats", "w"), ("y",)),
    )
    graph = Graph((TensorSpec("x", "uint8", (None, 64)),), (TensorSpec("y", "float32", None),), nodes, constants)
    for asked in AUTO:
        made = Executable(graph, precision=asked)
        (chosen,) = made.weight_precisions.values()
        assert (chosen.precision, "multiplied as they are" in chosen.why) == ("float32", True)
        np.testing.assert_array_equal(made.run({"x": x})["y"], Executable(graph).run({"x": x})["y"])


@pytest.mark.parametrize("level", [target.level for target in runnable()])
def test_every_level_of_this_machine_chooses_by_its_row(level):
    """In a process of its own, which compiles nothing: weights are chosen before anything runs."""
    program = (
        "import json, sys; sys.path.insert(0, sys.argv[1]); from test_faster import *;"
        "graph = network(200); print(json.dumps([HERE, [[c.op, c.precision]"
        " for asked in AUTO for c in Executable(graph, precision=asked).weight_precisions.values()]]))"
    )
    paths = [str(Path(__file__).parents[2]), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {**os.environ, "FASTGRU_TARGET": level, "PYTHONPATH": os.pathsep.join(paths)}
    command = [sys.executable, "-c", program, str(Path(__file__).parent)]
    row, found = json.loads(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)
    shapes = {"embedding": (30, 24), "gru": (200, 200), "linear": (40, 200)}
    wanted = [
        [op, next((of for of in among if not slower(op, shape, of, row)), "float32")]
        for among in AUTO.values()
        for op, shape in shapes.items()
    ]
    assert found == wanted
    assert row.startswith((f"x86-64-{level}", "aarch64"))
