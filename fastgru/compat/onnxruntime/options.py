"""SessionOptions and RunOptions.

Threads are honoured. Options that cannot change a result are accepted, and all others are refused. A session here
always runs its nodes one after the other, keeps its memory from call to call, starts no spinning thread and is
deterministic. An option that chooses among such things is accepted and has no effect.
"""

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Final, NoReturn

from fastgru.arrays import Array
from fastgru.compat.onnxruntime.devices import Choice
from fastgru.compat.onnxruntime.edits import Edits
from fastgru.compat.onnxruntime.errors import OrtNotImplemented, RuntimeException
from fastgru.compat.onnxruntime.values import OrtValue

__all__ = [
    "ExecutionMode",
    "ExecutionOrder",
    "GraphOptimizationLevel",
    "OrtExecutionProviderDevicePolicy",
    "OrtSparseFormat",
    "RunOptions",
    "SessionOptions",
]


class GraphOptimizationLevel(Choice):
    """Accepted without effect: every level gives the same graph."""

    ORT_DISABLE_ALL = 0
    ORT_ENABLE_BASIC = 1
    ORT_ENABLE_EXTENDED = 2
    ORT_ENABLE_LAYOUT = 3
    ORT_ENABLE_ALL = 99


class ExecutionMode(Choice):
    """Accepted without effect: nodes run one after the other, and threads share single nodes."""

    ORT_SEQUENTIAL = 0
    ORT_PARALLEL = 1


class ExecutionOrder(Choice):
    """Accepted without effect."""

    DEFAULT = 0
    PRIORITY_BASED = 1
    MEMORY_EFFICIENT = 2


class OrtExecutionProviderDevicePolicy(Choice):
    """Accepted without effect: there is only the CPU."""

    DEFAULT = 0
    PREFER_CPU = 1
    PREFER_NPU = 2
    PREFER_GPU = 3
    MAX_PERFORMANCE = 4
    MAX_EFFICIENCY = 5
    MIN_OVERALL_POWER = 6


class OrtSparseFormat(Choice):
    """The layouts of sparse tensors, which models here do not take."""

    ORT_SPARSE_UNDEFINED = 0
    ORT_SPARSE_COO = 1
    ORT_SPARSE_CSRC = 2
    ORT_SPARSE_BLOCK_SPARSE = 4


# Entries that would change a result or write a file, with a workaround. All other entries, known to onnxruntime or not,
# choose among things that do not exist here, and are kept.
_REFUSED_ENTRIES: Final = {
    "ep.context_enable": "Model.save writes a model that loads fast",
    "optimization.enable_gelu_approximation": "write the approximation into the model",
    "session.collect_node_memory_stats_to_file": "`fastgru inspect MODEL` shows what a model takes",
    "session.compile_only": "Model.save writes a model that loads fast",
    "session.disable_cpu_ep_fallback": "the CPU is the only provider",
    "session.enable_profiling": "`fastgru bench MODEL` measures a model",
    "session.intra_op_num_threads": "set SessionOptions.intra_op_num_threads",
    "session.max_shape_override": "use add_free_dimension_override_by_name to fix sizes",
    "session.optimized_model_filepath": "Model.save writes a model that loads fast",
    "session.record_ep_graph_assignment_info": "every node runs on the CPU",
}
_LONGEST_KEY: Final = 1024
_OFF_WORDS: Final = ("", "0", "false")


def _of(kind: type) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not isinstance(value, kind):
            raise TypeError(f"expected a {kind.__name__}, got {type(value).__name__}")
        return value

    return check


_integer: Final = operator.index
_truth: Final = _of(int)
_text: Final = _of(str)


def _flag(value: Any) -> bool:
    return bool(_truth(value))


class _Options:
    """Known attributes with checks. Any other name is an AttributeError, as in onnxruntime."""

    _known: ClassVar[Mapping[str, tuple[Any, Callable[[Any], Any]]]] = {}
    _refused: ClassVar[Mapping[str, str]] = {}  # attributes that must keep their default, with a workaround
    _values: dict[str, Any]

    def __init__(self) -> None:
        object.__setattr__(self, "_values", {name: value for name, (value, _) in self._known.items()})
        object.__setattr__(self, "_entries", {})

    def __getattr__(self, name: str) -> Any:
        try:
            return object.__getattribute__(self, "_values")[name]
        except KeyError:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}") from None

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in self._known:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        default, check = self._known[name]
        try:
            checked = check(value)
        except TypeError as error:
            raise TypeError(f"{type(self).__name__}.{name}: {error}") from None
        if name in self._refused and checked != default:
            raise OrtNotImplemented(
                f"{type(self).__name__}.{name} = {value!r} is not implemented; {self._refused[name]}"
            )
        self._values[name] = checked


_ANY_FLAG: Final = (True, _flag)
_OFF: Final = (False, _flag)


class SessionOptions(_Options):
    """The options of an `InferenceSession`.

    intra_op_num_threads: the number of threads of a session. 0, the default, means 1; in onnxruntime it means all
        cores.

    Overrides of free dimensions and of initializers work. Options for things that do not exist here, such as arenas,
    optimisation levels and thread pools between nodes, are accepted and have no effect. Custom operators, profiles and
    optimised models on disk raise `OrtNotImplemented`.
    """

    _known: ClassVar = {
        "enable_cpu_mem_arena": _ANY_FLAG,
        "enable_mem_pattern": _ANY_FLAG,
        "enable_mem_reuse": _ANY_FLAG,
        "enable_profiling": _OFF,
        "execution_mode": (ExecutionMode.ORT_SEQUENTIAL, _of(ExecutionMode)),
        "execution_order": (ExecutionOrder.DEFAULT, _of(ExecutionOrder)),
        "graph_optimization_level": (GraphOptimizationLevel.ORT_ENABLE_ALL, _of(GraphOptimizationLevel)),
        "inter_op_num_threads": (0, _integer),
        "intra_op_num_threads": (0, _integer),
        "log_severity_level": (-1, _integer),
        "log_verbosity_level": (0, _integer),
        "logid": ("", _text),
        "optimized_model_filepath": ("", _text),
        "profile_file_prefix": ("onnxruntime_profile_", _text),
        "use_deterministic_compute": _OFF,
        "use_per_session_threads": _ANY_FLAG,
    }
    _refused: ClassVar = {
        "enable_profiling": "`fastgru bench MODEL` measures a model",
        "optimized_model_filepath": "Model.save writes a model that loads fast",
    }

    def __init__(self) -> None:
        super().__init__()
        object.__setattr__(self, "_edits", Edits())
        object.__setattr__(self, "_cancelled", False)

    def add_session_config_entry(self, key: str, value: str) -> None:
        """Set a configuration entry. Unknown entries are accepted, as in onnxruntime.

        Raises `OrtNotImplemented` for an entry that would change a result.
        """
        key, value = _text(key), _text(value)
        if not 0 < len(key) <= _LONGEST_KEY:
            raise RuntimeException(f"Config key is empty or longer than maximum length {_LONGEST_KEY}")
        if key in ("session.load_model_format", "session.save_model_format") and value.upper() == "ORT":
            raise OrtNotImplemented(
                f"the session's entry {key!r} = {value!r} is not implemented; load the original ONNX file"
            )
        if key in _REFUSED_ENTRIES and value.lower() not in _OFF_WORDS:
            raise OrtNotImplemented(
                f"the session's entry {key!r} = {value!r} is not implemented; {_REFUSED_ENTRIES[key]}"
            )
        self._entries[key] = value

    def get_session_config_entry(self, key: str) -> str:
        """Return the value of an entry that was added. Raises `RuntimeException` if there is none."""
        if key not in self._entries:
            raise RuntimeException(f"SessionOptions does not have configuration with key: {key}")
        return str(self._entries[key])

    def add_free_dimension_override_by_name(self, name: str, size: int) -> None:
        """Fix the size of every free dimension that has this name."""
        self._edits.by_name[_text(name)] = _integer(size)

    def add_free_dimension_override_by_denotation(self, denotation: str, size: int) -> None:
        """Fix the size of every free dimension that has this denotation, such as "DATA_BATCH"."""
        self._edits.by_denotation[_text(denotation)] = _integer(size)

    def add_initializer(self, name: str, value: OrtValue) -> None:
        """Use this value instead of the initializer `name` of the file, which has the same shape and dtype.

        A session copies the value when it is made.
        """
        self._edits.initializers[_text(name)] = _array(value)

    def add_external_initializers(self, names: Sequence[str], values: Sequence[OrtValue]) -> None:
        """Give the values of initializers whose data are not in the ONNX file itself."""
        self._edits.external.update({_text(n): _array(v) for n, v in zip(names, values, strict=True)})

    def add_external_initializers_from_files_in_memory(
        self, names: Sequence[str], buffers: Sequence[bytes], lengths: Sequence[int]
    ) -> None:
        """Give the contents of files of external data, by the locations in the ONNX file."""
        for name, data, length in zip(names, buffers, lengths, strict=True):
            self._edits.files[_text(name)] = bytes(memoryview(data)[: _integer(length)])

    def add_provider(self, name: str, options: Mapping[str, str]) -> None:
        """Do nothing for "CPUExecutionProvider". Any other provider raises `OrtNotImplemented`."""
        if name != "CPUExecutionProvider":
            raise OrtNotImplemented(
                f"add_provider({name!r}) is not implemented; the only provider is CPUExecutionProvider"
            )

    def add_provider_for_devices(self, devices: Sequence[Any], options: Mapping[str, str]) -> None:
        """Do the same as `add_provider`, with devices from `get_ep_devices`."""
        for device in devices:
            self.add_provider(device.ep_name, options)

    def has_providers(self) -> bool:
        """Return False, because providers are given to the session."""
        return False

    def set_load_cancellation_flag(self, cancel: bool) -> None:
        """With True, making a session with these options raises `ModelLoadCanceled`."""
        object.__setattr__(self, "_cancelled", _flag(cancel))

    def set_provider_selection_policy(self, policy: OrtExecutionProviderDevicePolicy) -> None:
        """Accept any policy. All of them choose the CPU, the only device."""
        OrtExecutionProviderDevicePolicy(policy)

    def set_provider_selection_policy_delegate(self, delegate: Any) -> NoReturn:
        raise OrtNotImplemented(
            "set_provider_selection_policy_delegate is not implemented, because the CPU is the only provider"
        )

    def register_custom_ops_library(self, path: str) -> NoReturn:
        raise OrtNotImplemented(
            f"register_custom_ops_library({path!r}) is not implemented; write the model with operators of ONNX"
        )

    def set_ep_context_data_read_func(self, read_func: Any) -> NoReturn:
        raise OrtNotImplemented("set_ep_context_data_read_func is not implemented; load the original ONNX file")

    def clear_ep_context_data_read_func(self) -> None:
        """Do nothing, because no such function can be set."""


def _array(value: Any) -> Array:
    if not isinstance(value, OrtValue):
        raise RuntimeException(f"expected an OrtValue, got {type(value).__name__}")
    return value.numpy()


class RunOptions(_Options):
    """The options of a single run.

    terminate: True stops the run before it begins. The other options are accepted and have no effect.
    """

    _known: ClassVar = {
        "log_severity_level": (-1, _integer),
        "log_verbosity_level": (0, _integer),
        "logid": ("", _text),
        "only_execute_path_to_fetches": _OFF,
        "terminate": _OFF,
    }

    def add_run_config_entry(self, key: str, value: str) -> None:
        """Set a configuration entry. It has no effect, because no entry changes a result on a CPU."""
        self._entries[_text(key)] = _text(value)

    def get_run_config_entry(self, key: str) -> str:
        """Return the value of an entry that was added. Raises `RuntimeException` if there is none."""
        if key not in self._entries:
            raise RuntimeException(f"RunOptions does not have configuration with key: {key}")
        return str(self._entries[key])

    def add_active_adapter(self, adapter: Any) -> NoReturn:
        raise OrtNotImplemented("add_active_adapter is not implemented; merge the adapter into the weights")
