"""The rivals that are installed give our numbers, in every configuration; the others say that they are absent."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from bench_tools import CASES, write_model

from fastgru.bench.cases import Case
from fastgru.bench.contender import UnableError
from fastgru.bench.measure import Plan, check_outputs, outputs_of
from fastgru.bench.model_file import file_problem, model_problem, parse_shapes
from fastgru.bench.onnx_gru import onnx_model
from fastgru.bench.problem import gru_problem
from fastgru.bench.rivals import REDUCED, RIVALS, Rival
from fastgru.bench.suite import run_problem
from fastgru.errors import ShapeError
from fastgru.load import load_graph
from fastgru.reference import run_graph
from fastgru.simd.target import TARGET, best

pytestmark = pytest.mark.skipif(
    best().base != TARGET.base, reason="rivals are held back or stay out where FASTGRU_TARGET is set"
)


@pytest.mark.parametrize("name", sorted(RIVALS))
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.slug)
def test_every_configuration_gives_the_expected_outputs(name: str, case: Case) -> None:
    pytest.importorskip(name)
    problem = gru_problem(case)
    if name == "torch" and not case.reset_after:
        with pytest.raises(UnableError, match="after the product only"):
            RIVALS[name].contenders(problem, 1)
        return
    contenders = RIVALS[name].contenders(problem, 2)
    assert len({c.setting for c in contenders}) == len(contenders)
    for contender in contenders:
        for _ in range(2):
            got = outputs_of(contender, problem)
            check_outputs(got, problem.expected, who=contender.label, against="float64", precision="float32")


@pytest.mark.parametrize("name", sorted(REDUCED))
@pytest.mark.parametrize("case", CASES[:2], ids=lambda case: case.slug)
def test_every_lower_precision_gives_the_expected_outputs_as_near_as_it_can(name: str, case: Case) -> None:
    rival = REDUCED[name]
    pytest.importorskip(rival.package)
    problem = gru_problem(case)
    for contender in rival.contenders(problem, 1):
        got = outputs_of(contender, problem)
        check_outputs(got, problem.expected, who=contender.label, against="float64", precision=name.split()[1])


def test_a_rival_that_is_not_installed_says_so() -> None:
    rival = Rival("no_such_module", "no_such_module", lambda problem, threads: [], has_isa_switch=True)
    with pytest.raises(UnableError, match="not installed"):
        rival.contenders(gru_problem(CASES[0]), 1)


def test_a_rival_that_fails_says_how() -> None:
    def make(problem: object, threads: int) -> list[object]:
        raise RuntimeError("first line\nsecond line")

    with pytest.raises(UnableError, match=r"fails: first line$"):
        Rival("numpy", "numpy", make, has_isa_switch=True).contenders(gru_problem(CASES[0]), 1)  # type: ignore[arg-type]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.slug)
def test_the_onnx_file_is_the_same_gru(case: Case) -> None:
    problem = gru_problem(case)
    assert problem.stack is not None
    graph = load_graph(onnx_model(case, problem.stack.weights))
    current = dict(problem.state_arrays)
    frames = [{"x": x[None]} for x in problem.frames[0]["x"]] if case.kind == "block" else problem.frames
    for k, frame in enumerate(frames):
        outputs = run_graph(graph, {**frame, **current})
        last = outputs["y"] if "y" in outputs else outputs["h_n"]
        wanted = problem.expected[0]["y"][k] if case.kind == "block" else problem.expected[k]["y"]
        assert np.allclose(last.reshape(wanted.shape), wanted, rtol=0, atol=1e-12)
        current = {source: outputs[target] for source, target in problem.states.items()}


@pytest.mark.parametrize("case", [CASES[0], CASES[1], CASES[3]], ids=lambda case: case.slug)
def test_a_model_file_is_run_beside_the_rivals(tmp_path: Path, case: Case, quick_plan: Plan) -> None:
    problem = file_problem(write_model(tmp_path, case), {})
    assert problem.streaming == (case.kind == "step")
    rivals = ["onnxruntime", "torch"]
    row = run_problem(problem, "model", 1, [RIVALS[r] for r in rivals], quick_plan)
    assert not row.trouble
    assert row.absent["torch"] in ("has no model of this file", "not installed (pip install torch)")
    if importlib.util.find_spec("onnxruntime"):
        assert row.best_rival == "onnxruntime"


def test_shapes_are_read_and_named(tmp_path: Path) -> None:
    assert parse_shapes(["N=8", "x=1x2x3", "y=1,2, 3"]) == {"N": 8, "x": (1, 2, 3), "y": (1, 2, 3)}
    for wrong, told in (
        ("N", "expected NAME=SIZE"),
        ("=3", "expected NAME=SIZE"),
        *((text, "expected sizes of at least 1, as in T=50") for text in ("N=0", "N=x", "N=1x", "N=-1", "N=")),
        ("N=4,T=2", "expected one name; give --shape once for each name"),
    ):
        with pytest.raises(ShapeError, match=f"--shape {wrong}: {told}"):
            parse_shapes([wrong])
    path = write_model(tmp_path, CASES[1])
    with pytest.raises(ShapeError, match="called batch"):
        file_problem(path, {"batch": 3})


def test_free_dimensions_take_the_given_sizes(tmp_path: Path) -> None:
    import fastgru

    problem = gru_problem(CASES[1])
    assert problem.stack is not None
    path = tmp_path / "model.safetensors"
    fastgru.Model(fastgru.GRU(problem.stack.specs, problem.stack.weights).to_graph(initial_state=True)).save(path)
    made = file_problem(path, {"T": 4, "N": 2})
    assert made.feeds["x"].shape == (4, 2, 3)
    assert made.state_arrays["h0"].shape == (1, 2, 4)
    assert file_problem(path, {"x": (4, 2, 3)}).state_arrays["h0"].shape == (1, 2, 4)
    assert file_problem(path, {}).feeds["x"].shape == (1, 1, 3)
    graph = load_graph(path)
    nameless = replace(graph, inputs=tuple(replace(spec, dims=()) for spec in graph.inputs))
    with pytest.raises(ShapeError, match=r"sizes that no --shape gives are 1, as in h0 \(1, 1, 4\): give these, too"):
        model_problem("m", nameless, None, {"x": (4, 2, 3)})
    assert made.onnx is None
