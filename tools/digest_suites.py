"""Layers and operators for tools/digests: every form of the recurrent layers, GRU stacks, onnx's own suite."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

import fastgru
from fastgru.spec import ACTIVATIONS, Activation, GRUSpec, LSTMSpec, RNNSpec

if TYPE_CHECKING:
    from digest_worker import Teller

Arrays = dict[str, np.ndarray]


def recurrent_graph(spec: Any, op: str, given: Arrays, *, absent: tuple[str, ...]) -> fastgru.Graph:
    """Return a graph of one layer with weights initialised as in torch. given: its inputs by name, including x."""
    rng = np.random.default_rng(spec.hidden_size)
    optional = ["h0", "lengths", "mask", *(["c0"] if op == "lstm" else [])]
    inputs, constants = ["x", *(name if name in given else "" for name in optional)], {}
    for d, (field, shape) in itertools.product(range(spec.num_directions), spec.weight_shapes.items()):
        inputs.append("" if field.startswith(absent) else f"{field}_{d}")
        if inputs[-1]:
            constants[inputs[-1]] = (rng.uniform(-1, 1, shape) / np.sqrt(spec.hidden_size)).astype(np.float32)
    outputs = ("y", *(f"{state}_n" for state in spec.STATES))
    node = fastgru.Node(op, tuple(inputs), outputs, {"spec": spec.to_dict()})
    return fastgru.Graph(
        tuple(fastgru.TensorSpec(n, a.dtype.name, (None,) * a.ndim) for n, a in given.items()),
        tuple(fastgru.TensorSpec(o, "float32", None) for o in outputs),
        (node,),
        constants,
    )


def recurrent_forms() -> list[tuple[str, str, Any, dict[str, Any]]]:
    """Return (name, operator, class of the spec, fields) of every form."""
    forms: list[tuple[str, str, Any, dict[str, Any]]] = []
    for after in (True, False):
        each: dict[str, dict[str, Any]] = {
            "": {},
            "clip": {"clip": 0.4},
            "batch first": {"batch_first": True},
            "zeros": {"mask_output": "zero"},
            **{direction: {"direction": direction} for direction in ("reverse", "bidirectional")},
            **{f"gate {k}": {"gate_activations": (Activation(k, 0.3, 0.6),)} for k in ACTIVATIONS},
            **{f"candidate {k}": {"candidate_activations": (Activation(k, 0.3, 0.6),)} for k in ACTIVATIONS},
            "both": {"gate_activations": (Activation("hard_sigmoid"),), "candidate_activations": (Activation("relu"),)},
        }
        reset = "after" if after else "before"
        forms += [(f"{reset} {k}", "gru", GRUSpec, {**f, "reset_after": after}) for k, f in each.items()]
    plain: dict[str, dict[str, Any]] = {"": {}, "clip": {"clip": 0.5}, "both": {"direction": "bidirectional"}}
    forms += [(f"lstm {k}", "lstm", LSTMSpec, f) for k, f in {**plain, "coupled": {"input_forget": True}}.items()]
    return forms + [(f"rnn {k}", "rnn", RNNSpec, f) for k, f in plain.items()]


# (I, H, T, N). Forms with other activations run only at the first two sizes.
SIZES: Final = (
    (5, 17, 9, 3),
    (40, 64, 6, 1),
    (1, 1, 4, 2),
    (33, 130, 7, 5),
    (64, 256, 5, 17),
    (24, 96, 3, 33),
    (256, 512, 3, 1),
)


def recurrent(teller: "Teller") -> None:
    """Run every form of the recurrent layers, in sizes that fit vectors and tiles or do not, with every input."""
    for name, op, kind, fields in recurrent_forms():
        functions = any("activations" in field for field in fields)
        for I, H, T, N in SIZES[:2] if functions else SIZES:
            spec = kind(I, H, **fields)
            rng = np.random.default_rng(T)
            first = (N, T) if spec.batch_first else (T, N)
            states = {f"{s}0": rng.uniform(-1, 1, (spec.num_directions, N, H)) for s in spec.STATES}
            every = {**states, "lengths": np.minimum(rng.integers(0, T + 2, N), T), "mask": rng.random(first) < 0.7}
            x = {"x": rng.standard_normal((*first, I))}
            for names in ([], list(states), ["lengths"], ["mask"], list(every))[: 2 if functions else 5]:
                given = {n: a.astype(np.float32) if a.dtype == float else a for n, a in {**x, **every}.items()}
                given = {n: given[n] for n in ("x", *names)}
                recurrent_case(teller, f"{name} {(I, H, T, N)} {'+'.join(names)}", spec, op, given)


def recurrent_case(teller: "Teller", name: str, spec: Any, op: str, given: Arrays) -> None:
    absent = ("bias", "peephole") if spec.hidden_size == 96 else ("peephole",) if spec.clip is None else ("-",)
    graph = recurrent_graph(spec, op, given, absent=absent)
    for precision, threads in itertools.product(teller.precisions, teller.threads):
        wide = {
            n: a.astype(np.float64) if a.dtype == np.float32 and precision == "float64" else a for n, a in given.items()
        }
        teller.tell(
            f"{name} {precision} x{threads}",
            lambda wide=wide, precision=precision, threads=threads: fastgru.Model(
                graph, precision=precision, threads=threads
            ).run(wide),
        )


def layers(teller: "Teller") -> None:
    """Run stacks of GRU layers by the class: called, with lengths, without a batch, and as models that stream."""
    rng = np.random.default_rng(1)
    for I, H, T, N in SIZES:
        for depth, directions, batch_first in itertools.product((1, 2), (1, 2), (False, True)):
            state = {}
            for layer, suffix in itertools.product(range(depth), ("", "_reverse")[:directions]):
                width = I if layer == 0 else directions * H
                for key, shape in {
                    "weight_ih": (3 * H, width),
                    "weight_hh": (3 * H, H),
                    "bias_ih": (3 * H,),
                    "bias_hh": (3 * H,),
                }.items():
                    state[f"{key}_l{layer}{suffix}"] = rng.uniform(-1, 1, shape).astype(np.float32) / np.float32(
                        np.sqrt(H)
                    )
            x = rng.standard_normal((N, T, I) if batch_first else (T, N, I))
            h0 = rng.uniform(-1, 1, (depth * directions, N, H))
            lengths = rng.integers(0, T + 1, N)
            for precision, threads in itertools.product(teller.precisions, teller.threads):
                name = f"GRU {(I, H, T, N)} depth {depth} directions {directions} {'NT' if batch_first else 'TN'}"
                make = partial(
                    fastgru.GRU.from_torch, state, batch_first=batch_first, precision=precision, threads=threads
                )
                label = f"{name} {precision} x{threads}"
                gru = teller.tell(label, make, loads=True)
                if gru is None:
                    continue
                one = x[0] if batch_first else x[:, 0]
                calls: dict[str, Callable[[], Any]] = {
                    "alone": lambda gru=gru, x=x: gru(x),
                    "state": lambda gru=gru, x=x, h0=h0: gru(x, h0),
                    "lengths": lambda gru=gru, x=x, h0=h0, lengths=lengths: gru(x, h0, lengths),
                    "no batch": lambda gru=gru, one=one, h0=h0: gru(one, h0[:, 0]),
                }
                for call, compute in calls.items():
                    teller.tell(f"{label}: {call}", compute)
                if directions == 1:
                    model = fastgru.Model(gru.to_graph(initial_state=True), precision=precision, threads=threads)
                    states = {
                        s.name: np.zeros([N if n is None else n for n in s.shape or ()]) for s in model.inputs[1:]
                    }
                    teller.tell_streams(label, model, {"x": x, **states})


def operators(teller: "Teller") -> None:
    """Run the cases of onnx's own suite of operators, in float32 and float64."""
    from onnx import TensorProto, numpy_helper
    from onnx.backend.test.loader import load_model_tests

    for case in load_model_tests(kind="node"):
        data = case.model.SerializeToString()
        for precision in teller.precisions[:2]:
            label = f"{case.name} {precision}"
            model = teller.tell(label, partial(fastgru.load, data, precision=precision, allow_unread=True), loads=True)
            for inputs, _ in case.data_sets if model is not None else ():
                given = [numpy_helper.to_array(v) if isinstance(v, TensorProto) else v for v in inputs]
                teller.tell(
                    f"{label}: run",
                    lambda model=model, given=given: model.run(
                        {s.name: np.asarray(a).astype(s.dtype) for s, a in zip(model.inputs, given, strict=True)}
                    ),
                )
