"""An ONNX file that was read: what it says of itself, and its outputs in its own dtypes."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from google.protobuf.message import DecodeError
from numpy.typing import NDArray
from onnx import ModelProto

from fastgru.compat.onnxruntime.describe import ModelMetadata, NodeArg, metadata, node_arg
from fastgru.compat.onnxruntime.errors import (
    Fail,
    InvalidArgument,
    InvalidGraph,
    InvalidProtobuf,
    NoSuchFile,
    OrtNotImplemented,
)
from fastgru.compat.onnxruntime.options import SessionOptions
from fastgru.compat.onnxruntime.values import OrtValue, type_name
from fastgru.errors import InvalidModelError, ShapeError, UnsupportedModelError
from fastgru.graph import Graph, TensorSpec
from fastgru.load import load_graph
from fastgru.model import Model
from fastgru.reference.operator import numpy_dtype
from fastgru.sources import Content, opened

__all__ = ["LoadedFile"]

Array = NDArray[Any]

_PROTOBUF_LIMIT: Final = (1 << 31) - 1
_FIX: Final = " Please fix either the inputs/outputs or the model."


class LoadedFile:
    """What a session and its bindings ask of a model; raises onnxruntime's exceptions."""

    def __init__(self, path_or_bytes: str | bytes | os.PathLike[str], options: SessionOptions) -> None:
        proto, graph = _read(path_or_bytes, options._free_dimensions)
        self._meta = metadata(proto)
        self._inputs = [node_arg(spec) for spec in graph.inputs]
        self._outputs = [node_arg(spec) for spec in graph.outputs]
        self._expected = {spec.name: numpy_dtype(spec.dtype) for spec in graph.inputs}
        self._declared = {spec.name: numpy_dtype(spec.dtype) for spec in graph.outputs}
        listed = {tensor.name for tensor in proto.graph.initializer}
        self._fixed = [info.name for info in proto.graph.input if info.name in listed]
        wide = any(spec.dtype == "float64" for spec in (*graph.inputs, *graph.outputs))
        threads = options.intra_op_num_threads or 1
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

    def compute(
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
