"""SessionOptions and RunOptions: threads are honoured, what cannot change a result is accepted, the rest refused.

Here a session runs its nodes one after the other, keeps its memory from call to call, starts no thread that spins and
is deterministic, whatever is asked for: an option that chooses among such things is accepted, and has no effect.
"""

from __future__ import annotations

import enum
import operator
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final, NoReturn

from fastgru.compat.onnxruntime.errors import OrtNotImplemented, RuntimeException

__all__ = ["ExecutionMode", "ExecutionOrder", "GraphOptimizationLevel", "RunOptions", "SessionOptions"]


class GraphOptimizationLevel(enum.IntEnum):
    """Accepted, and without effect: every level gives the same graph."""

    ORT_DISABLE_ALL = 0
    ORT_ENABLE_BASIC = 1
    ORT_ENABLE_EXTENDED = 2
    ORT_ENABLE_LAYOUT = 3
    ORT_ENABLE_ALL = 99


class ExecutionMode(enum.IntEnum):
    """Accepted, and without effect: nodes run one after the other, and threads share single nodes."""

    ORT_SEQUENTIAL = 0
    ORT_PARALLEL = 1


class ExecutionOrder(enum.IntEnum):
    """Accepted, and without effect."""

    DEFAULT = 0
    PRIORITY_BASED = 1
    MEMORY_EFFICIENT = 2


# Entries that choose how onnxruntime spends threads and memory, or how it packs weights.
_HARMLESS_ENTRIES: Final = frozenset({
    "session.disable_prepacking",
    "session.dynamic_block_base",
    "session.force_spinning_stop",
    "session.inter_op.allow_spinning",
    "session.intra_op.allow_spinning",
    "session.set_denormal_as_zero",
    "session.use_device_allocator_for_initializers",
    "session.use_env_allocators",
})  # fmt: skip
_HARMLESS_RUN_ENTRIES: Final = frozenset({"memory.enable_memory_arena_shrinkage"})


def _of(kind: type) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if not isinstance(value, kind):
            raise TypeError(f"expected a {kind.__name__}, got {type(value).__name__}")
        return value

    return check


_integer: Final = operator.index
_flag: Final = _of(bool)
_text: Final = _of(str)


class _Options:
    """Attributes that are known and checked; any other name is an AttributeError, as in onnxruntime."""

    _known: ClassVar[Mapping[str, tuple[Any, Callable[[Any], Any]]]] = {}
    _refused: ClassVar[Mapping[str, str]] = {}  # attributes that may only keep their default, and the way round
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
    """How a session runs.

    intra_op_num_threads: the threads of a session; 0, the default, is 1 here, where onnxruntime takes every core.
    The overrides of free dimensions fix the sizes of inputs. Options that choose among things that do not exist here
    (arenas, optimisation levels, thread pools between nodes, logs) are accepted and have no effect; custom operators,
    profiles, optimised models on disk and weights from outside are refused by name with `OrtNotImplemented`.
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
        object.__setattr__(self, "_free_dimensions", {})

    def add_session_config_entry(self, key: str, value: str) -> None:
        """Keep an entry that cannot change a result; any other is refused by name."""
        key, value = _text(key), _text(value)
        if key == "session.load_model_format" and value.upper() == "ONNX":
            pass
        elif key not in _HARMLESS_ENTRIES:
            raise OrtNotImplemented(f"the session's entry {key!r} is not implemented; leave it out")
        self._entries[key] = value

    def get_session_config_entry(self, key: str) -> str:
        """An entry that was added."""
        if key not in self._entries:
            raise RuntimeException(f"SessionOptions does not have configuration with key: {key}")
        return str(self._entries[key])

    def add_free_dimension_override_by_name(self, name: str, size: int) -> None:
        """Fix every free dimension of this name."""
        self._free_dimensions[_text(name)] = _integer(size)

    def add_free_dimension_override_by_denotation(self, denotation: str, size: int) -> NoReturn:
        raise OrtNotImplemented(
            f"add_free_dimension_override_by_denotation({denotation!r}, {size}) is not implemented;"
            " add_free_dimension_override_by_name is"
        )

    def add_initializer(self, name: str, value: Any) -> NoReturn:
        raise OrtNotImplemented(f"add_initializer({name!r}, ...) is not implemented; store the weights in the model")

    def add_external_initializers(self, names: Any, values: Any) -> NoReturn:
        raise OrtNotImplemented(
            "add_external_initializers is not implemented; store the weights in the model or beside it"
        )

    def add_provider(self, name: str, options: dict[str, str]) -> None:
        """The CPU is there in any case; any other provider is refused."""
        if name != "CPUExecutionProvider":
            raise OrtNotImplemented(f"add_provider({name!r}) is not implemented; there is CPUExecutionProvider")

    def has_providers(self) -> bool:
        """False: providers are given to the session."""
        return False

    def register_custom_ops_library(self, path: str) -> NoReturn:
        raise OrtNotImplemented(
            f"register_custom_ops_library({path!r}) is not implemented; there are only ONNX's operators"
        )


class RunOptions(_Options):
    """How a single run goes. `terminate` stops a run before it begins; the rest has no effect."""

    _known: ClassVar = {
        "log_severity_level": (-1, _integer),
        "log_verbosity_level": (0, _integer),
        "logid": ("", _text),
        "only_execute_path_to_fetches": _OFF,
        "terminate": _OFF,
    }

    def add_run_config_entry(self, key: str, value: str) -> None:
        """Keep an entry that cannot change a result; any other is refused by name."""
        if key not in _HARMLESS_RUN_ENTRIES:
            raise OrtNotImplemented(f"the run's entry {key!r} is not implemented; leave it out")
        self._entries[key] = _text(value)

    def get_run_config_entry(self, key: str) -> str:
        """An entry that was added."""
        if key not in self._entries:
            raise RuntimeException(f"RunOptions does not have configuration with key: {key}")
        return str(self._entries[key])

    def add_active_adapter(self, adapter: Any) -> NoReturn:
        raise OrtNotImplemented("add_active_adapter is not implemented; merge the adapter into the weights")
