"""Random valid ONNX graphs over the whole operator table: imported, planned and run, against ONNX Runtime.

500 graphs in the ordinary run, which hypothesis draws and makes small when one fails; `pytest -m fuzz` takes 20,000,
and 40,000 with numbers in them that make no sense.
Each graph is checked in `graph_check`: against the oracle and the definition in float64, for two sizes of its free
dimensions in turn; one in four in every other way too: in float64, on two threads, saved, exported, as a stream.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from graph_builder import OPERATORS
from graph_check import check_graph
from graph_registry import GENERATORS
from graph_strategies import RejectError, build_graph
from onnx import TensorProto

from fastgru.engine.ops import conv, pool
from fastgru.engine.windows import WindowWords
from fastgru.model import Model

WORKER = Path(__file__).parent / "graph_worker.py"
# What has no generator, and why.
EXEMPT: dict[str, str] = {}


def run_worker(folder: Path, *arguments: object) -> dict[str, Any]:
    command = [sys.executable, "-X", "faulthandler", "-W", "error", str(WORKER), *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode < 0:
        died = signal.Signals(-done.returncode).name
        pytest.fail(f"{died} on {folder / 'last.onnx'}, {(folder / 'last').read_text()}:\n{done.stderr[-4000:]}")
    assert done.returncode == 0, done.stderr[-4000:]
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    shown = "\n".join(f"{folder}/{number}.onnx: {fault}" for number, fault in result["failures"][:5])
    assert not result["failures"], f"{len(result['failures'])} failures\n{shown}"
    assert result["peak_kib"] < 2 << 20
    return result


def test_every_operator_has_a_generator() -> None:
    assert {*GENERATORS, *EXEMPT} == set(OPERATORS)
    assert not set(GENERATORS) & set(EXEMPT)


def test_every_generator_gives_nodes() -> None:
    """In one of a few draws at most: what is always rejected is never tested."""
    for name in GENERATORS:
        for number in range(12):
            try:
                b, _ = build_graph(random.Random(f"{name} {number}"), name)
            except RejectError:
                continue
            assert name in {node.op_type for node in b.nodes}
            break
        else:
            pytest.fail(f"no graph with {name}")


def test_some_graphs_are_of_float16_and_some_have_the_batch_first() -> None:
    kinds, layouts = Counter[int](), Counter[bool]()
    for number in range(120):
        try:
            b, values = build_graph(random.Random(f"GRU {number}"), "GRU")
        except RejectError:
            continue
        model = b.model(values)
        kinds.update({info.type.tensor_type.elem_type for info in model.graph.output})
        layouts.update(any(a.name == "layout" and a.i == 1 for a in node.attribute) for node in model.graph.node)
    assert kinds[TensorProto.FLOAT16] > 2
    assert layouts[True] > 5


@pytest.mark.parametrize("seed", range(4))
def test_random_graphs(seed: int, tmp_path: Path) -> None:
    result = run_worker(tmp_path, "drawn", 125, seed, tmp_path)
    assert result["outcomes"]["checked"] >= 100
    assert len(result["operators"]) > 60


def test_spoiled_graphs(tmp_path: Path) -> None:
    """Numbers that make no sense end in an error of the tree, and nothing is written where it should not be."""
    result = run_worker(tmp_path, "spoiled", 0, 40, "spoiled", tmp_path)
    assert result["outcomes"]["run"] > 30
    assert result["outcomes"]["InvalidModelError"] + result["outcomes"]["ShapeError"] > 100


@pytest.mark.parametrize("count", [25, pytest.param(5000, marks=[pytest.mark.fuzz, pytest.mark.timeout(3600)])])
def test_a_spoiled_network(count: int, shared_models: Path, tmp_path: Path) -> None:
    path = shared_models / "gtcrn" / "gtcrn_simple.onnx"
    result = run_worker(tmp_path, "file", path, count, "gtcrn", tmp_path)
    assert result["outcomes"]["InvalidModelError"] + result["outcomes"]["ShapeError"] > count / 4


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", range(1000, 6000, 250))
def test_many_spoiled_graphs(first: int, tmp_path: Path) -> None:
    run_worker(tmp_path, "spoiled", first, 250, "spoiled", tmp_path)


@pytest.mark.fuzz
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("first", range(0, 20_000, 500))
def test_many_random_graphs(first: int, tmp_path: Path) -> None:
    result = run_worker(tmp_path, "numbered", first, 500, "graphs", tmp_path)
    outcomes = Counter(result["outcomes"])
    assert outcomes["checked"] > 450
    assert len(result["operators"]) > len(OPERATORS) - 5


def findings(names: list[str], count: int) -> int:
    found = 0
    for name in names:
        for number in range(count):
            rng = random.Random(f"{name} {number}")
            try:
                graph = build_graph(rng, name)
            except RejectError:
                continue
            try:
                check_graph(*graph, rng)
            except AssertionError:
                found += 1
    return found


def test_a_wrong_answer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    assert findings(["Softplus", "Tanh"], 2) == 0
    run = Model.run

    def off(self: Model, inputs: Any, out: Any = None) -> Any:
        results = run(self, inputs, out)
        return {n: a + np.float32(1e-3) if a.dtype == np.float32 else a for n, a in results.items()}

    monkeypatch.setattr(Model, "run", off)
    assert findings(["Softplus", "Tanh"], 2) == 4


def test_a_write_beyond_a_buffer_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stages that are planned smaller than what is written into them."""
    real = conv.window_words

    def small(*arguments: Any) -> WindowWords:
        window = real(*arguments)
        return WindowWords(**{**vars(window), "stage": window.stage // 2})

    assert findings(["Conv"], 12) == 0
    monkeypatch.setattr(conv, "window_words", small)
    monkeypatch.setattr(pool, "window_words", small)
    assert findings(["Conv"], 12) > 0
