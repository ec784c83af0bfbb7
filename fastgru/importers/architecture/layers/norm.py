"""Normalisations of torch.nn in inference."""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from fastgru.arrays import Array
from fastgru.graphbuilder import Value
from fastgru.importers.architecture.registry import DescribedLayer, layer_type

# Without eps, torch.nn.RMSNorm uses the machine epsilon of the dtype in which it computes, which is float32.
_LEAST: Final = float(np.finfo(np.float32).eps)


def _eps(layer: DescribedLayer, default: float = 1e-5) -> float:
    eps = layer.options.number("eps", default)
    if eps < 0:
        raise layer.options.wrong("eps", "a number of at least 0")
    return eps


def _need_weight(layer: DescribedLayer, option: str, default: bool) -> None:
    """Raise `InvalidModelError` if there is no weight and no `option` that says so, as with a wrong prefix."""
    if default and option not in layer.options and not layer.parameters.has("weight"):
        raise layer.invalid(
            f"there is no tensor {layer.parameters.key('weight')!r}; if the layer has no weight, give {option}: false"
        )


def _channels(layer: DescribedLayer, *ranks: int) -> int | None:
    forms = {2: "(N, C)", 3: "(N, C, L)", 4: "(N, C, H, W)"}
    if layer.rank not in (ranks or range(2, 7)):
        raise layer.wrong_input(" or ".join(forms[r] for r in ranks) or "(N, C, ...)")
    return layer.x.shape[1]


def _affine(layer: DescribedLayer, C: int, like: Array | None = None) -> tuple[Array, Array]:
    """Return weight and bias, (C,), or ones and zeros if the layer has none."""
    dtype = np.dtype(np.float32) if like is None else like.dtype
    weight, bias = (layer.parameters.optional(name, (C,)) for name in ("weight", "bias"))
    return np.ones(C, dtype) if weight is None else weight, np.zeros(C, dtype) if bias is None else bias


def _with_statistics(layer: DescribedLayer, C: int | None) -> Value:
    mean = layer.weight("running_mean", (C or "C",))
    C = mean.size
    var = layer.weight("running_var", (C,))
    layer.parameters.skip("num_batches_tracked")
    layer.check_sizes(num_features=C, affine=layer.parameters.has("weight"), track_running_stats=True)
    weight, bias = _affine(layer, C, mean)
    arrays = {"weight": weight, "bias": bias, "running_mean": mean, "running_var": var}
    names = [layer.stored(name, array) for name, array in arrays.items()]
    return layer.apply("batch_norm", layer.x, *names, axis=1, epsilon=_eps(layer))


@layer_type(
    *("BatchNorm1d", "BatchNorm2d"),
    options="eps",
    sizes="num_features affine track_running_stats",
    training="momentum",
    weights=True,
)
def _batch_norm(layer: DescribedLayer) -> Value:
    """(x - running_mean) / sqrt(running_var + eps) * weight + bias, along axis 1."""
    return _with_statistics(layer, _channels(layer, *((2, 3) if layer.type == "BatchNorm1d" else (4,))))


@layer_type(
    *("InstanceNorm1d", "InstanceNorm2d"),
    options="eps",
    sizes="num_features affine track_running_stats",
    training="momentum",
    weights=True,
)
def _instance_norm(layer: DescribedLayer) -> Value:
    """Normalise each channel of each row; like torch in inference, use running statistics if the layer has them."""
    C = _channels(layer, 3 if layer.type == "InstanceNorm1d" else 4)
    if layer.parameters.has("running_mean"):
        return _with_statistics(layer, C)
    return _grouped(layer, C, None, "num_features", affine=False)


@layer_type("GroupNorm", options="num_groups eps", sizes="num_channels affine", weights=True)
def _group_norm(layer: DescribedLayer) -> Value:
    """Normalise each group of channels of each row."""
    C = _channels(layer)
    return _grouped(layer, C, layer.options.integer("num_groups", least=1), "num_channels", affine=True)


def _grouped(layer: DescribedLayer, C: int | None, groups: int | None, size: str, *, affine: bool) -> Value:
    """Normalise groups of channels. affine: torch's default; if true, a layer without weights must set it to false."""
    _need_weight(layer, "affine", affine)
    if C is None and not layer.parameters.has("weight"):
        raise layer.wrong_input("a known number of channels, because the layer has no weights that have it")
    C = layer.weight("weight", (C or "C",)).size if layer.parameters.has("weight") else C
    assert C is not None
    if groups is not None and C % groups:
        raise layer.wrong_input(f"a multiple of {groups} channels")
    layer.check_sizes(**{size: C}, affine=layer.parameters.has("weight"), track_running_stats=False)
    names = [layer.stored(name, a) for name, a in zip(("weight", "bias"), _affine(layer, C), strict=True)]
    return layer.apply("group_norm", layer.x, *names, epsilon=_eps(layer), groups=groups)


@layer_type("LayerNorm", options="normalized_shape eps", sizes="elementwise_affine bias", weights=True)
def _layer_norm(layer: DescribedLayer) -> Value:
    """Normalise the last axes, of sizes normalized_shape, which may be left out if there are weights."""
    sizes, names = _last_axes(layer)
    layer.check_sizes(bias=layer.parameters.has("bias"))
    if layer.parameters.has("bias"):
        names.append(layer.stored("bias", layer.weight("bias", tuple(sizes))))
    return layer.apply("layer_norm", layer.x, *names, axis=layer.rank - len(sizes), epsilon=_eps(layer))


@layer_type("RMSNorm", options="normalized_shape eps", sizes="elementwise_affine", weights=True)
def _rms_norm(layer: DescribedLayer) -> Value:
    """x / sqrt(mean(x^2) + eps) * weight over the last axes; by default eps is the machine epsilon of float32."""
    sizes, names = _last_axes(layer)
    return layer.apply("rms_norm", layer.x, *names, axis=layer.rank - len(sizes), epsilon=_eps(layer, _LEAST))


def _last_axes(layer: DescribedLayer) -> tuple[Sequence[int], list[Value | None]]:
    """Return (sizes of the normalised axes, [constant of the weight or None])."""
    _need_weight(layer, "elementwise_affine", True)
    has_weight = layer.parameters.has("weight")
    layer.check_sizes(elementwise_affine=has_weight)
    given = layer.options.integers("normalized_shape", least=1) if "normalized_shape" in layer.options else None
    if given is None and not has_weight:
        raise layer.invalid("normalized_shape is missing, and does not follow from a weight")
    names: list[Value | None] = [None]
    sizes: Sequence[int] = given or ()
    if has_weight:
        key = layer.parameters.key("weight")
        weight = layer.parameters.take("weight", None if given is None else tuple(given))
        sizes, names = weight.shape, [layer.stored("weight", weight)]
        if not math.prod(sizes):
            raise layer.invalid(f"{key!r} has shape {sizes}")
    k = len(sizes)
    if layer.rank < k or any(m not in (None, n) for m, n in zip(layer.x.shape[layer.rank - k :], sizes, strict=True)):
        raise layer.wrong_input(f"one that ends with {tuple(sizes)}")
    return sizes, names
