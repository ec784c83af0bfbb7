"""Reads pickles as data: an interpreter of the opcodes for plain values, and of calls that the caller allows.

A pickle is a program. This module never imports what a pickle names: it looks a global up in the table that the caller
passes. Objects of any other class are skipped: they become `Inert`, and their data is not examined. Names that serve
attacks are refused. Time and memory are bounded by the length of the pickle, by the number of opcodes, and by the
number of elements that calls may copy. Nothing recurses, so nesting and cycles do no harm. Keys of dicts are values
whose hashes cannot be made to collide; any other key is replaced by an `Inert`.
"""

import pickletools
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Final

from fastgru.errors import FastGRUError, InvalidModelError, UnsupportedModelError

__all__ = ["MAX_OPCODES", "PICKLE_LIMIT", "Global", "Inert", "PickleReader", "plain_key"]

PICKLE_LIMIT: Final = 64 << 20
MAX_OPCODES: Final = 1_500_000
MAX_COPIED: Final = 1_500_000
MAX_UNKNOWN: Final = 10_000  # classes that are not in the table

# Modules that no honest file of weights names.
_HOSTILE: Final = {
    "__builtin__", "asyncio", "bdb", "builtins", "cProfile", "code", "codeop", "commands", "ctypes", "importlib",
    "io", "marshal", "multiprocessing", "nt", "operator", "os", "pdb", "pickle", "pip", "platform", "posix",
    "profile", "pty", "pydoc", "requests", "runpy", "shutil", "signal", "site", "socket", "ssl", "subprocess",
    "sys", "timeit", "trace", "types", "urllib", "webbrowser",
}  # fmt: skip

# Torch's own types of packed integers, and modules of libraries that make such tensors.
_QUANTISED: Final = {
    "torch.ScriptObject", "torch._utils._rebuild_qtensor", "torch.qint32", "torch.qint8", "torch.quint2x4",
    "torch.quint4x2", "torch.quint8",
}  # fmt: skip
_QUANTISERS: Final = {"bitsandbytes", "optimum", "quanto", "torchao"}

# `Warning` is among them because texts with odd backslashes cause a deprecation warning, which may be set to raise.
_BROKEN: Final = (
    AttributeError, EOFError, IndexError, KeyError, OverflowError, TypeError, ValueError, Warning, struct.error,
)  # fmt: skip


@dataclass(eq=False, slots=True)
class Inert:
    """Stands for an object beside the tensors of a checkpoint; only the name of its class is known.

    items: the items that the pickle sets as in a dict, because the class may be a subclass of dict; None without any.
    """

    name: str
    items: dict[Any, Any] | None = None


@dataclass(eq=False)
class Global:
    """A class or function that a pickle names. call: returns the result of a call in the pickle."""

    name: str
    call: Callable[..., Any]


class PickleReader:
    """Reads pickles one after another from `stream`.

    table: takes a function `charge` and returns {qualified name ("collections.OrderedDict"): function}. Such a function
        is called with the pickled arguments, and calls `charge` with the number of elements that it copies.
    persistent: called with the id of each persistent object.
    unknown: the names of classes and functions that are not in the table, once each, in the order of the pickle.
    """

    def __init__(
        self,
        stream: BytesIO,
        *,
        name: str,
        table: Callable[[Callable[[int], None]], Mapping[str, Callable[..., Any]]],
        persistent: Callable[[Any], Any] | None = None,
    ) -> None:
        self.stream = stream
        self.name = name
        self._table = table(self._charge)
        self._persistent = persistent
        self._opcodes = self._copied = 0
        self.unknown: dict[str, Global] = {}

    def load(self) -> Any:
        """Return the value of the next pickle.

        Raises `InvalidModelError` for a damaged or hostile pickle, `UnsupportedModelError` for packed integers.
        """
        stack: list[Any] = []
        marks: list[list[Any]] = []
        memo: dict[int, Any] = {}
        position: int | None = 0
        try:
            opcodes: Iterator[tuple[pickletools.OpcodeInfo, Any, int | None]] = pickletools.genops(self.stream)
            for opcode, argument, at in opcodes:
                position = at
                self._opcodes += 1
                if self._opcodes > MAX_OPCODES:
                    raise InvalidModelError(f"{self.name}: the pickle has more than {MAX_OPCODES} opcodes")
                op = opcode.name
                if op in _PUSHES:
                    stack.append(argument)
                elif op in ("BINGET", "LONG_BINGET", "GET"):
                    stack.append(memo[argument])
                elif op in ("BINPUT", "LONG_BINPUT", "PUT", "MEMOIZE"):
                    index = len(memo) if op == "MEMOIZE" else argument
                    if not 0 <= index < 1 << 32:
                        raise ValueError(f"memo index {index}")
                    memo[index] = stack[-1]
                elif op == "MARK":
                    marks.append(stack)
                    stack = []
                elif op in _FROM_MARK:
                    items, stack = stack, marks.pop()
                    self._from_mark(op, argument, items, stack)
                elif op == "STOP":
                    return stack.pop()
                elif op not in ("PROTO", "FRAME"):
                    self._step(op, argument, stack, marks)
        except FastGRUError:
            raise
        except _BROKEN as error:
            raise InvalidModelError(
                f"{self.name}: the pickle is damaged at byte {position} ({type(error).__name__}: {str(error)[:120]})"
            ) from None
        raise InvalidModelError(f"{self.name}: the pickle has no end")

    def _charge(self, copied: int) -> None:
        self._copied += copied
        if self._copied > MAX_COPIED:
            raise InvalidModelError(f"{self.name}: the pickle copies more than {MAX_COPIED} elements")

    def _step(self, op: str, argument: Any, stack: list[Any], marks: list[list[Any]]) -> None:
        if op in _NEW:
            stack.append(_NEW[op]())
        elif op in _TUPLES:
            size = _TUPLES[op]
            if len(stack) < size:
                raise IndexError("the stack is too short")
            stack[-size:] = [tuple(stack[-size:])]
        elif op == "APPEND":
            value = stack.pop()
            _extend(stack[-1], [value])
        elif op == "SETITEM":
            value, key = stack.pop(), stack.pop()
            _set_items(stack[-1], [key, value])
        elif op == "POP":
            if stack:
                stack.pop()
            else:
                stack[:] = marks.pop()
        elif op == "DUP":
            stack.append(stack[-1])
        elif op == "GLOBAL":
            stack.append(self._find(*argument.split(" ", 1)))
        elif op == "STACK_GLOBAL":
            attribute, module = stack.pop(), stack.pop()
            stack.append(self._find(_expect(module, str), _expect(attribute, str)))
        elif op in ("REDUCE", "NEWOBJ", "NEWOBJ_EX"):
            named = stack.pop() if op == "NEWOBJ_EX" else {}
            arguments, function = stack.pop(), stack.pop()
            stack.append(_call(function, _expect(arguments, tuple), _expect(named, dict)))
        elif op == "BUILD":
            # The state of an OrderedDict (its attributes, such as `_metadata`) or of an inert object is not needed.
            stack.pop()
            _expect(stack[-1], dict, list, Inert)
        elif op == "BINPERSID" and self._persistent:
            stack.append(self._persistent(stack.pop()))
        else:
            raise InvalidModelError(f"{self.name}: the pickle opcode {op} does not belong in a file of weights")

    def _from_mark(self, op: str, argument: Any, items: list[Any], stack: list[Any]) -> None:
        if op == "TUPLE" or op == "FROZENSET":
            stack.append(tuple(items))
        elif op == "LIST":
            stack.append(items)
        elif op == "DICT":
            stack.append(_set_items({}, items))
        elif op == "SETITEMS":
            _set_items(stack[-1], items)
        elif op in ("APPENDS", "ADDITEMS"):
            _extend(stack[-1], items)
        elif op == "OBJ":
            stack.append(_call(items[0], tuple(items[1:]), {}))
        elif op == "INST":
            stack.append(_call(self._find(*argument.split(" ", 1)), tuple(items), {}))

    def _find(self, module: str, attribute: str) -> Global:
        name = f"{module}.{attribute}"[:200]
        if name in self._table:
            return Global(name, self._table[name])
        if module.split(".")[0] in _HOSTILE:
            raise InvalidModelError(
                f"{self.name}: the pickle names {name!r}, which would have to be imported and run; nothing of it was"
                " run. Files of weights do not need this: do not trust the file"
            )
        if name in _QUANTISED or module.split(".")[0] in _QUANTISERS:
            raise UnsupportedModelError(
                f"{self.name}: the pickle names {name!r}, which is for quantised and packed weights; they are not read:"
                " save the state dict of the float model, and load it with precision='int8' for weights of 8 bits"
            )
        if name not in self.unknown:
            if len(self.unknown) == MAX_UNKNOWN:
                raise InvalidModelError(f"{self.name}: the pickle names more than {MAX_UNKNOWN} unknown classes")
            self.unknown[name] = Global(name, lambda *arguments: Inert(name))
        return self.unknown[name]


_PUSHES: Final = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "STRING", "BINSTRING",
    "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8", "UNICODE", "SHORT_BINUNICODE",
    "BINUNICODE", "BINUNICODE8",
}  # fmt: skip
_FROM_MARK: Final = {"TUPLE", "LIST", "DICT", "FROZENSET", "SETITEMS", "APPENDS", "ADDITEMS", "POP_MARK", "OBJ", "INST"}
_NEW: Final[Mapping[str, Callable[[], Any]]] = {
    "EMPTY_LIST": list, "EMPTY_SET": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple, "NONE": lambda: None,
    "NEWTRUE": lambda: True, "NEWFALSE": lambda: False,
}  # fmt: skip
_TUPLES: Final = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _expect(value: Any, *kinds: type) -> Any:
    if not isinstance(value, kinds):
        expected = " or ".join(kind.__name__ for kind in kinds)
        raise TypeError(f"got {type(value).__name__}, expected {expected}")
    return value


def _call(function: Any, arguments: tuple[Any, ...], named: dict[Any, Any]) -> Any:
    """Return the result of a call; it is an `Inert` for a call of an `Inert` or with arguments by name."""
    found = _expect(function, Global, Inert)
    return Inert(found.name) if named or isinstance(found, Inert) else found.call(*arguments)


def _extend(target: Any, items: list[Any]) -> None:
    if not isinstance(target, Inert):
        _expect(target, list).extend(items)


def _set_items(target: Any, items: list[Any]) -> dict[Any, Any]:
    """Put items, a list of alternating keys and values, into `target`."""
    if isinstance(target, Inert):
        result = target.items = target.items or {}
    else:
        result = _expect(target, dict)
    result.update((plain_key(key), value) for key, value in zip(items[::2], items[1::2], strict=True))
    return result


def plain_key(key: Any) -> Any:
    """Return `key` if it is safe as a key of a dict, else a new `Inert` in its place.

    Tuples are hashed recursively, again and again if they are shared; integers above 2^61 - 2 and floats can be made to
    collide.
    """
    if key is None or isinstance(key, str | bytes | Inert | Global):
        return key
    return key if isinstance(key, int) and abs(key) < (1 << 61) - 1 else Inert(type(key).__name__)
