"""A loaded model: named inputs and outputs over what runs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from os import PathLike
from typing import TYPE_CHECKING, Any, Self

from numpy.typing import ArrayLike

from fastgru.budget import PLAN_BYTES, Budget
from fastgru.engine import Runnable, make_runnable
from fastgru.engine.precision import WeightPrecision
from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.graph import Array, Graph, TensorSpec
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
    """A network ready to run. Safe to call from several threads at once.

    graph: the network as plain data.
    precision: "float32" or "float64": what it computes in, and the dtype of its floating inputs and outputs; or
        "bfloat16" or "int8": the precision of its weights, with everything else in float32. "auto" is bfloat16 for the
        weights with which this CPU is no slower, float32 for the others; "auto-int8" is int8 there, too. A mapping
        gives single nodes, by their names or outputs, a precision of their own, and "*" that of the others. None: what
        the graph says, "float32" where it says nothing.
    threads: cores that one call may use. spin_us: for how many microseconds, at most 10,000, its threads look out for
        the next call after one, so that calls in a loop need not wake them; they sleep at once where it is 0.
    plan_bytes: what plans of input shapes may take that have come, with the memory that they run in; the least used are
        forgotten, and made anew when their shapes come again.

    Raises `UnsupportedModelError` for what cannot be run, or cannot be in that precision, `InvalidModelError` for a
    node whose inputs, outputs or attributes are not those of its operator, `ShapeError` for `plan_bytes` that are no
    number of bytes.
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
        if precision is None:
            precision = graph.precisions or "float32"
        budget = Budget(plan_bytes)
        runnable = make_runnable(graph, precision=precision, threads=threads, budget=budget, spin_us=spin_us)
        self._run_by(runnable, precision)

    @classmethod
    def over(cls, runnable: Runnable, precision: Precision) -> Self:
        """The model that this runs, in this precision: with its programs and weights, made once for all who run it."""
        model = object.__new__(cls)
        model._run_by(runnable, precision)
        return model

    def _run_by(self, runnable: Runnable, precision: Precision) -> None:
        self._asked = precision if isinstance(precision, str) else dict(precision)
        self._runnable, self.graph = runnable, runnable.graph
        self._predictor: Predictor | None = None

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """Names, dtypes and shapes of the inputs; None for a free dimension."""
        return self._runnable.inputs

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """Names, dtypes and shapes of the outputs; None for a free dimension."""
        return self._runnable.outputs

    @property
    def precision(self) -> str:
        """What was asked for, or what the file has; "mixed" where nodes were given precisions of their own."""
        kinds = {self._asked} if isinstance(self._asked, str) else set(self._asked.values())
        return kinds.pop() if len(kinds) == 1 and self._asked in (*kinds, self.graph.precisions) else "mixed"

    @property
    def weight_precisions(self) -> Mapping[str, WeightPrecision]:
        """What each node with weights has them in, by its first output, and why where that was not asked for by name.

        Raises `UnsupportedModelError` where other runtimes run some nodes.
        """
        return self._runnable.weight_precisions

    @property
    def threads(self) -> int:
        """The most cores that a call uses."""
        return self._runnable.threads

    @property
    def spin_us(self) -> float:
        """For how many microseconds its threads look out for the next call after one."""
        return self._runnable.spin_us

    @property
    def reference_nodes(self) -> tuple[str, ...]:
        """The nodes that onnx's own reference implementation carries out (`fallback="reference"`), slowly."""
        return describe_nodes(self.graph)

    @property
    def python_layers(self) -> tuple[str, ...]:
        """The layers that functions of the caller's stand for (`custom_objects=`), which run in Python."""
        return describe_functions(self.graph)

    @property
    def fingerprint(self) -> str:
        """A hash of the network and its weights: the same for the same file, whatever the precision."""
        return self._runnable.fingerprint

    def __call__(self, *inputs: ArrayLike) -> Array | tuple[Array, ...]:
        """Run on inputs in the order of `self.inputs`; an array, or a tuple where there are several outputs.

        Raises `ShapeError` where an input does not fit its spec.
        """
        if len(inputs) != len(self.inputs):
            names = ", ".join(spec.name for spec in self.inputs)
            raise ShapeError(f"got {len(inputs)} inputs, expected {len(self.inputs)}: {names}")
        results = self.run({spec.name: a for spec, a in zip(self.inputs, inputs, strict=True)})
        arrays = tuple(results.values())
        return arrays[0] if len(arrays) == 1 else arrays

    def run(self, inputs: Mapping[str, ArrayLike], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Run on inputs by name; every output by name, in the order of `self.outputs`.

        out: arrays to be written into, by output name: C-contiguous, writable, of the exact shape and dtype. One may
        be an input, too; two of them may not overlap.

        Raises `ShapeError` where an array does not fit: the name, what came, what was expected.
        """
        return self._runnable.run(inputs, out)

    def profile(self, inputs: Mapping[str, ArrayLike]) -> list[Timing]:
        """How long each instruction of one run on these inputs takes, in order, on one thread.

        Raises `ShapeError` where an input does not fit, `UnsupportedModelError` where other runtimes run some nodes.
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
        """Run on sequences of any lengths, each with the bits that a call with it alone has; results in their order.

        sequences: each an array (T, ...), the input without the axis of its batch; a tuple of arrays, or a
            mapping by name, where the model has several inputs besides states and lengths. States begin as the model
            does, and lengths are filled in. A list
            gives a list. Any other iterable gives a generator, which reads ahead for half of the budget, and copies
            what it reads.
        max_rows: the most sequences of a batch. As many batches run at once as the model has threads.
        budget: bytes that all of it may take at a time, at least 1 MiB, besides the weights, a list that is given and
            one that is returned.
        progress: True for a line on stderr; a function is called with the number that is done, and of how many, None
            where that is not known.

        A result is the output as an array without the axis of its batch, or a tuple of arrays where there are several;
        a final state is that after the last step of the sequence. Sequences of different lengths share a batch where it
        is certain that an output depends on no later step. Where it is not, those of equal lengths do, and a warning
        says so; where rows may depend on one another, each sequence runs by itself.

        Raises `ShapeError` with the number of the sequence that does not fit, or that the budget is too small for;
        what the iterable raises, with a note of the number; `UnsupportedModelError` where it cannot be told which axes
        are batch and time.
        """
        return self.predictor.predict(sequences, max_rows, budget, progress, _single)

    @property
    def predictor(self) -> Predictor:
        """What `predict` runs. Raises as it does where the axes cannot be told."""
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
        """A stream of frames that carries the state from one to the next, starting from zeros.

        batch_size: rows of the state where the model leaves them free.
        state: {input: output} pairs; None for those that the model's names or its source tell.
        batch_axes: {input: axis} of the states whose rows are to be reset or saved one by one, where the declared shape
        does not tell it.

        Raises `StateError` where there is no state, or a pair does not fit.
        """
        refuse_steps(self.graph)
        with importing:
            from fastgru.streaming import Stream

        return Stream(self._runnable, self.graph.states if state is None else state, batch_size, batch_axes)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the model as one safetensors file, for no particular CPU; `fastgru.load` reads it.

        Weights are written as small as the model has them, and come back so: the file's model gives the same bits. One
        of which onnx runs some nodes is written as it was read.

        Raises `UnsupportedModelError` that names the layers which run in Python: no file can hold a function.
        """
        refuse_file(self.graph)
        with importing:
            from fastgru.graphfile import write_graph

        write_graph(self.to_graph(), path)

    def to_graph(self) -> Graph:
        """The network as plain data, its weights as small as they are in this model: what `save` writes."""
        return self._runnable.to_graph()

    def to_onnx(self, path: str | PathLike[str] | None = None) -> bytes:
        """The model as an ONNX file of opset 20, in the dtype it computes in; written to `path`, too, where given.

        Raises `UnsupportedModelError` that lists every node without a counterpart in ONNX.
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
        """What "auto" has come to: " (2 bfloat16, 1 float32)"."""
        asked = {self._asked} if isinstance(self._asked, str) else set(self._asked.values())
        try:
            weights = self.weight_precisions if asked & AUTO.keys() else {}
        except UnsupportedModelError:
            weights = {}  # the model runs; what is not known before is what its weights are
        counts = Counter(chosen.precision for chosen in weights.values())
        return f" ({', '.join(f'{count} {precision}' for precision, count in counts.items())})" if counts else ""


def _single(outputs: tuple[Array, ...]) -> Any:
    return outputs[0] if len(outputs) == 1 else outputs


def _remake(graph: Graph, precision: Precision, threads: int, plan_bytes: int, spin_us: float) -> Model:
    return Model(graph, precision=precision, threads=threads, spin_us=spin_us, plan_bytes=plan_bytes)
