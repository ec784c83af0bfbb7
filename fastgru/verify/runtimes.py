"""The runtimes that a model may have come from, if they are installed: each runs its own files.

    runtime = open_runtime("onnxruntime", path, graph)
    outputs = runtime(inputs)

The package itself needs none of them. A runtime is imported only for a file of its own format that our importer has
accepted, so no framework gets a file that we refused.
"""

import importlib
import importlib.util
import os
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np

from fastgru.graph import Array, Graph
from fastgru.records import dataclass
from fastgru.simd.cpu import host_features
from fastgru.sources import Source

__all__ = ["Runtime", "open_runtime", "runtime_of"]

_BYTE_PRODUCTS: Final = frozenset({"QGemm", "QLinearConv", "QLinearMatMul"})  # input 3 holds the weights
_SEVEN_BITS: Final = 64

Executor = Callable[[Mapping[str, Array]], Mapping[str, Array]]


@dataclass(frozen=True)
class Runtime:
    """A framework that has the file open: its name and version, and a function from inputs to outputs by name."""

    name: str
    run: Executor

    def __call__(self, inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        """Return the outputs by name. Warnings of the framework are ignored."""
        with warnings.catch_warnings(action="ignore"):
            return self.run(inputs)


def runtime_of(form: str) -> str | None:
    """Return the module of the runtime for a format (of `fastgru.importers.files.FORMATS`), or None."""
    return {"hdf5": "keras", "keras": "keras", "onnx": "onnxruntime"}.get(form)


def open_runtime(module: str, source: Source, graph: Graph) -> Runtime | str:
    """Return the runtime with the file loaded, or the reason why it cannot be used."""
    if importlib.util.find_spec(module) is None:
        return "not installed"
    if not isinstance(source, str | os.PathLike):
        return "it is given files only, and these are bytes"
    opener = {"onnxruntime": _open_onnxruntime, "keras": _open_keras}[module]
    try:
        with warnings.catch_warnings(action="ignore"):
            return opener(Path(source), graph)
    except Exception as error:  # code of another project, which may raise anything
        return f"it does not load the file: {_first_line(error)}"


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return lines[0][:200]


def _saturating(path: Path) -> str:
    """Return the name of a node whose sums ONNX Runtime may saturate on this CPU, or "".

    On x86 without VNNI, ONNX Runtime adds two products of an unsigned and a signed byte in 16 bits. Its option
    `session.x64quantprecision` avoids this for some nodes of a file and not for others (1.32.0). With weights of 7 bits
    no sum saturates.
    """
    features = host_features()
    if not features.get("sse4.2") or features.get("avx512vnni") or features.get("avxvnni"):
        return ""
    from onnx import TensorProto, load, numpy_helper

    model = load(os.fspath(path), load_external_data=False)
    held = {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.INT8}
    for node in model.graph.node:
        weight = held.get(node.input[3]) if node.op_type in _BYTE_PRODUCTS and len(node.input) > 3 else None
        if weight is not None and (
            weight.data_location == TensorProto.EXTERNAL
            or np.abs(numpy_helper.to_array(weight).astype(np.int16)).max(initial=0) > _SEVEN_BITS
        ):
            return f"{node.op_type} {node.output[0]!r}"
    return ""


def _open_onnxruntime(path: Path, graph: Graph) -> Runtime | str:
    onnxruntime = importlib.import_module("onnxruntime")
    if node := _saturating(path):
        return f"on this CPU, which has no VNNI, it may saturate the sums of {node}"

    def session_of(exact: str) -> Any:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.x64quantprecision", exact)
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

    # See `_saturating`. With "1", ONNX Runtime has no kernel for some nodes whose inputs are both int8.
    try:
        session = session_of("1")
    except Exception:  # any error of ONNX Runtime; a fault of the file is raised again below
        session = session_of("0")
    names = [output.name for output in session.get_outputs()]
    wanted = {i.name for i in session.get_inputs()}

    def run(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        feeds = {name: np.ascontiguousarray(a) for name, a in inputs.items() if name in wanted}
        return dict(zip(names, session.run(names, feeds), strict=True))

    return Runtime(f"onnxruntime {onnxruntime.__version__}", run)


def _import_keras() -> Any:
    """Import Keras with KERAS_BACKEND, or else with the first backend that is installed."""
    chosen = os.environ.get("KERAS_BACKEND")
    installed = [name for name in ("tensorflow", "jax", "torch") if importlib.util.find_spec(name)]
    if chosen is None and installed and "keras" not in sys.modules:
        os.environ["KERAS_BACKEND"] = installed[0]
        try:
            return importlib.import_module("keras")
        finally:
            del os.environ["KERAS_BACKEND"]
    return importlib.import_module("keras")


def _open_keras(path: Path, graph: Graph) -> Runtime:
    keras = _import_keras()
    model = keras.saving.load_model(path, compile=False, safe_mode=True)
    if len(model.inputs) != len(graph.inputs) or len(model.outputs) != len(graph.outputs):
        raise ValueError(
            f"it sees {len(model.inputs)} inputs and {len(model.outputs)} outputs, the graph has"
            f" {len(graph.inputs)} and {len(graph.outputs)}"
        )

    def run(inputs: Mapping[str, Array]) -> Mapping[str, Array]:
        arrays = [inputs[spec.name] for spec in graph.inputs]
        outputs = model(arrays[0] if len(arrays) == 1 else arrays, training=False)
        listed = outputs if isinstance(outputs, list | tuple) else [outputs]
        return {
            spec.name: np.asarray(keras.ops.convert_to_numpy(y)) for spec, y in zip(graph.outputs, listed, strict=True)
        }

    return Runtime(f"keras {keras.__version__}", run)
