"""InferenceSession: onnxruntime's calls over a model of ours."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NoReturn

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import ModelProto

from fastgru.compat.onnxruntime.binding import IOBinding
from fastgru.compat.onnxruntime.describe import ModelMetadata, NodeArg, metadata, node_arg
from fastgru.compat.onnxruntime.errors import (
    EPFail,
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    NoSuchFile,
    OrtNotImplemented,
)
from fastgru.compat.onnxruntime.options import RunOptions, SessionOptions
from fastgru.compat.onnxruntime.values import OrtValue, type_name
from fastgru.errors import InvalidModelError, ShapeError, UnsupportedModelError
from fastgru.graph import Graph, TensorSpec
from fastgru.load import load_graph
from fastgru.model import Model
from fastgru.reference.operator import numpy_dtype
from fastgru.sources import Content, opened

__all__ = ["PROVIDERS", "InferenceSession"]

Array = NDArray[Any]
Providers = Sequence[str | tuple[str, Mapping[str, Any]]]

PROVIDERS: Final = ("CPUExecutionProvider",)
_HARMLESS_KEYWORDS: Final = frozenset({"disabled_optimizers", "enable_fallback"})
_HARMLESS_PROVIDER_OPTIONS: Final = frozenset({"arena_extend_strategy", "use_arena"})
_PROTOBUF_LIMIT: Final = (1 << 31) - 1
_FIX: Final = " Please fix either the inputs/outputs or the model."


class InferenceSession:
    """A model, with the interface of `onnxruntime.InferenceSession`.

    path_or_bytes: an ONNX file. sess_options: see `SessionOptions`. providers: the CPU has to be among them; others are
    passed over with a warning, as onnxruntime does where they are not installed.

    Outputs have the dtypes of the file. A model with float64 inputs or outputs is computed in float64, any other in
    float32. Raises onnxruntime's exceptions, which descend from `FastGRUError` here.
    """

    def __init__(
        self,
        path_or_bytes: str | bytes | os.PathLike[str],
        sess_options: SessionOptions | None = None,
        providers: Providers | None = None,
        provider_options: Sequence[Mapping[str, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        if not isinstance(path_or_bytes, str | bytes | os.PathLike):
            raise TypeError(f"Unable to load from type '{type(path_or_bytes)}'")
        if unknown := sorted(set(kwargs) - _HARMLESS_KEYWORDS):
            raise TypeError(f"InferenceSession has no option {', '.join(unknown)} here")
        if sess_options is not None and not isinstance(sess_options, SessionOptions):
            raise TypeError(f"sess_options: expected SessionOptions of this package, got {type(sess_options)}")
        self._options = SessionOptions() if sess_options is None else sess_options
        self.set_providers(providers, provider_options)
        proto, graph = _read(path_or_bytes, self._options._free_dimensions)
        self._meta = metadata(proto)
        self._inputs = [node_arg(spec) for spec in graph.inputs]
        self._outputs = [node_arg(spec) for spec in graph.outputs]
        self._expected = {spec.name: numpy_dtype(spec.dtype) for spec in graph.inputs}
        self._declared = {spec.name: numpy_dtype(spec.dtype) for spec in graph.outputs}
        listed = {tensor.name for tensor in proto.graph.initializer}
        self._fixed = [info.name for info in proto.graph.input if info.name in listed]
        wide = any(spec.dtype == "float64" for spec in (*graph.inputs, *graph.outputs))
        threads = self._options.intra_op_num_threads or 1
        try:
            self._model = Model(graph, precision="float64" if wide else "float32", threads=threads)
        except UnsupportedModelError as error:
            raise OrtNotImplemented(str(error)) from error

    def get_inputs(self) -> list[NodeArg]:
        """Name, type and shape of each input, as the file declares them."""
        return list(self._inputs)

    def get_outputs(self) -> list[NodeArg]:
        """The same of each output."""
        return list(self._outputs)

    def get_overridable_initializers(self) -> list[NodeArg]:
        """None: initializers are constants here, and feeding one is an error."""
        return []

    def get_modelmeta(self) -> ModelMetadata:
        """What the file says of itself."""
        return self._meta

    def get_session_options(self) -> SessionOptions:
        """The options that the session was made with."""
        return self._options

    def get_providers(self) -> list[str]:
        """["CPUExecutionProvider"]."""
        return list(PROVIDERS)

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        """Of each provider; there are none."""
        return {name: {} for name in PROVIDERS}

    def set_providers(
        self, providers: Providers | None = None, provider_options: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        """Check the providers, see the class."""
        if providers is None:
            return
        if isinstance(providers, str) or not isinstance(providers, Sequence):
            raise InvalidArgument("'providers' should be a sequence.")
        if provider_options is not None and len(provider_options) != len(providers):
            raise InvalidArgument("'providers' and 'provider_options' should be the same length if both are given.")
        names = []
        for i, provider in enumerate(providers):
            name, given = (provider, {}) if isinstance(provider, str) else provider
            if provider_options is not None:
                given = provider_options[i]
            names.append(name)
            if name not in PROVIDERS:
                warnings.warn(
                    f"Specified provider {name!r} is not in available provider names. Available providers:"
                    f" {', '.join(PROVIDERS)!r}",
                    UserWarning,
                    stacklevel=3,
                )
            elif unknown := sorted(set(given) - _HARMLESS_PROVIDER_OPTIONS):
                raise OrtNotImplemented(f"{name}: option {', '.join(unknown)} is not implemented; leave it out")
        if names and not set(names) & set(PROVIDERS):
            raise EPFail(f"none of the providers {', '.join(names)} is there; add {PROVIDERS[0]}")

    def disable_fallback(self) -> None:
        """Without effect: there is nothing to fall back to."""

    def enable_fallback(self) -> None:
        """Without effect: there is nothing to fall back to."""

    def run(
        self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any], run_options: RunOptions | None = None
    ) -> list[Array]:
        """The outputs of these names, all of them for None or [].

        Raises `InvalidArgument` for an input or output that is unknown or does not fit (no dtype is converted: float64
        for float32 is an error), and `ShapeError`, a ValueError, for inputs that are missing.
        """
        _check_run(run_options)
        names = self._wanted(output_names)
        results = self._compute(input_feed, names, {})
        return [results[name] for name in names]

    def run_with_ort_values(
        self,
        output_names: Sequence[str] | None,
        input_dict_ort_values: Mapping[str, OrtValue],
        run_options: RunOptions | None = None,
    ) -> list[OrtValue]:
        """As `run`, from and to OrtValues."""
        return [OrtValue(array) for array in self.run(output_names, input_dict_ort_values, run_options)]

    def io_binding(self) -> IOBinding:
        """Inputs and outputs to be bound."""
        return IOBinding(self)

    def run_with_iobinding(self, iobinding: IOBinding, run_options: RunOptions | None = None) -> None:
        """Run on what is bound; `iobinding` holds the outputs."""
        _check_run(run_options)
        if iobinding._session is not self:
            raise InvalidArgument("IOBinding must be used with the session that created it.")
        iobinding.run()

    def run_async(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise OrtNotImplemented("run_async is not implemented; call run on a thread of your own: it releases the GIL")

    def end_profiling(self) -> NoReturn:
        raise OrtNotImplemented("end_profiling is not implemented; `fastgru bench MODEL` measures a model")

    def _wanted(self, output_names: Sequence[str] | None) -> list[str]:
        if isinstance(output_names, str):
            raise TypeError(f"output_names is {output_names!r}, expected a list of names")
        if not output_names:
            return list(self._declared)
        for name in output_names:
            if name not in self._declared:
                raise InvalidArgument(f"Invalid output name:{name}")
        return list(output_names)

    def _compute(
        self, feed: Mapping[str, Any], names: Sequence[str], bound: Mapping[str, Array | None]
    ) -> dict[str, Array]:
        """The outputs `names` in the file's dtypes; those that are bound to an array are written there."""
        feeds = self._feeds(feed)
        out = {name: array for name, array in bound.items() if array is not None}
        for name, array in out.items():
            if array.dtype != self._declared[name]:
                raise InvalidArgument(
                    f"Unexpected output data type. Actual: ({type_name(array.dtype)}) , expected:"
                    f" ({type_name(self._declared[name])})"
                )
        computed = {spec.name: numpy_dtype(spec.dtype) for spec in self._model.outputs} if out else {}
        direct = {name: array for name, array in out.items() if computed[name] == array.dtype}
        try:
            results = self._model.run(feeds, direct or None)
        except ShapeError as error:
            raise InvalidArgument(self._fault(feeds) or str(error)) from error
        found = {}
        for name in names:
            result = results[name].astype(self._declared[name], copy=False)
            target = out.get(name)
            if target is not None and target is not result:
                if target.shape != result.shape:
                    raise InvalidArgument(f"output {name}: bound is shape {target.shape}, computed {result.shape}")
                target[...] = result
                result = target
            found[name] = result
        return found

    def _feeds(self, feed: Mapping[str, Any]) -> dict[str, Array]:
        if missing := [name for name in self._expected if name not in feed]:
            raise ShapeError(f"Required inputs ({missing}) are missing from input feed ({list(feed)}).")
        feeds = {}
        for name, value in feed.items():
            dtype = self._expected.get(name)
            if dtype is None:
                if name in self._fixed:
                    raise OrtNotImplemented(f"input {name}: an initializer cannot be fed; store the value in the model")
                raise InvalidArgument(f"Invalid input name: {name}")
            array = value if type(value) is np.ndarray else _as_array(name, value, dtype)
            if array.dtype is not dtype and array.dtype != dtype:
                raise InvalidArgument(
                    f"Unexpected input data type. Actual: ({type_name(array.dtype)}) , expected: ({type_name(dtype)})"
                )
            feeds[name] = array
        return feeds

    def _fault(self, feeds: Mapping[str, Array]) -> str:
        """onnxruntime's words for the first input whose rank or size is not what the file declares."""
        for spec in self._model.inputs:
            shape = feeds[spec.name].shape
            if spec.shape is None:
                continue
            if len(shape) != len(spec.shape):
                return f"Invalid rank for input: {spec.name} Got: {len(shape)} Expected: {len(spec.shape)}{_FIX}"
            wrong = [
                f" index: {i} Got: {n} Expected: {size}\n"
                for i, (n, size) in enumerate(zip(shape, spec.shape, strict=True))
                if size is not None and n != size
            ]
            if wrong:
                text = "".join(wrong)
                return f"Got invalid dimensions for input: {spec.name} for the following indices\n{text}{_FIX}"
        return ""


def _as_array(name: str, value: Any, dtype: np.dtype[Any]) -> Array:
    """Lists take the dtype that is expected, arrays and OrtValues keep theirs."""
    if value is None:
        raise Fail(f"Missing Input: {name}")
    if isinstance(value, OrtValue):
        return value.numpy()
    try:
        return np.asarray(value, dtype if isinstance(value, list | tuple | int | float | bool) else None)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise InvalidArgument(f"input {name}: {type(value).__name__} does not become an array ({error})") from None


def _check_run(options: RunOptions | None) -> None:
    if options is None:
        return
    if not isinstance(options, RunOptions):
        raise TypeError(f"run_options: expected RunOptions of this package, got {type(options)}")
    if options.terminate:
        raise Fail("Exiting due to terminate flag being set to true.")


def _read(source: str | bytes | os.PathLike[str], sizes: Mapping[str, int]) -> tuple[ModelProto, Graph]:
    try:
        with opened(source, limit=_PROTOBUF_LIMIT) as content:
            return _parse(content), _read_graph(content, sizes)
    except FileNotFoundError:
        name = os.fspath(source) if not isinstance(source, bytes) else ""
        raise NoSuchFile(f"Load model from {name} failed. File doesn't exist") from None
    except (InvalidGraph, InvalidProtobuf):
        raise
    except InvalidModelError as error:
        raise InvalidArgument(f"No graph was found in the protobuf. {error}") from error


def _parse(content: Content) -> ModelProto:
    """The file as it is, without its external data, for what it says of itself."""
    proto = ModelProto()
    try:
        proto.ParseFromString(content.tobytes())
    except (DecodeError, ValueError):
        raise InvalidProtobuf("Failed to load model because protobuf parsing failed.") from None
    if not proto.HasField("graph"):
        raise InvalidArgument("No graph was found in the protobuf.")
    return proto


def _read_graph(content: Content, sizes: Mapping[str, int]) -> Graph:
    try:
        graph = load_graph(content, allow_unread=True)  # onnxruntime drops what nothing reads
    except UnsupportedModelError as error:
        raise OrtNotImplemented(str(error)) from error
    except InvalidModelError as error:
        raise InvalidGraph(str(error)) from error
    ends = [tuple(_fixed(spec, sizes) for spec in specs) for specs in (graph.inputs, graph.outputs)]
    return replace(graph, inputs=ends[0], outputs=ends[1])


def _fixed(spec: TensorSpec, sizes: Mapping[str, int]) -> TensorSpec:
    if spec.shape is None or not spec.dims:
        return spec
    shape = tuple(
        sizes.get(word, n) if n is None and word else n for n, word in zip(spec.shape, spec.dims, strict=True)
    )
    return replace(spec, shape=shape)
