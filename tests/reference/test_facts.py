"""Every operator has facts, and they agree with its definition, whatever part of the inputs is known."""

from __future__ import annotations

import itertools
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgru.errors import FastGRUError
from fastgru.graph import Node
from fastgru.reference import OPS, evaluate
from fastgru.reference.facts import ValueFacts, bound, infer, mixes, ties, weights, work
from fastgru.reference.sizes import Polynomial, Size, add, free_axis
from fastgru.spec import GRUSpec, LSTMSpec, RNNSpec

sys.path.insert(0, str(Path(__file__).parent.parent / "engine"))
from engine_cases import CASES, Case, bools, i64, normal
from test_reference_fuzz import nodes

# The elements of these are not all told by shapes and constants.
OF_DATA = {"nonzero"}


def recurrent_cases() -> list[Case]:
    found = []
    for op, kind in (("gru", GRUSpec), ("lstm", LSTMSpec), ("rnn", RNNSpec)):
        for direction, batch_first in itertools.product(("forward", "reverse", "bidirectional"), (False, True)):
            spec = kind(3, 4, direction=direction, batch_first=batch_first)
            T, N = 6, 5
            x = normal(N, T, 3) if batch_first else normal(T, N, 3)
            state = normal(spec.num_directions, N, 4)
            arrays = [normal(*s) for _ in range(spec.num_directions) for s in spec.weight_shapes.values()]
            further = [state] * (len(kind.STATES) - 1)
            attrs = {"spec": spec.to_dict()}
            mask = bools(*x.shape[:2])
            found.append(Case(op, (x, state, i64(1, 6, 3, 2, 4), mask, *further, *arrays), attrs))
            found.append(Case(op, (x, None, None, None, *[None] * len(further), *arrays), attrs))
    return found


def shape_cases() -> list[Case]:
    x = normal(4, 6, 10)
    return [
        *(Case("shape", (x,), attrs) for attrs in ({}, {"start": 1}, {"start": -2, "end": -1}, {"end": 9})),
        *(Case("range", (np.array(a, d), np.array(b, d), np.array(c, d))) for (a, b, c), d in itertools.product(
            ((0, 5, 1), (7, 1, -2), (3, 1, 1)), ("int64", "int32", "float32"))),
        Case("constant_of_shape", (i64(2, 3),), {"value": 1, "dtype": "int64"}),
        Case("constant_of_shape", (i64(4),), {"value": 1, "dtype": "bool"}),
        *(Case("split", (x, *given), {"axis": axis, **attrs}) for given, axis, attrs in (
            ((), 1, {"parts": 3}), ((), -1, {"parts": 4}), ((), 1, {"sizes": [1, 0, 5]}), ((i64(4, 6),), 2, {}))),
        *(Case("reshape", (x, i64(*shape)), attrs) for shape, attrs in (
            ((24, 10), {}), ((-1, 10), {}), ((0, 2, -1), {}), ((4, 60), {}), ((4, 3, 2, 10), {}), ((2, 2, 6, 10), {}),
            ((4, 6, 1, 10), {"allow_zero": True}), ((240,), {}), ((0, 0, 5, 2), {}))),
        *(Case("slice", (x, i64(*s), i64(*e), i64(*a), i64(*k))) for s, e, a, k in (
            ((1,), (1 << 40,), (1,), (1,)), ((-2,), (1 << 62,), (2,), (1,)), ((0,), (-1,), (0,), (2,)),
            ((-1,), (-(1 << 62),), (1,), (-1,)), ((2, 1), (3, 5), (0, -1), (1, 2)))),
        *(Case("compare", (i64(2, 3), i64(2)), {"kind": k}) for k in ("equal", "less", "greater_equal", "not_equal")),
        *(Case("logical", (np.array(a), np.array(b)), {"kind": k}) for a, b, k in itertools.product(
            (True, False), (True, False), ("and", "or", "xor"))),
        *(Case("binary", (i64(7, -7), i64(2)), {"kind": k}) for k in ("add", "sub", "mul", "div", "mod", "min", "max")),
        *(Case("reduce", (i64(2, 3, 4),), {"kind": k, "axes": [0], "keepdims": d}) for k, d in itertools.product(
            ("prod", "sum", "max"), (True, False))),
        Case("where", (np.array([True, False]), i64(1, 2), i64(3, 4))),
        Case("cast", (i64(0, 7),), {"to": "bool"}), Case("cast", (i64(300, 7),), {"to": "int8"}),
        Case("unary", (i64(3, 7),), {"kind": "neg"}), Case("unary", (np.array([True, False]),), {"kind": "not"}),
        Case("concat", (i64(3, 7), i64(1)), {"axis": 0}), Case("gather", (i64(3, 7, 9), i64(-1, 0)), {"axis": 0}),
        Case("expand", (i64(3), i64(4))), Case("slice", (i64(3, 4, 5, 6), i64(-1), i64(-9), i64(0), i64(-2))),
    ]  # fmt: skip


EVERY = {**CASES, "recurrent": recurrent_cases(), "shapes": shape_cases()}


def number(size: Size, atoms: dict[Any, int]) -> int:
    """The size, once each of its names and free dimensions has a number."""
    if isinstance(size, Polynomial):
        return sum(f * int(np.prod([number_of(a, atoms) ** p for a, p in m], dtype=object)) for m, f in size.terms)
    assert size is not None
    return atoms[size] if isinstance(size, str) else size


def number_of(atom: Any, atoms: dict[Any, int]) -> int:
    if isinstance(atom, tuple) and atom[0] == "floor":
        return number(atom[1], atoms) // atom[2]
    return atoms[atom]


def outputs_of(case: Case) -> tuple[np.ndarray, ...]:
    with np.errstate(all="ignore"):
        return OPS[case.op](case.inputs, case.attrs)


def check_values(case: Case, inputs: list, outputs: tuple, atoms: dict, *, whole: bool) -> None:
    """What is known of the outputs is true; with `whole`, everything is known that shapes and constants tell."""
    found = infer(case.op, inputs, case.attrs, len(outputs))
    for facts, array in zip(found, outputs, strict=True):
        assert facts.dtype == array.dtype.name or (facts.dtype is None and not whole), case
        if facts.sizes is None:
            assert not whole, case
            continue
        assert len(facts.sizes) == array.ndim, case
        for size, n in zip(facts.sizes, array.shape, strict=True):
            assert (size is None and (not whole or case.op in OF_DATA)) or number(size, atoms) == n, (case, facts)
        if facts.elements is not None:
            values = array.reshape(-1).tolist()
            assert len(values) == len(facts.elements), case
            assert all(e is None or number(e, atoms) == v for e, v in zip(facts.elements, values, strict=True)), case


def check_mixes(case: Case, inputs: list, outputs: tuple) -> None:
    """What a kept axis of the first input has at one place changes the outputs at that place alone, or from it on."""
    found = mixes(case.op, inputs, case.attrs)
    x = None if case.inputs[0] is None else np.asarray(case.inputs[0])
    if found is None or x is None or x.dtype.kind != "f":
        return
    same = ties(case.op, inputs, case.attrs, len(outputs)).same
    for axis in range(x.ndim):
        if x.shape[axis] < 2 or found.get(axis):
            continue
        at, changed = x.shape[axis] // 2, x.copy()
        changed[(slice(None),) * axis + (at,)] += 1
        for (i, own), (j, other) in same:
            if (i, own) != (0, axis):
                continue
            again = outputs_of(Case(case.op, (changed, *case.inputs[1:]), case.attrs))[j]
            before = [a[(slice(None),) * other + (slice(at),)].tobytes() for a in (outputs[j], again)]
            assert before[0] == before[1], (case.op, axis)
            behind = [a[(slice(None),) * other + (slice(at + 1, None),)].tobytes() for a in (outputs[j], again)]
            assert axis in found or behind[0] == behind[1], (case.op, axis)


def check_ties(case: Case, inputs: list, outputs: tuple) -> None:
    found = ties(case.op, inputs, case.attrs, len(outputs))
    for (i, axis), (j, other) in found.same:
        assert case.inputs[i].shape[axis] == outputs[j].shape[other], (case, found)
    for (i, axis), (j, other) in found.kin:
        assert axis < case.inputs[i].ndim, case
        assert other < outputs[j].ndim, case
    for _, places in found.roles:
        assert len({case.inputs[i].shape[axis] for i, axis in places}) == 1, (case, found)


@pytest.mark.parametrize("family", EVERY)
def test_facts_of_known_inputs(family: str) -> None:
    for case in EVERY[family]:
        outputs = outputs_of(case)
        inputs = [None if a is None else ValueFacts.of_array(np.asarray(a)) for a in case.inputs]
        check_values(case, inputs, outputs, {}, whole=True)
        check_ties(case, inputs, outputs)
        check_mixes(case, inputs, outputs)
        names = tuple("" if a is None else f"x{i}" for i, a in enumerate(case.inputs))
        node = Node(case.op, names, tuple(f"y{i}" for i in range(len(outputs))), case.attrs)
        assert bound(node, case.inputs) >= max(y.size for y in outputs), case
        done = work(case.op, inputs, case.attrs, len(outputs))
        ends = case.op == "loop" and case.attrs["body"].outputs[0]
        assert isinstance(done.flops, int) or ends, case
        assert ends or done.flops >= 0, case
        if case.op not in OF_DATA:
            assert done.nbytes == sum(a.nbytes for a in (*case.inputs, *outputs) if a is not None), case
        for axis in weights(case.op, case.attrs, len(inputs)).values():
            assert axis in (None, 0, 1), case


def test_every_operator_has_cases() -> None:
    assert {case.op for cases in EVERY.values() for case in cases} == set(OPS)


@st.composite
def knowledge(draw: st.DrawFn, case: Case) -> tuple[list, dict[Any, int]]:
    """What is known of the inputs: some sizes are names, some free, some unknown; some vectors are constants."""
    atoms: dict[Any, int] = {}
    inputs: list[ValueFacts | None] = []
    for i, array in enumerate(case.inputs):
        if array is None:
            inputs.append(None)
            continue
        array = np.asarray(array)
        if array.ndim < 2 and draw(st.booleans()):
            inputs.append(ValueFacts.of_array(array))
            continue
        sizes: list[Size] = []
        for axis, n in enumerate(array.shape):
            form = draw(st.sampled_from(("number", "name", "free", "unknown", "sum")))
            if n == 0 and form != "unknown":
                form = "number"  # a free dimension has an element
            free = free_axis(f"x{i}", axis)
            if form in ("free", "sum"):
                ((((atom, _),), _),) = [(tuple(m), f) for m, f in free.terms]
                atoms[atom] = n
            if form == "sum":
                atoms[atom], free = (n - 1, add(free, 1)) if n > 1 else (n, free)
            atoms[f"n{n}"] = n
            sizes.append({"number": n, "name": f"n{n}", "unknown": None}.get(form, free))
        small = array.ndim < 2 and array.dtype.kind in "iub" and array.size < 9
        values = (
            [draw(st.sampled_from((int(v), None))) for v in array.reshape(-1)]
            if small and draw(st.booleans())
            else None
        )
        dtype = draw(st.sampled_from((array.dtype.name, array.dtype.name, None)))
        ranked = draw(st.sampled_from((True, True, True, False)))
        inputs.append(ValueFacts(dtype, tuple(sizes) if ranked else None, None if values is None else tuple(values)))
    return inputs, atoms


@pytest.mark.parametrize("op", sorted(OPS))
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_facts_of_what_is_partly_known(op: str, data: st.DataObject) -> None:
    case = data.draw(st.sampled_from([case for cases in EVERY.values() for case in cases if case.op == op]))
    inputs, atoms = data.draw(knowledge(case))
    check_values(case, inputs, outputs_of(case), atoms, whole=False)


@pytest.mark.parametrize("op", sorted(OPS))
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_facts_of_any_node(op: str, data: st.DataObject) -> None:
    """A damaged one, too: nothing is raised, and where the definition answers the facts agree."""
    node, arrays = data.draw(nodes(op))
    inputs = [None if a is None else ValueFacts.of_array(a) for a in arrays]
    infer(op, inputs, node.attrs)
    ties(op, inputs, node.attrs)
    work(op, inputs, node.attrs)
    limit = bound(node, arrays)
    kinds = {a.dtype.name for a in arrays if a is not None}
    try:
        outputs = evaluate(node, arrays, max_elements=10_000)
    except FastGRUError:
        return
    if {"bfloat16", "float32"} <= kinds:
        return  # no graph mixes these
    case = Case(op, tuple(arrays), dict(node.attrs))
    check_values(case, inputs, outputs, {}, whole=True)
    check_ties(case, inputs, outputs)
    assert limit >= max((y.size for y in outputs), default=0)


def test_a_slice_without_steps_mixes_nothing() -> None:
    """Its steps are 1: that is known, not a doubt, or no model that cuts its states apart would share a batch."""
    values = [
        ValueFacts.of_array(np.zeros((2, 3), np.float32)),
        *(ValueFacts.of_array(np.array([k])) for k in (0, 1, 0)),
    ]
    assert mixes("slice", values, {}) == {}
    assert mixes("slice", [*values, ValueFacts.of_array(np.array([-1]))], {}) == {0: True}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_later_frames_change_nothing_before_them(data: st.DataObject) -> None:
    """Where the facts say that an operator does not look ahead, outputs up to a step keep their bits."""
    rng = np.random.default_rng(data.draw(st.integers(0, 1000)))
    T, k, dilation = (data.draw(st.integers(*limits)) for limits in ((2, 9), (1, 4), (1, 2)))
    front = (k - 1) * dilation
    front, behind = data.draw(st.sampled_from([(front, 0), (0, front), (front // 2, front - front // 2)]))
    sliding = {"strides": [1], "pads": [front, behind], "dilations": [dilation], "kernel": [k]}
    kind = data.draw(st.sampled_from(["average", "max", "sum"]))
    equation = data.draw(st.sampled_from(["nct,oc->not", "nct,nc->nt", "nct->nt", "nct,oc,o->nt"]))
    others = {"oc": (5, 3), "nc": (2, 3), "o": (5,)}
    terms = equation.partition("->")[0].split(",")[1:]
    more = tuple(rng.standard_normal(others[term]) for term in terms)
    x = rng.standard_normal((2, 3, T))
    small = rng.integers(0, 255, (2, T, 3), np.uint8), rng.integers(-128, 127, (3, 4), np.int8)
    for op, arrays, attrs, axis in (
        ("pool", (x,), {"kind": kind, "count_include_pad": data.draw(st.booleans()), **sliding}, 2),
        ("einsum", (x, *more), {"equation": equation}, 2),
        ("matmul_integer", small, {}, 1),
    ):
        case = Case(op, arrays, attrs)
        (y,) = outputs_of(case)
        inputs = [ValueFacts.of_array(a) for a in arrays]
        found = mixes(op, inputs, attrs)
        assert found is not None
        ((_, (_, time)),) = [pair for pair in ties(op, inputs, attrs).same if pair[0] == (0, axis)]
        assert found.get(axis, False) == (op == "pool" and k > 1 and behind > 0)
        if found.get(axis):
            continue
        t = data.draw(st.integers(0, T - 1))
        changed = np.moveaxis(arrays[0].copy(), axis, 0)
        changed[t + 1 :] = rng.permutation(changed[t + 1 :].ravel()).reshape(changed[t + 1 :].shape) + 1
        (again,) = outputs_of(Case(op, (np.moveaxis(changed, 0, axis), *arrays[1:]), attrs))
        kept = [np.moveaxis(a, time, 0)[: t + 1].tobytes() for a in (y, again)]
        assert kept[0] == kept[1], (op, attrs, t)
