"""Find the sizes of states that only the frames tell, such as the height and width of a convolutional GRU's image.

A free size of a state is the size of the frame axis with the same name. If there is no such axis, the sizes that this
axis has in the frames, and in everything that the model computes from them, are tried. Sizes fit if the next state has
the shape of the state. If several sizes fit because a 1 is broadcast to the others, the 1 is taken. Otherwise the
caller has to choose, also if the model takes any size.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

import numpy as np

from fastgru.engine import Runnable
from fastgru.errors import FastGRUError, ShapeError, StateError
from fastgru.graph import Array, TensorSpec, shape_text
from fastgru.reference.facts import infer_graph

__all__ = ["bind_sizes"]

Open = Mapping[str, tuple[int | None, ...]]
Shapes = dict[str, tuple[int, ...]]
Place = tuple[str, int]  # a state and an axis of it

_MOST_TRIES: Final = 256
_SMALL: Final = 16


def bind_sizes(
    runnable: Runnable, states: Mapping[str, str], shapes: Open, frames: Mapping[str, Array], batch_size: int
) -> Shapes:
    """Return the shapes of the states that go with these frames. states: {input: output}.

    Raises `StateError` if no sizes fit or several do, and `ShapeError` if no size is the requested batch size.
    """
    specs = {spec.name: spec for spec in runnable.inputs}
    free = [(name, axis) for name, shape in shapes.items() for axis, size in enumerate(shape) if size is None]
    told = {place: _of_the_name(specs, frames, *place) for place in free}
    computed = _computed(runnable, frames)

    def tried(place: Place) -> list[int]:
        rank, axis = len(shapes[place[0]]), place[1]
        same = [array.shape[axis] for array in frames.values() if array.ndim == rank]
        return told[place] or list(dict.fromkeys([*same, *computed.get((rank, axis), ()), batch_size]))

    def shaped(sizes: Mapping[Place, int]) -> Shapes:
        return {
            name: tuple(sizes[name, axis] if size is None else size for axis, size in enumerate(shape))
            for name, shape in shapes.items()
        }

    def fits(sizes: Mapping[Place, int], frames: Mapping[str, Array] = frames) -> bool:
        return _fits(runnable, states, shaped(sizes), frames)

    every = itertools.islice(itertools.product(*map(tried, free)), _MOST_TRIES)
    fitting = [sizes for sizes in (dict(zip(free, each, strict=True)) for each in every) if fits(sizes)]
    least = {place: min((sizes[place] for sizes in fitting), default=0) for place in free}
    if any(
        fits(other) for other in _others(least, [place for place in free if not told[place]], 1) if least in fitting
    ):
        fitting.append({})  # stands for a size that comes from no frame
    elif least in fitting and all(n in (1, sizes[place]) for sizes in fitting for place, n in least.items()):
        wide = {name: _widened(array, specs[name]) for name, array in frames.items()}
        large = {place: _wide(size) for place, size in least.items()}
        ones = [place for place in free if least[place] == 1 and not told[place]]
        fitting = [least, *({} for other in _others(large, ones, 4) if fits(other, wide))]
    if len(fitting) != 1:
        what = ", ".join(f"{name!r} {shape_text(shapes[name])}" for name in dict.fromkeys(name for name, _ in free))
        came = {name: array.shape for name, array in frames.items()}
        found = " and ".join(str(shaped(sizes)) if sizes else "others" for sizes in fitting[:3]) or "none"
        raise StateError(
            f"state {what}: its free sizes do not follow from frames {came}, because {found} fit: give the state with"
            " set_state"
        )
    bound = shaped(fitting[0])
    # Rows lie on a free axis, or on one before it that the file or batch_axes= has fixed.
    fixed = [n for shape in shapes.values() if None in shape for n in shape[: shape.index(None)]]
    if batch_size not in (1, *fixed, *fitting[0].values()):
        raise ShapeError(f"batch_size is {batch_size}, but the frames need states {bound}")
    return bound


def _of_the_name(specs: Mapping[str, TensorSpec], frames: Mapping[str, Array], name: str, axis: int) -> list[int]:
    """Return the size of the first frame axis that has the name of this axis, in a list that is empty if none has."""
    word = specs[name].dims[axis] if specs[name].dims else None
    named = [
        array.shape[i]
        for frame, array in frames.items()
        for i, dim in enumerate(specs[frame].dims)
        if word is not None and dim == word and i < array.ndim
    ]
    return named[:1]


def _others(sizes: Mapping[Place, int], places: Sequence[Place], size: int) -> Iterator[dict[Place, int]]:
    """Yield the sizes with 1 added at a place, and at all places of the same size, if that is >= max(2, `size`)."""
    for place in places:
        if sizes[place] >= (size if size > 1 else 2):
            equal = [other for other in places if sizes[other] == sizes[place]]
            yield {**sizes, place: sizes[place] + 1}
            yield {**sizes, **dict.fromkeys(equal, sizes[place] + 1)}


def _widened(frame: Array, spec: TensorSpec) -> Array:
    """Return a frame of zeros, larger along the free axes, so that none of them has size 1 and is broadcast."""
    free = spec.shape or (None,) * frame.ndim
    return np.zeros([_wide(n) if m is None else n for n, m in zip(frame.shape, free, strict=False)], frame.dtype)


def _wide(size: int) -> int:
    return 4 * size if size <= _SMALL else size


def _computed(runnable: Runnable, frames: Mapping[str, Array]) -> dict[tuple[int, int], list[int]]:
    """Return {(rank, axis): the sizes that this axis has in all values computed from frames of these shapes}."""
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
