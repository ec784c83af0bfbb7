"""Does a model give the numbers it should? Against the float64 definition, and against the framework of its file.

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
    """Run the model of `source` and its float64 definition on the same inputs, and report the differences.

    source, options: as `fastgru.load_graph` takes them; of a state dict, every GRU that is found in it is verified. A
    model, a graph and a network composed of layers are verified, too, against their definition.
    inputs: arrays by name; without them, random ones of several sizes are drawn from `seed`, and a model with states
    is called several times in a row, each side feeding back its own. precision: None for float32, or what a quantised
    file, a model or a layer has; of "auto" the report names the choice that rounds most. tol: the difference
    allowed for outputs of magnitude up to 1, beyond that times the magnitude; by default a value for the precision, and
    where rounding alone moves the definition by more (it is run in float32, too), a few times that. runtimes: also
    compare with ONNX Runtime, Keras or torch where the file is theirs and they are installed.

    Returns a `Report`; `report.holds` says whether every output is within its tolerance.
    Raises what `fastgru.load` raises, and `ShapeError` where no inputs can be drawn and none were given.
    """
    with importing:
        from fastgru.verify.check import verify_source

    return verify_source(source, inputs=inputs, seed=seed, tol=tol, precision=precision, runtimes=runtimes, **options)


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with importing:
        from fastgru.verify import report

    return getattr(report, name)
