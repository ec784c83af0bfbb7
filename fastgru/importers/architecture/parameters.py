"""The tensors of a layer in a state dict, by the names that torch gives its parameters."""

from collections.abc import Mapping

import numpy as np

from fastgru.arrays import Array
from fastgru.errors import InvalidModelError, ShapeError
from fastgru.graph import shape_text
from fastgru.importers.weights import Weights
from fastgru.nearest import nearest
from fastgru.reference.operator import is_floating

__all__ = ["Parameters", "Sizes"]

Sizes = tuple[int | str | None, ...]  # a text names a size that may be anything; None is shown as "?"


class Parameters:
    """The parameters at a prefix of a state dict. keys: names of tensors for parameters that are elsewhere.

    what: the beginning of every message. A parameter under torch's weight_norm, old or new, is computed from its parts.
    """

    def __init__(self, weights: Weights, prefix: str, keys: Mapping[str, str], what: str) -> None:
        self.weights, self.prefix, self.what = weights, prefix, what
        self._keys = keys
        self._used: set[str] = set()

    def key(self, name: str) -> str:
        """Return the key of the parameter `name` in the state dict."""
        if name in self._keys:
            self._used.add(name)
            return self._keys[name]
        return ".".join(filter(None, (self.prefix, name)))

    def unused_keys(self) -> list[str]:
        """Return the entries of `keys` that are not parameters of this layer."""
        return [name for name in self._keys if name not in self._used]

    def names(self) -> list[str]:
        """Return the layer's own parameters: those without a dot after the prefix, and those in `keys`."""
        start = f"{self.prefix}." if self.prefix else ""
        rests = [key.removeprefix(start) for key in self.weights if key.startswith(start)]
        return [*dict.fromkeys([*(rest for rest in rests if "." not in rest), *self._keys])]

    def has(self, name: str) -> bool:
        return self.key(name) in self.weights

    def skip(self, name: str) -> None:
        """Mark a tensor that inference does not need as read."""
        if self.has(name):
            self.weights[self.key(name)]

    def take(self, name: str, expected: Sizes | None, *, why: str = "") -> Array:
        """Return the parameter `name` in float32 or float64 (half precisions are widened, which is exact).

        expected: its shape, None for any. why: the reason for this shape, for messages. Raises `ShapeError` for another
        shape, `InvalidModelError` if the parameter is missing, not floating-point, or has NaNs or infinities.
        """
        key = self.key(name)
        array = self._floats(key) if key in self.weights else self._normed(name, key)
        if expected is not None and (
            len(array.shape) != len(expected)
            or any(isinstance(n, int) and n != s for n, s in zip(expected, array.shape, strict=True))
        ):
            raise ShapeError(f"{self.what}: {key!r} has shape {array.shape}, expected {shape_text(expected)}{why}")
        return array

    def optional(self, name: str, expected: Sizes) -> Array | None:
        """Return the parameter, or None if there is none of this name."""
        return self.take(name, expected) if self.has(name) else None

    def _floats(self, key: str) -> Array:
        array = self.weights[key]
        native = array.dtype.newbyteorder("=")
        if not is_floating(native):
            raise InvalidModelError(f"{self.what}: {key!r} has dtype {array.dtype}, expected a float")
        array = array.astype(np.float64 if native.itemsize > 4 else np.float32, copy=False)
        if bad := array.size - int(np.count_nonzero(np.isfinite(array))):
            raise InvalidModelError(
                f"{self.what}: {bad} of the {array.size} values of {key!r} are NaN or infinite; a model that works"
                " has no such values: is the file damaged?"
            )
        return array

    def _normed(self, name: str, key: str) -> Array:
        """Return g * v / |v|, with the norm over all axes but the first.

        Source: Salimans, Kingma 2016, "Weight Normalization". Raises `InvalidModelError` if there is no such parameter.
        """
        stem = key.removesuffix(name)
        for g, v in ((f"{key}_g", f"{key}_v"), (f"{stem}parametrizations.{name}.original0",) * 2):
            v = v.replace("original0", "original1")
            if g in self.weights and v in self.weights:
                size, direction = self._floats(g), self._floats(v)
                axes = tuple(range(1, direction.ndim))
                if size.ndim == direction.ndim > 0 and size.shape == (len(direction), *(1 for _ in axes)):
                    length = np.sqrt(np.square(direction.astype(np.float64)).sum(axes, keepdims=True))
                    return np.asarray(size * direction / length).astype(direction.dtype)
                raise ShapeError(
                    f"{self.what}: weight_norm has {g!r} of shape {size.shape} and {v!r} of shape {direction.shape},"
                    " expected norms along axis 0: call torch.nn.utils.remove_weight_norm, and save again"
                )
        way = ""
        if f"{key}_orig" in self.weights or f"{stem}parametrizations.{name}.original" in self.weights:
            way = (
                "; this tensor is parametrised, perhaps by spectral_norm: call"
                " torch.nn.utils.parametrize.remove_parametrizations, and save again"
            )
        raise InvalidModelError(f"{self.what}: there is no tensor {key!r}; {self._offer(name, key)}{way}")

    def _offer(self, name: str, key: str) -> str:
        """Return a hint for a missing tensor: the tensors at the prefix, or similar prefixes."""
        start = f"{self.prefix}." if self.prefix else ""
        near = [k for k in self.weights if start and k.startswith(start)]
        listed = ", ".join((near or list(self.weights))[:12]) or "nothing"
        more = ", ..." if len(near or self.weights) > 12 else ""
        if self.prefix and not near and name not in self._keys:
            # Prefer prefixes that have such a parameter.
            levels = {
                ".".join(parts[:n]) for k in self.weights for parts in [k.split(".")] for n in range(1, len(parts))
            }
            having = [level for level in sorted(levels) if f"{level}.{name}" in self.weights]
            close = nearest(self.prefix, having, most=3) or nearest(self.prefix, sorted(levels), most=3)
            close = close or (having if len(having) <= 3 else [])
            asked = f"; did you mean the prefix {' or '.join(map(repr, close))}" if close else ""
            has = f"? The file has {listed}{more}" if asked else f": the file has {listed}{more}"
            return f"no tensor is under the prefix {self.prefix!r}{asked}{has}"
        if close := nearest(key, self.weights):
            return f"did you mean {' or '.join(close)}? {'There is' if near else 'The file has'} {listed}{more}"
        return f"{f'at {self.prefix!r} there is' if near else 'the file has'} {listed}{more}"
