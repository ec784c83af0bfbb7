"""The base class of all layers: a rule that writes nodes into a graph, and a call that runs that graph.

A layer writes its nodes with the builder and the values of this module. A graph is made at the first call that needs it
(one for each rank of the input, with or without lengths) and kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from os import PathLike
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict, Unpack

import numpy as np
from numpy.typing import ArrayLike

from fastgru.budget import PLAN_BYTES, Budget
from fastgru.engine import Runnable, make_runnable
from fastgru.engine.threads import check_threads
from fastgru.errors import ShapeError, StateError, UnsupportedModelError
from fastgru.graph import Array, Graph
from fastgru.graphbuilder import Value
from fastgru.layers.arrays import as_lengths, float_input, int_input
from fastgru.layers.builder import NetworkBuilder
from fastgru.model import Model
from fastgru.nearest import offered
from fastgru.precisions import float_dtype_of
from fastgru.process import lock
from fastgru.reference.operator import as_array
from fastgru.streaming import PREDICT_BYTES, Progress, Stream

if TYPE_CHECKING:
    from fastgru.engine.profile import Timing

__all__ = ["Layer", "NetworkBuilder", "Options", "Value"]

Form = tuple[int, bool, bool, bool]  # rank, lengths, initial_state, and whether the states are outputs


class Options(TypedDict, total=False):
    """The keyword options of every layer. `Layer` describes them."""

    precision: str
    threads: int
    spin_us: float
    plan_bytes: int


class Layer:
    """The base class of all layers.

    Inputs may have any floating-point dtype. They are converted to the dtype of the outputs, which is float64 with
    precision="float64" and float32 otherwise.

    precision: "float32" (the default) or "float64" for everything; "bfloat16" or "int8" for the weights alone, with
        everything else in float32; "auto" lets each weight become bfloat16 if this CPU is no slower with it, and
        "auto-int8" allows int8 as well.
    threads: the number of cores that a call may use. The default is 1.
    spin_us: for how many microseconds, at most 10,000, the threads wait actively for the next call after one has ended.
        With 0, the default, they sleep at once.
    plan_bytes: how much memory the plans for different input shapes may take, 256 MiB by default. Plans that were used
        least are dropped, and made again if their shapes come back.

    Raises `UnsupportedModelError` for an unknown precision or an impossible number of threads, `ShapeError` if
    `plan_bytes` is not a number of bytes, and `TypeError` for an unknown option.
    """

    shown: ClassVar[str] = ""  # the text between the parentheses of the repr, with attributes by name
    default_rank = 2  # axes of the input if the caller does not give the rank
    takes_ids = False  # whether the input has integers instead of floats
    takes_lengths = False
    batch_first: bool | None = None  # which of the first two axes is the batch, or None if the layer does not care
    input_size: int | None = None  # size of the last axis, or None if the layer does not care
    _shows_states = False  # whether states are outputs even if they begin with zeros
    _predicting: Model | None

    def __init__(self, **options: Unpack[Options]) -> None:
        if unknown := sorted(set(options) - Options.__annotations__.keys()):
            raise TypeError(
                f"{type(self).__name__} has no option {', '.join(unknown)}; {offered(unknown, Options.__annotations__)}"
            )
        precision, threads = options.get("precision", "float32"), options.get("threads", 1)
        self.float_dtype, self.precision = float_dtype_of(precision), precision
        self.threads = int(threads) if isinstance(threads, np.integer) else threads
        self.spin_us = options.get("spin_us", 0)
        check_threads(self.threads, self.spin_us)
        self.plan_bytes = options.get("plan_bytes", PLAN_BYTES)
        self._forget()

    def emit(self, graph: NetworkBuilder, x: Value, lengths: Value | None = None) -> Value:
        """Write the nodes of this layer into `graph`, and return the value of its output.

        x: the value of the input. lengths: the value of the lengths (N,), or None. A subclass implements this method.
        """
        raise NotImplementedError

    def to_graph(self, *, rank: int | None = None, lengths: bool = False, initial_state: bool = False) -> Graph:
        """Return the layer as a graph with the input "x" and the output "y".

        rank: the number of axes of x. By default, that of a batch.
        lengths: add the input "lengths", int64 (N,).
        initial_state: add the input "h0" and the output "h_n" of each recurrent layer ("h0_0", "h0_1"... if there are
            several). `Graph.states` has the pairs.
        """
        return self._write(*self._form(rank, lengths, initial_state))

    def to_model(self, *, rank: int | None = None, lengths: bool = False, initial_state: bool = False) -> Model:
        """Return the layer as a `Model` with the same precision and threads. It shares the weights of the layer.

        The arguments are those of `to_graph`. With initial_state, the model can stream, and a server can keep its state
        from request to request.
        """
        return Model.over(self._runnable(*self._form(rank, lengths, initial_state)), self.precision)

    def _form(self, rank: int | None, lengths: bool, initial_state: bool) -> Form:
        states = initial_state or self._shows_states
        return self.default_rank if rank is None else rank, lengths, initial_state, states

    def _model_of(self, inputs: Mapping[str, ArrayLike]) -> Model:
        """Return the layer as a model with the inputs of these names."""
        given = inputs if isinstance(inputs, Mapping) else {}
        states = any(isinstance(name, str) and name.startswith("h0") for name in given)
        rank = as_array("input 'x'", given["x"]).ndim if "x" in given else None
        return self.to_model(rank=rank, lengths="lengths" in given, initial_state=states)

    def run(self, inputs: Mapping[str, ArrayLike], out: Mapping[str, Array] | None = None) -> dict[str, Array]:
        """Run on inputs by name, and return every output by name.

        inputs: "x", and optionally "lengths" and the initial states "h0", or "h0_0", "h0_1"...

        The outputs are those of `to_graph` for these inputs. `out` and the errors are those of `fastgru.Model.run`.
        """
        return self._model_of(inputs).run(inputs, out)

    def profile(self, inputs: Mapping[str, ArrayLike]) -> list[Timing]:
        """Time each instruction of one run on these inputs by name, as `fastgru.Model.profile` does."""
        return self._model_of(inputs).profile(inputs)

    def save(
        self,
        path: str | PathLike[str],
        *,
        rank: int | None = None,
        lengths: bool = False,
        initial_state: bool = False,
    ) -> None:
        """Write the layer as one safetensors file, as `fastgru.Model.save` does. `fastgru.load` reads it.

        The loaded model gives the same bits. The arguments are those of `to_graph`. With initial_state the states are
        inputs and outputs of the file, so that the loaded model streams.
        """
        self.to_model(rank=rank, lengths=lengths, initial_state=initial_state).save(path)

    def to_onnx(
        self,
        path: str | PathLike[str] | None = None,
        *,
        rank: int | None = None,
        lengths: bool = False,
        initial_state: bool = False,
    ) -> bytes:
        """Return the layer as the bytes of an ONNX file of opset 20. With a `path`, also write them there.

        The other arguments are those of `to_graph`. Raises `UnsupportedModelError` with every node that has no
        counterpart in ONNX.
        """
        return self.to_model(rank=rank, lengths=lengths, initial_state=initial_state).to_onnx(path)

    def _write(self, rank: int, lengths: bool, initial_state: bool, with_states: bool) -> Graph:
        if lengths:
            self._check_takes_lengths()
        graph = NetworkBuilder(self.float_dtype, initial_state=initial_state)
        dtype = "int64" if self.takes_ids else self.float_dtype
        shape: tuple[int | None, ...] = (None,) * rank
        if self.input_size is not None:
            shape = (*shape[:-1], self.input_size)
        named = self.batch_first is not None and rank >= self.default_rank
        dims = () if not named else ("N", "T") if self.batch_first else ("T", "N")
        x = graph.open("x", dtype, shape, dims)
        counts = graph.open("lengths", "int64", (None,), ("N",)) if lengths else None
        return graph.build(self.emit(graph, x, counts), with_states=with_states, name=type(self).__name__)

    def stream(self, batch_size: int = 1) -> Stream:
        """Start a stream, which carries the state of every GRU from one frame to the next. The states begin with zeros.

        Frames, or chunks of any length, have the shape of a batch of `batch_size` rows. You get the bits of one call
        with all frames. States are named "h0", or "h0_0", "h0_1"... in the order of the layers. A layer that looks
        across frames, such as a Softmax along time, sees only those of one chunk.

        Raises `StateError` if no layer has a state, and `UnsupportedModelError` if a layer begins with the last frame.
        """
        if self.needs_last_frame():
            raise UnsupportedModelError(
                f"{self!r}: a reverse direction begins with the last frame, which a stream does not have yet; call the"
                " network on whole sequences, or train it with forward layers"
            )
        model = self.to_model(initial_state=True)
        if not model.graph.states:
            raise StateError(
                f"{self!r} cannot stream, because it has no layer with a state; call it on each frame instead"
            )
        return model.stream(batch_size)

    def predict(
        self,
        sequences: Iterable[Any],
        *,
        max_rows: int = 256,
        budget: int = PREDICT_BYTES,
        progress: Progress = False,
    ) -> list[Any] | Iterator[Any]:
        """Run the network on sequences of any lengths, and return the results in the same order.

        Each result has the bits of a call with this sequence alone. It is what a call returns, without the batch axis.

        sequences: arrays (T, ...), each the input without its batch axis. For a list, a tuple, or an array that holds
            sequences of equal lengths along its first axis, you get a list. For any other iterable you get a generator,
            which reads ahead for half of the budget and copies what it reads.
        max_rows, budget, progress: as for `fastgru.Model.predict`.

        Raises what `fastgru.Model.predict` raises, and `UnsupportedModelError` if no layer of the network runs along
        time.
        """
        if self.batch_first is None:
            raise UnsupportedModelError(
                f"{self!r}: predict needs a layer that runs along time; call this network on the frames of all"
                " sequences, joined into one array"
            )
        if self._predicting is None:
            self._predicting = self.to_model()
        return self._predicting.predictor.predict(sequences, max_rows, budget, progress, self._finish)

    def _finish(self, outputs: tuple[Array, ...]) -> Any:
        """Return the result of `predict` for the outputs of one sequence."""
        return outputs[0]

    def needs_last_frame(self) -> bool:
        """Return True if the first step of an output depends on the last frame, as with a reverse direction."""
        return False

    def _runnable(self, rank: int, lengths: bool, initial_state: bool, with_states: bool) -> Runnable:
        key = (rank, lengths, initial_state, with_states)
        with lock:
            if key not in self._runnables:
                graph = self._write(*key)
                self._runnables[key] = make_runnable(
                    graph,
                    precision=self.precision,
                    threads=self.threads,
                    budget=self._budget,
                    spin_us=self.spin_us,
                )
            return self._runnables[key]

    def __call__(self, x: ArrayLike) -> Array:
        """Apply the layer to the array x, and return the output. Raises `ShapeError` if x does not fit."""
        return self._run(x)

    def _run(self, x: ArrayLike, lengths: ArrayLike | None = None) -> Array:
        array = self._input(x)
        feeds = {"x": array}
        if lengths is not None:
            self._check_takes_lengths()
            if array.ndim < self.default_rank:
                raise ShapeError(
                    f"{type(self).__name__}: lengths need a batch, but x has shape {array.shape}; leave lengths out, or"
                    " add a batch axis to x"
                )
            N, T = array.shape[:2] if self.batch_first else array.shape[1::-1]
            feeds["lengths"] = as_lengths(lengths, N, T)
        return self._runnable(array.ndim, lengths is not None, False, False).run(feeds)["y"]

    def _check_takes_lengths(self) -> None:
        if not self.takes_lengths:
            raise ShapeError(f"{self!r}: got lengths, but no layer of it is a GRU or a LastStep, which use them")

    def _input(self, x: ArrayLike) -> Array:
        what = f"{type(self).__name__}: x"
        array = int_input(what, x) if self.takes_ids else float_input(what, x, self.float_dtype)
        if self.input_size is not None and (array.ndim == 0 or array.shape[-1] != self.input_size):
            raise ShapeError(f"{what}: got shape {array.shape}, expected {self.input_size} on the last axis")
        return array

    def __getstate__(self) -> dict[str, Any]:
        return {k: v for k, v in self.__dict__.items() if k not in ("_runnables", "_budget", "_predicting")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def _forget(self) -> None:
        self._runnables: dict[tuple[Any, ...], Runnable] = {}
        self._budget = Budget(self.plan_bytes)
        self._predicting = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._summary()})"

    def _summary(self) -> str:
        return self.shown.format_map(vars(self))
