"""The sizes of states that only the frames tell, such as the height and width of what a convolutional GRU sees.

A free size of a state is that of a frame: of the axis of its name, or of the same axis of a frame of as many axes.
Where that does not fit, the sizes of that axis in everything the model computes from the frames are tried. What fits is
told by the model itself: the next state has the shape of the state.
"""

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from fastgru.engine import Runnable
from fastgru.errors import FastGRUError, ShapeError, StateError
from fastgru.graph import Array, TensorSpec
from fastgru.reference.facts import infer_graph

__all__ = ["bind_sizes"]

Open = Mapping[str, tuple[int | None, ...]]
Shapes = dict[str, tuple[int, ...]]

_MOST_TRIES: Final = 256


def bind_sizes(
    runnable: Runnable, states: Mapping[str, str], shapes: Open, frames: Mapping[str, Array], batch_size: int
) -> Shapes:
    """The shapes of the states beside these frames. states: {input: output}.

    Raises `StateError` where no sizes fit, or several do; `ShapeError` where no size is that of the batch asked for.
    """
    specs = {spec.name: spec for spec in runnable.inputs}
    free = [(name, axis) for name, shape in shapes.items() for axis, size in enumerate(shape) if size is None]
    likely = [_likely(specs, frames, name, axis) for name, axis in free]
    computed = _computed(runnable, frames)
    others = [list(dict.fromkeys([*computed.get((len(shapes[name]), axis), ()), batch_size])) for name, axis in free]

    def shaped(sizes: tuple[int, ...]) -> Shapes:
        chosen = dict(zip(free, sizes, strict=True))
        return {
            name: tuple(chosen.get((name, axis), size) or 0 for axis, size in enumerate(shape))
            for name, shape in shapes.items()
        }

    fitting: dict[tuple[tuple[str, tuple[int, ...]], ...], Shapes] = {}
    firsts = itertools.product(*([n] if n is not None else every for n, every in zip(likely, others, strict=True)))
    rest = itertools.product(*others)
    for tries in (firsts, rest):
        for sizes in itertools.islice(tries, _MOST_TRIES):
            made = shaped(sizes)
            if tuple(made.items()) not in fitting and _fits(runnable, states, made, frames):
                fitting[tuple(made.items())] = made
        if fitting:
            break
    if len(fitting) != 1:
        what = ", ".join(f"{name!r} {shapes[name]}" for name in dict.fromkeys(name for name, _ in free))
        came = {name: array.shape for name, array in frames.items()}
        found = " and ".join(map(str, itertools.islice(fitting.values(), 3))) or "none"
        raise StateError(
            f"state {what}: its free sizes cannot be told from frames {came}, {found} fit: give the state by set_state"
        )
    (bound,) = fitting.values()
    if batch_size != 1 and not any(batch_size in shape for shape in bound.values()):
        raise ShapeError(f"batch_size is {batch_size}, but the frames tell states of {bound}")
    return bound


def _likely(specs: Mapping[str, TensorSpec], frames: Mapping[str, Array], name: str, axis: int) -> int | None:
    """The size of the axis of this name of some frame, or else of the same axis of a frame of as many axes."""
    own = specs[name]
    word = own.dims[axis] if own.dims else None
    named = [
        array.shape[i]
        for frame, array in frames.items()
        for i, dim in enumerate(specs[frame].dims)
        if word is not None and dim == word and i < array.ndim
    ]
    rank = len(own.shape or ())
    same = [array.shape[axis] for array in frames.values() if array.ndim == rank]
    return next(iter((*named, *same)), None)


def _computed(runnable: Runnable, frames: Mapping[str, Array]) -> dict[tuple[int, int], list[int]]:
    """(number of axes, axis) -> the sizes that this axis has in what is computed from frames of these shapes."""
    inputs = tuple(
        replace(spec, shape=frames[spec.name].shape) if spec.name in frames else spec for spec in runnable.graph.inputs
    )
    found: dict[tuple[int, int], list[int]] = {}
    for facts in infer_graph(replace(runnable.graph, inputs=inputs)).values():
        for axis, size in enumerate(facts.sizes or ()):
            if isinstance(size, int):
                found.setdefault((len(facts.sizes or ()), axis), []).append(size)
    return found


def _fits(runnable: Runnable, states: Mapping[str, str], shapes: Shapes, frames: Mapping[str, Array]) -> bool:
    dtypes = {spec.name: spec.dtype for spec in runnable.inputs}
    given = {**frames, **{name: np.zeros(shape, dtypes[name]) for name, shape in shapes.items()}}
    try:
        route = runnable.route({name: array.shape for name, array in given.items()})
        if route is None:
            after: Iterator[tuple[int, ...]] = iter([array.shape for array in _outputs(runnable, given, states)])
        else:
            after = iter([route.program.outputs[output].shape for output in states.values()])
    except FastGRUError:
        return False
    return list(after) == [shapes[name] for name in states]


def _outputs(runnable: Runnable, given: Mapping[str, Array], states: Mapping[str, str]) -> list[Array]:
    results = runnable.run(given)
    return [results[output] for output in states.values()]
