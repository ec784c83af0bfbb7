"""InferenceSession: onnxruntime's calls over a model of ours."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from numpy.typing import NDArray

from fastgru.compat.onnxruntime.binding import IOBinding
from fastgru.compat.onnxruntime.errors import EPFail, Fail, InvalidArgument, OrtNotImplemented
from fastgru.compat.onnxruntime.loaded import LoadedFile
from fastgru.compat.onnxruntime.options import RunOptions, SessionOptions
from fastgru.compat.onnxruntime.values import OrtValue

__all__ = ["PROVIDERS", "InferenceSession"]

Array = NDArray[Any]
Providers = Sequence[str | tuple[str, Mapping[str, Any]]]

PROVIDERS: Final = ("CPUExecutionProvider",)
_HARMLESS_KEYWORDS: Final = frozenset({"disabled_optimizers", "enable_fallback"})
_HARMLESS_PROVIDER_OPTIONS: Final = frozenset({"arena_extend_strategy", "use_arena"})


class InferenceSession(LoadedFile):
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
        super().__init__(path_or_bytes, self._options)

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
        results = self.compute(input_feed, names, {})
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


def _check_run(options: RunOptions | None) -> None:
    if options is None:
        return
    if not isinstance(options, RunOptions):
        raise TypeError(f"run_options: expected RunOptions of this package, got {type(options)}")
    if options.terminate:
        raise Fail("Exiting due to terminate flag being set to true.")
