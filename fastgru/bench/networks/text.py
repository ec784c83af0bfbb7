"""Networks from ids into GRUs: the next item of a session, and an encoder and decoder with attention."""

import numpy as np

from fastgru.bench.networks.writer import GRULayer, Linear, Writer
from fastgru.records import dataclass

__all__ = ["decoder_step", "recommender", "translator"]


def recommender(T: int = 20, items: int = 50_000, H: int = 100) -> bytes:
    """items (1, T) -> probabilities of every item (1, items): embedding, GRU, the whole softmax."""
    w = Writer("recommender", 4)
    ids = w.input("items", 1, T, dtype=np.int64)
    embedded = w.node("Gather", w.weight(items, H, fan=1), ids, axis=0)
    y, _ = w.gru(embedded, [w.gru_layer(H, H)], 1)
    last = w.node("Gather", y, w.constant(-1, np.int64), axis=1)
    w.node("Softmax", w.rows(last, w.linear(H, items, gain=20)), to="probabilities", axis=-1)
    return w.model(probabilities=(1, items))


@dataclass(frozen=True)
class _Decoder:
    table: str
    query: Linear
    keys: Linear
    score: Linear
    gru: GRULayer
    out: Linear


def _decoder(w: Writer, words: int, H: int) -> _Decoder:
    return _Decoder(
        w.weight(words, H, fan=1), w.linear(H, H), w.linear(H, H), w.linear(H, 1), w.gru_layer(2 * H, H),
        w.linear(H, words, gain=4),
    )  # fmt: skip


def _step(
    w: Writer,
    d: _Decoder,
    token: str,
    h: str,
    encoded: str,
    keys: str,
    *,
    scores: str | None = None,
    hn: str | None = None,
) -> tuple[str, str]:
    """token (1, 1), h (1, 1, H), encoded and its keys (1, S, H) -> scores (1, V), h: additive attention, then a GRU."""
    query = w.frames(w.node("Transpose", h, perm=(1, 0, 2)), d.query)
    weights = w.frames(w.node("Tanh", w.node("Add", query, keys)), d.score)
    weights = w.node("Unsqueeze", w.node("Squeeze", weights, w.ints(2)), w.ints(1))
    context = w.node("MatMul", w.node("Softmax", weights, axis=-1), encoded)
    x = w.node("Concat", w.node("Gather", d.table, token, axis=0), context, axis=2)
    y, h = w.gru(x, [d.gru], 1, h0=h, hn=hn)
    return w.rows(w.node("Gather", y, w.constant(0, np.int64), axis=1), d.out, to=scores), h


def decoder_step(S: int = 20, words: int = 10_000, H: int = 256) -> bytes:
    """token (1, 1), encoded (1, S, H) -> scores of every word (1, words); h is a state of the model."""
    w = Writer("decoder_step", 5)
    token = w.input("token", 1, 1, dtype=np.int64)
    h0, encoded = w.input("h0", 1, 1, H), w.input("encoded", 1, S, H)
    d = _decoder(w, words, H)
    _step(w, d, token, h0, encoded, w.frames(encoded, d.keys), scores="scores", hn="hn")
    return w.model(scores=(1, words), hn=(1, 1, H))


def translator(S: int = 12, length: int = 10, words: int = 5_000, H: int = 128) -> bytes:
    """source (1, S) -> words (1, length) and their scores: an encoder, and a greedy decoder of `length` steps."""
    w = Writer("translator", 6)
    source = w.input("source", 1, S, dtype=np.int64)
    d = _decoder(w, words, H)
    encoded, h = w.gru(w.node("Gather", d.table, source, axis=0), [w.gru_layer(H, H)], 1)
    keys = w.frames(encoded, d.keys)
    token, tokens, scores = w.constant([[0]], np.int64), [], []
    for _ in range(length):
        y, h = _step(w, d, token, h, encoded, keys)
        token = w.node("ArgMax", y, axis=1, keepdims=1, select_last_index=0)
        tokens.append(token)
        scores.append(w.node("Unsqueeze", y, w.ints(1)))
    w.node("Concat", *tokens, to="words", axis=1)
    w.node("Concat", *scores, to="scores", axis=1)
    return w.model(integers=("words",), words=(1, length), scores=(1, length, words))
