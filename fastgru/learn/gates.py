"""How a GRU used its gates on real input, and how long each of its units remembers.

What a unit still remembers after k steps is measured in two ways. By its update gate alone, it is the product of the z
of these steps. By the Jacobian of the layer, it is the size of a column of dh_{t+k}/dh_t, which includes the effect
through other units. Both are averaged over many t. The half-life is the first k, interpolated, at which they fall to a
half.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

import numpy as np

from fastgru.arrays import Array
from fastgru.graph import Graph, Node
from fastgru.records import dataclass
from fastgru.reference.gradients.elementwise import slope
from fastgru.reference.gradients.gru import Gates, gates_of, gru_cell_jacobians
from fastgru.reference.recurrent import weights_of_each
from fastgru.spec import GRUSpec, GRUWeights

__all__ = ["LayerMemory", "layers_of", "of_layer", "values_of"]

_PATHS: Final = 256  # (t, row) from which products of z are followed
_MATRICES: Final = 1 << 22  # elements of all Jacobians that are followed at once
_MOST_STEPS: Final = 1024  # over which half-lives are followed
_STILL: Final = 1e-3  # a unit whose state moves by less is dead


@dataclass(frozen=True)
class LayerMemory:
    """How one direction of a GRU used its gates, and how long its units remember.

    name, direction, units: the name of the node, "forward" or "backward", and H.
    along: "stream" if the state goes from frame to frame, "frame" if the GRU runs over an axis within each frame.
    steps: the number of steps that were examined. Steps of different rows count separately.
    horizon: the number of steps for which half-lives were followed.
    gates: {"r": (at 0, between, at 1), "z": ...}, the shares of all gate values.
    half_life_by_gate, half_life: (H,), in steps, by the update gate and by the Jacobian. Infinite if longer than
        `horizon`.
    dead: the units whose state hardly moves.
    saturated: the units whose candidate is flat in nearly every step (its slope is below `near` times the steepest), so
        that nearly no gradient passes.
    """

    name: str
    direction: str
    units: int
    along: str
    steps: int
    horizon: int
    gates: Mapping[str, tuple[float, float, float]]
    half_life_by_gate: Array
    half_life: Array
    dead: tuple[int, ...]
    saturated: tuple[int, ...]


def layers_of(graph: Graph) -> tuple[list[Node], dict[str, str]]:
    """Return the GRUs whose gates can be examined, and for the other recurrent nodes, by name, why they cannot."""
    found, skipped = [], {}
    for node in graph.nodes:
        name = node.name or next((n for n in node.outputs if n), "?")
        if node.op in ("lstm", "rnn"):
            skipped[name] = f"it is a {node.op}, and has other gates"
        elif node.bodies:
            if any(inner.op == "gru" for body in node.bodies.values() for inner in body.nodes):
                skipped[name] = f"its GRUs are inside a {node.op}"
        elif node.op == "gru":
            weights = [n for n in node.inputs[4:] if n]
            if any(node.inputs[2:4]):
                skipped[name] = "it has lengths or a mask"
            elif any(n not in graph.constants for n in weights):
                skipped[name] = "its weights are computed by other nodes"
            else:
                found.append(node)
    return found, skipped


def values_of(node: Node) -> tuple[str, str, str]:
    """Return the names of x, of the initial state ("" for zeros) and of y."""
    return node.inputs[0], node.inputs[1] if len(node.inputs) > 1 else "", node.outputs[0]


def of_layer(
    graph: Graph, node: Node, along: str, frames: Sequence[tuple[Array, Array | None, Array]], horizon: int, near: float
) -> list[LayerMemory]:
    """Return the memory of each direction of a GRU, from (x, h0, y) of each frame.

    along: "stream" if the frames are the steps of one sequence, "frame" if each frame is a sequence of its own.
    """
    spec = GRUSpec.from_dict(node.attrs["spec"])
    arrays = [np.asarray(graph.constants[n], np.float64) if n else None for n in node.inputs[4:]]
    weights = weights_of_each(GRUWeights, spec, arrays)
    found = []
    for d, w in enumerate(weights):
        goes_back = spec.direction == "reverse" or d == 1
        pairs = [_in_order(spec, d, *each, goes_back=goes_back) for each in frames]
        joint = 0 if along == "stream" else 1  # steps of one sequence, or rows with the same steps
        x, h = (np.concatenate([pair[i] for pair in pairs], axis=joint) for i in (0, 1))
        most = min(horizon, _MOST_STEPS, max(1, len(x) // 2)) if along == "stream" else len(x)
        found.append(_direction(spec, w, d, node, along, (x, h), most, near))
    return found


def _in_order(spec: GRUSpec, d: int, x: Array, h0: Array | None, y: Array, *, goes_back: bool) -> tuple[Array, Array]:
    """Return x (L, N, I) and the state before each step (L, N, H), in the order of the direction."""
    if spec.batch_first:
        x, y = x.swapaxes(0, 1), y.swapaxes(0, 1)
    H = spec.hidden_size
    own = y[:, :, d * H : (d + 1) * H]
    if goes_back:
        x, own = x[::-1], own[::-1]
    first = np.zeros_like(own[:1]) if h0 is None else np.broadcast_to(h0[d], own[:1].shape)
    return x, np.concatenate([first, own[:-1]])


def _direction(
    spec: GRUSpec, w: GRUWeights, d: int, node: Node, along: str, ran: tuple[Array, Array], most: int, near: float
) -> LayerMemory:
    x, h = ran
    T, N, H = h.shape
    flat: Gates = gates_of(spec, w, x.reshape(T * N, -1), h.reshape(T * N, H), d)
    steepest = np.abs(slope(spec.functions(d)[1], np.linspace(-4, 4, 81))).max()
    is_flat = (np.abs(flat.n_slope) <= near * steepest).mean(axis=0)
    after = flat.z * h.reshape(T * N, H) + (1 - flat.z) * flat.n
    moved = after.max(axis=0) - after.min(axis=0)
    z = np.abs(flat.z).reshape(T, N, H)
    return LayerMemory(
        name=node.name or next(n for n in node.outputs if n),
        direction="backward" if spec.direction == "reverse" or d == 1 else "forward",
        units=H,
        along=along,
        steps=T * N,
        horizon=most,
        gates={name: _shares(a, near) for name, a in (("r", flat.r), ("z", flat.z))},
        half_life_by_gate=_half_lives(_by_gate(z, most), H),
        half_life=_half_lives(_by_jacobian(spec, w, d, x, h, most), H),
        dead=tuple(map(int, np.flatnonzero(moved < _STILL))),
        saturated=tuple(map(int, np.flatnonzero(is_flat >= 1 - near))),
    )


def _shares(gate: Array, near: float) -> tuple[float, float, float]:
    low, high = float((gate <= near).mean()), float((gate >= 1 - near).mean())
    return low, max(0.0, 1 - low - high), high


def _places(T: int, N: int, most: int, count: int) -> tuple[Array, Array]:
    """Return up to `count` evenly spaced places (t, row) that are followed by `most` steps."""
    every = max(1, T - most + 1) * N
    chosen = np.unique(np.linspace(0, every - 1, min(count, every)).astype(np.int64))
    return chosen // N, chosen % N


def _by_gate(z: Array, most: int) -> Iterator[Array]:
    t, n = _places(z.shape[0], z.shape[1], most, _PATHS)
    kept = np.ones((len(t), z.shape[2]))
    for k in range(most):
        kept = kept * z[t + k, n]
        yield kept.mean(axis=0)


def _by_jacobian(spec: GRUSpec, w: GRUWeights, d: int, x: Array, h: Array, most: int) -> Iterator[Array]:
    H = h.shape[2]
    t, n = _places(h.shape[0], h.shape[1], most, max(1, min(32, _MATRICES // (H * H))))
    product = np.broadcast_to(np.eye(H), (len(t), H, H))
    for k in range(most):
        step, _ = gru_cell_jacobians(spec, w, x[t + k, n], h[t + k, n], direction=d)
        product = step @ product
        yield np.sqrt((product**2).sum(axis=1).mean(axis=0))


def _half_lives(curves: Iterator[Array], H: int) -> Array:
    """Return the first k, interpolated, at which each curve falls to a half. Curves are 1 at 0 and yield k = 1, 2..."""
    found, before = np.full(H, np.inf), np.ones(H)
    with np.errstate(divide="ignore", over="ignore"):
        for k, now in enumerate(curves):
            reached = np.isinf(found) & (now <= 0.5)
            found[reached] = k + np.log(2 * before[reached]) / np.log(before[reached] / now[reached])
            before = now
            if not np.isinf(found).any():
                break
    return found
