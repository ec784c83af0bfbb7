"""Names that are not implemented: they can be imported, and raise an error with a workaround when they are used."""

from collections.abc import Callable
from functools import cache
from typing import Any, Final, NoReturn

from fastgru.compat.onnxruntime.errors import OrtNotImplemented

__all__ = ["REFUSED", "attribute", "refused"]

_NO_SPARSE: Final = "store the tensor dense: numpy arrays are what a model takes"
_NO_ADAPTERS: Final = "merge the adapter into the weights of the model"
_NO_COMPILED: Final = "fastgru.load reads the ONNX file, and Model.save writes one that loads fast"
_NO_PROVIDERS: Final = "there is CPUExecutionProvider, which needs no library"
_NO_QUANTIZER: Final = 'fastgru.load(..., precision="int8") packs weights by itself, and fastgru.quantize chooses'
_NO_SCHEMAS: Final = "onnx.defs has the schemas, and docs/pages/operators.md what is implemented"

# Name -> workaround. A name with a capital stands for a class, any other for a function.
REFUSED: Final = {
    "AdapterFormat": _NO_ADAPTERS,
    "LoraAdapter": _NO_ADAPTERS,
    "ModelCompiler": _NO_COMPILED,
    "ModelPackage": _NO_COMPILED,
    "ModelPackageComponentContext": _NO_COMPILED,
    "ModelPackageContext": _NO_COMPILED,
    "ModelPackageOptions": _NO_COMPILED,
    "ModelPackageWriteMode": _NO_COMPILED,
    "OrtCompileApiFlags": _NO_COMPILED,
    "OrtCompiledModelCompatibility": _NO_COMPILED,
    "OrtDeviceEpIncompatibilityReason": _NO_PROVIDERS,
    "OrtEpAssignedNode": _NO_PROVIDERS,
    "OrtEpAssignedSubgraph": _NO_PROVIDERS,
    "OrtEpContextData": _NO_COMPILED,
    "OrtEpContextDataBuffer": _NO_COMPILED,
    "OrtExternalInitializerInfo": _NO_COMPILED,
    "OrtSyncStream": "a call here has ended when it returns",
    "SessionIOBinding": "InferenceSession.io_binding makes a binding",
    "SessionObjectInitializer": "InferenceSession takes SessionOptions",
    "SparseBlockSparseView": _NO_SPARSE,
    "SparseCooView": _NO_SPARSE,
    "SparseCsrView": _NO_SPARSE,
    "SparseTensor": _NO_SPARSE,
    "get_all_operator_schema": _NO_SCHEMAS,
    "get_all_opkernel_def": _NO_SCHEMAS,
    "get_compatibility_info_from_model": _NO_COMPILED,
    "get_compatibility_info_from_model_bytes": _NO_COMPILED,
    "get_hardware_device_ep_incompatibility_details": _NO_PROVIDERS,
    "get_model_compatibility_for_ep_devices": _NO_COMPILED,
    "get_registered_ep_kernel_defs": _NO_SCHEMAS,
    "get_session_initializer": "InferenceSession takes SessionOptions",
    "pack_fp4_weights_for_cuda_moe_gemm": _NO_QUANTIZER,
    "quantize_matmul_2bits": _NO_QUANTIZER,
    "quantize_matmul_4bits": _NO_QUANTIZER,
    "quantize_matmul_8bits": _NO_QUANTIZER,
    "quantize_matmul_bnb4": _NO_QUANTIZER,
    "quantize_qdq_matmul_2bits": _NO_QUANTIZER,
    "quantize_qdq_matmul_4bits": _NO_QUANTIZER,
    "register_execution_provider_library": _NO_PROVIDERS,
    "unregister_execution_provider_library": _NO_PROVIDERS,
}


class _Refusing(type):
    """A class without instances; `isinstance` works and returns False."""

    way_round: str

    def __call__(cls, *args: Any, **kwargs: Any) -> NoReturn:
        raise OrtNotImplemented(f"{cls.__name__} is not implemented; {cls.way_round}")

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(f"type object {cls.__name__!r} has no attribute {name!r}")
        return _function(f"{cls.__name__}.{name}", cls.way_round)


@cache
def refused(name: str) -> Any:
    """Return the class or function of this name, the same object in every call."""
    way_round = REFUSED[name]
    if name[0].islower():
        return _function(name, way_round)
    doc = f"Not implemented; {way_round}."
    return _Refusing(name, (), {"__doc__": doc, "__module__": __name__, "way_round": way_round})


def attribute(name: str) -> Any:
    """The `__getattr__` of the modules in which onnxruntime has these names."""
    if name not in REFUSED:
        raise AttributeError(f"onnxruntime's interface in fastgru has no attribute {name!r}")
    return refused(name)


def _function(name: str, way_round: str) -> Callable[..., NoReturn]:
    def refuse(*args: Any, **kwargs: Any) -> NoReturn:
        raise OrtNotImplemented(f"{name} is not implemented; {way_round}")

    refuse.__name__ = refuse.__qualname__ = name.rsplit(".", 1)[-1]
    refuse.__doc__ = f"Not implemented; {way_round}."
    return refuse
