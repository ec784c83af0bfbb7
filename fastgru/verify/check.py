"""The verification itself: draws inputs, runs the model and its opponents, and compares the outputs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastgru.errors import FastGRUError, ShapeError, UnsupportedModelError
from fastgru.graph import Array, Graph
from fastgru.importers.files import detect_format
from fastgru.importers.weights import read_weights
from fastgru.layers import Layer
from fastgru.load import load_graph
from fastgru.model import Model
from fastgru.reference import bind_inputs, run_graph
from fastgru.reference.foreign import describe_nodes
from fastgru.sources import Source, source_name
from fastgru.verify.cases import Case, draw_cases
from fastgru.verify.compare import TOLERANCES, Run, check_output, largest_error, roughest
from fastgru.verify.report import Check, Report
from fastgru.verify.roles import AxisRoles
from fastgru.verify.runtimes import Runtime, open_runtime, runtime_of
from fastgru.verify.state_dicts import graphs_of, torch_gru

__all__ = ["verify_graph", "verify_source"]

# Options that change how we read a file, but not what the model computes.
_OURS_ALONE = frozenset({"allow_unread", "fallback"})
Executor = Callable[[Mapping[str, Array]], Mapping[str, Array]]


def verify_source(
    source: Layer | Model | Graph | Source,
    *,
    inputs: Mapping[str, ArrayLike] | None,
    seed: int,
    tol: float | None,
    precision: str | None,
    runtimes: bool,
    **options: Any,
) -> Report:
    """`fastgru.verify`."""
    settings: dict[str, Any] = {"seed": seed, "tol": tol, "precision": precision or "float32"}
    if isinstance(source, Layer | Model | Graph):
        model = _as_model(source, precision, options)
        settings["precision"] = roughest(model, precision)
        name = model.graph.name or "the model"
        return verify_graph(model.graph, model.run, source=name, inputs=inputs, **settings)
    name = source_name(source).strip("'")
    try:
        graph = load_graph(source, **options)
    except UnsupportedModelError:
        # In a state dict, tensors may stay unread. The other options do not apply to one.
        asked = {key for key, value in options.items() if value is not None} - _OURS_ALONE
        report = None if inputs or asked else _verify_weights(source, name, runtimes, settings)
        if report is None:
            raise
        return report
    model = Model(graph, precision=precision)
    settings["precision"] = roughest(model, precision)
    opponents: list[Runtime] = []
    skipped: list[tuple[str, str]] = []
    if runtimes and (module := runtime_of(detect_format(source))) is not None:
        changed = ", ".join(key for key, value in options.items() if value is not None and key not in _OURS_ALONE)
        opened = f"it cannot read the file with {changed}" if changed else open_runtime(module, source, graph)
        if isinstance(opened, Runtime):
            opponents.append(opened)
        else:
            skipped.append((module, opened))
    return verify_graph(graph, model.run, source=name, inputs=inputs, opponents=opponents, skipped=skipped, **settings)


def _as_model(network: Layer | Model | Graph, precision: str | None, options: Mapping[str, Any]) -> Model:
    if options:
        raise UnsupportedModelError(
            f"{', '.join(options)}: these options are for reading a file, but the model has already been read"
        )
    if precision is None and not isinstance(network, Graph):
        return network if isinstance(network, Model) else network.to_model()
    graph = network.to_graph() if isinstance(network, Layer) else network
    return Model(graph if isinstance(graph, Graph) else graph.graph, precision=precision)


def _verify_weights(source: Source, name: str, runtimes: bool, settings: Mapping[str, Any]) -> Report | None:
    """Return the report on every GRU of a state dict; None if `source` is not a state dict or has no GRU."""
    try:
        weights = read_weights(source)
    except FastGRUError:
        return None
    reports = []
    for found, graph in graphs_of(weights):
        opened = torch_gru(found, weights, graph) if runtimes else ""
        model = Model(graph, precision=settings["precision"])
        report = verify_graph(
            graph,
            model.run,
            source=name,
            opponents=[opened] if isinstance(opened, Runtime) else [],
            skipped=[("torch", opened)] if isinstance(opened, str) and opened else [],
            **{**settings, "precision": roughest(model, settings["precision"])},
        )
        start = f"{found.prefix}: " if found.prefix else ""
        checks = tuple(replace(check, output=start + check.output) for check in report.checks)
        reports.append(replace(report, checks=checks))
    if not reports:
        return None
    return replace(
        reports[0],
        checks=tuple(check for report in reports for check in report.checks),
        skipped=tuple(dict.fromkeys(entry for report in reports for entry in report.skipped)),
    )


def verify_graph(
    graph: Graph,
    run: Executor,
    *,
    source: str = "",
    inputs: Mapping[str, ArrayLike] | None = None,
    seed: int = 0,
    tol: float | None = None,
    precision: str = "float32",
    opponents: Sequence[Runtime] = (),
    skipped: Sequence[tuple[str, str]] = (),
) -> Report:
    """Verify any function `run`, from inputs to outputs by name, that claims to compute `graph`."""
    if precision not in TOLERANCES:
        raise UnsupportedModelError(f"precision is {precision!r}, expected one of {', '.join(sorted(TOLERANCES))}")
    if tol is not None and not tol > 0:
        raise ShapeError(f"tol is {tol!r}, expected a positive number")
    allowed = TOLERANCES[precision] if tol is None else tol
    cases = (
        draw_cases(graph, seed=seed)
        if inputs is None
        else [Case("the inputs given", (bind_inputs(graph.inputs, inputs),))]
    )
    axes = {spec.name: AxisRoles(graph).axis_of(spec.name, "T") for spec in graph.outputs}

    ours = [_run_case(graph, run, case) for case in cases]
    definition = [_run_case(graph, lambda x: run_graph(graph, x, dtype="float64"), case) for case in cases]
    settings: dict[str, Any] = {"precision": precision, "noise": {}}
    if tol is None and precision != "float64":
        rounded = [_run_case(graph, lambda x: run_graph(graph, x, dtype="float32"), case) for case in cases]
        settings["noise"] = {spec.name: largest_error(spec.name, rounded, definition) for spec in graph.outputs}
    checks = _check_all(graph, axes, ours, definition, against="definition", tol=allowed, **settings)
    left_out = list(skipped)
    for opponent in opponents:
        agreed = [i for i, case in enumerate(cases) if case.agreed]
        try:
            theirs = [_run_case(graph, opponent, cases[i]) for i in agreed]
        except Exception as error:  # code of another project, which may raise anything
            left_out.append((opponent.name, f"it does not run these inputs: {str(error).strip()[:200]}"))
            continue
        # Runtimes round too, in the float32 of their files.
        between = 2 * max(allowed, TOLERANCES["float32"]) if tol is None else tol
        checks += _check_all(
            graph, axes, [ours[i] for i in agreed], theirs, against=opponent.name, tol=between, **settings
        )
    labels = tuple(case.label for case in cases)
    return Report(source, precision, seed, labels, tuple(checks), tuple(left_out), describe_nodes(graph))


def _run_case(graph: Graph, run: Executor, case: Case) -> Run:
    outputs: list[Mapping[str, Array]] = []
    for call in case.calls:
        states = {source: outputs[-1][target] for source, target in graph.states.items()} if outputs else {}
        outputs.append({name: np.array(a) for name, a in run({**call, **states}).items()})
    return Run(case.label, outputs)


def _check_all(
    graph: Graph,
    axes: Mapping[str, int | None],
    got: Sequence[Run],
    expected: Sequence[Run],
    *,
    against: str,
    tol: float,
    precision: str,
    noise: Mapping[str, float],
) -> list[Check]:
    return [
        check_output(
            spec.name,
            axes[spec.name],
            got,
            expected,
            against=against,
            tol=tol,
            precision=precision,
            noise=noise.get(spec.name, 0.0),
        )
        for spec in graph.outputs
        if all(spec.name in call for run in expected for call in run.calls)
    ]
