"""Every name of onnxruntime's modules and classes is there or refused by name, under the name of onnxruntime too."""

from __future__ import annotations

import importlib
import subprocess
import sys
import textwrap
import warnings

import pytest
from ort_models import BOTH, X, scaled

import fastgru.compat.onnxruntime as ours
from fastgru.compat.onnxruntime.refused import REFUSED
from fastgru.errors import FastGRUError, UnsupportedModelError

# Names of modules that are no part of the interface: modules that they import, and what they keep for themselves.
NOT_OFFERED = {
    "", "Any", "Backend", "BackendRep", "Callable", "GetInitializerLocationFunc", "GetInitializerLocationWrapperFunc",
    "IntEnum", "ModelProto", "Sequence", "annotations", "check_model", "collections", "contextlib", "helper",
    "import_capi_exception", "linecache", "make_get_initializer_location_func_wrapper", "np", "opkernel", "os",
    "packaging", "platform", "schemadef", "typing", "unittest", "version", "warnings", "weakref", "capi",
    "datasets", "quantization", "tools", "transformers",
}  # fmt: skip
MODULES = (
    "", ".capi", ".capi._pybind_state", ".capi.build_and_package_info", ".capi.onnxruntime_inference_collection",
    ".capi.onnxruntime_pybind11_state", ".capi.onnxruntime_validation", ".backend", ".backend.backend",
    ".backend.backend_rep",
)  # fmt: skip
CLASSES = (
    "IOBinding", "InferenceSession", "ModelMetadata", "NodeArg", "OrtArenaCfg", "OrtDevice", "OrtEpDevice",
    "OrtHardwareDevice", "OrtMemoryInfo", "OrtValue", "RunOptions", "SessionOptions", "SparseTensor",
)  # fmt: skip


@pytest.mark.parametrize("module", MODULES)
def test_every_name_of_a_module_is_there_or_refused_by_name(module):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # what theirs imports of onnx
        theirs, mine = (importlib.import_module(package + module) for package in BOTH)
    wanted = {name for name in dir(theirs) if not name.startswith("_")} - NOT_OFFERED
    assert sorted(name for name in wanted if not hasattr(mine, name)) in ([], ["get_available_providers"])


@pytest.mark.parametrize("name", CLASSES)
def test_every_name_of_a_class_is_there(name):
    theirs, mine = (getattr(importlib.import_module(package), name) for package in BOTH)
    instance = mine() if name in ("RunOptions", "SessionOptions", "OrtEpDevice", "OrtHardwareDevice") else mine
    wanted = {member for member in dir(theirs) if not member.startswith("_")}
    if name == "OrtMemoryInfo":
        instance = ours.OrtEpDevice().memory_info()
    if name in ("ModelMetadata", "NodeArg"):
        instance = mine("x", "tensor(float)", [])
    if name == "OrtEpDevice":
        wanted -= {"create_sync_stream"}
    assert not sorted(member for member in wanted if not hasattr(instance, member))


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_implemented_says_so(name):
    for module in (ours, ours.capi.onnxruntime_pybind11_state, ours.capi._pybind_state):
        with pytest.raises(UnsupportedModelError, match=f"{name} is not implemented; "):
            getattr(module, name)()
    assert getattr(ours, name) is getattr(ours, name)
    if isinstance(getattr(ours, name), type):
        assert not isinstance(X, getattr(ours, name))
        with pytest.raises(UnsupportedModelError, match=f"{name}.anything is not implemented"):
            getattr(ours, name).anything()
    with pytest.raises(AttributeError, match="no attribute 'no_such_name'"):
        _ = ours.no_such_name


LIBRARY = """
    import onnxruntime as ort
    from onnxruntime import InferenceSession, SessionOptions
    from onnxruntime.capi import _pybind_state as C
    from onnxruntime.capi.onnxruntime_inference_collection import InferenceSession as Inner, OrtValue
    from onnxruntime.capi.onnxruntime_pybind11_state import Fail, GraphOptimizationLevel, InvalidArgument
    import onnxruntime.backend
    import numpy as np

    class Wrapped(InferenceSession):
        def __init__(self, path):
            options = SessionOptions()
            options.graph_optimization_level = GraphOptimizationLevel.ORT_ENABLE_ALL
            super().__init__(path, options, providers=["CPUExecutionProvider"])

        def __call__(self, x):
            return self.run(None, {self.get_inputs()[0].name: x})[0]

    def score(data, x):
        assert Inner is InferenceSession and isinstance(Wrapped(data), Inner)
        try:
            Wrapped(data)(x[:1])
        except InvalidArgument as error:
            assert "Got invalid dimensions" in str(error)
        return Wrapped(data)(x)
"""
PROGRAM = """
    import sys
    import numpy as np
    import fastgru.compat

    fastgru.compat.install()
    fastgru.compat.install()
    import library

    data = open(sys.argv[1], "rb").read()
    x = np.float32([[1, 2], [3, 4], [5, 6]])
    assert np.array_equal(library.score(data, x), x * x)
    assert sys.modules["onnxruntime"].__name__ == "fastgru.compat.onnxruntime"
    assert not [m for m in sys.modules.values() if "site-packages/onnxruntime" in str(getattr(m, "__file__", ""))]
    try:
        import onnxruntime.quantization
    except ModuleNotFoundError:
        print("as it should be")
"""


def test_it_takes_the_place_of_the_name(tmp_path):
    (tmp_path / "library.py").write_text(textwrap.dedent(LIBRARY))
    (tmp_path / "program.py").write_text(textwrap.dedent(PROGRAM))
    (tmp_path / "scaled.onnx").write_bytes(scaled())
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "scaled.onnx")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "as it should be"), done.stderr


def test_it_takes_no_place_that_is_taken():
    import fastgru.compat

    importlib.import_module("onnxruntime")
    with pytest.raises(FastGRUError, match="onnxruntime has already been imported"):
        fastgru.compat.install()
    with pytest.raises(FastGRUError, match="name is 'torch', expected 'onnxruntime'"):
        fastgru.compat.install("torch")
