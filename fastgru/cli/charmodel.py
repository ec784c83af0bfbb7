"""The character-level language model that comes with the package: load it, check it, let it write."""

import json
import time
from collections.abc import Iterator
from dataclasses import field
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

import fastgru
from fastgru.errors import InvalidModelError
from fastgru.records import dataclass

__all__ = ["ALLOWED", "DATA", "CharModel", "Timing"]

DATA: Final = fastgru.demo_path().parent
# Logits of magnitude about 10, float32 on both sides.
ALLOWED: Final = 5e-5


@dataclass
class Timing:
    """step_ns: one entry a character, the model alone; total_ns: the choice of the character included."""

    step_ns: list[int] = field(default_factory=list)
    total_ns: int = 0


class CharModel:
    """tokens (N, T) -> logits (N, T, V), one token a character of `alphabet`."""

    def __init__(self, folder: Path = DATA) -> None:
        started = time.perf_counter()
        self.model = fastgru.load(folder / "demo.safetensors")
        self.stream = self.model.stream(batch_size=1)
        self.meta = dict(self.model.graph.meta)
        self.alphabet = json.loads(self.meta["alphabet"])
        self._ids = {character: i for i, character in enumerate(self.alphabet)}
        self._expected = folder / "demo_expected.npz"
        # The first push compiles what is not in the cache.
        self.stream.push(np.zeros((1, 1), np.int64))
        self.stream.reset()
        self.load_s = time.perf_counter() - started

    def encode(self, text: str) -> NDArray[np.int64]:
        """Token ids (1, T). `InvalidModelError` for a character that the model has never seen."""
        if unknown := sorted(set(text) - set(self._ids)):
            raise InvalidModelError(
                f"prompt: {', '.join(map(repr, unknown))} is not in the model's alphabet {self.alphabet.strip()!r}"
            )
        return np.array([[self._ids[character] for character in text]], np.int64)

    def check(self) -> float:
        """The largest difference of a stored text's logits to those of the framework that trained the model.

        They are the same within `ALLOWED`; infinite where one is not a number.
        """
        with np.load(self._expected, allow_pickle=False) as expected:
            tokens, logits, hn = expected["tokens"], expected["logits"], expected["hn"]
        outputs = self.model.run({"tokens": tokens, "h0": np.zeros_like(hn)})
        difference = max(np.abs(outputs["logits"] - logits).max(), np.abs(outputs["hn"] - hn).max())
        return float(np.nan_to_num(difference, nan=np.inf))

    def write(
        self, prompt: str, length: int, *, temperature: float, seed: int, timing: Timing
    ) -> Iterator[tuple[str, float]]:
        """`length` characters that follow `prompt`, each with the probability that it was drawn with.

        temperature 0 takes the likeliest each time. An empty prompt stands for the start of a chapter.
        """
        draws = np.random.default_rng(seed).random(length)
        self.stream.reset()
        logits = self.stream.push(self.encode(prompt or "\n"))[0, -1]
        token = np.empty((1, 1), np.int64)
        for draw in draws:
            begun = time.perf_counter_ns()
            choice, probability = _choose(logits, temperature, draw)
            token[0, 0] = choice
            chosen = time.perf_counter_ns()
            logits = self.stream.push(token)[0, -1]
            ended = time.perf_counter_ns()
            timing.step_ns.append(ended - chosen)
            timing.total_ns += ended - begun
            yield self.alphabet[choice], probability


def _choose(logits: NDArray[Any], temperature: float, draw: float) -> tuple[int, float]:
    """A token and its probability at this temperature; `draw` is from [0, 1)."""
    weights = np.exp((logits - logits.max()) / (temperature or 1.0), dtype=np.float64)
    ends = weights.cumsum()
    choice = int(ends.searchsorted(draw * ends[-1], side="right")) if temperature else int(logits.argmax())
    choice = min(choice, len(weights) - 1)
    return choice, float(weights[choice] / ends[-1])
