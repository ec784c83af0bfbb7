"""The network of train_demo.py in torch, and its export into fastgru/data."""

import json
import math
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import torch
from demo_text import (
    BATCH,
    EMBEDDING_SIZE,
    HELD_OUT_EVERY,
    HIDDEN_SIZE,
    NUM_LAYERS,
    WINDOW,
    build_graph,
    read_corpus,
)
from torch import nn

from fastgru.graphfile import write_graph
from fastgru.reference import run_graph

DATA = Path(__file__).resolve().parent.parent / "fastgru" / "data"
PROMPT = "In the beginning "


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
    """Return the mean -log2 p of each next symbol. The text is cut into `rows` streams that start from zero states."""
    length = (len(ids) - 1) // rows
    x = torch.from_numpy(ids[: rows * length].reshape(rows, length))
    y = torch.from_numpy(ids[1 : rows * length + 1].reshape(rows, length))
    h, total = torch.zeros(NUM_LAYERS, rows, HIDDEN_SIZE), 0.0
    for t in range(0, length, 256):
        logits, h = model(x[:, t : t + 256], h)
        total += nn.functional.cross_entropy(logits.flatten(0, 1), y[:, t : t + 256].flatten(), reduction="sum").item()
    return total / (rows * length) / math.log(2)


CARD = """# The model of `fastgru demo`

A character-level language model: it continues English text in the manner of the King James Bible.
It is here to show the package at work, and for nothing else.

| | |
|---|---|
| network | embedding ({symbols} symbols, {embedding} wide), {layers} GRU layers of {hidden}, linear |
| parameters | {parameters:,} in float32, {size:,} bytes in `demo.safetensors` |
| text | the King James Bible of 1611, printed by `bible` of the Debian package bible-kjv {version}; public domain |
| normalisation | verse references removed, verses of a chapter joined by a space, one chapter a paragraph |
| split | one chapter in {every} held out ({held_out:,} characters), the others trained on ({train:,}) |
| training | {steps:,} steps of {batch} rows of {window} characters, AdamW, seed {seed}, {library}, one CPU core |
| result | **{bits:.3f} bits a character** on the held-out chapters |
| licence | the weights, like the package, Apache-2.0 |

The commands that made it:

    apt-get install bible-kjv bible-kjv-text
    python tools/train_demo.py train --work DIR
    python tools/train_demo.py export --work DIR

`demo_expected.npz` holds the token ids of a short text, and the logits and last states that torch gives for them in
float32; `fastgru demo` and the tests compare with those.

## Limits

It has read one book, in the English of 1611, and knows its {symbols} characters only: no digits, no quotation marks.
It forms words and phrases of that book, but has no sense of what they say; nothing it writes is a quotation.
Sums of floating-point numbers differ between CPUs and releases of torch, so another training run ends near the same
result, not at the same weights.
"""


def read_saved(work: Path) -> dict[str, Any]:
    """Return the result of the last training, with either library."""
    found = [path for path in (work / "latest.pt", work / "latest.npz") if path.exists()]
    if not found:
        raise SystemExit(f"{work}: nothing was trained there")
    newest = max(found, key=lambda path: path.stat().st_mtime)
    if newest.suffix == ".pt":
        return dict(torch.load(newest, weights_only=True))
    with np.load(newest, allow_pickle=False) as arrays:
        saved = dict(json.loads(str(arrays["facts"])))
        return saved | {"model": {n: torch.from_numpy(arrays[n]) for n in arrays.files if n != "facts"}}


def export(work: Path) -> None:
    saved = read_saved(work)
    corpus = read_corpus()
    if corpus.alphabet != saved["alphabet"]:
        raise SystemExit("the text has another alphabet than the one that was trained on")
    model = CharModel(len(corpus.alphabet))
    model.load_state_dict(saved["model"])
    model.eval()
    meta = {
        "alphabet": json.dumps(corpus.alphabet),
        "bits_per_character": f"{saved['bits']:.3f}",
        "licence": "Apache-2.0",
        "producer": "tools/train_demo.py",
        "text": "trained on the King James Bible, public domain",
    }
    weights = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    graph = build_graph(weights, corpus.alphabet, meta)
    tokens = np.array([[corpus.alphabet.index(c) for c in PROMPT]], np.int64)
    zeros = np.zeros((NUM_LAYERS, 1, HIDDEN_SIZE), np.float32)
    with torch.no_grad():
        logits, hn = (t.numpy() for t in model(torch.from_numpy(tokens), torch.from_numpy(zeros)))
    defined = run_graph(graph, {"tokens": tokens, "h0": zeros})
    if (difference := float(np.abs(defined["logits"] - logits).max())) > 2e-5:
        raise SystemExit(f"the exported graph differs from torch by {difference}")

    DATA.mkdir(exist_ok=True)
    write_graph(graph, DATA / "demo.safetensors")
    np.savez(DATA / "demo_expected.npz", tokens=tokens, logits=logits, hn=hn)
    version = subprocess.run(
        ["dpkg-query", "-W", "-f=${Version}", "bible-kjv-text"], check=True, capture_output=True, text=True
    ).stdout
    card = CARD.format(
        symbols=len(corpus.alphabet),
        embedding=EMBEDDING_SIZE,
        layers=NUM_LAYERS,
        hidden=HIDDEN_SIZE,
        parameters=graph.num_parameters,
        size=(DATA / "demo.safetensors").stat().st_size,
        version=version,
        every=HELD_OUT_EVERY,
        held_out=len(corpus.held_out),
        train=len(corpus.train),
        steps=saved["step"],
        batch=BATCH,
        window=WINDOW,
        seed=saved.get("seed", 0),
        library=saved["library"],
        bits=saved["bits"],
    )
    (DATA / "DEMO_MODEL_CARD.md").write_text(card, encoding="utf-8")
    print(f"{DATA}: {saved['bits']:.3f} bits a character, definition and torch differ by {difference:.1e}")
