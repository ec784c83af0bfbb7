"""The text and the network of train_demo.py without torch: batches, first weights, the graph, bits per character."""

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from fastgru.graph import Graph, Node, TensorSpec
from fastgru.model import Model
from fastgru.spec import GRUSpec

EMBEDDING_SIZE, HIDDEN_SIZE, NUM_LAYERS = 48, 192, 2
HELD_OUT_EVERY = 20
BATCH, WINDOW = 32, 96
# A row sometimes starts from the zero state, so that the model learns to begin as well as to continue.
COLD_START_PROBABILITY = 1 / 24


@dataclass(frozen=True)
class Corpus:
    """The alphabet and the two halves of the text as symbol ids."""

    alphabet: str
    train: np.ndarray
    held_out: np.ndarray


def read_chapters() -> list[str]:
    """Return the text of the Debian package, one string per chapter, with verses joined by a space."""
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


def read_batches(text: np.ndarray, steps: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return symbols (steps, BATCH, WINDOW + 1), the last of which is only a target, and resets (steps, BATCH)."""
    per_row = len(text) // BATCH
    windows = (per_row - 1) // WINDOW - 1
    epoch, window = np.divmod(np.arange(steps), windows)
    # Each epoch cuts the windows at other places.
    begin = (epoch * 37) % WINDOW + window * WINDOW
    at = begin[:, None, None] + (np.arange(BATCH) * per_row)[:, None] + np.arange(WINDOW + 1)
    cold = np.random.default_rng(seed).random((steps, BATCH)) < COLD_START_PROBABILITY
    return text[at], cold | (window == 0)[:, None]


def first_weights(symbols: int, seed: int) -> dict[str, np.ndarray]:
    """Return the initial weights of torch's modules: the same distributions, the names of a state dict."""
    rng = np.random.default_rng(seed)
    bound = HIDDEN_SIZE**-0.5
    shapes: dict[str, tuple[int, ...]] = {}
    for layer in range(NUM_LAYERS):
        inputs = EMBEDDING_SIZE if layer == 0 else HIDDEN_SIZE
        shapes |= {f"gru.weight_ih_l{layer}": (3 * HIDDEN_SIZE, inputs)}
        shapes |= {f"gru.weight_hh_l{layer}": (3 * HIDDEN_SIZE, HIDDEN_SIZE)}
        shapes |= {f"gru.bias_{kind}_l{layer}": (3 * HIDDEN_SIZE,) for kind in ("ih", "hh")}
    shapes |= {"head.weight": (symbols, HIDDEN_SIZE), "head.bias": (symbols,)}
    found = {"embedding.weight": rng.standard_normal((symbols, EMBEDDING_SIZE))}
    found |= {name: rng.uniform(-bound, bound, shape) for name, shape in shapes.items()}
    return {name: a.astype(np.float32) for name, a in found.items()}


def bits_of_graph(graph: Graph, ids: np.ndarray, *, rows: int = 64) -> float:
    """Return the mean -log2 p of each next symbol. The text is cut into `rows` streams that start from zero states."""
    model, length = Model(graph), (len(ids) - 1) // rows
    x, y = (ids[k : rows * length + k].reshape(rows, length) for k in (0, 1))
    h, total = np.zeros((NUM_LAYERS, rows, HIDDEN_SIZE), np.float32), 0.0
    for t in range(0, length, 256):
        outputs = model.run({"tokens": x[:, t : t + 256], "h0": h})
        logits, h = outputs["logits"].astype(np.float64), outputs["hn"]
        right = np.take_along_axis(logits, y[:, t : t + 256, None], axis=2)[..., 0]
        top = logits.max(axis=2)
        total += float((np.log(np.exp(logits - top[..., None]).sum(axis=2)) + top - right).sum())
    return total / (rows * length * np.log(2))


def build_graph(weights: Mapping[str, np.ndarray], alphabet: str, meta: dict[str, str]) -> Graph:
    """Return the network in the package's own operators. Torch's weights already have its gate order."""
    constants = dict(weights)
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
