"""ONNX's backend interface (`onnx.backend.base`), for tools and tests that run models only through it.

    import fastgru.onnx_backend as backend
    outputs = backend.prepare(model).run([x, h0])

Otherwise, use `fastgru.load`: a backend gets everything as inputs, weights too, and has to load the model again
whenever a weight changes.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from onnx import IR_VERSION, ModelProto, NodeProto, checker, defs, helper, numpy_helper
from onnx.backend.base import Backend, BackendRep, namedtupledict

from fastgru.errors import ShapeError, UnsupportedModelError
from fastgru.importers.onnx import NEWEST_OPSET, inputs_to_fix
from fastgru.load import load
from fastgru.reference.operator import numpy_dtype

__all__ = [
    "FastGRUBackend",
    "FastGRUBackendRep",
    "is_compatible",
    "prepare",
    "run_model",
    "run_node",
    "supports_device",
]

Array = NDArray[Any]


class FastGRUBackendRep(BackendRep):  # type: ignore[misc]
    """A prepared model, made by `FastGRUBackend.prepare`."""

    def __init__(self, model: ModelProto, backend: "type[FastGRUBackend]", options: Mapping[str, Any]) -> None:
        self._model = model
        self._backend = backend
        self._options = options
        given = {proto.name for proto in model.graph.initializer}
        self._names = [info.name for info in model.graph.input if info.name not in given]
        self._fixed = inputs_to_fix(model)
        self._key: list[bytes] | None = None
        self._loaded: Any = None
        if not self._fixed:
            self._loaded = backend.open(model.SerializeToString(), **options)

    def run(self, inputs: Sequence[ArrayLike] | Mapping[str, ArrayLike], **kwargs: Any) -> tuple[Array, ...]:
        """Run the model, and return its outputs in the order and element types of the graph, as a named tuple.

        inputs: arrays in the order of the graph, or by name. If weights, axes and the like are inputs of the graph, the
            model is loaded in the first call, and again in each call that changes them.

        Raises `ShapeError` if an input does not fit.
        """
        if kwargs:
            raise TypeError(f"run has no option {', '.join(sorted(kwargs))}, and takes only inputs")
        named = self._named(inputs)
        model = self._load_with({name: np.asarray(named.pop(name)) for name in self._fixed if name in named})
        results = model.run(named)
        names = [info.name for info in self._model.graph.output]
        outputs: tuple[Array, ...] = namedtupledict("Outputs", names)(*(self._typed(n, results[n]) for n in names))
        return outputs

    def _named(self, inputs: Sequence[ArrayLike] | Mapping[str, ArrayLike]) -> dict[str, ArrayLike]:
        if isinstance(inputs, Mapping):
            return dict(inputs)
        if isinstance(inputs, np.ndarray) and len(self._names) == 1:
            return {self._names[0]: inputs}
        if len(inputs) != len(self._names):
            raise ShapeError(f"got {len(inputs)} inputs, expected {len(self._names)}: {', '.join(self._names)}")
        return dict(zip(self._names, inputs, strict=True))

    def _load_with(self, constants: Mapping[str, Array]) -> Any:
        if not self._fixed:
            return self._loaded
        if missing := [name for name in self._fixed if name not in constants]:
            raise ShapeError(f"inputs are missing: {', '.join(missing)}")
        protos = [numpy_helper.from_array(np.ascontiguousarray(a), name) for name, a in constants.items()]
        key = [proto.SerializeToString() for proto in protos]
        if key != self._key:
            model = ModelProto()
            model.CopyFrom(self._model)
            kept = [info for info in self._model.graph.input if info.name not in constants]
            del model.graph.input[:]
            model.graph.input.extend(kept)
            model.graph.initializer.extend(protos)
            self._loaded = self._backend.open(model.SerializeToString(), **self._options)
            self._key = key
        return self._loaded

    def _typed(self, name: str, array: Array) -> Array:
        """Convert an output to the element type of the file, which the interface promises."""
        for info in self._model.graph.output:
            if info.name == name and info.type.tensor_type.elem_type:
                return array.astype(helper.tensor_dtype_to_np_dtype(info.type.tensor_type.elem_type), copy=False)
        return array


class FastGRUBackend(Backend):  # type: ignore[misc]
    """The interface `onnx.backend.base.Backend`, implemented with `fastgru.load`.

    The keyword options of its methods are precision, threads, spin_us, linear_before_reset and fallback, as for
    `fastgru.load`. A model with float64 inputs or outputs is computed in float64 by default.
    """

    @classmethod
    def open(cls, data: bytes, **options: Any) -> Any:
        """Load a model from bytes. The result has a method `run({name: array}) -> {name: array}`."""
        return load(data, allow_unread=True, **options)

    @classmethod
    def is_compatible(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Return False if `prepare` would raise `UnsupportedModelError`, as far as that is known before a run."""
        if not cls.supports_device(device):
            return False
        try:
            FastGRUBackendRep(model, cls, _options(model, kwargs))
        except UnsupportedModelError:
            return False
        return True

    @classmethod
    def prepare(cls, model: ModelProto, device: str = "CPU", **kwargs: Any) -> FastGRUBackendRep:
        """Load a model, and return an object that runs it.

        Raises what `fastgru.load` raises, and `onnx.checker.ValidationError`.
        """
        _check_device(cls, device)
        checker.check_model(model)
        return FastGRUBackendRep(model, cls, _options(model, kwargs))

    @classmethod
    def run_node(
        cls,
        node: NodeProto,
        inputs: Sequence[ArrayLike],
        device: str = "CPU",
        outputs_info: Sequence[tuple[Any, tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Array, ...]:
        """Run one node, and return its outputs as a named tuple.

        inputs: one array for each input of the node that has a name.
        outputs_info: the dtype and shape of each output. None takes them from the computation.
        opset_version: the opset of the node. By default, the newest that both fastgru and the onnx package know.

        Raises what `fastgru.load` raises, and `ShapeError` for another number of inputs.
        """
        _check_device(cls, device)
        opset = kwargs.pop("opset_version", min(NEWEST_OPSET, defs.onnx_opset_version()))
        names = [name for name in node.input if name]
        arrays = [np.asarray(a) for a in inputs]
        if len(arrays) != len(names):
            raise ShapeError(f"got {len(arrays)} inputs, expected {len(names)}: {', '.join(names)}")
        outputs = [name for name in node.output if name]
        graph = helper.make_graph(
            [node],
            "node",
            [
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
                for name, a in dict(zip(names, arrays, strict=True)).items()
            ],
            [helper.make_empty_tensor_value_info(name) for name in outputs]
            if outputs_info is None
            else [
                helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
                for name, (dtype, shape) in zip(outputs, outputs_info, strict=True)
            ],
        )
        model = helper.make_model(graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", opset)])
        return FastGRUBackendRep(model, cls, _options(model, kwargs)).run(dict(zip(names, arrays, strict=True)))

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Return True for "CPU" and "CPU:0"."""
        return device.upper() in ("CPU", "CPU:0")


def _options(model: ModelProto, kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of `load`, with float64 as the default precision for float64 inputs or outputs."""
    options = dict(kwargs)
    if unknown := sorted(set(options) - {"fallback", "linear_before_reset", "precision", "spin_us", "threads"}):
        raise TypeError(
            f"the backend has no option {', '.join(unknown)}; its options are fallback, linear_before_reset, precision,"
            " spin_us, threads"
        )
    if "precision" not in options:
        types = [info.type.tensor_type.elem_type for info in (*model.graph.input, *model.graph.output)]
        wide = helper.np_dtype_to_tensor_dtype(numpy_dtype("float64"))
        options["precision"] = "float64" if wide in types else "float32"
    return options


def _check_device(backend: type[FastGRUBackend], device: str) -> None:
    if not backend.supports_device(device):
        raise UnsupportedModelError(f"device is {device!r}, expected 'CPU', the only one that is implemented")


is_compatible = FastGRUBackend.is_compatible
prepare = FastGRUBackend.prepare
run_model = FastGRUBackend.run_model
run_node = FastGRUBackend.run_node
supports_device = FastGRUBackend.supports_device
