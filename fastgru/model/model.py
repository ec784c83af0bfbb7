"""A loaded model: named inputs and outputs, and the object that runs it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import ArrayLike

from fastgru.arrays import owned
from fastgru.budget import PLAN_BYTES, Budget
from fastgru.engine import Runnable, make_runnable
from fastgru.engine.precision import WeightPrecision
from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.graph import Array, Graph, TensorSpec
from fastgru.kinds import way_round
from fastgru.modules import importing
from fastgru.precisions import AUTO, Precision
from fastgru.process import lock
from fastgru.reference.foreign import describe_nodes
from fastgru.reference.python import describe_functions, refuse_file, refuse_steps

if TYPE_CHECKING:
    from fastgru.engine.profile import Timing
    from fastgru.streaming import Predictor, Stream

__all__ = ["Model"]


class Model:
    """A network that is ready to run. Several threads may call it at once.

    graph: the network as plain data. Constants that the caller can still change are copied.
    precision: "float32" or "float64" is what the model computes in, and the dtype of its floating inputs and outputs.
        "bfloat16" or "int8" is the precision of its weights, with everything else in float32. "auto" lets each weight
        become bfloat16 if this CPU is no slower with it, and "auto-int8" allows int8 as well. A mapping gives single
        nodes a precision of their own, by name or output, and "*" stands for the others. None means what the graph
        says, or else "float32".
    threads: the number of cores that a call may use.
    spin_us: for how many microseconds, at most 10,000, the threads wait actively for the next call after one has ended.
        With 0 they sleep at once.
    plan_bytes: how much memory the plans for different input shapes may take. Plans that were used least are dropped,
        and made again if their shapes come back.

    Raises `UnsupportedModelError` for what cannot be run, or not in that precision; `InvalidModelError` for a node
    whose inputs, outputs or attributes do not fit its operator; `ShapeError` if `plan_bytes` is not a number of bytes.
    """

    def __init__(
        self,
        graph: Graph,
        *,
        precision: Precision | None = None,
        threads: int = 1,
        spin_us: float = 0,
        plan_bytes: int = PLAN_BYTES,
    ) -> None:
        if not isinstance(graph, Graph):
            way = ": fastgru.load reads files" if isinstance(graph, str | bytes | PathLike) else way_round(graph)
            way = ": its to_model() makes one" if hasattr(graph, "to_model") else way
            raise UnsupportedModelError(f"Model: got {type(graph).__name__}, expected a Graph{way}")
        if precision is None:
            precision = graph.precisions or "float32"
        constants = {name: owned(np.asarray(array)) for name, array in graph.constants.items()}
        graph = replace(graph, constants=constants)
        budget = Budget(plan_bytes)
        runnable = make_runnable(graph, precision=precision, threads=threads, budget=budget, spin_us=spin_us)
        self._run_by(runnable, precision)

    @classmethod
    def over(cls, runnable: Runnable, precision: Precision) -> Self:
        """Return a model that runs the programs and weights of `runnable`, without making them again."""
        model = object.__new__(cls)
        model._run_by(runnable, precision)
        return model

    def _run_by(self, runnable: Runnable, precision: Precision) -> None:
        self._asked = precision if isinstance(precision, str) else dict(precision)
        self._runnable, self.graph = runnable, runnable.graph
        self._predictor: Predictor | None = None

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The names, dtypes and shapes of the inputs. None stands for a free dimension."""
        return self._runnable.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The names, dtypes and shapes of the outputs. None stands for a free dimension."""
        return self._runnable.outputs

    @property
    def precision(self) -> str:
        """The precision that was asked for, or that of the file; "mixed" if nodes have precisions of their own."""
        kinds = {self._asked} if isinstance(self._asked, str) else set(self._asked.values())
        return kinds.pop() if len(kinds) == 1 and self._asked in (*kinds, self.graph.precisions) else "mixed"

    @property
    def weight_precisions(self) -> Mapping[str, WeightPrecision]:
        """The precision of the weights of each node, by its first output, with the reason if no name asked for it.

        Raises `UnsupportedModelError` if another runtime runs some of the nodes.
        """
        return self._runnable.weight_precisions

    @property
    def threads(self) -> int:
        """The largest number of cores that a call uses."""
        return self._runnable.threads

    @property
    def spin_us(self) -> float:
        """For how many microseconds the threads wait actively for the next call after one has ended."""
        return self._runnable.spin_us

    @property
    def reference_nodes(self) -> tuple[str, ...]:
        """The nodes that onnx's own reference implementation runs (`fallback="reference"`), slowly."""
        return describe_nodes(self.graph)

    @property
    def python_layers(self) -> tuple[str, ...]:
        """The layers that run in Python, because a function of yours stands for them (`custom_objects=`)."""
        return describe_functions(self.graph)

    @property
    def fingerprint(self) -> str:
        """A hash of the network and its weights. It is the same for the same file in every precision."""
        return self._runnable.fingerprint

    def __call__(self, *inputs: ArrayLike) -> Array | tuple[Array, ...]:
        """Run on inputs in the order of `inputs`. Returns an array, or a tuple if there are several outputs.

        Raises `ShapeError` if an input does not fit.
        """
        if len(inputs) != len(self.inputs):
            names = ", ".join(spec.name for spec in self.inputs)
            by_name = len(inputs) == 1 and isinstance(inputs[0], Mapping)
            way = ": arrays by name go to model.run({name: array})" if by_name else ""
            raise ShapeError(f"got {len(inputs)} inputs, expected {len(self.inputs)}: {names}{way}")
        results = self.run({spec.name: a for spec, a in zip(self.inputs, inputs, strict=True)})
        arrays = tuple(results.values())
        return arrays[0] if len(arrays) == 1 else arrays

    def run(self, inputs: Mapping[str, ArrayLike], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Run on inputs by name. Returns every output by name, in the order of `outputs`.

        out: arrays to write into, by output name. They must be C-contiguous and writable, and have the exact shape and
            dtype. One may also be an input, but two of them must not overlap.

        Raises `ShapeError` if an array does not fit. The message has the name, what came, and what was expected.
        """
        return self._runnable.run(inputs, out)

    def profile(self, inputs: Mapping[str, ArrayLike]) -> list[Timing]:
        """Time each instruction of one run on these inputs, in order, on one thread.

        Raises `ShapeError` if an input does not fit, and `UnsupportedModelError` if another runtime runs some of the
        nodes.
        """
        return self._runnable.profile(inputs)

    def predict(
        self,
        sequences: Iterable[Any],
        *,
        max_rows: int = 256,
        budget: int = 256 << 20,
        progress: bool | Callable[[int, int | None], object] = False,
    ) -> list[Any] | Iterator[Any]:
        """Run on sequences of any lengths, and return the results in the same order.

        Each result has the bits of a call with this sequence alone.

        sequences: arrays (T, ...), each the input without its batch axis. If the model has several inputs besides
            states and lengths, each sequence is a tuple of arrays, or a mapping by name. The states have their start
            values, and lengths are filled in. For a list, a tuple, or an array that holds sequences of equal lengths
            along its first axis, you get a list. For any other iterable you get a generator, which reads ahead for half
            of the budget and copies what it reads.
        max_rows: the largest number of sequences in a batch. The model runs as many batches at once as it has threads.
        budget: how many bytes everything may take at a time, at least 1 MiB. The weights do not count, nor does a list
            that you pass or get.
        progress: True prints a line on stderr. A function is called with the number of finished sequences and the
            number of all, which is None if it is not known.

        A result is the output without its batch axis, or a tuple if there are several outputs. A final state is the
        state after the last step of the sequence. Sequences of different lengths share a batch only if it is certain
        that no output depends on a later step. Otherwise only sequences of equal lengths do, and a warning says so. If
        rows may depend on one another, each sequence runs by itself.

        Raises `ShapeError` with the number of the sequence that does not fit, or for which the budget is too small;
        whatever the iterable raises, with a note of the number; and `UnsupportedModelError` if the axes of batch and
        time cannot be found.
        """
        return self.predictor.predict(sequences, max_rows, budget, progress, _single)

    @property
    def predictor(self) -> Predictor:
        """The object that runs `predict`. Raises `UnsupportedModelError` if batch and time axes cannot be found."""
        with lock:
            if self._predictor is None:
                with importing:
                    from fastgru.streaming import Predictor

                make = partial(make_runnable, precision=self._asked, threads=1)
                self._predictor = Predictor(self._runnable.graph, make, self.threads)
            return self._predictor

    def stream(
        self,
        batch_size: int = 1,
        *,
        state: Mapping[str, str] | None = None,
        batch_axes: Mapping[str, int] | None = None,
    ) -> Stream:
        """Start a stream, which takes frames as they arrive and keeps the state between them.

        The state begins with zeros, or with the start values of the model.

        batch_size: the number of rows of the state, if the model leaves it free.
        state: pairs {input: output}. None takes the pairs from the model, or finds them by the names.
        batch_axes: {input: axis} for states whose rows you want to reset or save one by one. Needed only if the axis
            does not follow from their shapes.

        Raises `StateError` if there is no state, or if a pair does not fit.
        """
        refuse_steps(self.graph)
        with importing:
            from fastgru.streaming import Stream

        return Stream(self._runnable, self.graph.states if state is None else state, batch_size, batch_axes)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the model as one safetensors file, which `fastgru.load` reads. The same file runs on every CPU.

        Weights keep their precisions, so the model of the file gives the same bits. A model with nodes that onnx runs
        is written as it was read.

        Raises `UnsupportedModelError` with the names of layers that run in Python, because no file can hold a function.
        """
        refuse_file(self.graph)
        with importing:
            from fastgru.graphfile import write_graph

        write_graph(self.to_graph(), path)

    def to_graph(self) -> Graph:
        """The network as plain data, with the weights in their precisions. This is what `save` writes."""
        return self._runnable.to_graph()

    def to_onnx(self, path: str | PathLike[str] | None = None) -> bytes:
        """Return the model as the bytes of an ONNX file of opset 20. With a `path`, also write them there.

        The dtypes are those in which the model computes. With precision="bfloat16" or "int8", the file holds the floats
        that were read, before they were rounded, so that its outputs differ from those of the model.

        Raises `UnsupportedModelError` with every node that has no counterpart in ONNX.
        """
        refuse_file(self.graph)
        with importing:
            from fastgru.exporters import to_onnx

        return to_onnx(self.graph, path, precision=self._runnable.float_dtype)

    def __reduce__(self) -> tuple[Any, ...]:
        return _remake, (self.graph, self._asked, self.threads, self._runnable.budget.limit, self.spin_us)

    def __repr__(self) -> str:
        def shown(specs: tuple[TensorSpec, ...]) -> str:
            return ", ".join(f"{s.name} {'?' if s.shape is None else s.shape}" for s in specs)

        return f"Model({shown(self.inputs)} -> {shown(self.outputs)}, precision={self.precision!r}{self._chosen()})"

    def _chosen(self) -> str:
        """Return the precisions that "auto" has chosen, such as " (2 bfloat16, 1 float32)", or ""."""
        asked = {self._asked} if isinstance(self._asked, str) else set(self._asked.values())
        try:
            weights = self.weight_precisions if asked & AUTO.keys() else {}
        except UnsupportedModelError:
            weights = {}  # another runtime runs some of the nodes, and their precisions are not known
        counts = Counter(chosen.precision for chosen in weights.values())
        return f" ({', '.join(f'{count} {precision}' for precision, count in counts.items())})" if counts else ""


def _single(outputs: tuple[Array, ...]) -> Any:
    return outputs[0] if len(outputs) == 1 else outputs


def _remake(graph: Graph, precision: Precision, threads: int, plan_bytes: int, spin_us: float) -> Model:
    return Model(graph, precision=precision, threads=threads, spin_us=spin_us, plan_bytes=plan_bytes)
