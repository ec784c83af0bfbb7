"""Problems made of models: networks and files, with random inputs of a serving shape and float64 outputs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Unpack

import numpy as np
from numpy.typing import NDArray

from fastgru.bench.networks import NETWORKS, Network
from fastgru.bench.problem import Problem
from fastgru.bench.sizes import read_shape
from fastgru.errors import ShapeError
from fastgru.exporters import to_onnx
from fastgru.graph import Graph, TensorSpec
from fastgru.importers.files import detect_format
from fastgru.load import Reading, load_graph
from fastgru.packing.aligned import empty
from fastgru.precisions import WEIGHT_BYTES, float_dtype_of
from fastgru.records import dataclass
from fastgru.reference import run_graph
from fastgru.reference.domains import Domain, find_domains
from fastgru.reference.operator import numpy_dtype

__all__ = ["ModelCase", "file_problem", "model_cases", "model_problem", "parse_shapes"]

Array = NDArray[Any]
_FRAMES_COMPARED = 3


@dataclass(frozen=True)
class ModelCase:
    """slug: for filters. title: for people. make: makes the problem, and may raise `FastGRUError`."""

    slug: str
    title: str
    make: Callable[[], Problem]


def model_cases(folder: Path | None = None, precision: str | None = None) -> list[ModelCase]:
    """Return every network of `NETWORKS`, then every ONNX file in `folder` and below, by path, in this precision."""
    found = [
        ModelCase(n.slug, n.title, partial(_network_problem, n, precision or "float32")) for n in NETWORKS.values()
    ]
    files = {} if folder is None else {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*.onnx"))}
    found += [
        ModelCase(name.removesuffix(".onnx"), name, partial(file_problem, path, {}, precision))
        for name, path in files.items()
    ]
    if precision is None:
        return found
    return [replace(case, slug=f"{case.slug}-{precision}", title=f"{case.title}, {precision}") for case in found]


def _network_problem(network: Network, precision: str) -> Problem:
    data = network.build()
    return model_problem(network.slug, load_graph(data), data, precision=precision)


def parse_shapes(options: Sequence[str]) -> dict[str, int | tuple[int, ...]]:
    """Parse shapes: "N=8" names a free dimension, "x=1x257" every axis of an input. Raises `ShapeError`."""
    found: dict[str, int | tuple[int, ...]] = {}
    for option in options:
        name, sizes = read_shape(option)
        if name in found:
            raise ShapeError(f"--shape {option}: {name!r} has a size already; one run of the bench has one shape")
        found[name] = sizes if len(sizes) > 1 else sizes[0]
    return found


def file_problem(
    path: Path,
    shapes: Mapping[str, int | tuple[int, ...]],
    precision: str | None = None,
    *,
    seed: int = 0,
    **options: Unpack[Reading],
) -> Problem:
    """Return the model in `path` as a problem. A free dimension is 1 if `shapes` has neither it nor its input.

    precision, options: as for `fastgru.load`.

    If the model carries a state, a call is one push of a stream. Raises `ShapeError` for names that the model does not
    have and for shapes that do not fit, and the errors of `fastgru.load`.
    """
    onnx: bytes | str | None = str(path) if detect_format(path) == "onnx" else None
    graph = load_graph(path, **options)
    if onnx is not None and options.get("open_states"):
        onnx = None if graph.starts else to_onnx(graph)
    saved = [] if precision is not None else sorted(graph.precisions.values(), key=lambda name: WEIGHT_BYTES[name])
    asked = precision or (saved[0] if saved else "float32")
    problem = model_problem(path.name, graph, onnx, shapes, precision=asked, seed=seed)
    return replace(problem, path=str(path), options=options, as_saved=bool(saved))


def model_problem(
    name: str,
    graph: Graph,
    onnx: bytes | str | None,
    shapes: Mapping[str, int | tuple[int, ...]] = MappingProxyType({}),
    *,
    precision: str = "float32",
    seed: int = 0,
) -> Problem:
    """Return the model `graph` as a problem, as `file_problem` does. onnx: the same model as an ONNX file, or None."""
    sizes, dtype = _sizes(graph, shapes), float_dtype_of(precision)
    rng, domains = np.random.default_rng(seed), find_domains(graph)
    if dtype == "float64" and onnx is not None:
        # A reader of the float32 file would not compute in float64.
        onnx = None if graph.starts else to_onnx(graph, precision=dtype)
    visible = [spec for spec in graph.inputs if spec.name not in graph.states]
    frames: list[dict[str, Array]] = [
        {spec.name: _values(spec, dtype, sizes[spec.name], domains[spec.name], rng) for spec in visible}
        for _ in range(_FRAMES_COMPARED if graph.states else 1)
    ]
    feeds = {name: empty(a.shape, a.dtype) for name, a in frames[0].items()}
    states = {
        spec.name: graph.start(spec.name, sizes[spec.name], _dtype(spec, dtype))
        for spec in graph.inputs
        if spec.name in graph.states
    }
    try:
        expected = _expected(graph, frames, states)
    except ShapeError as error:
        if not (assumed := [s.name for s in graph.inputs if s.name not in shapes and None in (s.shape or ())]):
            raise
        told = ", ".join(f"{name} {sizes[name]}" for name in assumed)
        raise ShapeError(f"{error}; sizes that no --shape gives are 1, as in {told}: give these, too") from error
    problem = Problem(
        name,
        graph,
        precision,
        bool(graph.states),
        feeds,
        frames,
        expected,
        graph.states,
        states,
        None if onnx is None else lambda: onnx,
    )
    problem.present(0)
    return problem


def _sizes(graph: Graph, given: Mapping[str, int | tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
    used, found = set(), {}
    sizes_of = {**_of_inputs(graph, given), **given}
    for spec in graph.inputs:
        whole = given.get(spec.name)
        if spec.shape is None and whole is None:
            raise ShapeError(f"input {spec.name!r} declares no shape: give --shape {spec.name}=SIZExSIZE...")
        if whole is not None:
            used.add(spec.name)
            found[spec.name] = whole if isinstance(whole, tuple) else (whole,)
            continue
        assert spec.shape is not None
        names = (*spec.dims, *(None for _ in spec.shape))
        sizes = []
        for size, name in zip(spec.shape, names, strict=False):
            wanted = sizes_of.get(name, 1) if name is not None else 1
            if size is None and name is not None and name in given:
                used.add(name)
            if not isinstance(wanted, int):
                raise ShapeError(f"dimension {name!r} of input {spec.name!r}: expected one size, got {wanted}")
            sizes.append(wanted if size is None else size)
        found[spec.name] = tuple(sizes)
    if unknown := sorted(set(given) - used):
        free = sorted({n for s in graph.inputs for n, k in zip(s.dims, s.shape or (), strict=False) if n and k is None})
        raise ShapeError(
            f"no input and no free dimension is called {', '.join(unknown)}; inputs:"
            f" {', '.join(s.name for s in graph.inputs)}; free dimensions with a name: {', '.join(free) or 'none'}"
        )
    return found


def _of_inputs(graph: Graph, given: Mapping[str, int | tuple[int, ...]]) -> dict[str, int | tuple[int, ...]]:
    """Return the sizes of named free dimensions, taken from the inputs whose whole shape is given."""
    found: dict[str, int | tuple[int, ...]] = {}
    for spec in graph.inputs:
        whole = given.get(spec.name)
        if isinstance(whole, tuple) and len(whole) == len(spec.shape or ()):
            found |= {name: n for name, n in zip(spec.dims, whole, strict=False) if name is not None}
    return found


def _dtype(spec: TensorSpec, floats: str) -> Any:
    """Return the dtype of the arrays of `spec`. floats: the dtype in which the model computes."""
    floating = spec.dtype in ("float64", "float32", "float16", "bfloat16")
    return np.dtype(floats) if floating else numpy_dtype(spec.dtype)


def _values(spec: TensorSpec, floats: str, shape: tuple[int, ...], domain: Domain, rng: np.random.Generator) -> Array:
    dtype = _dtype(spec, floats)
    if dtype.kind == "f":
        return np.asarray(rng.standard_normal(shape), dtype)
    if dtype.kind == "b" or domain.kind == "lengths":
        return np.ones(shape, dtype)
    return np.asarray(rng.integers(0, domain.size, shape), dtype)


def _expected(
    graph: Graph, frames: Sequence[Mapping[str, Array]], states: Mapping[str, Array]
) -> list[Mapping[str, Array]]:
    current: dict[str, Array] = dict(states)
    found: list[Mapping[str, Array]] = []
    for frame in frames:
        outputs = run_graph(graph, {**frame, **current})
        current = {source: outputs[target] for source, target in graph.states.items()}
        found.append(outputs)
    return found
