"""`fastgru memory`: the texts that --data takes, and what is told of the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from readme_files import draw

import fastgru
from fastgru.graphfile import write_graph

Invoke = Callable[..., Result]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of characters, whose alphabets are JSON, plain, none and wrong; t.txt and t.npy, a text and its ids."""
    found, rng = tmp_path_factory.mktemp("memory"), np.random.default_rng(0)
    names = ("reset", "update", "candidate")
    gates = {name: fastgru.Gate(draw(rng, 8, 3), draw(rng, 8, 8), draw(rng, 8)) for name in names}
    gru = fastgru.GRU.from_gates(**gates, reset_after=True)
    net = fastgru.Sequential(fastgru.Embedding(draw(rng, 4, 3)), gru, fastgru.Linear(draw(rng, 4, 8)))
    graph = net.to_model(initial_state=True).graph
    for name, alphabet in (("json", '"abcd"'), ("plain", "abcd"), ("none", None), ("twice", "abca"), ("list", "[1]")):
        meta = {**graph.meta, "alphabet": alphabet} if alphabet else graph.meta
        write_graph(replace(graph, meta=meta), found / f"{name}.safetensors")
    (found / "t.txt").write_text("abcdabcdabccbd" * 10)
    np.save(found / "t.npy", np.array(["abcd".index(c) for c in "abcdabcdabccbd" * 10]))
    return found


def test_a_text_is_its_ids_with_the_name_of_an_input_too(invoke: Invoke, folder: Path) -> None:
    model = fastgru.load(folder / "json.safetensors")
    name = next(spec.name for spec in model.inputs if spec.name not in model.graph.states)
    found = []
    for file in ("json", "plain"):
        for data in ("t.npy", "t.txt", f"{name}={folder / 't.txt'}"):
            given = data if "=" in data else folder / data
            result = invoke("memory", folder / f"{file}.safetensors", "--data", given, "--chunks", 4, "--json")
            assert result.exit_code in (0, 1), result.output
            found.append({key: value for key, value in json.loads(result.stdout).items() if key != "source"})
    assert all(each == found[0] for each in found)


@pytest.mark.parametrize(
    ("file", "data", "reason"),
    [
        ("none", "t.txt", "the model has no alphabet in its metadata"),
        ("twice", "t.txt", "the model's alphabet is 'abca', expected a string of characters, each once"),
        ("list", "t.txt", "the model's alphabet is '[1]', expected a string of characters, each once"),
        ("json", "z=t.txt", "no input is called 'z'"),
        ("json", "none.txt", "none.txt"),
    ],
)
def test_a_text_that_is_no_input_is_told(
    invoke: Invoke, folder: Path, monkeypatch: pytest.MonkeyPatch, file: str, data: str, reason: str
) -> None:
    monkeypatch.chdir(folder)
    result = invoke("memory", f"{file}.safetensors", "--data", data)
    assert result.exit_code == 2
    assert reason in " ".join(result.stderr.split())


@pytest.mark.parametrize("command", [("memory", "--data", "t.npy"), ("verify",), ("quantize", "-o", "q.safetensors")])
def test_a_seed_is_not_negative(
    invoke: Invoke, folder: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(folder)
    result = invoke(command[0], "json.safetensors", *command[1:], "--seed", -1)
    assert result.exit_code == 2
    assert "--seed" in result.stderr
