"""The model that comes with the package, and `fastgru demo`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from slowness import within

from fastgru.cli import main
from fastgru.cli.charmodel import ALLOWED, DATA, CharModel, Timing
from fastgru.errors import InvalidModelError
from fastgru.graphfile import read_graph
from fastgru.reference import run_graph


@pytest.fixture(scope="module")
def model() -> CharModel:
    return CharModel()


def write(model: CharModel, length: int = 60, **settings: float) -> str:
    chosen = {"temperature": 0.7, "seed": 1, **settings}
    return "".join(c for c, _ in model.write("In the beginning ", length, timing=Timing(), **chosen))  # type: ignore[arg-type]


def test_the_logits_are_those_of_torch(model: CharModel) -> None:
    assert model.check() <= ALLOWED
    with np.load(DATA / "demo_expected.npz") as expected:
        assert np.abs(expected["logits"]).max() > 1000 * ALLOWED
        graph = read_graph(DATA / "demo.safetensors")
        defined = run_graph(graph, {"tokens": expected["tokens"], "h0": np.zeros_like(expected["hn"])})
        np.testing.assert_allclose(defined["logits"], expected["logits"], atol=2e-5)
        np.testing.assert_allclose(defined["hn"], expected["hn"], atol=2e-6)


def test_other_weights_are_found_out(tmp_path: Path) -> None:
    (tmp_path / "demo.safetensors").write_bytes((DATA / "demo.safetensors").read_bytes())
    with np.load(DATA / "demo_expected.npz") as expected:
        arrays = dict(expected)
    arrays["logits"][0, 3, 5] += 1e-3
    np.savez(tmp_path / "demo_expected.npz", **arrays)
    assert CharModel(tmp_path).check() > ALLOWED
    arrays["logits"][0, 3, 5] = np.nan
    np.savez(tmp_path / "demo_expected.npz", **arrays)
    assert CharModel(tmp_path).check() > ALLOWED


def test_it_has_learnt_the_language(model: CharModel) -> None:
    text = "And it came to pass, when the king heard these words, that he rent his clothes, and went forth."
    ids = model.encode(text)
    logits = model.model.run({"tokens": ids, "h0": np.zeros((2, 1, 192), np.float32)})["logits"][0].astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    bits = -log_p[np.arange(len(text) - 1), ids[0, 1:]].mean() / np.log(2)
    assert bits < 2  # a model that has learnt only how often each letter comes needs more than 4


def test_the_stream_and_the_whole_sequence_agree(model: CharModel) -> None:
    ids = model.encode("the fear of the Lord is the beginning of wisdom")
    whole = model.model.run({"tokens": ids, "h0": np.zeros((2, 1, 192), np.float32)})["logits"]
    model.stream.reset()
    steps = np.concatenate([model.stream.push(ids[:, t : t + 1]) for t in range(ids.shape[1])], axis=1)
    assert np.array_equal(whole, steps)


def test_chunks_and_steps_may_take_turns(model: CharModel) -> None:
    ids = model.encode("the heaven and the earth")
    whole = model.model.run({"tokens": ids, "h0": np.zeros((2, 1, 192), np.float32)})["logits"]
    for _ in range(3):
        model.stream.reset()
        parts = [model.stream.push(ids[:, :9].copy())]
        parts += [model.stream.push(ids[:, t : t + 1].copy()) for t in range(9, 15)]
        parts += [model.stream.push(ids[:, 15:].copy())]
        assert np.array_equal(np.concatenate(parts, axis=1), whole)


def test_the_same_seed_writes_the_same(model: CharModel) -> None:
    first = write(model)
    assert first == write(model)
    assert first != write(model, seed=2)
    assert len(first) == 60
    assert set(first) <= set(model.alphabet)
    assert write(model, temperature=0.0) == write(model, temperature=0.0, seed=5)


def test_probabilities_are_of_the_character_written(model: CharModel) -> None:
    timing = Timing()
    written = list(model.write("In the ", 40, temperature=0.0, seed=0, timing=timing))
    assert all(1 / len(model.alphabet) < p <= 1 for _, p in written)  # the likeliest each time
    assert len(timing.step_ns) == 40
    assert timing.total_ns >= sum(timing.step_ns) > 0


def test_a_character_that_it_has_never_seen_is_refused(model: CharModel) -> None:
    with pytest.raises(InvalidModelError, match="'7', 'é'"):
        model.encode("é and 7")
    result = CliRunner().invoke(main, ["demo", "--prompt", "in 1611"])
    assert result.exit_code == 2
    assert "'1'" in result.stderr


def test_the_demo_ends_and_says_how_fast() -> None:
    result = CliRunner().invoke(main, ["demo", "--length", "200", "--seed", "3"])
    assert result.exit_code == 0, result.output
    for words in ("fastgru demo", "376,911 parameters", "✓", "time a character", "characters a second", "gru"):
        assert words in result.stdout
    assert "\x1b" not in result.stdout
    assert all(len(line) <= 80 for line in result.stdout.splitlines())
    body = result.stdout.split("─\n")[1]
    # The last word may end where the length does.
    assert len(" ".join(body.split())) >= 200 + len("And it came to pass in those days, that ") - 8


def test_an_empty_prompt_begins_a_chapter() -> None:
    result = CliRunner().invoke(main, ["demo", "--prompt", "", "--length", "50"])
    assert result.exit_code == 0, result.output
    assert "✓" in result.stdout
    assert re.search(r"\n  \w", result.stdout)


def test_a_second_process_compiles_nothing(model: CharModel) -> None:
    code = (
        "import json\n"
        "from fastgru.cli.charmodel import CharModel\n"
        "from fastgru.kernels.table import compiled_by_this_process, table\n"
        "CharModel().check()\n"
        "print(json.dumps([compiled_by_this_process(), [row for row in table() if row[3] == 'cached']]))\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=within(240),
        env=os.environ.copy(),
    )
    compiled, cached = json.loads(result.stdout)
    assert compiled == []
    assert any("gru" in op for op, *_ in cached)


def test_the_files_are_small_and_the_card_is_there() -> None:
    assert (DATA / "demo.safetensors").stat().st_size < 2_000_000
    assert (DATA / "demo_expected.npz").stat().st_size < 8_000
    card = (DATA / "DEMO_MODEL_CARD.md").read_text(encoding="utf-8")
    assert f"{(DATA / 'demo.safetensors').stat().st_size:,} bytes" in card
    assert read_graph(DATA / "demo.safetensors").meta["bits_per_character"] in card
