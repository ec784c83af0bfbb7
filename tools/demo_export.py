"""What train_demo.py writes into fastgru/data of a network that is trained."""

import json
import subprocess
from pathlib import Path

import numpy as np
import torch
from demo_network import (
    BATCH,
    EMBEDDING_SIZE,
    HELD_OUT_EVERY,
    HIDDEN_SIZE,
    NUM_LAYERS,
    WINDOW,
    CharModel,
    read_corpus,
)

from fastgru.graph import Graph, Node, TensorSpec
from fastgru.graphfile import write_graph
from fastgru.reference import run_graph
from fastgru.spec import GRUSpec

DATA = Path(__file__).resolve().parent.parent / "fastgru" / "data"
PROMPT = "In the beginning "


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
