"""Opens the states that begin inside a file: each becomes an input and an output, so that a stream can keep it.

An initial value that is not all zeros is put into `Graph.starts`.
"""

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import numpy as np

from fastgru.errors import UnsupportedModelError
from fastgru.graph import Array, Graph, Node, TensorSpec, inlined
from fastgru.importers.beginnings import Beginnings
from fastgru.importers.framewise import Framewise, Past, State, time_axes
from fastgru.reference.facts import ValueFacts, infer_graph
from fastgru.reference.python import unknown_axes
from fastgru.reference.sizes import Size
from fastgru.spec import RECURRENT

__all__ = ["can_open", "open_states"]

_TO_THE_END: Final = (1 << 63) - 1


def open_states(graph: Graph, what: str) -> Graph:
    """Return the graph with every state that begins inside as an input and an output, paired in `Graph.states`.

    The two are named after the node that keeps the state: NODE_state_in and NODE_state_out; NODE_cell_in and
    NODE_cell_out for the cell of an LSTM; NODE_past_in and NODE_past_out for the past frames that a convolution reads.
    `Graph.starts` has the initial values that are not zeros. A graph whose states are all open is returned unchanged.
    what: the name of the file, for messages.

    Raises `UnsupportedModelError` if there is no state, if the initial value of a state depends on inputs, or if the
    network cannot be run frame by frame.
    """
    if graph.states and not _begins_inside(graph):
        return graph
    named = _with_outputs(graph)
    facts = infer_graph(named)
    failures = list[UnsupportedModelError]()
    for axes in time_axes(named, facts):
        try:
            found = Framewise(named, axes, facts).found
            opened = _Opening(named, facts, found).graph
        except UnsupportedModelError as error:
            failures.append(error)
            continue
        if opened is not None:
            return opened
    if failures:
        raise UnsupportedModelError(f"{what}: open_states: {failures[0]}{unknown_axes(graph, steps=True)}") from None
    if graph.states:
        return graph
    kept = "; its recurrent layers do not run along an axis of an input" if _has_states(graph) else ""
    raise UnsupportedModelError(
        f"{what}: open_states: no layer keeps a state from frame to frame{kept}: load the model without open_states"
        f"{unknown_axes(graph, steps=True)}"
    )


def can_open(graph: Graph) -> bool:
    """Return whether the graph has no states, and `open_states` would open those of its recurrent layers."""
    if graph.states or not _has_states(graph):
        return False
    try:
        return bool(open_states(graph, "").states)
    except UnsupportedModelError:
        return False


def _begins_inside(graph: Graph) -> bool:
    """Return whether some forward layer or loop begins with something other than a state of the graph."""
    values, states = Beginnings(graph), set(graph.states)
    for node in graph.nodes:
        if node.op in RECURRENT and node.attrs["spec"].get("direction", "forward") == "forward":
            begins = [*node.inputs[1:2], *node.inputs[4 : 3 + len(RECURRENT[node.op].STATES)]]
        elif node.op == "loop":
            begins = list(node.inputs[2 : 2 + node.attrs["states"]])
        else:
            continue
        if not begins or not all(name and values.reads(name) & states for name in begins):
            return True
    return False


def _has_states(graph: Graph) -> bool:
    return any(node.op in RECURRENT or node.op == "loop" for node in inlined(graph.nodes))


def _with_outputs(graph: Graph) -> Graph:
    """Return the graph with names for all outputs of every recurrent layer and loop."""
    taken, nodes = _names(graph), []
    for node in graph.nodes:
        if node.op in RECURRENT or node.op == "loop":
            count = 1 + len(RECURRENT[node.op].STATES) if node.op in RECURRENT else len(node.outputs)
            outputs = (*node.outputs, *[""] * count)[:count]
            node = replace(node, outputs=tuple(n or _free(f"{node.name}/last", taken) for n in outputs))
        nodes.append(node)
    return replace(graph, nodes=tuple(nodes))


def _names(graph: Graph) -> set[str]:
    taken = {spec.name for spec in (*graph.inputs, *graph.outputs)} | set(graph.constants)
    return taken | {name for node in inlined(graph.nodes) for name in (*node.inputs, *node.outputs)}


def _free(name: str, taken: set[str]) -> str:
    """Return `name`, or a similar name that is free, and add it to `taken`."""
    found, count = name, 1
    while found in taken:
        found, count = f"{name}_{count}", count + 1
    taken.add(found)
    return found


class _Opening:
    """Opens the states in `found`. graph: the graph with them open, or None if all of them are open already."""

    def __init__(self, graph: Graph, facts: Mapping[str, ValueFacts], found: list[State | Past]) -> None:
        self._before, self._facts = graph, facts
        self._taken = _names(graph)
        self._values = Beginnings(graph)
        self._nodes = {id(node): node for node in graph.nodes}
        self._ahead: dict[int, list[Node]] = {}
        self._inputs, self._outputs = list[TensorSpec](), list[TensorSpec]()
        self._states, self._starts = dict(graph.states), dict(graph.starts)
        self._constants = dict(graph.constants)
        self._renamed: dict[str, str] = {}
        open_already = {spec.name for spec in graph.inputs}
        for each in found:
            if isinstance(each, Past):
                self._open_past(each)
            elif not self._is_open(each, open_already):
                self._open(each)
        self.graph = self._made() if self._inputs or self._states != dict(graph.states) else None

    def _is_open(self, state: State, given: set[str]) -> bool:
        """Return whether the state begins with an input; if that input has no paired output, add one."""
        name = (*state.node.inputs, *[""] * 8)[state.input]
        if self._values.reads(name) & set(self._before.states):
            return True
        if name in given:
            value = state.node.outputs[state.output]
            if value in {spec.name for spec in self._before.outputs} - set(self._states.values()):
                self._states[name] = value
            else:
                self._hand_out(state, name, _free(f"{name}_out", self._taken))
        return name in given

    def _open(self, state: State) -> None:
        node = state.node
        before = (*node.inputs, *[""] * 8)[state.input]
        output = self._facts[node.outputs[state.output]]
        sizes, start = output.sizes, None
        if before:
            start = self._values.start(before)
            if start is None:
                raise UnsupportedModelError(
                    f"{node}: its state begins with {before!r}, which is computed from inputs, so it cannot be kept"
                    " from frame to frame: export the network with this state as an input, or, if the file has its next"
                    " value"
                    ' as an output, leave open_states out and pass state={"input": "output"} to stream()'
                )
            own = self._facts[before].sizes or ()
            sizes = tuple(m if isinstance(m, int) else n for m, n in zip(own, sizes or own, strict=True))
        name = self._input(node, state.kind, sizes, output.dtype, start)
        made = self._nodes[id(node)]
        inputs = [*made.inputs, *[""] * (state.input + 1 - len(made.inputs))]
        inputs[state.input] = name
        self._nodes[id(node)] = replace(made, inputs=tuple(inputs))
        self._hand_out(state, name, _free(f"{name.removesuffix('_in')}_out", self._taken))

    def _input(
        self, node: Node, kind: str, sizes: tuple[Size, ...] | None, dtype: str | None, start: Array | None
    ) -> str:
        """Add an input of these sizes and return its name."""
        if sizes is None or dtype is None:
            raise UnsupportedModelError(
                f"{node}: the shape of its state is not known: declare the shapes of the inputs"
            )
        stem = re.sub(r"\W+", "_", node.name).strip("_") or node.op
        name = _free(f"{stem}_{kind}_in", self._taken)
        dims = tuple(n if isinstance(n, str) else None for n in sizes)
        shape = tuple(n if isinstance(n, int) else None for n in sizes)
        self._inputs.append(TensorSpec(name, dtype, shape, dims if any(dims) else ()))
        if start is not None and start.any():
            self._starts[name] = start
        return name

    def _hand_out(self, state: State, name: str, output: str) -> None:
        """Make the node's final state an output of the graph, called `output`, and pair it with the input `name`."""
        spec = next(spec for spec in (*self._before.inputs, *self._inputs) if spec.name == name)
        value, held = state.node.outputs[state.output], {spec.name for spec in self._before.outputs}
        if value in held:  # the value is an output already, and keeps that name
            self._ahead.setdefault(id(state.node), []).append(Node("reshape", (value, self._whole(value)), (output,)))
        else:
            self._renamed[value] = output
        self._outputs.append(replace(spec, name=output))
        self._states[name] = output

    def _whole(self, value: str) -> str:
        rank = self._facts[value].rank or 0
        return self._integers([0] * rank)

    def _integers(self, values: list[int]) -> str:
        name = "at_" + "_".join(map(str, values)).replace("-", "m")
        array = np.array(values, np.int64)
        while name in self._taken and not np.array_equal(self._constants.get(name, array[:0]), array):
            name += "_"
        self._taken.add(name)
        self._constants[name] = array
        return name

    def _open_past(self, past: Past) -> None:
        """Let the node read past steps from an input, joined with the new steps, instead of padding."""
        node, (x, *rest), at = past.node, past.node.inputs, id(past.node)
        facts = self._facts[x]
        sizes = tuple(past.steps if i == past.axis else n for i, n in enumerate(facts.sizes or ()))
        start = np.full([1] * len(sizes), past.value, np.float64)
        name = self._input(node, "past", sizes, facts.dtype, start)
        joined, output = (_free(f"{name.removesuffix('_in')}{end}", self._taken) for end in ("", "_out"))
        bounds = map(self._integers, ([-past.steps], [_TO_THE_END], [past.axis]))
        ahead = [
            Node("concat", (name, x), (joined,), {"axis": past.axis}, joined),
            Node("slice", (joined, *bounds), (output,), {}, output),
        ]
        if node.op == "conv":
            pads = list(node.attrs["pads"])
            pads[past.axis - 2] = 0
            ahead.append(replace(node, inputs=(joined, *rest), attrs={**node.attrs, "pads": pads}))
        else:
            ahead.append(self._unpadded(node, joined, past.axis))
        self._ahead[at], self._nodes[at] = ahead[:2], ahead[2]
        self._outputs.append(replace(self._inputs[-1], name=output))
        self._states[name] = output

    def _unpadded(self, node: Node, x: str, axis: int) -> Node:
        """Return the pad node without its padding along `axis`."""
        rank = self._facts[x].rank if x in self._facts else self._facts[node.inputs[0]].rank
        axes = [a % (rank or 1) for a in node.attrs.get("axes") or range(rank or 0)]
        amounts = np.array(self._before.constants[node.inputs[1]]).reshape(2, -1)
        amounts[:, axes.index(axis)] = 0
        return replace(node, inputs=(x, self._integers([int(n) for n in amounts.reshape(-1)]), *node.inputs[2:]))

    def _made(self) -> Graph:
        before, nodes = self._before, list[Node]()
        for node in before.nodes:
            more, own = self._ahead.get(id(node), []), self._nodes[id(node)]
            nodes += [*more, own] if own.op in ("conv", "pad") else [own, *more]

        def renamed(names: tuple[str, ...]) -> tuple[str, ...]:
            return tuple(self._renamed.get(name, name) for name in names)

        made = tuple(replace(n, inputs=renamed(n.inputs), outputs=renamed(n.outputs)) for n in nodes)
        read = {name for node in made for name in node.inputs} | {spec.name for spec in before.outputs}
        unread = set(before.constants) - {n for n in self._constants if n in read}
        return replace(
            before,
            inputs=(*before.inputs, *self._inputs),
            outputs=(*before.outputs, *self._outputs),
            nodes=_needed(made, {spec.name for spec in (*before.outputs, *self._outputs)}),
            constants={name: array for name, array in self._constants.items() if name not in unread},
            states=self._states,
            starts=self._starts,
            precisions={self._renamed.get(name, name): value for name, value in before.precisions.items()},
        ).validate()


def _needed(nodes: tuple[Node, ...], wanted: set[str]) -> tuple[Node, ...]:
    """Return the nodes that these values depend on; nodes that computed initial states are left out."""
    kept = list[Node]()
    for node in reversed(nodes):
        if wanted & set(node.outputs):
            kept.append(node)
            wanted |= set(node.inputs)
    return tuple(kept[::-1])
