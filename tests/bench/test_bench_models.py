"""The networks of the bench: what they are made of, and that everyone gives the definition's numbers for them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest
from bench_tools import CASES, write_model
from click.testing import CliRunner

from fastgru.bench.cases import find_cases
from fastgru.bench.measure import Plan
from fastgru.bench.model_file import ModelCase, model_cases, model_problem
from fastgru.bench.networks import NETWORKS
from fastgru.bench.problem import Problem
from fastgru.bench.result import Result
from fastgru.bench.suite import run_suite
from fastgru.cli import main
from fastgru.load import load, load_graph
from fastgru.precisions import LOWP as LOW
from fastgru.simd.target import TARGET, best

LOWP: dict[str, dict[str, int]] = {
    "crnn": {"T": 13, "bands": 9, "channels": 3, "H": 5, "classes": 4},
    "spotter": {"T": 23, "bands": 11, "channels": 3, "H": 4, "classes": 3},
    "mask-net": {"bands": 17, "channels": 4, "H": 6},
    "recommender": {"T": 3, "items": 41, "H": 7},
    "decoder-step": {"S": 5, "words": 19, "H": 6},
    "translator": {"S": 4, "length": 3, "words": 19, "H": 6},
    "forecaster-step": {"F": 3, "H": 5},
    "forecaster": {"T": 4, "F": 3, "H": 5},
    "sampler": {"conditions": 3, "H": 6, "inner": 5, "levels": 8},
}
STATES = {
    "mask-net": {"conv_cache": "conv_cache_out", "h0": "hn", "up_cache": "up_cache_out"},
    "decoder-step": {"h0": "hn"},
    "forecaster-step": {"last": "last_out", "h": "h_out"},
    "sampler": {"h": "h_out"},
}


def small_problem(slug: str) -> Problem:
    data = partial(NETWORKS[slug].build, **LOWP[slug])()
    return model_problem(slug, load_graph(data), data)


def small_case(slug: str) -> ModelCase:
    return ModelCase(slug, NETWORKS[slug].title, lambda: small_problem(slug))


def test_every_network_of_the_table_is_tested() -> None:
    assert set(LOWP) == set(NETWORKS)
    assert len({network.title for network in NETWORKS.values()}) == len(NETWORKS)


@pytest.mark.skipif(best().base != TARGET.base, reason="rivals are held back or stay out where FASTGRU_TARGET is set")
@pytest.mark.parametrize("slug", sorted(LOWP))
def test_ours_and_onnxruntime_give_the_numbers_of_the_definition(slug: str, quick_plan: Plan) -> None:
    (row,) = run_suite([small_case(slug)], rivals=("onnxruntime",), plan=quick_plan).rows
    assert row.ours is not None, row.trouble
    assert list(row.ratios) == ["onnxruntime"], row.absent
    assert max(row.errors.values()) < 1e-5


@pytest.mark.parametrize("slug", sorted(LOWP))
def test_states_are_carried_and_outputs_are_not_all_alike(slug: str) -> None:
    problem = small_problem(slug)
    assert problem.states == STATES.get(slug, {})
    assert problem.streaming == bool(problem.states)
    for array in problem.expected[-1].values():
        assert np.ptp(array) > 1e-3 * np.abs(array).max()


def test_the_sizes_are_those_that_are_served() -> None:
    items = onnx.load_from_string(NETWORKS["recommender"].build()).graph.output[0].type.tensor_type.shape
    assert [axis.dim_value for axis in items.dim] == [1, 50_000]
    frame = onnx.load_from_string(NETWORKS["mask-net"].build()).graph.input[0].type.tensor_type.shape
    assert [axis.dim_value for axis in frame.dim] == [1, 1, 1, 257]


def test_files_of_a_folder_are_measured_too(tmp_path: Path, quick_plan: Plan) -> None:
    (tmp_path / "inner").mkdir()
    write_model(tmp_path / "inner", CASES[1])
    (tmp_path / "broken.onnx").write_bytes(b"no model")
    cases = model_cases(tmp_path)[len(NETWORKS) :]
    assert [case.slug for case in cases] == ["broken", "inner/model"]
    told: list[str] = []
    result = run_suite(cases, rivals=(), plan=quick_plan, progress=told.append)
    broken, model = result.rows
    assert broken.ours is None
    assert broken.trouble.startswith("refused: ")
    assert model.ours is not None
    assert told == ["1 of 2: broken.onnx", "2 of 2: inner/model.onnx"]
    assert Result.from_json(result.to_json()).rows == result.rows


def test_a_filter_is_a_part_of_the_name_or_a_pattern() -> None:
    cases = model_cases()
    assert find_cases(cases, None) == cases
    assert [case.slug for case in find_cases(cases, "forecaster")] == ["forecaster-step", "forecaster"]
    assert [case.slug for case in find_cases(cases, "*net")] == ["mask-net"]


def test_from_the_command_line(tmp_path: Path) -> None:
    arguments = ["bench", "--suite", "models"]
    listed = CliRunner().invoke(main, [*arguments, "--list"])
    assert listed.output.split() == list(NETWORKS)
    target = tmp_path / "models.json"
    short = ["--rivals", "none", "--rounds", "1", "--turn-ms", "0.1", "--json", str(target)]
    found = CliRunner().invoke(main, [*arguments, "--case", "forecaster-step", *short])
    assert found.exit_code == 0, found.output
    assert "GRU-D forecaster, a step" in found.output
    assert [row.slug for row in Result.from_json(target.read_text()).rows] == ["forecaster-step"]


def test_models_run_in_the_precisions_that_are_asked_for(tmp_path: Path) -> None:
    listed = CliRunner().invoke(main, ["bench", "--suite", "models", "--precision", "int8,float64", "--list"])
    assert set(listed.output.split()) == {f"{slug}-{p}" for slug in NETWORKS for p in ("int8", "float64")}
    target = tmp_path / "models.json"
    short = ["--rivals", "none", "--rounds", "1", "--turn-ms", "0.1", "--json", str(target)]
    file = write_model(tmp_path, CASES[1])
    small = tmp_path / "small.safetensors"
    load(file, precision="bfloat16").save(small)
    for model, asked, expected in (
        (file, ["--precision", "float64,float32,int8,auto"], ["float64", "float32", "int8", "auto"]),
        (small, [], ["bfloat16"]),  # its own
        (small, ["--precision", "float32"], ["float32"]),
    ):
        found = CliRunner().invoke(main, ["bench", str(model), *asked, *short])
        assert found.exit_code == 0, found.output
        rows = Result.from_json(target.read_text()).rows
        assert [row.slug for row in rows] == [model.name if p == "float32" else f"{model.name}-{p}" for p in expected]
        assert all(p == "float32" or f", {p}" in row.title for p, row in zip(expected, rows, strict=True))
        errors = {p: row.errors["fastgru"] for p, row in zip(expected, rows, strict=True)}
        assert errors.get("float64", 0) < 1e-12
        assert errors.get("int8", 1) > 1e-5
        assert all("fastgru float32" in row.rivals for p, row in zip(expected, rows, strict=True) if p in LOW)


@pytest.mark.parametrize(
    "arguments",
    [["--models-dir", "."], ["--suite", "steady", "--precision", "int8"], ["--suite", "models", "--case", "nothing"]],
)
def test_what_makes_no_sense_is_a_usage_error(arguments: list[str]) -> None:
    found = CliRunner().invoke(main, ["bench", *arguments])
    assert found.exit_code == 2
    assert "Error" in found.output


def test_builders_are_plain_functions_of_their_sizes() -> None:
    build: Callable[..., bytes] = NETWORKS["sampler"].build
    assert build(H=8) == build(H=8)
