"""Which dict of a checkpoint is the state dict: the one beside the optimizer's, the epoch and the losses."""

from collections.abc import Callable
from typing import Any, Final

from fastgru.errors import InvalidModelError, UnsupportedModelError
from fastgru.importers.weights.pickles import Inert

__all__ = ["choose_state_dict"]

MAX_DEPTH: Final = 6
SHOWN: Final = 20

Entries = dict[Any, Any]
Test = Callable[[Any], bool]


def choose_state_dict(value: Any, *, key: str | None, name: str, is_tensor: Test, is_weight: Test) -> Entries:
    """The tensors of one dict in `value`; scalars and texts beside them are passed over.

    key: the dotted path of the dict ("model", "ema.model", "" for the outermost); None finds it if there is but one.
    is_tensor: what counts as a tensor. is_weight: which tensors look like weights, so that the outermost dict is not
        taken for a state dict because of a loss or a random state in it.

    Raises `InvalidModelError` where there is none or more than one, listing those there are, `UnsupportedModelError`
    where an entry of the chosen dict is something that had to be a tensor.
    """
    if not isinstance(value, dict):
        given = "tensor" if is_tensor(value) else type(value).__name__
        raise InvalidModelError(f"{name}: a {given}, expected a dict of tensors: a state dict")

    def holds(test: Test, entries: Entries) -> bool:
        return any(test(entry) for label, entry in entries.items() if isinstance(label, str))

    found = _dicts(value)
    nested = [path for path, entries in found.items() if path and holds(is_tensor, entries)]
    outermost = [""] if holds(is_tensor, value) else []
    if key is None:
        candidates = nested if nested and not holds(is_weight, value) else outermost + nested
        if len(candidates) != 1:
            way = ": choose one with read_weights(..., key=...)" if candidates else ""
            raise InvalidModelError(f"{name}: expected one dict of tensors, found {_listed(candidates)}{way}")
        key = candidates[0]
    elif key not in outermost + nested:
        raise InvalidModelError(f"{name}: no dict of tensors under {key!r}; there are {_listed(outermost + nested)}")
    where = f"{name}, under {key[:80]!r}" if key else name
    tensors = {}
    for label, entry in found[key].items():
        if is_tensor(entry):
            if not isinstance(label, str):
                raise InvalidModelError(f"{where}: a tensor under a key that is a {type(label).__name__}, not a text")
            tensors[label] = entry
        elif isinstance(entry, Inert) and isinstance(label, str) and "_reconstruct" in entry.name:
            raise UnsupportedModelError(f"{where}: {label[:80]!r} is a pickled NumPy array: save torch tensors")
    return tensors


def _dicts(value: Entries) -> dict[str, Entries]:
    """Dotted path -> dict, from the outermost ("") down; optimizers are left out, each dict appears once."""
    found = {"": value}
    seen = {id(value)}
    level = [("", value)]
    for _ in range(MAX_DEPTH):
        below = []
        for prefix, entries in level:
            for key, entry in entries.items():
                if isinstance(key, str) and isinstance(entry, dict) and id(entry) not in seen:
                    seen.add(id(entry))
                    if "param_groups" not in entry or "state" not in entry:
                        found[prefix + key] = entry
                        below.append((f"{prefix}{key}.", entry))
        level = below
    return found


def _listed(paths: list[str]) -> str:
    more = f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else ""
    return (", ".join(repr(path[:80]) for path in paths[:SHOWN]) or "none") + more
