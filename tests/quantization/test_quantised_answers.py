"""What low precision leaves of the answers of trained models: text, phonemes, noise suppression, enhanced speech."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import fastgru
from fastgru import GRU, Embedding, Linear, Sequential, read_weights
from fastgru.cli.charmodel import DATA

PRECISIONS = ("bfloat16", "int8")
WORD_LIST = Path("/usr/share/dict/words")
G2P = Path(__file__).parent.parent.parent / "tools" / "g2p.py"


def decibel(got, wanted):
    wanted = wanted.astype(np.float64)
    return 10 * np.log10(np.square(wanted).sum() / np.square(got - wanted).sum())


# The character model


def bits_per_character(model, ids, rows=32):
    """Mean -log2 p of each next symbol, the text cut into rows that each start from the zero state."""
    T = (len(ids) - 1) // rows
    x, y = (ids[k : rows * T + k].reshape(rows, T) for k in (0, 1))
    h, total = np.zeros((2, rows, 192), np.float32), 0.0
    for t in range(0, T, 256):
        outputs = model.run({"tokens": x[:, t : t + 256], "h0": h})
        logits, h = outputs["logits"].astype(np.float64), outputs["hn"]
        top = logits.max(axis=-1, keepdims=True)
        log_p = logits - top - np.log(np.exp(logits - top).sum(axis=-1, keepdims=True))
        total -= np.take_along_axis(log_p, y[:, t : t + 256, None], -1).sum()
    return total / (rows * T) / np.log(2)


def rises_little(ids):
    exact = bits_per_character(fastgru.load(DATA / "demo.safetensors"), ids)
    for precision in PRECISIONS:
        small = bits_per_character(fastgru.load(DATA / "demo.safetensors", precision=precision), ids)
        assert small != exact
        assert small <= 1.005 * exact, (precision, exact, small)
    return exact


def test_bits_a_character_of_text_that_the_model_writes():
    model, rng = fastgru.load(DATA / "demo.safetensors"), np.random.default_rng(0)
    rows, h, token = [], np.zeros((2, 32, 192), np.float32), rng.integers(0, 63, (32, 1))
    for _ in range(300):
        outputs = model.run({"tokens": token, "h0": h})
        logits, h = outputs["logits"][:, 0].astype(np.float64), outputs["hn"]
        token = np.argmax(logits + rng.gumbel(size=logits.shape), axis=1)[:, None]
        rows.append(token[:, 0])
    assert 1 < rises_little(np.stack(rows, 1).reshape(-1)) < 2


def test_bits_a_character_of_the_chapters_held_out():
    if shutil.which("bible") is None:
        pytest.skip("the text is printed by `bible` of the package bible-kjv, which is not installed")
    alphabet = json.loads(fastgru.load_graph(DATA / "demo.safetensors").meta["alphabet"])
    ids = {symbol: i for i, symbol in enumerate(alphabet)}
    command = ["bible", "-f", "gen1:1-rev22:21"]
    verses = subprocess.run(command, check=True, capture_output=True, text=True, encoding="ascii").stdout
    chapters: dict[str, list[str]] = {}
    for line in verses.splitlines():
        found = re.fullmatch(r"(\w+):\d+ +(.*\S) *", line)
        chapters.setdefault(found[1], []).append(re.sub(r" +", " ", found[2]))
    held_out = [" ".join(lines) + "\n" for lines in chapters.values()][19::20]
    exact = rises_little(np.array([ids[symbol] for chapter in held_out[::4] for symbol in chapter]))
    assert exact < 1.6


# Phonemes


@pytest.fixture(scope="module")
def words():
    if not WORD_LIST.exists():
        pytest.skip(f"no dictionary at {WORD_LIST}: a package like wamerican has one")
    every = [w for w in WORD_LIST.read_text(encoding="utf-8").split() if re.fullmatch("[a-z]{2,}", w)]
    return every[:: len(every) // 2000][:2000]


@pytest.fixture(scope="module")
def g2p():
    spec = importlib.util.spec_from_file_location("g2p", G2P)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def spoken(shared_models, words, g2p):
    """What float32 says."""
    model = g2p.load(shared_models / "g2p" / "checkpoint20.npz")
    return [g2p.phonemes(model, word)[0] for word in words]


@pytest.mark.parametrize(("precision", "share"), [("bfloat16", 0.99), ("int8", 0.97)])
def test_words_are_spoken_alike(shared_models, words, g2p, spoken, precision, share):
    model = g2p.load(shared_models / "g2p" / "checkpoint20.npz", precision=precision)
    said = [g2p.phonemes(model, word)[0] for word in words]
    assert share <= np.mean([a == b for a, b in zip(said, spoken, strict=True)]) < 1


def test_auto_keeps_the_phonemes_and_says_what_it_left(shared_models, words, g2p, spoken):
    with read_weights(shared_models / "g2p" / "checkpoint20.npz") as w:
        layers = {
            side: GRU.from_torch({f"{torch}_l0": w[f"{side}_{key}"] for torch, key in g2p.KEYS.items()})
            for side in ("enc", "dec")
        }
        encoder = Sequential(Embedding(w["enc_emb"]), layers["enc"]).to_graph(rank=1)
        decoder = Sequential(Embedding(w["dec_emb"]), layers["dec"], Linear(w["fc_w"], w["fc_b"]))
        decoder = decoder.to_graph(rank=1, initial_state=True)

    def letters(word):
        return np.array([ord(c) - ord("a") + 3 for c in word] + [2])

    exact = fastgru.Model(encoder)
    known = list(zip(words, spoken, strict=True))[7::20]
    heard = [{"x": letters(word)} for word, _ in known]
    told = [{"x": np.array([2, *ids]), "h0": exact.run({"x": letters(word)})["y"][-1:, None]} for word, ids in known]
    reports = [
        fastgru.quantize(graph, precision="auto", min_db=52, data=data)
        for graph, data in ((encoder, heard), (decoder, told))
    ]
    assert all(report.holds for report in reports)
    left = {layer.op: (layer.precision, layer.why) for report in reports for layer in report.layers}
    assert left["gru"] == ("bfloat16", "int8 exceeds the bound")
    listen, speak = (report.model for report in reports)
    same = 0
    for word, wanted in zip(words, spoken, strict=True):
        h, ids = listen.run({"x": letters(word)})["y"][-1:, None], [2]
        while len(ids) <= 20 and ids[-1] != 3:
            outputs = speak.run({"x": np.array(ids[-1:]), "h0": h})
            h = outputs["h_n"]
            ids.append(int(outputs["y"][0].argmax()))
        same += [i for i in ids[1:] if i != 3] == wanted
    assert same >= 0.99 * len(words)


# Speech


@pytest.mark.parametrize("precision", PRECISIONS)
def test_gains_and_voice_probability_of_rnnoise(shared_models, precision):
    x = np.load(shared_models / "rnnoise" / "golden.npz")["x"]
    exact, small = (fastgru.load(shared_models / "rnnoise" / "bd.hdf5", precision=p) for p in ("float32", precision))
    assert {chosen.precision for chosen in small.weight_precisions.values()} == {precision}
    most = {"bfloat16": 0.015, "int8": 0.03}[precision]
    for wanted, got in zip(exact(x), small(x), strict=True):
        assert np.abs(got - wanted).max() <= most
    name = exact.inputs[0].name
    report = fastgru.quantize(exact, precision=precision, data={name: x}, max_error=most)
    assert report.holds
    auto = fastgru.quantize(exact, precision="auto", data={name: x}, max_error=0.02)
    assert auto.holds
    assert "int8" in {layer.precision for layer in auto.layers}


@pytest.mark.parametrize(("precision", "least"), [("bfloat16", 38), ("int8", 30), ("auto", 35)])
def test_speech_enhanced_by_gtcrn(shared_models, precision, least):
    file, golden = shared_models / "gtcrn" / "gtcrn.onnx", np.load(shared_models / "gtcrn" / "golden.npz")
    frames = golden["mix"].reshape(-1, 1, 257, 1, 2)
    report = fastgru.quantize(file, precision=precision, data={"mix": frames}, min_db=least)
    assert report.holds
    assert {"auto": "int8"}.get(precision, precision) in {layer.precision for layer in report.layers}
    stream = report.model.stream()
    enhanced = np.stack([stream.push(frame) for frame in frames])
    assert decibel(enhanced, golden["enh"].reshape(enhanced.shape)) >= least


def test_gtcrn_with_every_weight_small_needs_auto(shared_models):
    file, golden = shared_models / "gtcrn" / "gtcrn_simple.onnx", np.load(shared_models / "gtcrn" / "golden.npz")
    data = {"mix": golden["mix"].reshape(-1, 1, 257, 1, 2)[:16]}
    names = fastgru.load(file).weight_precisions
    every = fastgru.quantize(file, precision=dict.fromkeys(names, "int8"), data=data, min_db=35)
    assert not every.holds
    assert not every.kept
    auto = fastgru.quantize(file, precision="auto", data=data, min_db=60)
    assert auto.holds
    assert {layer.why for layer in auto.kept} != {""}
