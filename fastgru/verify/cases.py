"""Draws random inputs for a graph: ids within their table, lengths within the sequence, several T and N.

    cases = draw_cases(graph, seed=0)

Free dimensions take the roles that `AxisRoles` finds. If a role stays open, a few assignments are tried on the float64
definition, and the first one that runs is used.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from fastgru.errors import FastGRUError, ShapeError
from fastgru.graph import Array, Graph, TensorSpec
from fastgru.records import dataclass
from fastgru.reference import run_graph
from fastgru.reference.domains import Domain, find_domains
from fastgru.reference.evaluate import with_plain_weights
from fastgru.spec import RECURRENT
from fastgru.verify.roles import AxisRoles

__all__ = ["Case", "draw_cases", "draw_long"]


# (N, T) of a case: one of the sizes is odd, one is a power of two, and none is a multiple of the other.
_SIZES = ((1, 1), (3, 7), (2, 33))
_CALLS_WITH_TIME, _CALLS_WITHOUT_TIME = 4, 12


@dataclass(frozen=True)
class Case:
    """Inputs for one or several calls in a row.

    calls[0] has every input. Later calls leave out the states: the function that runs the case feeds back its own.
    agreed: whether every runtime gives these inputs the same meaning; False if a row has length zero.
    """

    label: str
    calls: tuple[Mapping[str, Array], ...]
    steps: int | None = None
    agreed: bool = True


def draw_cases(graph: Graph, *, seed: int = 0, small: bool = False) -> list[Case]:
    """Return a few cases of different sizes, or one if the graph fixes all sizes. small: only the smallest case.

    Raises `ShapeError` for a negative seed, and if the definition runs no assignment of the free dimensions: the caller
    must then pass inputs.
    """
    if seed < 0:
        raise ShapeError(f"seed is {seed!r}, expected an integer of at least 0")
    graph = with_plain_weights(graph)
    roles, domains = AxisRoles(graph), find_domains(graph)
    plan = _working_plan(graph, roles, domains)
    rng = np.random.default_rng(seed)
    cases: dict[str, Case] = {}
    for N, T in _SIZES[:1] if small else _SIZES:
        case = _draw(graph, roles, domains, plan, N, T, rng)
        cases.setdefault(case.label, case)
    masked = any(d.kind == "mask" for d in domains.values()) or any(
        node.op in RECURRENT and len(node.inputs) > 3 and node.inputs[3] for node in graph.nodes
    )
    return [_with_padding(graph, roles, case) if masked else case for case in cases.values()]


def draw_long(graph: Graph, *, steps: int, seed: int = 0) -> Case | None:
    """Return a case of one row with about `steps` consecutive steps, or None if the graph has no steps.

    Raises the errors of `draw_cases`.
    """
    graph = with_plain_weights(graph)
    roles, domains = AxisRoles(graph), find_domains(graph)
    plan = _working_plan(graph, roles, domains)
    timed = any(plan[roles.group(spec.name, i)] == "T" for spec, i in _free_axes(graph))
    if not timed and not graph.states:
        return None
    calls = 1 if not graph.states else _CALLS_WITH_TIME if timed else steps
    T = -(-steps // calls) if timed else 1
    return _draw(graph, roles, domains, plan, 1, T, np.random.default_rng(seed), calls=calls)


def _free_axes(graph: Graph) -> list[tuple[TensorSpec, int]]:
    return [(spec, i) for spec in graph.inputs for i, size in enumerate(spec.shape or ()) if size is None]


def _working_plan(graph: Graph, roles: AxisRoles, domains: Mapping[str, Domain]) -> dict[Any, str]:
    free = [(spec.name, axis, len(spec.shape or ())) for spec, axis in _free_axes(graph)]
    if unknown := [spec.name for spec in graph.inputs if spec.shape is None]:
        raise ShapeError(f"inputs {', '.join(unknown)} have no shape in the file: pass arrays with inputs=")
    open_groups = {roles.group(name, axis): (axis, rank) for name, axis, rank in free if not roles.role(name, axis)}
    settled = {roles.group(name, axis): roles.role(name, axis) or "" for name, axis, _ in free}

    def plan_of(first: str, second: str, other: str) -> dict[Any, str]:
        guess = {g: first if axis == 0 else second if axis == 1 else other for g, (axis, _) in open_groups.items()}
        return {**settled, **guess}

    plans = [plan_of("N", "T", "D"), plan_of("T", "N", "D"), plan_of("N", "N", "N"), plan_of("1", "1", "1")]
    failure: FastGRUError | None = None
    for plan in plans if open_groups else plans[:1]:
        try:
            trial = _draw(graph, roles, domains, plan, 3, 4, np.random.default_rng(0))
            run_graph(graph, trial.calls[0], dtype="float32")
            return plan
        except FastGRUError as error:
            failure = failure or error
    raise ShapeError(f"no random inputs were found that fit this model ({failure}): pass arrays with inputs=")


def _draw(
    graph: Graph,
    roles: AxisRoles,
    domains: Mapping[str, Domain],
    plan: Mapping[Any, str],
    N: int,
    T: int,
    rng: np.random.Generator,
    calls: int | None = None,
) -> Case:
    sizes = {"N": N, "T": T, "D": 5, "1": 1}
    shapes = {
        spec.name: tuple(
            sizes[plan[roles.group(spec.name, i)]] if s is None else s for i, s in enumerate(spec.shape or ())
        )
        for spec in graph.inputs
    }
    time_axes = {name: roles.axis_of(name, "T") for name in shapes}
    steps = next((shapes[name][axis] for name, axis in time_axes.items() if axis is not None), None)
    count = 1 if not graph.states else _CALLS_WITHOUT_TIME if steps is None or steps == 1 else _CALLS_WITH_TIME
    count = count if calls is None else calls
    with_zero = N == 3
    given = [
        {
            spec.name: _values(
                spec, shapes[spec.name], domains[spec.name], steps, rng, with_zero, spec.name in graph.states
            )
            for spec in graph.inputs
            if number == 0 or spec.name not in graph.states
        }
        for number in range(count)
    ]
    lengths = [name for name, domain in domains.items() if domain.kind == "lengths"]
    has_zero = any((call[name] == 0).any() for call in given for name in lengths if name in call)
    free = ", ".join(f"{role}={sizes[role]}" for role in ("N", "T") if role in plan.values())
    words = (free or "fixed shapes", f"{count} calls" if count > 1 else "", "a length of 0" if has_zero else "")
    return Case(", ".join(filter(None, words)), tuple(given), steps, agreed=not has_zero)


def _values(
    spec: TensorSpec,
    shape: tuple[int, ...],
    domain: Domain,
    steps: int | None,
    rng: np.random.Generator,
    with_zero: bool,
    is_state: bool,
) -> Array:
    if spec.dtype == "bool":
        return np.asarray(rng.random(shape) < 0.7)
    if spec.dtype.startswith(("int", "uint")):
        if domain.kind == "lengths":
            lengths = rng.integers(1, (steps or 1) + 1, shape)
            if lengths.size:
                lengths.flat[-1] = steps or 1
            if with_zero and lengths.size > 1:
                lengths.flat[0] = 0
            return np.asarray(lengths.astype(spec.dtype))
        return np.asarray(rng.integers(0, domain.size, shape).astype(spec.dtype))
    scale = 0.5 if is_state else 1.0
    dtype = np.float64 if spec.dtype == "float64" else np.float32
    return np.asarray((scale * rng.standard_normal(shape)).astype(dtype))


def _with_padding(graph: Graph, roles: AxisRoles, case: Case) -> Case:
    """Return the case with the last steps of every other row set to zero, which is what a mask takes for padding."""
    calls = []
    for call in case.calls:
        arrays = dict(call)
        for spec in graph.inputs:
            n, t = roles.axis_of(spec.name, "N"), roles.axis_of(spec.name, "T")
            if spec.name not in arrays or n is None or t is None or spec.dtype == "bool":
                continue
            array = np.moveaxis(arrays[spec.name].copy(), (n, t), (0, 1))
            array[1::2, (2 * array.shape[1] + 2) // 3 :] = 0
            arrays[spec.name] = np.ascontiguousarray(np.moveaxis(array, (0, 1), (n, t)))
        calls.append(arrays)
    return Case(case.label, tuple(calls), case.steps, case.agreed)
