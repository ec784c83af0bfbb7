"""Random graphs spoiled in their numbers: attributes, shapes, constants that say where or how much; and edges.

What comes out is a well-formed file that may mean nothing, or something too large: loading or running it must end in an
error of the tree or in an answer, with nothing written beyond a buffer.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
from graph_builder import Builder, Value
from graph_fences import fences
from numpy.typing import NDArray
from onnx import AttributeProto, ModelProto, TensorProto, helper, numpy_helper

from fastgru.errors import FastGRUError
from fastgru.load import load

__all__ = ["run_between_fences", "run_spoiled", "spoil", "spoiled_inputs"]

Array = NDArray[Any]

ODD = (0, 1, -1, 2, -2, 3, 7, 64, 255, 1 << 20, (1 << 31) - 1, 1 << 31, 1 << 40, (1 << 63) - 1, -(1 << 31), -(1 << 63))
ODD_FLOATS = (0.0, -1.0, 1e-30, 1e30, float("inf"), float("-inf"), float("nan"), -0.0, 0.5)
LONGEST = 20_000  # characters of a message


def spoil(model: ModelProto, rng: random.Random) -> ModelProto:
    """A copy with one to three changes."""
    copy = ModelProto()
    copy.CopyFrom(model)
    for _ in range(rng.choice((1, 1, 2, 3))):
        rng.choice((_attribute, _attribute, _constant, _constant, _input, _edge, _drop, _shape))(copy, rng)
    return copy


def run_spoiled(b: Builder, values: list[Value], rng: random.Random) -> str:
    """The error it ends in, or "run". Raises what is no error of the tree, and `AssertionError`."""
    return run_between_fences(*spoiled_inputs(b.model(values), {v.name: v.arrays[0] for v in b.inputs}, rng))


def spoiled_inputs(
    model: ModelProto, feeds: Mapping[str, Array], rng: random.Random
) -> tuple[ModelProto, Mapping[str, Array]]:
    """A spoiled copy, and what it takes."""
    copy = spoil(model, rng)
    return copy, _feeds(feeds, copy, rng)


def run_between_fences(model: ModelProto, feeds: Mapping[str, Array]) -> str:
    """As `run_spoiled`."""
    with fences() as made:
        outcome, message = "run", ""
        try:
            load(model.SerializeToString(), allow_unread=True).run(feeds)
        except FastGRUError as error:
            outcome, message = type(error).__name__, str(error)
        made.check()
    assert len(message) < LONGEST, f"a message of {len(message)} characters"
    return outcome


def _feeds(given: Mapping[str, Array], model: ModelProto, rng: random.Random) -> Mapping[str, Array]:
    """What the inputs take; some of the time positions that point to nowhere."""
    feeds = {}
    for name, array in given.items():
        if all(info.name != name for info in model.graph.input):
            continue
        if array.dtype.kind == "i" and array.size and rng.random() < 0.3:
            array = array.copy()
            odd = [n for n in ODD if np.iinfo(array.dtype).min <= n <= np.iinfo(array.dtype).max]
            array.reshape(-1)[rng.randrange(array.size)] = rng.choice(odd)
        feeds[name] = array
    return feeds


def _odd(near: int, rng: random.Random) -> int:
    return rng.choice((*ODD, near + 1, near - 1, -near, 2 * near)) if rng.random() < 0.8 else rng.randint(-9, 9)


def _int64(number: int) -> int:
    return max(-(1 << 63), min((1 << 63) - 1, number))


def _attribute(model: ModelProto, rng: random.Random) -> None:
    every = [(node, a) for node in model.graph.node for a in node.attribute]
    if not every:
        return
    node, attribute = rng.choice(every)
    match attribute.type:
        case AttributeProto.INT:
            attribute.i = _int64(_odd(attribute.i, rng))
        case AttributeProto.FLOAT:
            attribute.f = rng.choice(ODD_FLOATS)
        case AttributeProto.INTS if rng.random() < 0.7 and attribute.ints:
            at = rng.randrange(len(attribute.ints))
            attribute.ints[at] = _int64(_odd(attribute.ints[at], rng))
        case AttributeProto.INTS if rng.random() < 0.5 and attribute.ints:
            del attribute.ints[rng.randrange(len(attribute.ints))]
        case AttributeProto.INTS:
            attribute.ints.append(rng.choice(ODD))
        case AttributeProto.STRING:
            attribute.s = rng.choice((b"", b"SAME_UPPER", b"linear", b"reflect", attribute.s + b"x", b"\xff"))
        case AttributeProto.TENSOR:
            attribute.t.CopyFrom(_spoiled(attribute.t, rng))
        case _:
            node.attribute.remove(attribute)


def _constant(model: ModelProto, rng: random.Random) -> None:
    """Integers and scales that say where or how much, rather than weights."""
    held = list(model.graph.initializer)
    small = [t for t in held if t.data_type in (TensorProto.INT64, TensorProto.INT32)] or held
    if small:
        chosen = rng.choice(small)
        chosen.CopyFrom(_spoiled(chosen, rng))


def _spoiled(tensor: TensorProto, rng: random.Random) -> TensorProto:
    array = numpy_helper.to_array(tensor).copy()
    way = rng.random()
    if array.size and way < 0.7:
        at = rng.randrange(array.size)
        flat = array.reshape(-1)
        if array.dtype.kind in "iu":
            info = np.iinfo(array.dtype)
            flat[at] = max(int(info.min), min(int(info.max), _odd(int(flat[at]), rng)))
        elif array.dtype.kind == "f":
            flat[at] = rng.choice(ODD_FLOATS)
        array = flat.reshape(array.shape)
    elif way < 0.8:
        array = array.reshape(-1)[: max(0, array.size - 1)]
    elif way < 0.9:
        array = array[None]
    else:
        array = array.reshape(-1)[:0]
    return numpy_helper.from_array(np.ascontiguousarray(array), tensor.name)


def _input(model: ModelProto, rng: random.Random) -> None:
    """A declared size that is not that of what comes."""
    sized = [d for info in model.graph.input for d in info.type.tensor_type.shape.dim]
    if sized:
        rng.choice(sized).dim_value = rng.choice(ODD)


def _shape(model: ModelProto, rng: random.Random) -> None:
    """No shape at all."""
    if model.graph.input:
        rng.choice(list(model.graph.input)).type.tensor_type.ClearField("shape")


def _edge(model: ModelProto, rng: random.Random) -> None:
    """An input of a node that comes from elsewhere."""
    nodes = [node for node in model.graph.node if node.input]
    if not nodes:
        return
    at = rng.randrange(len(nodes))
    names = [i.name for i in (*model.graph.input, *model.graph.initializer)]
    names += [name for node in nodes[:at] for name in node.output]
    if names:
        nodes[at].input[rng.randrange(len(nodes[at].input))] = rng.choice(names)


def _drop(model: ModelProto, rng: random.Random) -> None:
    """An input or an attribute less, or another operator."""
    node = rng.choice(list(model.graph.node))
    if node.input and rng.random() < 0.4:
        del node.input[rng.randrange(len(node.input))]
    elif node.attribute and rng.random() < 0.6:
        del node.attribute[rng.randrange(len(node.attribute))]
    else:
        other = rng.choice(list(model.graph.node))
        new = helper.make_node(other.op_type, list(node.input), list(node.output))
        new.attribute.extend(other.attribute if rng.random() < 0.5 else node.attribute)
        node.CopyFrom(new)
