"""InferenceSession: onnxruntime's calls for a fastgru model."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NoReturn

from fastgru.arrays import Array
from fastgru.compat.onnxruntime.binding import IOBinding
from fastgru.compat.onnxruntime.devices import OrtEpDevice, OrtMemoryInfo
from fastgru.compat.onnxruntime.errors import Fail, InvalidArgument, OrtNotImplemented, RuntimeException
from fastgru.compat.onnxruntime.loaded import LoadedFile
from fastgru.compat.onnxruntime.logs import Severity, log
from fastgru.compat.onnxruntime.options import RunOptions, SessionOptions
from fastgru.compat.onnxruntime.providers import PROVIDERS, Providers, choose_providers
from fastgru.compat.onnxruntime.values import OrtValue, OrtValueVector

__all__ = ["InferenceSession"]

_HARMLESS_KEYWORDS: Final = frozenset({"disabled_optimizers", "enable_fallback", "read_config_from_model"})


class InferenceSession(LoadedFile):
    """A loaded ONNX model, with the interface of `onnxruntime.InferenceSession`.

    path_or_bytes: the path or the bytes of an ONNX file.
    sess_options: see `SessionOptions`.
    providers, provider_options: the CPU always runs the model. Any other provider causes a warning, as in an
        onnxruntime that was built for CPUs.

    Outputs have the dtypes of the file. A model with float64 inputs or outputs is computed in float64, any other model
    in float32. Raises the exceptions of onnxruntime, which here descend from `FastGRUError`, also for a model that
    cannot run.
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
            raise TypeError(
                f"InferenceSession has no option {', '.join(unknown)} here; its options are"
                f" {', '.join(sorted(_HARMLESS_KEYWORDS))}"
            )
        if sess_options is not None and not isinstance(sess_options, SessionOptions):
            raise TypeError(
                f"sess_options: got {type(sess_options)}, expected fastgru.compat.onnxruntime.SessionOptions"
            )
        self._sess_options = options = SessionOptions() if sess_options is None else sess_options
        self._model_path = None if isinstance(path_or_bytes, bytes) else os.fspath(path_or_bytes)
        self._enable_fallback = bool(kwargs.get("enable_fallback", True))
        self._workers: ThreadPoolExecutor | None = None
        choose_providers(providers, provider_options, fallback=self._enable_fallback)
        level = options.log_severity_level
        log(Severity.INFO, options.logid, "Initializing session.", where="session", level=level)
        super().__init__(path_or_bytes, options)
        text = f"Session successfully initialized: {len(self._model.graph.nodes)} nodes, {self._model.threads} threads."
        log(Severity.INFO, options.logid, text, where="session", level=level)

    def get_session_options(self) -> SessionOptions:
        """Return the options with which the session was made."""
        return self._sess_options

    def get_providers(self) -> list[str]:
        """Return ["CPUExecutionProvider"]."""
        return list(PROVIDERS)

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        """Return {"CPUExecutionProvider": {}}, because the CPU has no options."""
        return {name: {} for name in PROVIDERS}

    def set_providers(
        self, providers: Providers | None = None, provider_options: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        """Check the providers, and change nothing. An unknown provider is an error, as in onnxruntime."""
        choose_providers(providers, provider_options, fallback=False)

    def disable_fallback(self) -> None:
        """Do nothing, because there is no other provider to fall back to."""
        self._enable_fallback = False

    def enable_fallback(self) -> None:
        """Do nothing, because there is no other provider to fall back to."""
        self._enable_fallback = True

    def get_input_memory_infos(self) -> list[OrtMemoryInfo]:
        """Return one entry for each input. All inputs are read from the memory of the process."""
        return [OrtEpDevice().memory_info() for _ in self._inputs]

    def get_output_memory_infos(self) -> list[OrtMemoryInfo]:
        """Return one entry for each output. All outputs are written to the memory of the process."""
        return [OrtEpDevice().memory_info() for _ in self._outputs]

    def get_input_epdevices(self) -> list[OrtEpDevice]:
        """Return the device of each input, which is the CPU."""
        return [OrtEpDevice() for _ in self._inputs]

    def run(
        self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any], run_options: RunOptions | None = None
    ) -> list[Array]:
        """Run the model, and return the outputs with these names as a list. None or [] stands for all outputs.

        input_feed: arrays by input name. They must have the dtypes of the model: float64 for float32 is an error.

        Raises `InvalidArgument` for an input or output that is unknown or does not fit, and `ShapeError`, a ValueError,
        if an input is missing.
        """
        _check_run(run_options)
        names = self._wanted(output_names)
        results = self.compute(input_feed, names, {})
        return [results[name] for name in names]

    def run_async(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, Any],
        callback: Callable[[list[Array], Any, str], Any],
        user_data: Any,
        run_options: RunOptions | None = None,
    ) -> None:
        """Run the model on a thread of the session, which then calls `callback(results, user_data, error)`.

        error is "" after a successful run. Otherwise it is the text of the exception, and results is empty. Do not
        change the arrays of the feed before the callback. The other arguments are those of `run`.

        Raises `ShapeError`, a ValueError, if an input is missing, and `InvalidArgument` if the session has
        intra_op_num_threads = 1, as onnxruntime does.
        """
        if not callable(callback):
            raise TypeError(f"callback: expected a function, got {type(callback).__name__}")
        self._check_missing(input_feed)
        threads = self._sess_options.intra_op_num_threads
        if threads == 1:
            raise InvalidArgument("intra op thread pool must have at least one thread for RunAsync")
        if self._workers is None:
            self._workers = ThreadPoolExecutor(threads or os.cpu_count(), "fastgru-run-async")
        self._workers.submit(self._run_for, callback, user_data, output_names, dict(input_feed), run_options)

    def _run_for(self, callback: Callable[..., Any], user_data: Any, *arguments: Any) -> None:
        results, text = [], ""
        try:
            results = self.run(*arguments)
        except Exception as error:
            text = getattr(error, "detail", str(error))
        try:
            callback(results, user_data, text)
        except Exception:
            sys.excepthook(*sys.exc_info())

    def run_with_ort_values(
        self,
        output_names: Sequence[str] | None,
        input_dict_ort_values: Mapping[str, OrtValue],
        run_options: RunOptions | None = None,
    ) -> list[OrtValue]:
        """Run the model as `run` does, but with an `OrtValue` for each input and output."""
        return [OrtValue(array) for array in self.run(output_names, input_dict_ort_values, run_options)]

    def run_with_ortvaluevector(
        self,
        run_options: RunOptions | None,
        feed_names: Sequence[str],
        feeds: Sequence[OrtValue],
        fetch_names: Sequence[str],
        fetches: OrtValueVector,
        fetch_devices: Sequence[Any],
    ) -> None:
        """Run the model as `run_with_ort_values` does, and append the outputs to `fetches`."""
        values = dict(zip(feed_names, feeds, strict=True))
        fetches.extend(self.run_with_ort_values(fetch_names, values, run_options))

    def io_binding(self) -> IOBinding:
        """Return an `IOBinding`, with which you bind inputs and outputs to memory."""
        return IOBinding(self)

    def run_with_iobinding(self, iobinding: IOBinding, run_options: RunOptions | None = None) -> None:
        """Run the model on the inputs and outputs that are bound. `iobinding.get_outputs` returns the outputs."""
        _check_run(run_options)
        if iobinding._session is not self:
            raise InvalidArgument("IOBinding must be used with the session that created it.")
        iobinding.run()

    def create_ortvalue_from_shape_and_type(
        self, shape: Sequence[int], element_type: Any, device_type: str = "cpu", device_id: int = 0
    ) -> OrtValue:
        """Return a tensor of this shape and type, whose elements are not set."""
        return OrtValue.ortvalue_from_shape_and_type(shape, element_type, device_type, device_id)

    def end_profiling(self) -> str:
        """Return "", because profiles are not implemented."""
        return ""

    def get_profiling_start_time_ns(self) -> int:
        """Return 0, because profiles are not implemented."""
        return 0

    def get_tuning_results(self) -> list[dict[str, Any]]:
        """Return [], because nothing is tuned: kernels are chosen by sizes."""
        return []

    def set_tuning_results(self, results: Sequence[Mapping[str, Any]], *, error_on_invalid: bool = False) -> None:
        """Do nothing. With error_on_invalid, raise the error of onnxruntime for an unknown provider."""
        if results and error_on_invalid:
            raise RuntimeException(f"Cannot find execution provider {results[0].get('ep')}")

    def release_captured_graph(self, graph_annotation_id: int = 0) -> None:
        """Do nothing, because no graph is captured on a CPU."""

    def get_provider_graph_assignment_info(self) -> NoReturn:
        """Raise `Fail`, as onnxruntime does for a session without the configuration entry for it."""
        raise Fail(
            "Session configuration entry 'session.record_ep_graph_assignment_info' must be set to \"1\" to retrieve EP"
            " graph assignment information."
        )

    def set_ep_dynamic_options(self, options: Mapping[str, str]) -> NoReturn:
        raise OrtNotImplemented("set_ep_dynamic_options is not implemented; the CPU has no options")

    @property
    def _sess(self) -> NativeSession:
        """The counterpart of onnxruntime's inner session."""
        return NativeSession(self)

    def _wanted(self, output_names: Sequence[str] | None) -> list[str]:
        known = [arg.name for arg in self._outputs]
        if output_names is None:
            return known
        listed = isinstance(output_names, Iterable) and not isinstance(output_names, str | Mapping)
        names = list(output_names) if listed else []
        if not listed or not all(isinstance(name, str) for name in names):
            raise TypeError(
                f"output_names: got {type(output_names).__name__}, expected None or a list of some of"
                f" {', '.join(known)}"
            )
        for name in names:
            if name not in self._declared:
                raise InvalidArgument(f"Invalid output name: {name}")
        return names or known


class NativeSession:
    """The part of `InferenceSession._sess` that programs use, with the arguments in the order of onnxruntime."""

    def __init__(self, session: InferenceSession) -> None:
        self._session = session
        self.inputs_meta, self.outputs_meta = session.get_inputs(), session.get_outputs()
        self.overridable_initializers = session.get_overridable_initializers()
        self.model_meta, self.session_options = session.get_modelmeta(), session.get_session_options()
        self.run, self.run_async = session.run, session.run_async
        self.run_with_ortvaluevector = session.run_with_ortvaluevector
        self.get_providers, self.get_provider_options = session.get_providers, session.get_provider_options

    def run_with_ort_values(
        self, feeds: Mapping[str, OrtValue], output_names: Sequence[str], run_options: RunOptions | None = None
    ) -> OrtValueVector:
        return OrtValueVector(self._session.run_with_ort_values(output_names, feeds, run_options))

    def run_with_iobinding(self, iobinding: IOBinding, run_options: RunOptions | None = None) -> None:
        self._session.run_with_iobinding(iobinding, run_options)


def _check_run(options: RunOptions | None) -> None:
    if options is None:
        return
    if not isinstance(options, RunOptions):
        raise TypeError(f"run_options: got {type(options)}, expected fastgru.compat.onnxruntime.RunOptions")
    if options.terminate:
        raise Fail("Exiting due to terminate flag being set to true.")
