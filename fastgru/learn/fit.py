"""Adapt a network to data: truncated backpropagation through time, with the state carried from window to window.

This is for adaptation on a CPU: a head, a last layer, a small model. GRUs of every form learn natively; so do Linear,
Embedding, LayerNorm and activations one after the other with them. In any other network what is around the GRUs learns
by its definitions in NumPy, which is slower.
"""

from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar, Unpack, cast

from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.graph import Graph
from fastgru.layers import Layer
from fastgru.learn.chain import why_not
from fastgru.learn.checkpoint import fingerprint
from fastgru.learn.learner import DefinedLearner, Learner, NativeLearner
from fastgru.learn.losses import Loss, loss_named
from fastgru.learn.network import Network, graph_of, output_of, weight_names
from fastgru.learn.optimizers import Adam, Optimizer
from fastgru.learn.options import Asked, FitOptions, FitStep, checked
from fastgru.learn.renew import renewed
from fastgru.learn.run import Run
from fastgru.learn.straight import straight
from fastgru.learn.windows import windows_of
from fastgru.records import dataclass
from fastgru.spec import RECURRENT, spec_of

__all__ = ["Fit", "fit"]

N = TypeVar("N", bound=Network)


@dataclass(frozen=True)
class Fit(Generic[N]):
    """net: as the one that was given, with what it has learned. history: every step. best_epoch: that whose weights
    they are, the last one where nothing was held out, 0 where none is better than the weights before. native: whether
    kernels learned the GRUs. trained: the names of the weights. before: the held-out loss of the weights
    before, None where nothing was held out."""

    net: N
    history: tuple[FitStep, ...]
    best_epoch: int
    native: bool
    trained: tuple[str, ...]
    before: float | None


# What a fit that goes on must be asked for as the one that was interrupted.
_MARKED: Final = frozenset({"weight_decay", "clip_norm", "window", "patience", "seed", "output", "dtype"})


def fit(
    net: N,
    data: Sequence[Any],
    *,
    loss: str | Loss = "cross_entropy",
    optimizer: Optimizer | Callable[[], Optimizer] = Adam,
    lr: float | Callable[[int], float] = 1e-3,
    train: Sequence[str] | None = None,
    reset: Any = None,
    **options: Unpack[FitOptions],
) -> Fit[N]:
    """`net` adapted to data; the network that was given does not change, whatever happens.

    data: (x, targets), or (x, targets, mask): whole sequences, x as for a call of the network, targets and mask as for
        `gradients`; or a list of such, each a set of rows that begins from zeros. They are cut into windows; the state
        goes on from one to the next, the gradient ends there. The loss of a step is the mean over what counts.
    loss: as for `gradients`. optimizer: `SGD`, `Adam` or `AdamW`, or one of them with settings: SGD(momentum=0.9).
    lr: the rate, or a function of the number of the step, from 0.
    train: names of weights, or beginnings of them that end with a dot or a slash ("2."); the others do not change by
        a bit.
    reset: bool, shaped as the first two axes of x: steps of rows that begin from zeros; a list for a list of data.
    options: `FitOptions`.

    The same data, settings and seed give the same bits, on any number of threads, and interrupted and resumed from a
    checkpoint. Raises `LearningError` where a loss is no longer finite, `ShapeError`, `UnsupportedModelError` and
    `TypeError` naming what does not fit, `StateError` for a checkpoint of something else.
    """
    asked = checked(options)
    function = loss_named(loss)
    graph, learner, names = _learner(net, function, asked, train)
    batch_first, forward = _layout(graph)
    several = isinstance(data, list)
    resets = reset if several or reset is None else [reset]
    layout: dict[str, bool] = {"batch_first": batch_first, "timed": learner.timed}
    sets = windows_of(graph, data if several else [data], resets, asked.dtype, **layout)
    if asked.window is not None and not (forward and learner.timed):
        raise UnsupportedModelError(
            "window: the network needs whole sequences, as it goes backward, or has one output for all steps"
        )
    held = None if asked.held_out is None else windows_of(graph, [asked.held_out], None, asked.dtype, **layout)[0]
    rule = optimizer() if callable(optimizer) else optimizer
    if not hasattr(rule, "begin"):
        raise ShapeError(f"optimizer is {optimizer!r}, expected SGD, Adam or AdamW, or one of them with settings")
    run = Run(learner, sets, held, names, rule.begin(learner.native, learner.weights, names), lr, asked)
    settings = {k: v for k, v in asked._asdict().items() if k in _MARKED}
    settings |= {"loss": getattr(function, "__name__", ""), "optimizer": repr(rule), "train": names}
    settings |= {} if callable(lr) else {"lr": lr}
    arrays = {f"{k}.{name}": a for k, w in enumerate([*sets, *([held] if held else [])]) for name, a in vars(w).items()}
    run.mark = fingerprint(settings, {"weights": learner.weights.flat, **arrays})
    run.all()
    weights = {name: learner.weights.arrays[name].copy() for name in names}
    made = cast(N, renewed(net, weights))
    return Fit(made, tuple(run.history), run.best_epoch, learner.kernels, tuple(names), run.before)


def _learner(net: Network, loss: Loss, asked: Asked, train: Sequence[str] | None) -> tuple[Graph, Learner, list[str]]:
    """The graph, what learns it, and the names of the weights that do."""
    rank = net.default_rank if isinstance(net, Layer) else None
    graph = graph_of(net, rank=rank)
    output = output_of(graph, asked.output)
    whole = why_not(graph) is None and output == graph.outputs[0].name
    chain = graph if whole else straight(graph, output, why_not)
    if chain is not None:
        names = _trained(chain, train)
        return chain, NativeLearner(chain, loss, asked, names), names
    stated = graph_of(net, rank=rank, initial_state=_layout(graph)[1])
    if others := [s.name for s in stated.inputs if s.name not in stated.states][1:]:
        raise UnsupportedModelError(
            f"the network has the inputs {', '.join(others)} besides the first and its states; learn one of which"
            " they are constants"
        )
    if asked.window is not None:
        for node in stated.nodes:
            if node.op in RECURRENT and node.op != "gru" and not all(n in stated.states for n in node.inputs[1:2]):
                raise UnsupportedModelError(f"window: {node} begins anew in every window; make its state an input")
    names = _trained(stated, train)
    return stated, DefinedLearner(stated, loss, asked, names, output), names


def _layout(graph: Graph) -> tuple[bool, bool]:
    """Whether the batch is the first axis, and whether every layer goes forward."""
    specs = [spec_of(n.op, n.attrs) for n in graph.nodes if n.op in RECURRENT]
    return bool(specs) and specs[0].batch_first, all(spec.direction == "forward" for spec in specs)


def _trained(graph: Graph, train: Sequence[str] | None) -> list[str]:
    names = list(weight_names(graph))
    if train is None:
        return names
    if isinstance(train, str) or not train:
        raise ShapeError(f"train is {train!r}, expected names of weights: {', '.join(names)}")
    meant = {one: [n for n in names if n == one or (one.endswith((".", "/")) and n.startswith(one))] for one in train}
    chosen = {n for found in meant.values() for n in found}
    if unknown := [one for one, found in meant.items() if not found]:
        raise ShapeError(f"train: there is no {', '.join(unknown)}; the weights are {', '.join(names)}")
    return [name for name in names if name in chosen]
