"""What tests of gradients share.

Networks of random weights, slopes by central differences, and points without a kink.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

import fastgru
from fastgru.graph import Graph
from fastgru.reference import run_graph
from fastgru.spec import Activation, GRUSpec, GRUWeights

STEP = 1e-5  # of the differences
NEAR = 1e-4  # to a kink: such a point is drawn again


def weights_of(rng: np.random.Generator, spec: GRUSpec, *, bias: bool = True, scale: float = 0.6) -> list[GRUWeights]:
    """One `GRUWeights` a direction, of a size that neither saturates the gates nor leaves them at a half."""
    each = scale / np.sqrt(max(spec.hidden_size / 4, 1))
    made = []
    for _ in range(spec.num_directions):
        arrays = {name: each * rng.standard_normal(shape) for name, shape in spec.weight_shapes.items()}
        made.append(GRUWeights(**{k: a for k, a in arrays.items() if bias or not k.startswith("bias")}))
    return made


def gru_of(rng: np.random.Generator, *specs: GRUSpec, bias: bool = True, **options: Any) -> fastgru.GRU:
    return fastgru.GRU(
        specs, [weights_of(rng, spec, bias=bias) for spec in specs], **{"precision": "float64", **options}
    )


def kinks(activation: Activation) -> list[float]:
    """Where the slope of an activation jumps."""
    a, b = activation.alpha, activation.beta
    match activation.kind:
        case "hard_sigmoid":
            return [-b / a, (1 - b) / a]
        case "thresholded_relu":
            return [a]
        case "relu" | "leaky_relu" | "elu":
            return [0.0]
    return []


def near_a_kink(monkeypatch: Any, spec: GRUSpec, run: Callable[[], object]) -> bool:
    """Whether a preactivation of `run` comes as near as `NEAR` to a kink of the spec's activations, or to its clip."""
    import fastgru.reference.gru as definition

    seen: list[np.ndarray] = []
    limited = definition.limited

    def recorded(form: GRUSpec, a: np.ndarray) -> np.ndarray:
        seen.append(a)
        return limited(form, a)

    with monkeypatch.context() as patch:
        patch.setattr(definition, "limited", recorded)
        run()
    points = {k for d in range(spec.num_directions) for f in spec.functions(d) for k in kinks(f)}
    points |= set() if spec.clip is None else {spec.clip, -spec.clip}
    return any(np.abs(a - point).min(initial=np.inf) < NEAR for a in seen for point in points)


def linear_loss(y: np.ndarray, factors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """E = the sum of factors * y: a loss whose gradient by y is any array."""
    return np.sum(factors * y, axis=-1), factors


def weighed(graph: Graph, feeds: dict[str, Any], factors: np.ndarray) -> float:
    """E of `linear_loss`, by the definitions alone."""
    return float(np.sum(run_graph(graph, feeds)["y"] * factors))


def moved(graph: Graph, feeds: dict[str, Any], name: str, by: np.ndarray) -> tuple[Graph, dict[str, Any]]:
    """The graph and its inputs, with `by` added to one of the constants or inputs."""
    if name in feeds:
        return graph, {**feeds, name: feeds[name] + by}
    return replace(graph, constants={**graph.constants, name: graph.constants[name] + by}), feeds


def difference(graph: Graph, feeds: dict[str, Any], factors: np.ndarray, name: str, along: np.ndarray) -> float:
    """The slope of E along a direction, by a central difference."""
    ahead, behind = (weighed(*moved(graph, feeds, name, sign * STEP * along), factors) for sign in (1, -1))
    return (ahead - behind) / (2 * STEP)


def directions(rng: np.random.Generator, shape: tuple[int, ...], entries: int) -> Iterator[np.ndarray]:
    """Every entry of a small array, or some; and one direction of unit length through all of a large one."""
    size = int(np.prod(shape))
    chosen = range(size) if size <= entries else rng.choice(size, 3, replace=False)
    for k in chosen:
        along = np.zeros(size)
        along[k] = 1
        yield along.reshape(shape)
    along = rng.standard_normal(shape)
    if size:
        yield along / np.linalg.norm(along)


def check_slopes(
    rng: np.random.Generator,
    graph: Graph,
    feeds: dict[str, Any],
    factors: np.ndarray,
    found: dict[str, np.ndarray],
    entries: int = 130,
) -> None:
    """Every gradient against central differences, to 1e-6 of its largest entry."""
    for name, gradient in found.items():
        bound = 1e-6 * np.abs(gradient).max(initial=0) + 1e-9
        for along in directions(rng, gradient.shape, entries):
            slope = difference(graph, feeds, factors, name, along)
            assert abs(slope - np.sum(gradient * along)) <= bound, (name, along.argmax(), slope, bound)
