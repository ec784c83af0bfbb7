"""Compares the outputs of a model with the float64 definition, and with those of the framework of its file.

report = fastgru.verify("model.onnx")
assert report.holds, report
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from fastgru.modules import importing
from fastgru.sources import Source

if TYPE_CHECKING:
    from fastgru.graph import Graph
    from fastgru.layers import Layer
    from fastgru.model import Model
    from fastgru.verify.report import Check, Report

__all__ = ["Check", "Report", "verify"]


def verify(
    source: Layer | Model | Graph | Source,
    *,
    inputs: Mapping[str, ArrayLike] | None = None,
    seed: int = 0,
    tol: float | None = None,
    precision: str | None = None,
    runtimes: bool = True,
    **options: Any,
) -> Report:
    """Run a model and its float64 definition on the same inputs, and report the differences.

    source, options: what `fastgru.load_graph` takes. In a state dict, every GRU that is found is verified. You can also
        pass a model, a graph, or a network composed of layers.
    inputs: arrays by name. Without them, random inputs of several sizes are drawn from `seed`. A model with states is
        called several times in a row, and each side feeds back its own states.
    precision: None means float32, or the precision of a quantised file, a model or a layer. For "auto" the report names
        the choice that rounds most.
    tol: the difference that is allowed for outputs of magnitude up to 1; for larger outputs it is multiplied by the
        magnitude. By default it depends on the precision, and is a few times larger than what rounding does to the
        definition in float32.
    runtimes: also compare with ONNX Runtime, Keras or PyTorch, if the file is theirs and they are installed.

    Returns a `Report`. `report.holds` says whether every output is within its tolerance. Raises what `fastgru.load`
    raises, and `ShapeError` if no inputs are given and none can be drawn.
    """
    with importing:
        from fastgru.load import check_options
        from fastgru.verify.check import verify_source

    check_options(verify, options)
    return verify_source(source, inputs=inputs, seed=seed, tol=tol, precision=precision, runtimes=runtimes, **options)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with importing:
        from fastgru.verify import report

    return getattr(report, name)
