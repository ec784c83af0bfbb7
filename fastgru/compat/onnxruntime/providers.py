"""Execution providers: only the CPU exists. For any other provider there is a warning, and the CPU runs the model."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final

from fastgru.compat.onnxruntime.errors import InvalidArgument, RuntimeException
from fastgru.compat.onnxruntime.logs import Severity, log

__all__ = ["PROVIDERS", "Providers", "check_and_normalize_provider_args", "choose_providers"]

Providers = Sequence[str | tuple[str, Mapping[Any, Any]]]

PROVIDERS: Final = ("CPUExecutionProvider",)
# Providers that onnxruntime knows on some machine. Any other name is an error there.
_KNOWN_ELSEWHERE: Final = frozenset(
    f"{name}ExecutionProvider"
    for name in (
        "ACL", "Armnn", "Azure", "CANN", "CUDA", "CoreML", "Dml", "Dnnl", "Js", "MIGraphX", "Nnapi", "NvTensorRTRTX",
        "OpenVINO", "QNN", "ROCM", "Rknpu", "SNPE", "Tensorrt", "Tvm", "VSINPU", "VitisAI", "WebGpu", "WebNN",
        "Xnnpack",
    )
)  # fmt: skip


def check_and_normalize_provider_args(
    providers: Providers | None,
    provider_options: Sequence[Mapping[Any, Any]] | None,
    available_provider_names: Sequence[str],
) -> tuple[list[str], list[dict[str, str]]]:
    """Return the names in their order without duplicates, and the options of each as strings.

    Warns about a name that is not available or occurs twice. Raises `InvalidArgument`, a ValueError, for anything but
    names, pairs of a name and its options, or names with equally many options beside them.
    """
    if providers is None:
        return [], []
    found: dict[str, dict[str, str]] = {}
    for name, options in _pairs(providers, provider_options):
        if name not in available_provider_names:
            there = ", ".join(available_provider_names)
            _warn(f"Specified provider {name!r} is not in available provider names. Available providers: {there!r}")
        if name in found:
            _warn(f"Duplicate provider {name!r} encountered, ignoring.")
            continue
        found[name] = {str(key): str(value) for key, value in options.items()}
    return list(found), list(found.values())


def _pairs(providers: Any, provider_options: Any) -> list[tuple[str, Mapping[Any, Any]]]:
    if not isinstance(providers, Sequence) or isinstance(providers, str):
        raise InvalidArgument(f"'providers' should be a sequence of names, got {providers!r}")
    if provider_options is None:
        pairs = [(entry, {}) if isinstance(entry, str) else entry for entry in providers]
        if not all(isinstance(pair, tuple) and len(pair) == 2 for pair in pairs):
            raise InvalidArgument("'providers' values must be either strings or (string, dict) tuples.")
    else:
        if not isinstance(provider_options, Sequence):
            raise InvalidArgument("'provider_options' should be a sequence.")
        if len(providers) != len(provider_options):
            raise InvalidArgument("'providers' and 'provider_options' should be the same length if both are given.")
        pairs = list(zip(providers, provider_options, strict=True))
    if not all(isinstance(name, str) for name, _ in pairs):
        raise InvalidArgument("'providers' must be strings where 'provider_options' or a dict gives the options.")
    if not all(isinstance(options, Mapping) for _, options in pairs):
        raise InvalidArgument("the options of a provider must be a dict.")
    return pairs


def choose_providers(
    providers: Providers | None, provider_options: Sequence[Mapping[Any, Any]] | None, *, fallback: bool
) -> None:
    """Check the providers of a session. With `fallback` an error becomes a warning, and the CPU runs the model.

    Raises `InvalidArgument` as `check_and_normalize_provider_args`, and `RuntimeException` for a name that is not a
    provider on any machine.
    """
    try:
        names, options = check_and_normalize_provider_args(providers, provider_options, PROVIDERS)
        for name in names:
            if name not in PROVIDERS and name not in _KNOWN_ELSEWHERE:
                raise RuntimeException(f"Unknown Provider Type: {name}")
    except (InvalidArgument, RuntimeException) as error:
        if not fallback:
            raise
        _warn(f"{error.detail} Falling back to {PROVIDERS[0]}.")
        return
    for name, given in zip(names, options, strict=True):
        if name in PROVIDERS and given:
            _warn(f"{name} has no options; {', '.join(sorted(given))} is without effect, as in onnxruntime")


def _warn(text: str) -> None:
    log(Severity.WARNING, "", text, where="providers")
    warnings.warn(text, UserWarning, stacklevel=5)
