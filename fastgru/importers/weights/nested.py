"""Finds the state dict in a checkpoint that also has callbacks, optimizers, the epoch and losses.

Candidates are all dicts with tensors, up to a depth of six, including those in short lists and in subclasses of dict.
Four questions reduce the candidates; a question counts only if some candidate passes it:

1. Are weights in it named like parameters (`...weight`, `...bias_hh_l0`, `...running_mean`)?
2. Is one of these a matrix? (Weights of a loss and running means of observations are vectors.)
3. Is it outside the state that training keeps beside a model (callbacks, optimizers, averaged copies)?
4. Does it have floating-point arrays?

A single remaining candidate is the state dict. If several remain, the caller must name one. If several dicts have the
same path (`{"a.b": {}, "a": {"b": {}}}`, `{1: {}, "1": {}}`), the path is numbered from the second on: "a.b (2)".
"""

import re
from collections.abc import Callable, Container, Mapping
from typing import Any, Final

from fastgru.errors import AmbiguousStateDictError, InvalidModelError, UnsupportedModelError
from fastgru.importers.weights.pickles import Inert
from fastgru.nearest import nearest
from fastgru.records import dataclass

__all__ = ["StateDict", "choose_state_dict"]

MAX_DEPTH: Final = 6
MAX_LIST: Final = 1000  # longer lists are not searched
MAX_CHARACTERS: Final = 64 << 20  # in all paths together
SHOWN: Final = 20

_NESTS: Final = (dict, list, tuple, Inert)

_PARAMETER: Final = re.compile(
    r"(.*[._])?(weight|bias|kernel|gamma|beta|alpha|running_mean|running_var|original[01]?)"
    r"(_(ih|hh|hr)(_l\d+)?(_reverse)?)?(_g|_v|_orig|_mask|_u)?"
)
_BESIDE: Final = re.compile(
    r"(avg|averaged?|callbacks?|ema|loops|optim\w{0,9}|(lr_)?schedulers?|scaler|swa)", re.IGNORECASE
)

Entries = Mapping[Any, Any]
Test = Callable[[Any], bool]


@dataclass(frozen=True)
class StateDict:
    """The tensors of one dict of a file.

    key: its dotted path, "" for the outermost. others: the paths of other dicts with tensors. unknown: the names of
    classes whose objects were skipped anywhere in the file.
    """

    tensors: Mapping[str, Any]
    key: str = ""
    others: tuple[str, ...] = ()
    unknown: tuple[str, ...] = ()


def choose_state_dict(
    value: Any,
    *,
    key: str | None,
    name: str,
    is_tensor: Test,
    is_weight: Test,
    unknown: Container[str] = (),
) -> StateDict:
    """Return the tensors of one dict in `value`; scalars, texts and objects beside them are skipped.

    key: the dotted path of the dict ("model", "ema.model", "" for the outermost); None finds it by the rule above.
    is_tensor: whether a value is a tensor. is_weight: whether a tensor is a floating-point array.
    unknown: the classes whose objects may be models; beside such an object, tensors that do not look like the weights
    of a network are not taken as a state dict.

    Raises `InvalidModelError` if there is no such dict, `AmbiguousStateDictError` if there are several,
    `UnsupportedModelError` for an object in place of a state dict or of a tensor in it.
    """
    found = _dicts(value, is_tensor, name)
    candidates = [path for path, entries in found.items() if _any(is_tensor, entries)]
    if not candidates:
        _refuse_objects(value, found, name, None)
        given = "tensor" if is_tensor(value) else type(value).__name__
        raise InvalidModelError(f"{name}: got a {given}, expected a state dict, which is a dict of tensors")
    if key is None:
        left = _narrowed(candidates, found, is_weight)
        if not any(is_weight(e) and (_named(n) or len(_shape(e)) > 1) for path in left for n, e in found[path].items()):
            _refuse_objects(value, found, name, unknown)
        if len(left) != 1:
            raise AmbiguousStateDictError(
                f"{name}: expected one dict of tensors, found {_listed(left)}: choose one with"
                " read_weights(..., key=...), or on the command line with --key",
                tuple(left),
                tuple(
                    {n: _shape(e) for n, e in found[path].items() if isinstance(n, str) and is_tensor(e)}
                    for path in left[:SHOWN]
                ),
            )
        key = left[0]
    elif key not in candidates:
        close = nearest(key, candidates)
        offer = f"did you mean {close[0]!r}? Expected" if close else "expected"
        raise InvalidModelError(
            f"{name}: there is no dict of tensors under {key!r}; {offer} one of {_listed(candidates)}"
        )
    where = f"{name}, under {key[:80]!r}" if key else name
    tensors = {}
    for label, entry in found[key].items():
        if is_tensor(entry):
            if not isinstance(label, str):
                raise InvalidModelError(
                    f"{where}: a tensor has a key of the type {type(label).__name__}, expected a text"
                )
            tensors[label] = entry
        elif isinstance(entry, Inert) and isinstance(label, str):
            _refuse_strange_tensor(entry.name, f"{where}: {label[:80]!r}")
            if _named(label):
                raise UnsupportedModelError(
                    f"{where}: {label[:80]!r} is an object of {entry.name!r}, which would have to be imported and run;"
                    " nothing of it was run: save a dense tensor of floats in its place"
                )
    return StateDict(tensors, key, tuple(path for path in candidates if path != key))


def _narrowed(candidates: list[str], found: Mapping[str, Entries], is_weight: Test) -> list[str]:
    questions: tuple[Callable[[str], bool], ...] = (
        lambda path: any(_named(n) and is_weight(e) for n, e in found[path].items()),
        lambda path: any(_named(n) and is_weight(e) and len(_shape(e)) > 1 for n, e in found[path].items()),
        lambda path: not any(map(_BESIDE.fullmatch, re.split(r"[._]", path))),
        lambda path: _any(is_weight, found[path]),
    )
    for question in questions:
        candidates = [path for path in candidates if question(path)] or candidates
    return candidates


def _named(label: Any) -> bool:
    return isinstance(label, str) and _PARAMETER.fullmatch(label) is not None


def _shape(entry: Any) -> tuple[int, ...]:
    """Return the shape of a tensor, or of nested lists, judged by their first entries."""
    shape: list[int] = []
    while isinstance(entry, list):
        shape.append(len(entry))
        entry = entry[0] if entry else None
    return (*shape, *getattr(entry, "shape", ()))


def _any(test: Test, entries: Entries) -> bool:
    return any(test(entry) for label, entry in entries.items() if isinstance(label, str))


def _dicts(value: Any, is_tensor: Test, name: str) -> dict[str, Entries]:
    """Return {path: dict} from the outermost ("") down; each dict appears once, and optimizers are left out."""
    found: dict[str, Entries] = {}
    seen: set[int] = set()
    times: dict[str, int] = {}
    room = MAX_CHARACTERS
    level = [("", value)]
    for _ in range(MAX_DEPTH + 1):
        below = []
        for path, entry in level:
            entries = _entries(entry)
            if entries is None or id(entry) in seen or ("param_groups" in entries and "state" in entries):
                continue
            seen.add(id(entry))
            own = path
            while own in found:
                times[path] = times.get(path, 1) + 1
                own = f"{path} ({times[path]})"
            if not isinstance(entry, list | tuple):
                found[own] = entries
            for key, inner in entries.items():
                if isinstance(inner, _NESTS) and not is_tensor(inner):
                    label = str(key) if isinstance(key, str | int) else f"<{getattr(key, 'name', type(key).__name__)}>"
                    room -= len(own) + len(label)
                    if room < 0:
                        raise InvalidModelError(
                            f"{name}: the paths of its dicts have more than {MAX_CHARACTERS} characters together"
                        )
                    below.append((f"{own}.{label}" if own else label, inner))
        level = below
    return found


def _entries(value: Any) -> Entries | None:
    if isinstance(value, list | tuple):
        return dict(enumerate(value)) if len(value) <= MAX_LIST else None
    if isinstance(value, Inert):
        return value.items
    return value if isinstance(value, dict) else None


def _refuse_objects(value: Any, found: Mapping[str, Entries], name: str, unknown: Container[str] | None) -> None:
    """Raise `UnsupportedModelError` if there are objects of the classes `unknown`; None means any class."""
    objects = [("", value)] if isinstance(value, Inert) else []
    for path, entries in found.items():
        objects += [(f"{path}.{k}" if path else str(k), e) for k, e in entries.items() if isinstance(e, Inert)]
    if unknown is None:
        for path, entry in objects:
            _refuse_strange_tensor(entry.name, f"{name}: {path[:80]!r}")
    else:
        objects = [(path, entry) for path, entry in objects if entry.name in unknown]
    if objects:
        path, entry = objects[0]
        where = f"under {path[:80]!r} is" if path else "it is"
        raise UnsupportedModelError(
            f"{name}: the file has no state dict; {where} an object of {entry.name!r}, which would have to be"
            " imported and run; nothing of it was run. It was probably made by torch.save(model): load it where its"
            " classes are, and save the weights alone with torch.save(model.state_dict(), path)"
        )


def _refuse_strange_tensor(kind: str, what: str) -> None:
    """Raise `UnsupportedModelError` for an object that is a tensor or an array in an unsupported form."""
    if "multiarray._reconstruct" in kind:
        raise UnsupportedModelError(f"{what} is a pickled NumPy array, which is not read: save torch tensors instead")
    if kind.startswith("torch.") and "_rebuild_" in kind:
        raise UnsupportedModelError(
            f"{what} is a tensor made by {kind!r}, which is not read: save a dense tensor of floats in its place"
        )


def _listed(paths: list[str]) -> str:
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    shown = (repr(path[:80]) if path else "'' (the outermost)" for path in paths[:SHOWN])
    return ", ".join(shown) + more
