"""The text and the network of train_demo.py, and what it writes of it into fastgru/data."""

import json
import math
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fastgru.graph import Graph, Node, TensorSpec
from fastgru.graphfile import write_graph
from fastgru.reference import run_graph
from fastgru.spec import GRUSpec

EMBEDDING_SIZE, HIDDEN_SIZE, NUM_LAYERS = 48, 192, 2
HELD_OUT_EVERY = 20
BATCH, WINDOW = 32, 96
DATA = Path(__file__).resolve().parent.parent / "fastgru" / "data"
PROMPT = "In the beginning "


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


def build_graph(model: CharModel, alphabet: str, meta: dict[str, str]) -> Graph:
    """The network in the package's own operators: torch's weights are in its gate order already."""
    constants = {name: tensor.detach().numpy() for name, tensor in model.state_dict().items()}
    constants |= {f"at{i}": np.array([i], np.int64) for i in range(NUM_LAYERS + 1)}
    nodes = [Node("embedding", ("tokens", "embedding.weight"), ("x0",), name="embedding")]
    for layer in range(NUM_LAYERS):
        spec = GRUSpec(EMBEDDING_SIZE if layer == 0 else HIDDEN_SIZE, HIDDEN_SIZE, batch_first=True)
        weights = tuple(f"gru.{name}_l{layer}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
        nodes += [
            Node("slice", ("h0", f"at{layer}", f"at{layer + 1}", "at0"), (f"h0_{layer}",), name=f"state_of_{layer}"),
            Node(
                "gru",
                (f"x{layer}", f"h0_{layer}", "", "", *weights),
                (f"x{layer + 1}", f"hn_{layer}"),
                {"spec": spec.to_dict()},
                name=f"gru.{layer}",
            ),
        ]
    nodes += [
        Node("linear", (f"x{NUM_LAYERS}", "head.weight", "head.bias"), ("logits",), name="head"),
        Node("concat", tuple(f"hn_{layer}" for layer in range(NUM_LAYERS)), ("hn",), {"axis": 0}, name="states"),
    ]
    state = (NUM_LAYERS, None, HIDDEN_SIZE)
    return Graph(
        inputs=(
            TensorSpec("tokens", "int64", (None, None), ("N", "T")),
            TensorSpec("h0", "float32", state, (None, "N", None)),
        ),
        outputs=(
            TensorSpec("logits", "float32", (None, None, len(alphabet)), ("N", "T", None)),
            TensorSpec("hn", "float32", state, (None, "N", None)),
        ),
        nodes=tuple(nodes),
        constants=constants,
        states={"h0": "hn"},
        name="demo",
        meta=meta,
    ).validate()


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
| training | {steps:,} steps of {batch} rows of {window} characters, AdamW, seed {seed}, torch {torch}, one CPU core |
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


def export(work: Path) -> None:
    saved = torch.load(work / "latest.pt", weights_only=True)
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
    graph = build_graph(model, corpus.alphabet, meta)
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
        torch=torch.__version__.split("+")[0],
        bits=saved["bits"],
    )
    (DATA / "DEMO_MODEL_CARD.md").write_text(card, encoding="utf-8")
    print(f"{DATA}: {saved['bits']:.3f} bits a character, definition and torch differ by {difference:.1e}")
