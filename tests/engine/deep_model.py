"""A network of every layer that can be of low precision; run by itself: the level, its results in int8."""

from __future__ import annotations

import sys

import numpy as np

import fastgru
from fastgru.simd.target import TARGET

_GATES = ("reset", "update", "candidate")


def deep():
    """ids (T, N) -> a table, a GRU of 70 units, one of 67 with the reset before and relu, which has no bounds, a layer.

    The states go in and out: h0 (1, N, 70) and the like.
    """
    rng = np.random.default_rng(1)

    def uniform(*shape):
        return rng.uniform(-0.12, 0.12, shape).astype(np.float32)

    first = fastgru.GRU.from_gates(
        **{gate: fastgru.Gate(uniform(70, 24), uniform(70, 70), uniform(70)) for gate in _GATES}, reset_after=True
    )
    second = fastgru.GRU.from_gates(
        **{gate: fastgru.Gate(uniform(67, 70), uniform(67, 67), uniform(67)) for gate in _GATES},
        candidate_activation="relu",
    )
    layers = fastgru.Embedding(uniform(30, 24)), first, second, fastgru.Linear(uniform(64, 67), uniform(64))
    return fastgru.Sequential(*layers).to_graph(initial_state=True)


def outputs(precision):
    """The bytes of every output and state, over 30 steps of 5 rows."""
    model = fastgru.Model(deep(), precision=precision)
    feeds = {spec.name: np.zeros((1, 5, spec.shape[2]), np.float32) for spec in model.inputs[1:]}
    ids = np.random.default_rng(4).integers(0, 30, (30, 5))
    return b"".join(a.tobytes() for a in model.run({"x": ids, **feeds}).values())


if __name__ == "__main__":
    sys.stdout.buffer.write(TARGET.short.encode() + b"\n" + outputs("int8"))
