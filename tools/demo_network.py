"""The text and the network of train_demo.py."""

import math
import re
import subprocess
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

EMBEDDING_SIZE, HIDDEN_SIZE, NUM_LAYERS = 48, 192, 2
HELD_OUT_EVERY = 20
BATCH, WINDOW = 32, 96


@dataclass(frozen=True)
class Corpus:
    """The alphabet and the two halves of the text as symbol ids."""

    alphabet: str
    train: np.ndarray
    held_out: np.ndarray


def read_chapters() -> list[str]:
    """The text of the Debian package, one string a chapter, verses joined by a space."""
    verses = subprocess.run(
        ["bible", "-f", "gen1:1-rev22:21"], check=True, capture_output=True, text=True, encoding="ascii"
    ).stdout
    chapters: dict[str, list[str]] = {}
    for line in verses.splitlines():
        found = re.fullmatch(r"(\w+):\d+ +(.*\S) *", line)
        if found is None:
            raise SystemExit(f"a line without a verse reference: {line!r}")
        chapters.setdefault(found[1], []).append(re.sub(r" +", " ", found[2]))
    return [" ".join(lines) + "\n" for lines in chapters.values()]


def read_corpus() -> Corpus:
    chapters = read_chapters()
    alphabet = "".join(sorted(set("".join(chapters))))
    ids = {symbol: i for i, symbol in enumerate(alphabet)}

    def encode(parts: list[str]) -> np.ndarray:
        return np.array([ids[symbol] for part in parts for symbol in part], dtype=np.int64)

    kept = [c for i, c in enumerate(chapters) if i % HELD_OUT_EVERY != HELD_OUT_EVERY - 1]
    return Corpus(alphabet, encode(kept), encode(chapters[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]))


class CharModel(nn.Module):
    """tokens (N, T), h0 (2, N, H) -> logits (N, T, V), hn (2, N, H)."""

    def __init__(self, symbols: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(symbols, EMBEDDING_SIZE)
        self.gru = nn.GRU(EMBEDDING_SIZE, HIDDEN_SIZE, NUM_LAYERS, batch_first=True)
        self.head = nn.Linear(HIDDEN_SIZE, symbols)

    def forward(self, tokens: torch.Tensor, h0: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y, hn = self.gru(self.embedding(tokens), h0)
        return self.head(y), hn


@torch.no_grad()
def bits_per_character(model: CharModel, ids: np.ndarray, *, rows: int = 64) -> float:
    """Mean -log2 p of each next symbol, the text cut into `rows` streams that each start from the zero state."""
    length = (len(ids) - 1) // rows
    x = torch.from_numpy(ids[: rows * length].reshape(rows, length))
    y = torch.from_numpy(ids[1 : rows * length + 1].reshape(rows, length))
    h, total = torch.zeros(NUM_LAYERS, rows, HIDDEN_SIZE), 0.0
    for t in range(0, length, 256):
        logits, h = model(x[:, t : t + 256], h)
        total += nn.functional.cross_entropy(logits.flatten(0, 1), y[:, t : t + 256].flatten(), reduction="sum").item()
    return total / (rows * length) / math.log(2)
