"""Combines weights that torch stores in parts while it trains them, as the model does in evaluation.

weight_norm: g * v / |v|, with the norm over all axes along which g has size 1 (torch.nn.utils.weight_norm: `<name>_g`,
`<name>_v`; torch.nn.utils.parametrizations: `parametrizations.<name>.original0`, `original1`).
spectral_norm: w / (u . W v), where W is the weight as a matrix with as many rows as u (`<name>_orig`, `_u`, `_v`;
`parametrizations.<name>.original`, `.0._u`, `.0._v`).
Pruning: w * mask (torch.nn.utils.prune: `<name>_orig`, `<name>_mask`).
"""

import re
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import InvalidModelError, UnsupportedModelError

__all__ = ["fold_reparametrised"]

NEAR: Final = 0.25  # most distance of two unit vectors of which one is some training steps older


def fold_reparametrised(tensors: Mapping[str, Array], source: str) -> dict[str, Array]:
    """Return `tensors` with each weight in place of its first part, in float64 if the parts are, else in float32.

    Raises `UnsupportedModelError` for any other parametrisation, `InvalidModelError` if parts do not fit together.
    """
    folded: dict[str, Array] = {}
    taken: set[str] = set()
    for name, array in tensors.items():
        if name in taken:
            continue
        whole, parts, compute = name, [name], None
        for form, endings, formula in _FORMS:
            if (match := form.fullmatch(name)) is None:
                continue
            stem = name[: match.start("part")]
            found = [stem + ending for ending in endings]
            if name in found and all(part in tensors for part in found):
                whole, parts, compute = f"{match['owner'] or ''}{match['name']}", found, formula
                break
        if compute is not None:
            array = _whole(compute, [tensors[part] for part in parts], f"{source}: {whole[:80]!r}")
        elif match := _PARAMETRIZED.fullmatch(name):
            raise UnsupportedModelError(
                f"{source}: {match['owner'] or ''}{match['name']} is parametrised by something other than weight_norm"
                " and spectral_norm: before saving, call"
                f" torch.nn.utils.parametrize.remove_parametrizations(module, {match['name']!r})"
            )
        if whole in folded or (compute is not None and whole in tensors):
            raise InvalidModelError(f"{source}: {whole[:80]!r} occurs both whole and in parts")
        folded[whole] = array
        taken.update(parts)
    return folded


def _whole(compute: Callable[..., Array], parts: list[Array], what: str) -> Array:
    if any(part.dtype.kind not in "fV" for part in parts[:1]):
        raise InvalidModelError(f"{what}: its parts are {parts[0].dtype}, expected floats")
    dtype = np.float64 if parts[0].dtype.itemsize > 4 else np.float32
    with np.errstate(all="ignore"):
        try:
            return compute(*(part.astype(dtype) for part in parts)).astype(dtype)
        except UnsupportedModelError as error:
            raise UnsupportedModelError(f"{what}: {error}: remove the parametrization in torch before saving") from None
        except ValueError:
            shapes = ", ".join(str(list(part.shape)) for part in parts)
            raise InvalidModelError(f"{what}: its parts have the shapes {shapes}, which do not fit together") from None


def _weight_norm(g: Array, v: Array) -> Array:
    """Undo torch.nn.utils.weight_norm. Its dim is the axis that g keeps, or None if g has one element.

    The norm is computed in float64.
    """
    if g.size != 1 and (g.ndim != v.ndim or any(m not in (1, n) for m, n in zip(g.shape, v.shape, strict=True))):
        raise ValueError
    axes = tuple(axis for axis in range(v.ndim) if g.size == 1 or g.shape[axis] == 1)
    length = np.sqrt(np.square(v.astype(np.float64)).sum(axes, keepdims=True))
    return np.asarray(g.reshape(length.shape) * v / length)


def _spectral_norm(w: Array, u: Array, v: Array) -> Array:
    """Undo torch.nn.utils.spectral_norm. The rows of the matrix are axis 0, or axis 1 for transposed convolutions."""
    axes = [axis for axis in (0, 1)[: w.ndim] if w.shape[axis] == u.size and w.size == u.size * v.size]
    if u.ndim != 1 or v.ndim != 1 or not axes:
        raise ValueError
    u, v = u.astype(np.float64), v.astype(np.float64)
    left = matrices = [np.moveaxis(w.astype(np.float64), axis, 0).reshape(u.size, -1) for axis in axes]
    if matrices[1:]:
        # The power iteration ends with u = W v / |W v|, which shows along which of two equal axes it ran.
        left = [m for m in matrices if np.linalg.norm(m @ v / np.linalg.norm(m @ v) - u) < NEAR]
        left = matrices[:1] if w.ndim == 2 and len(left) != 1 else left  # for a matrix it is nearly always axis 0
    if len(left) != 1:
        raise UnsupportedModelError("spectral_norm runs along axis 0 or 1, and the tensors do not show which")
    return np.asarray(w / (u @ left[0] @ v))


def _pruned(w: Array, mask: Array) -> Array:
    if w.shape != mask.shape:
        raise ValueError
    return np.asarray(w * mask)


_PARAMETRIZED: Final = re.compile(r"(?P<owner>.*\.)?parametrizations\.(?P<name>[^.]+)\.(?P<part>.+)")
_HOOKED: Final = re.compile(
    r"(?P<owner>.*\.)?(?P<name>([^.]*_)?(weight|bias)(_(ih|hh|hr)(_l\d+)?(_reverse)?)?)(?P<part>_g|_v|_u|_orig|_mask)"
)
_FORMS: Final[tuple[tuple[re.Pattern[str], tuple[str, ...], Callable[..., Array]], ...]] = (
    (_PARAMETRIZED, ("original0", "original1"), _weight_norm),
    (_PARAMETRIZED, ("original", "0._u", "0._v"), _spectral_norm),
    (_HOOKED, ("_orig", "_u", "_v"), _spectral_norm),
    (_HOOKED, ("_g", "_v"), _weight_norm),
    (_HOOKED, ("_orig", "_mask"), _pruned),
)
