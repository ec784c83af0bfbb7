"""Adapt a network to data: truncated backpropagation through time, with the state carried from window to window.

This is for adaptation on a CPU: a head, a last layer, a small model. GRUs of every form learn natively, and so do
Linear, Embedding, LayerNorm and activations in a chain with them. In any other network, only the GRUs learn natively;
the other layers learn by their definitions in NumPy, which is slower.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final, Generic, TypeVar, Unpack, cast

from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.graph import Graph
from fastgru.layers import Layer
from fastgru.learn.chain import why_not
from fastgru.learn.checkpoint import fingerprint
from fastgru.learn.learner import DefinedLearner, Learner, NativeLearner
from fastgru.learn.losses import Loss, cross_entropy, loss_named
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
    """The result of `fit`.

    net: a new network of the same kind as the one that was given, with the adapted weights.
    history: one `FitStep` for each step.
    best_epoch: the number of the epoch, from 1, after which the network had these weights: the one with the lowest
        held-out loss, or the last one without held-out data. 0 means that no epoch was better than the original
        weights, and that `net` has these.
    native: True if native kernels computed the gradients of the GRUs.
    trained: the names of the weights that the fit could change.
    before: the held-out loss of the original weights, or None without held-out data.
    """

    net: N
    history: tuple[FitStep, ...]
    best_epoch: int
    native: bool
    trained: tuple[str, ...]
    before: float | None


# The options that must be the same when an interrupted fit is continued.
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
    """Adapt a network to data by truncated backpropagation through time, and return a new network in a `Fit`.

    The network that you pass never changes.

    net: a layer, a `Sequential`, a model or a graph, with weights in float32 or float64.
    data: (x, targets) or (x, targets, mask), a batch of whole sequences. x is an array as for a call of the network;
        targets and mask are as for `gradients`. A list of such tuples is also accepted; the states are zero at the
        beginning of each. Sequences are cut into windows of `window` steps. The states continue from one window to the
        next, but gradients do not cross the border. Each window is one step of the optimizer, on the mean loss over the
        places that the mask counts.
    loss: the name of a loss, or a function, as for `gradients`.
    optimizer: `SGD`, `Adam` or `AdamW`, or an instance with settings, such as SGD(momentum=0.9).
    lr: the learning rate, or a function that returns the rate for the number of a step, from 0.
    train: the names of the weights to change. A name that ends with a dot or a slash ("2.") stands for all weights
        whose names begin with it. All other weights keep their bits. By default all weights are trained.
    reset: a bool array with the shape of the first two axes of x. The states of a row become zero before each step that
        is True. If `data` is a list, `reset` is a list of such arrays.
    options: the options of `FitOptions`: epochs, window, held_out, threads and others.

    The same data, settings and seed give the same bits, on any number of threads, and also if the fit was interrupted
    and continued from a checkpoint.

    Warns if the loss is "cross_entropy" and the output comes from a Softmax, which needs
    "cross_entropy_of_probabilities".

    Raises `LearningError` if the loss or a gradient is not finite; `ShapeError` if an array or a value of an option
    does not fit; `TypeError` for an unknown option; `UnsupportedModelError` for a node without a gradient, or for
    weights of low precision; `StateError` for a checkpoint of another fit.
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
            "window: the network needs whole sequences, because it has a layer that goes backward, or one output for"
            " all steps; leave window out"
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
    """Return the graph, its learner, and the names of the weights that are trained."""
    rank = net.default_rank if isinstance(net, Layer) else None
    graph = graph_of(net, rank=rank)
    output = output_of(graph, asked.output)
    if loss is cross_entropy and any(node.op == "softmax" and output in node.outputs for node in graph.nodes):
        warnings.warn(
            f"the loss cross_entropy takes logits, but the output {output!r} comes from a Softmax, so the softmax is"
            " applied twice; pass loss='cross_entropy_of_probabilities', or leave out the Softmax",
            stacklevel=3,
        )
    whole = why_not(graph) is None and output == graph.outputs[0].name
    chain = graph if whole else straight(graph, output, why_not)
    if chain is not None:
        names = _trained(chain, train)
        return chain, NativeLearner(chain, loss, asked, names), names
    stated = graph_of(net, rank=rank, initial_state=_layout(graph)[1])
    if others := [s.name for s in stated.inputs if s.name not in stated.states][1:]:
        raise UnsupportedModelError(
            f"the network has the inputs {', '.join(others)} besides its first input and its states, and fit takes x"
            " alone; make them constants of the model"
        )
    if asked.window is not None:
        for node in stated.nodes:
            if node.op in RECURRENT and node.op != "gru" and not all(n in stated.states for n in node.inputs[1:2]):
                raise UnsupportedModelError(
                    f"window: the state of {node} would start again in every window; make this state an input of the"
                    " model"
                )
    names = _trained(stated, train)
    return stated, DefinedLearner(stated, loss, asked, names, output), names


def _layout(graph: Graph) -> tuple[bool, bool]:
    """Return whether the batch is the first axis, and whether every layer goes forward."""
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
        raise ShapeError(f"train: there are no weights {', '.join(unknown)}; the weights are {', '.join(names)}")
    return [name for name in names if name in chosen]
