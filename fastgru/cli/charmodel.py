"""The character-level language model that comes with the package: loading, checking and writing."""

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
# For logits of magnitude about 10, with float32 on both sides.
ALLOWED: Final = 5e-5


@dataclass
class Timing:
    """step_ns: the time of the model for each character. total_ns: all time, with the choice of the characters."""

    step_ns: list[int] = field(default_factory=list)
    total_ns: int = 0


class CharModel:
    """A model from tokens (N, T) to logits (N, T, V), with one token for each character of `alphabet`."""

    def __init__(self, folder: Path = DATA) -> None:
        started = time.perf_counter()
        self.model = fastgru.load(folder / "demo.safetensors")
        self.stream = self.model.stream(batch_size=1)
        self.meta = dict(self.model.graph.meta)
        self.alphabet = json.loads(self.meta["alphabet"])
        self._ids = {character: i for i, character in enumerate(self.alphabet)}
        self._expected = folder / "demo_expected.npz"
        # The first push compiles what the cache lacks.
        self.stream.push(np.zeros((1, 1), np.int64))
        self.stream.reset()
        self.load_s = time.perf_counter() - started

    def encode(self, text: str) -> NDArray[np.int64]:
        """Return token ids (1, T). Raises `InvalidModelError` for a character that the alphabet lacks."""
        if unknown := sorted(set(text) - set(self._ids)):
            raise InvalidModelError(
                f"prompt: {', '.join(map(repr, unknown))} is not in the model's alphabet {self.alphabet.strip()!r}"
            )
        return np.array([[self._ids[character] for character in text]], np.int64)

    def check(self) -> float:
        """Return the largest difference between our logits and those of the framework that trained the model.

        The difference should be at most `ALLOWED`. It is infinite if a logit is NaN.
        """
        with np.load(self._expected, allow_pickle=False) as expected:
            tokens, logits, hn = expected["tokens"], expected["logits"], expected["hn"]
        outputs = self.model.run({"tokens": tokens, "h0": np.zeros_like(hn)})
        difference = max(np.abs(outputs["logits"] - logits).max(), np.abs(outputs["hn"] - hn).max())
        return float(np.nan_to_num(difference, nan=np.inf))

    def write(
        self, prompt: str, length: int, *, temperature: float, seed: int, timing: Timing
    ) -> Iterator[tuple[str, float]]:
        """Yield `length` characters that follow `prompt`, each with the probability with which it was drawn.

        With temperature 0, the most likely character is taken each time. An empty prompt stands for the start of a
        chapter.
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
    """Return a token and its probability at this temperature. draw: a number from [0, 1)."""
    weights = np.exp((logits - logits.max()) / (temperature or 1.0), dtype=np.float64)
    ends = weights.cumsum()
    choice = int(ends.searchsorted(draw * ends[-1], side="right")) if temperature else int(logits.argmax())
    choice = min(choice, len(weights) - 1)
    return choice, float(weights[choice] / ends[-1])
