"""An ONNX file that was read: its description, and its outputs in the dtypes of the file."""

import os
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError
from onnx import ModelProto

from fastgru.arrays import Array
from fastgru.compat.onnxruntime.describe import ModelMetadata, NodeArg, metadata, node_arg, output_args
from fastgru.compat.onnxruntime.edits import EXTERNAL_FOLDER
from fastgru.compat.onnxruntime.errors import (
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    Misfit,
    ModelLoadCanceled,
    NoSuchFile,
    OrtNotImplemented,
    RuntimeException,
)
from fastgru.compat.onnxruntime.faults import translated
from fastgru.compat.onnxruntime.options import SessionOptions
from fastgru.compat.onnxruntime.values import OrtValue, type_name
from fastgru.errors import FastGRUError, InvalidModelError, ShapeError, UnsupportedModelError
from fastgru.graph import Graph, TensorSpec
from fastgru.importers.onnx.tensors import tensor_spec
from fastgru.load import load_graph
from fastgru.model import Model
from fastgru.reference.operator import numpy_dtype
from fastgru.sources import Content, opened

__all__ = ["LoadedFile"]

_PROTOBUF_LIMIT: Final = (1 << 31) - 1
_NUMBERED: Final = (Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, OrtNotImplemented)
_MOST_THREADS: Final = 256
_OVERRIDABLE_SINCE: Final = 4  # ir_version
_TRIED_SIZES: Final = (2, 1, 16)
_FIX: Final = " Please fix either the inputs/outputs or the model."


class LoadedFile:
    """The part of a model that sessions and their bindings share. It raises onnxruntime's exceptions."""

    def __init__(self, path_or_bytes: str | bytes | os.PathLike[str], options: SessionOptions) -> None:
        if options._cancelled:
            raise ModelLoadCanceled("the session's load_cancellation_flag is set")
        self._threads = min(max(options.intra_op_num_threads, 1), _MOST_THREADS)
        proto, graph = _read(path_or_bytes, options)
        self._meta = metadata(proto)
        self._inputs = [node_arg(spec) for spec in graph.inputs]
        self._outputs = output_args(graph, [info.name for info in proto.graph.output])
        self._expected = {spec.name: numpy_dtype(spec.dtype) for spec in graph.inputs}
        self._declared = {spec.name: numpy_dtype(spec.dtype) for spec in graph.outputs}
        self._overridable = _overridable(proto)
        self._model = self._made(proto, graph)
        self._read_again = partial(_read, path_or_bytes, options) if self._overridable else None
        self._overriding: dict[frozenset[str], Model] = {}

    def get_inputs(self) -> list[NodeArg]:
        """Return the name, type and shape of each input, as the file declares them."""
        return list(self._inputs)

    def get_outputs(self) -> list[NodeArg]:
        """Return the same for each output."""
        return list(self._outputs)

    def get_overridable_initializers(self) -> list[NodeArg]:
        """Return the initializers that are also inputs of the file.

        They are constants until one of them is fed. The file is then read again, and makes another model that has this
        initializer as an input.
        """
        return [node_arg(spec) for spec in self._overridable.values()]

    def get_modelmeta(self) -> ModelMetadata:
        """Return the information of the file about itself."""
        return self._meta

    def compute(
        self, feed: Mapping[str, Any], names: Sequence[str], bound: Mapping[str, Array | None]
    ) -> dict[str, Array]:
        """Return the outputs `names` in the dtypes of the file. An output bound to an array is written there."""
        feeds = self._feeds(feed)
        fed = self._overridable.keys() & feeds.keys() if self._overridable else frozenset()
        model = self._with_inputs(frozenset(fed)) if fed else self._model
        out = {name: array for name, array in bound.items() if array is not None}
        for name, array in out.items():
            if array.dtype != self._declared[name]:
                raise InvalidArgument(
                    f"Unexpected output data type. Actual: ({type_name(array.dtype)}) , expected:"
                    f" ({type_name(self._declared[name])})"
                )
        computed = {spec.name: numpy_dtype(spec.dtype) for spec in model.outputs} if out else {}
        direct = {name: array for name, array in out.items() if computed[name] == array.dtype}
        try:
            results = model.run(feeds, direct or None)
        except ShapeError as error:
            fault = self._fault(feeds)
            raise InvalidArgument(fault) if fault else Misfit(str(error)) from error
        except UnsupportedModelError as error:
            raise OrtNotImplemented(str(error)) from error
        except FastGRUError as error:
            raise Fail(str(error)) from error
        found = {}
        for name in names:
            result = results[name].astype(self._declared[name], copy=False)
            target = out.get(name)
            if target is not None and target is not result:
                if target.shape != result.shape:
                    raise InvalidArgument(
                        f"output {name}: the bound array has shape {target.shape}, but the result has {result.shape}"
                    )
                target[...] = result
                result = target
            found[name] = result
        return found

    def _feeds(self, feed: Mapping[str, Any]) -> dict[str, Array]:
        self._check_missing(feed)
        feeds = {}
        for name, value in feed.items():
            dtype = self._expected.get(name)
            if dtype is None:
                if name not in self._overridable:
                    raise InvalidArgument(f"Invalid input name: {name}")
                dtype = numpy_dtype(self._overridable[name].dtype)
            array = value if type(value) is np.ndarray else _as_array(name, value, dtype)
            if array.dtype is not dtype and array.dtype != dtype:
                if array.dtype.newbyteorder("=") != dtype:
                    came = type_name(array.dtype, f"input {name}: ")
                    raise InvalidArgument(
                        f"Unexpected input data type. Actual: ({came}) , expected: ({type_name(dtype)})"
                    )
                array = array.astype(dtype)
            feeds[name] = array
        return feeds

    def _made(self, proto: ModelProto, graph: Graph) -> Model:
        wide = any(spec.dtype == "float64" for spec in (*graph.inputs, *graph.outputs))
        with translated(proto):
            model = Model(graph, precision="float64" if wide else "float32", threads=self._threads)
            _try_plan(model)
        return model

    def _with_inputs(self, fed: frozenset[str]) -> Model:
        """Return the model in which these initializers are inputs."""
        if fed not in self._overriding:
            assert self._read_again is not None, "there are initializers that can be fed"
            self._overriding[fed] = self._made(*self._read_again(fed))
        return self._overriding[fed]

    def _check_missing(self, feed: Mapping[str, Any]) -> None:
        if type(feed) is not dict and not isinstance(feed, Mapping):  # the test of the exact type is faster
            names = ", ".join(self._expected)
            raise TypeError(
                f"input_feed: got {type(feed).__name__}, expected a dict of arrays by name: {names},"
                f" such as {{{next(iter(self._expected), 'x')!r}: array}}"
            )
        if missing := [name for name in self._expected if name not in feed]:
            raise ShapeError(f"Required inputs ({missing}) are missing from input feed ({list(feed)}).")

    def _fault(self, feeds: Mapping[str, Array]) -> str:
        """Return onnxruntime's message for the first input whose rank or size is not the declared one, or ""."""
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
    """Convert lists and numbers to the expected dtype; arrays and OrtValues keep theirs."""
    if value is None:
        raise Fail(f"Missing Input: {name}")
    if isinstance(value, OrtValue):
        return value.numpy()
    try:
        return np.asarray(value, dtype if isinstance(value, list | tuple | int | float | bool) else None)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:
        raise RuntimeException(f"input {name}: {type(value).__name__} cannot become an array ({error})") from None


def _read(
    source: str | bytes | os.PathLike[str], options: SessionOptions, fed: Collection[str] = ()
) -> tuple[ModelProto, Graph]:
    """Return the parsed file and its graph. fed: initializers that become inputs."""
    folder = str(options._entries.get(EXTERNAL_FOLDER, ""))
    try:
        with opened(source, limit=_PROTOBUF_LIMIT) as content:
            proto = _parse(content, source)
            with translated(proto):
                # onnxruntime ignores tensors that nothing reads.
                return proto, load_graph(options._edits.applied(proto, content, folder, fed), allow_unread=True)
    except FileNotFoundError:
        name = os.fspath(source) if not isinstance(source, bytes) else ""
        raise NoSuchFile(f"Load model from {name} failed. File doesn't exist") from None
    except OSError as error:
        raise Fail(f"Load model failed: {error}") from error
    except _NUMBERED as error:
        if isinstance(source, bytes):
            raise
        raise type(error)(f"Load model from {os.fspath(source)} failed: {error.detail}") from error.__cause__
    except InvalidModelError as error:
        if not isinstance(source, bytes) and os.path.isdir(source):
            raise InvalidProtobuf(f"Load model from {os.fspath(source)} failed: it is a directory") from None
        raise InvalidArgument(f"No graph was found in the protobuf. {error}") from error


def _overridable(proto: ModelProto) -> dict[str, TensorSpec]:
    """Return the initializers that the file lists as inputs. Before version 4 of the format these are constants."""
    listed = {tensor.name for tensor in proto.graph.initializer} if proto.ir_version >= _OVERRIDABLE_SINCE else set()
    return {info.name: tensor_spec(info) for info in proto.graph.input if info.name in listed}


def _parse(content: Content, source: str | bytes | os.PathLike[str]) -> ModelProto:
    """Return the file as it is, without its external data."""
    if bytes(content[4:8]) == b"ORTM":
        raise OrtNotImplemented("models in ORT's format are not implemented; load the original ONNX file")
    proto = ModelProto()
    try:
        proto.ParseFromString(content.tobytes())
    except (DecodeError, ValueError):
        text = "Failed to load model because protobuf parsing failed."
        raise InvalidProtobuf(text if isinstance(source, bytes) else "Protobuf parsing failed.") from None
    if not proto.HasField("graph"):
        raise InvalidArgument("No graph was found in the protobuf.")
    return proto


def _try_plan(model: Model) -> None:
    """Raise `UnsupportedModelError` for faults that show only in a plan: sizes that depend on data, and dtypes.

    Plans are made with a few sizes for the free dimensions, until one size fits the model. Sizes that do not fit say
    nothing about others. Raises `ShapeError` if no dimension is free and nothing fits.
    """
    refusal: UnsupportedModelError | None = None
    for size in _TRIED_SIZES:
        if any(spec.shape is None for spec in model.inputs):
            return
        shapes = {spec.name: tuple(size if n is None else n for n in spec.shape or ()) for spec in model.inputs}
        try:
            model._runnable.route(shapes)
        except UnsupportedModelError as error:
            refusal = error
        except FastGRUError:
            if any(None in (spec.shape or ()) for spec in model.inputs):
                return
            raise  # no size is free, so no input can fit
        else:
            return
    if refusal is not None:
        raise refusal
