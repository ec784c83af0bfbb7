"""`quantize`: measures a model in float32 and with low-precision weights, chooses the precisions, and reports."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from typing import Final, Unpack

import numpy as np

from fastgru.engine import foreign_nodes
from fastgru.engine.faster import slower_everywhere
from fastgru.engine.passes import settle, simplify
from fastgru.engine.passes.rows import matrix_shapes
from fastgru.engine.precision import WeightPrecision, impossible, largest_matrix, weight_matrices
from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.graph import Graph, Node
from fastgru.layers import Layer
from fastgru.load import Reading, check_options, load_graph
from fastgru.model import Model
from fastgru.precisions import LOWP, Precision, split_precision, weight_bytes
from fastgru.quantization.choose import LADDER, choose
from fastgru.quantization.inputs import Data, cases_from, drawn_cases
from fastgru.quantization.measure import Bench
from fastgru.quantization.report import Errors, KeptBack, LayerReport, OutputReport, QuantizeReport
from fastgru.records import dataclass
from fastgru.sources import Source, source_name
from fastgru.verify.cases import Case

__all__ = ["AUTO_ERROR", "PRECISIONS", "quantize"]

PRECISIONS: Final = (*LOWP, "auto")
AUTO_ERROR: Final = 0.02
_TRIED: Final = 3  # candidates that are measured in the whole model, to find bounds that would hold
_TIMED: Final = 64  # the most lower precisions of `kept_back` that are timed
_TIMED_S: Final = 0.02  # for each of them


@dataclass(frozen=True)
class _Layer:
    """A node with weights: its name, the rows and elements of all its matrices, and the shape of the largest one."""

    node: Node
    name: str
    rows: int
    elements: int
    shape: tuple[int, int]

    def bytes(self, precision: str) -> int:
        return weight_bytes(precision, self.rows, self.elements)


def quantize(
    model: Layer | Model | Graph | Source,
    *,
    precision: Precision = "int8",
    data: Data | None = None,
    max_error: float | None = None,
    min_db: float | None = None,
    seed: int = 0,
    threads: int = 1,
    spin_us: float = 0,
    **options: Unpack[Reading],
) -> QuantizeReport:
    """Store the weights of a model in fewer bytes, and measure what that costs and saves against float32.

    model: a path or the bytes of a file, with the options of `fastgru.load`; or a model, a graph, or a network composed
        of layers. For a model that streams, pass `net.to_model(initial_state=True)` of such a network.
    precision: "int8" or "bfloat16" for every node that has kernels for it. "auto" means int8 as far as the bounds
        allow, then bfloat16, then float32, and float32 for nodes so small that no CPU gains. A mapping gives nodes a
        precision by name or output, and "*" stands for the others.
    data: arrays by input name, or several such mappings, one for each call. An array with one axis more than its input
        holds one call in each entry. States continue from call to call. Without data, random inputs are drawn from
        `seed`, among them a run of 1,000 steps. Real inputs of the model give better figures.
    max_error: the bound for the largest difference of an output, divided by the magnitude of the output if that is
        above 1. With "auto" and no bound, 0.02.
    min_db: the bound for how far below the output the difference lies, in decibels.
    threads, spin_us: of the returned model, as for `fastgru.load`. Everything is measured on one thread.

    Returns a report with the model in `report.model`. `report.holds` says whether the bounds hold. If they do not, or
    if they leave "auto" nothing to make smaller, `report.would_do` has bounds that would hold. Raises what
    `fastgru.load` raises, and `ShapeError` if the data does not fit, if no data is given and none can be drawn, or if
    an output has no finite number in float32.
    """
    check_options(quantize, options)
    graph, source = _graph(model, options)
    _check(graph, source, precision, max_error, min_db)
    if precision == "auto" and max_error is None and min_db is None:
        max_error = AUTO_ERROR
    cases = drawn_cases(graph, seed) if data is None else cases_from(graph, data)
    study = _Study(graph, cases, max_error, min_db)
    auto = study.choose() if precision == "auto" else {}
    lowp: Precision = {name: given.precision for name, given in auto.items() if given.precision in LOWP}
    made = Model(graph, precision=lowp if precision == "auto" else precision, threads=threads, spin_us=spin_us)
    chosen = auto or made.weight_precisions
    precisions = {name: given.precision for name, given in chosen.items()}
    errors = study.bench.errors(precisions)
    if void := [name for name in study.counted if not errors[name].count]:
        raise ShapeError(
            f"{source}: no number of the output {', '.join(void)} is finite in float32, so there is nothing to compare;"
            " give data with which the model computes finite numbers"
        )
    kept_back = tuple(study.kept_back(precisions)) if auto else ()
    whole = bool(kept_back) and not lowp
    return QuantizeReport(
        model=made,
        source=source,
        precision=precision if isinstance(precision, str) else "mixed",
        max_error=max_error,
        min_db=min_db,
        cases=tuple(case.label for case in cases),
        layers=tuple(
            LayerReport(
                name=name,
                op=layer.node.op,
                shape=layer.shape,
                precision=precisions[name],
                why=chosen[name].why,
                bytes_before=layer.bytes("float32"),
                bytes_after=layer.bytes(precisions[name]),
                errors=errors[name],
                alone=study.worst_alone(name, precisions[name]),
            )
            for name, layer in study.layers.items()
        ),
        outputs=tuple(OutputReport(s.name, s.name in study.counted, errors[s.name]) for s in graph.outputs),
        timings=tuple(study.bench.timings(precisions)),
        bytes_before=_constant_bytes(settle(graph)),
        bytes_after=_constant_bytes(made.to_graph()),
        kept_back=kept_back,
        would_do=study.least(kept_back[:_TRIED]) if whole else study.bounds(errors),
    )


class _Study:
    """The layers of a graph with weights of different precisions, measured and judged by the outputs that count."""

    def __init__(self, graph: Graph, cases: Sequence[Case], max_error: float | None, min_db: float | None) -> None:
        simple = simplify(graph)
        self.layers = {layer.name: layer for layer in _layers(simple)}
        self.bench = Bench(simple, cases, list(self.layers))
        outputs = [spec.name for spec in graph.outputs]
        self.counted = [name for name in outputs if name not in graph.states.values()] or outputs
        self._bounds = max_error, min_db
        self._excess = functools.partial(_excess, max_error=max_error, min_db=min_db)
        self._reasons = {
            layer.name: {of: _pointless(simple, layer.node, of) for of in LOWP} for layer in self.layers.values()
        }
        self._alone = functools.cache(lambda name, of: self.bench.errors({name: of}, layers=False, short=True))

    def choose(self) -> dict[str, WeightPrecision]:
        """Return for every layer the lowest precision that the bounds allow, and why it is not the lowest of all."""
        chosen = choose(
            {name: tuple(of for of in LADDER if not reasons.get(of)) for name, reasons in self._reasons.items()},
            lambda name, of: self.layers[name].bytes(of),
            lambda name, of: self._judged(self._alone(name, of)),
            lambda choice: self._judged(self.bench.errors(choice, layers=False)),
        )
        lowest = LADDER[0]
        return {
            name: WeightPrecision(
                self.layers[name].node.op,
                of,
                "" if of == lowest else self._reasons[name][lowest] or f"{lowest} exceeds the bound",
            )
            for name, of in chosen.items()
        }

    def kept_back(self, chosen: Mapping[str, str]) -> list[KeptBack]:
        """Return what each lower precision of a node alone would cost and save, the smallest error first."""
        found = []
        for name, now in chosen.items():
            lower = [of for of in LADDER[: LADDER.index(now)] if not self._reasons[name][of]]
            found += [(self._judged(self._alone(name, of)), self.layers[name], of, now) for of in lower]
        found.sort(key=lambda entry: entry[0])
        return [self._kept(layer, of, now, timed=n < _TIMED) for n, (_, layer, of, now) in enumerate(found)]

    def _kept(self, layer: _Layer, of: str, now: str, *, timed: bool) -> KeptBack:
        name, alone = layer.name, self._alone(layer.name, of)
        timing = self.bench.timings({name: of}, first=True, seconds=_TIMED_S)[0] if timed else None
        return KeptBack(
            name=name,
            op=layer.node.op,
            precision=of,
            error=max(alone[o].relative for o in self.counted),
            db=min(alone[o].db for o in self.counted),
            bytes_saved=layer.bytes(now) - layer.bytes(of),
            seconds_saved=None if timing is None else timing.before_s - timing.after_s,
        )

    def least(self, candidates: Sequence[KeptBack]) -> dict[str, float]:
        """Return the bounds with which one of these could be used, as near to the given ones as possible."""
        measured = [self.bench.errors({kept.name: kept.precision}, layers=False) for kept in candidates]
        return self.bounds(min(measured, key=self._judged))

    def bounds(self, errors: Mapping[str, Errors]) -> dict[str, float]:
        """Return bounds that these errors meet, rounded to two digits; {} if they meet the given ones."""
        if self._judged(errors) <= 1:
            return {}
        max_error, min_db = self._bounds
        needed = {}
        if max_error is not None:
            needed["max_error"] = max(max_error, _up(max(errors[o].relative for o in self.counted)))
        if min_db is not None:
            needed["min_db"] = min(min_db, math.floor(10 * min(errors[o].db for o in self.counted)) / 10)
        return needed

    def worst_alone(self, name: str, of: str) -> float | None:
        """Return how much the outputs change if only this node is in `of`; None if `of` is not a low precision."""
        return max(self._alone(name, of)[o].relative for o in self.counted) if of in LOWP else None

    def _judged(self, errors: Mapping[str, Errors]) -> float:
        return max((self._excess(errors[name]) for name in self.counted), default=0.0)


def _pointless(graph: Graph, node: Node, precision: str) -> str:
    """Return why a node stays in float32 on every CPU, or ""."""
    shape = largest_matrix(matrix_shapes(graph), node)
    assert shape is not None
    return impossible(node, shape, precision) or slower_everywhere(node.op, shape, precision)


def _graph(model: Layer | Model | Graph | Source, options: Reading) -> tuple[Graph, str]:
    if not isinstance(model, Layer | Model | Graph):
        return load_graph(model, **options), source_name(model).strip("'")
    if options:
        raise UnsupportedModelError(
            f"{', '.join(options)}: these options are for reading a file, but the model has already been read"
        )
    graph = model if isinstance(model, Graph) else model.graph if isinstance(model, Model) else model.to_graph()
    return graph, graph.name or "the model"


def _check(graph: Graph, source: str, precision: Precision, max_error: float | None, min_db: float | None) -> None:
    common, overrides = split_precision(precision)
    choices = PRECISIONS if isinstance(precision, str) else (*PRECISIONS, "float32")
    if unknown := sorted({str(p) for p in (common, *overrides.values())} - set(choices)):
        raise UnsupportedModelError(f"precision is {', '.join(unknown)}, expected one of {', '.join(choices)}")
    if "auto" in overrides.values() or (overrides and common == "auto"):
        raise UnsupportedModelError('"auto" is for a whole model: give each node a precision, or the model "auto"')
    if graph.precisions:
        raise UnsupportedModelError(f"{source}: its weights are already quantised; quantise the original file")
    if foreign_nodes(graph):
        raise UnsupportedModelError(
            f"{source}: onnx or Python runs some of its nodes, between which nothing is measured;"
            " fastgru.load(..., precision=) runs it with weights of low precision"
        )
    if max_error is not None and not max_error > 0:
        raise ShapeError(f"max_error is {max_error!r}, expected a positive number")
    if min_db is not None and not min_db == min_db:
        raise ShapeError(f"min_db is {min_db!r}, expected a number")


def _layers(graph: Graph) -> list[_Layer]:
    found = []
    for name, (node, shapes) in weight_matrices(graph).items():
        rows, elements = sum(s[0] for s in shapes), sum(s[0] * s[1] for s in shapes)
        found.append(_Layer(node, name, rows, elements, max(shapes, key=lambda s: s[0] * s[1])))
    return found


def _excess(errors: Errors, max_error: float | None, min_db: float | None) -> float:
    """Return the error relative to the stricter bound; 1 is exactly at the bound."""
    by_error = 0.0 if max_error is None else errors.relative / max_error
    by_db = 0.0 if min_db is None else 10.0 ** min((min_db - errors.db) / 20, 300.0)
    return max(by_error, by_db)


def _up(number: float) -> float:
    """Return the smallest number of two digits that is not below this one."""
    if not 0 < number < math.inf:
        return number
    step = 10.0 ** (math.floor(math.log10(number)) - 1)
    return float(f"{math.ceil(number / step) * step:.2g}")


def _constant_bytes(graph: Graph) -> int:
    """Return the bytes of all constants, with float64 counted as the float32 that it becomes."""
    return sum(int(a.nbytes) // (2 if a.dtype == np.float64 else 1) for a in graph.constants.values())
