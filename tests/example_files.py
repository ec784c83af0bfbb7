"""What the programs of docs/examples/ read: small models whose last layer is fitted here, and data for them.

Each GRU keeps random weights; its linear layer is the least-squares fit to the examples below, which is enough for
answers that a reader can judge.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import wave
from pathlib import Path
from types import ModuleType

import numpy as np
from numpy.typing import NDArray
from readme_files import draw, make_rtneural, save_gru
from safetensors.numpy import save_file

import fastgru

__all__ = ["EXAMPLES", "load_example", "make_example_files"]

EXAMPLES = Path(__file__).parent.parent / "docs" / "examples"
RATE = 16000
WHISTLES = {"low": 400.0, "middle": 1000.0, "high": 2500.0}  # Hz
SENTENCES = """the/D dog/N sees/V a/D bird/N|a/D bird/N sings/V|birds/N sing/V|the/D dog/N sleeps/V|dogs/N see/V birds/N
the/D birds/N sing/V|a/D dog/N sees/V the/D bird/N|the/D cat/N sees/V a/D dog/N|cats/N sleep/V|a/D cat/N sleeps/V"""


def load_example(name: str) -> ModuleType:
    """A program of docs/examples/ as a module. What it imports and is not installed raises `ImportError`."""
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def make_example_files(folder: Path) -> None:
    """Everything but GTCRN, which the reader brings, and what needs a package of the examples that is not here."""
    rng = np.random.default_rng(0)
    make_rtneural(folder / "amp.json", rng)
    make_tagger(folder, rng)
    save_onnx(folder / "gestures.onnx", torch_gru(rng, 3, 16, ""), (draw(rng, 4, 16), draw(rng, 4)), state=False)
    write_wav(folder / "noisy.wav", voice(rng))
    if importlib.util.find_spec("soundfile"):
        make_spotter(folder, rng)
    if importlib.util.find_spec("pandas"):
        make_forecaster(folder, rng)


def write_wav(path: Path, sound: NDArray[np.float64]) -> None:
    """One channel of 16 bits at 16 kHz."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.writeframes((np.clip(sound, -1, 1) * 32767).astype("<i2").tobytes())


def voice(rng: np.random.Generator) -> NDArray[np.float64]:
    """Two seconds: a gliding sound with overtones, in syllables, under noise."""
    seconds = np.arange(2 * RATE) / RATE
    phase = 2 * np.pi * np.cumsum(140 + 30 * np.sin(2 * np.pi * 0.7 * seconds)) / RATE
    syllables = np.maximum(0, np.sin(2 * np.pi * 2.5 * seconds)) ** 0.5
    return 0.1 * syllables * sum(np.sin(k * phase) / k for k in range(1, 20)) + 0.05 * rng.standard_normal(len(seconds))


def torch_gru(rng: np.random.Generator, I: int, H: int, *suffixes: str) -> dict[str, NDArray[np.float32]]:
    """The state dict of a GRU "gru" with random weights."""
    shapes = {"weight_ih": (3 * H, I), "weight_hh": (3 * H, H), "bias_ih": (3 * H,), "bias_hh": (3 * H,)}
    return {f"gru.{name}_l0{suffix}": draw(rng, *shape) for suffix in suffixes for name, shape in shapes.items()}


def fit(states: NDArray[np.float32], targets: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """weight (O, H) and bias (O,) of the linear layer that comes nearest to targets (rows, O) over states (rows, H)."""
    inputs = np.c_[states, np.ones(len(states))].astype(np.float64)
    ridge = 1e-4 * len(inputs) * np.eye(inputs.shape[1])
    found = np.linalg.solve(inputs.T @ inputs + ridge, inputs.T @ targets).astype(np.float32)
    return found[:-1].T.copy(), found[-1].copy()


def save_onnx(
    path: Path, weights: dict[str, NDArray[np.float32]], fc: tuple[NDArray[np.float32], ...], *, state: bool = True
) -> None:
    """`save_gru` of a torch state dict and the weight (O, H) and bias of a linear layer."""

    def zrn(name: str) -> NDArray[np.float32]:
        r, z, n = np.split(weights[f"gru.{name}_l0"], 3)
        return np.concatenate([z, r, n])

    gru = {"W": zrn("weight_ih"), "R": zrn("weight_hh"), "B": np.concatenate([zrn("bias_ih"), zrn("bias_hh")])}
    save_gru(path, {**{name: a[None] for name, a in gru.items()}, "fc.weight": fc[0].T, "fc.bias": fc[1]}, state=state)


def make_tagger(folder: Path, rng: np.random.Generator) -> None:
    """tagger.safetensors and vocabulary.json: every word of SENTENCES, and their three tags."""
    sentences = [[pair.split("/") for pair in line.split()] for line in SENTENCES.replace("\n", "|").split("|")]
    words = ["?", *sorted({word for sentence in sentences for word, _ in sentence})]
    tags = ["D", "N", "V"]
    weights = {"emb.weight": 3 * draw(rng, len(words), 8), **torch_gru(rng, 8, 24, "", "_reverse")}
    hidden = fastgru.Sequential(
        fastgru.Embedding.from_torch(weights, "emb"), fastgru.GRU.from_torch(weights, prefix="gru", batch_first=True)
    )
    states = [hidden(np.array([[words.index(word) for word, _ in s]]))[0] for s in sentences]
    targets = np.eye(3)[[tags.index(tag) for s in sentences for _, tag in s]]
    weights["fc.weight"], weights["fc.bias"] = fit(np.concatenate(states), targets)
    save_file(weights, folder / "tagger.safetensors")
    (folder / "vocabulary.json").write_text(json.dumps({"words": words, "tags": tags}), encoding="utf-8")


def whistles(rng: np.random.Generator, names: list[str]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sound of 0.4 s for each name between silences of 0.4 s, and for each sample which of WHISTLES it belongs to."""
    length = int(0.4 * RATE)
    tones = [np.sin(2 * np.pi * WHISTLES[name] * np.arange(length) / RATE) for name in names]
    sound = np.concatenate([np.r_[np.zeros(length), 0.3 * tone] for tone in tones] + [np.zeros(length)])
    labels = [np.r_[np.zeros(length), np.full(length, 1 + list(WHISTLES).index(name))] for name in names]
    return sound + 0.01 * rng.standard_normal(len(sound)), np.concatenate([*labels, np.zeros(length)]).astype(np.int64)


def make_spotter(folder: Path, rng: np.random.Generator) -> None:
    """spotter.onnx, and sound.wav for it."""
    example = load_example("keyword_spotter")
    weights = torch_gru(rng, example.BANDS, 48, "")
    weights["gru.weight_ih_l0"] *= 0.2
    sound, labels = whistles(rng, list(rng.permutation(list(WHISTLES) * 8)))
    frames = np.concatenate(list(example.log_mel(sound)))
    states, _ = fastgru.GRU.from_torch(weights, prefix="gru")(frames)
    heard = labels[example.SIZE + example.HOP * np.arange(len(frames)) - 1]
    weight, bias = fit(states[:, 0], 12 * np.eye(len(WHISTLES) + 1)[heard])
    save_onnx(folder / "spotter.onnx", weights, (weight, bias))
    write_wav(folder / "sound.wav", whistles(rng, ["middle", "low", "high", "low"])[0])


def make_forecaster(folder: Path, rng: np.random.Generator) -> None:
    """forecaster.onnx, and sales.csv for it: three series, with a week's rhythm and a drift each."""
    import pandas as pd

    example = load_example("forecast_csv")
    weights, rows, states, targets = torch_gru(rng, 3, 128, ""), [], [], []
    weights["gru.weight_ih_l0"] *= 0.5
    weights["gru.weight_hh_l0"] *= 0.7
    weights["gru.bias_ih_l0"][128:256] -= 1  # states that follow the week
    gru = fastgru.GRU.from_torch(weights, prefix="gru")
    dates = pd.date_range("2026-01-05", periods=150)
    for k in range(100):
        week = np.tile(rng.uniform(0.4, 1.6, 7), 22)[:150]
        values = 100 * week * (1 + 0.002 * rng.standard_normal() * np.arange(150)) + 3 * rng.standard_normal(150)
        scaled = (values - values.mean()) / values.std(ddof=1)
        states.append(gru(example.features(dates, scaled)[:-1])[0][20:, 0])
        targets.append(scaled[21:, None])
        if k < 3:
            rows.append(pd.DataFrame({"series": f"shop {k + 1}", "date": dates, "value": values.round(1)}))
    save_onnx(folder / "forecaster.onnx", weights, fit(np.concatenate(states), np.concatenate(targets)))
    pd.concat(rows).to_csv(folder / "sales.csv", index=False)


if __name__ == "__main__":  # python tests/example_files.py FOLDER
    make_example_files(Path(sys.argv[1]))
