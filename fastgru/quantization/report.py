"""What low-precision weights cost and save, as frozen data that prints as tables and converts to JSON."""

import math
from collections.abc import Mapping
from dataclasses import asdict, field
from typing import Any, Final, Self

from fastgru.errors import VerificationError
from fastgru.model import Model
from fastgru.records import dataclass
from fastgru.verify.report import plain

__all__ = ["Errors", "KeptBack", "LayerReport", "OutputReport", "QuantizeReport", "Timing"]

_TABLES: Final = ("layers", "outputs", "timings", "kept_back")


@dataclass(frozen=True)
class Errors:
    """How far one tensor is from its value in float32, over all inputs.

    largest, mean: the largest and the mean magnitude of the difference. Infinite if only one of the two is NaN.
    scale: the largest magnitude in float32.
    db: how far the difference lies below the signal, from their mean squares, in decibels.
    by_step: the largest difference at each step of the longest case. Empty if the tensor has no steps.
    count: how many numbers were compared. Those that are not finite in float32 do not count.
    """

    largest: float
    mean: float
    scale: float
    db: float
    by_step: tuple[float, ...] = ()
    count: int = 0

    @property
    def relative(self) -> float:
        """`largest`, divided by `scale` if that is above 1. `max_error` is the bound for this number."""
        return self.largest / max(1.0, self.scale)

    @property
    def drift(self) -> float | None:
        """The mean of the last tenth of `by_step` divided by that of the second tenth. None for less than 100 steps."""
        tenth = len(self.by_step) // 10
        if tenth < 10:
            return None
        early, late = (math.fsum(part) / tenth for part in (self.by_step[tenth : 2 * tenth], self.by_step[-tenth:]))
        return late / early if early else None


@dataclass(frozen=True)
class LayerReport:
    """The costs and savings of one node with weights.

    name: the first output of the node. `precision=` takes this name.
    shape: (outputs, inputs) of its largest matrix.
    precision, why: the precision of its weights, and why it is not the one that was asked for.
    bytes_before, bytes_after: the size of its matrices.
    errors: the errors of its outputs, with the chosen precisions in the whole model.
    alone: the largest `Errors.relative` of the outputs of the model if only this node has low precision. None if the
        node does not have low precision.
    """

    name: str
    op: str
    shape: tuple[int, int]
    precision: str
    why: str
    bytes_before: int
    bytes_after: int
    errors: Errors
    alone: float | None


@dataclass(frozen=True)
class KeptBack:
    """A lower precision that the bounds did not allow for a node, and what it alone would cost and save.

    error, db: the largest `Errors.relative` and the smallest `Errors.db` of the outputs that count, if only this node
        has low precision.
    bytes_saved: how much smaller its matrices would be than they are now.
    seconds_saved: how much faster a call of the first case would be than in float32. None if that was not measured.
    """

    name: str
    op: str
    precision: str
    error: float
    db: float
    bytes_saved: int
    seconds_saved: float | None


@dataclass(frozen=True)
class OutputReport:
    """One output of the model.

    counts: whether the bounds apply to this output. They apply to states only if the model has no other outputs.
    """

    name: str
    counts: bool
    errors: Errors


@dataclass(frozen=True)
class Timing:
    """The median time of one call on one thread, in seconds, before and after. The calls were timed alternately."""

    label: str
    before_s: float
    after_s: float


@dataclass(frozen=True)
class QuantizeReport:
    """The result of `quantize`: a model with weights of low precision, its errors and its savings.

    model: the model, ready to run.
    source, precision: the name of the original, and the precision that was asked for.
    max_error, min_db: the bounds, or None.
    cases: descriptions of the inputs that were run.
    layers, outputs, timings: one entry for each node with weights, for each output, and for each kind of call.
    bytes_before, bytes_after: the size of all constants. Before, floats count as float32.
    kept_back: the lower precisions that the bounds did not allow "auto" to use, the smallest error first.
    would_do: bounds that would hold, by name, if the given ones do not.
    """

    model: Model = field(repr=False, compare=False)
    source: str
    precision: str
    max_error: float | None
    min_db: float | None
    cases: tuple[str, ...]
    layers: tuple[LayerReport, ...]
    outputs: tuple[OutputReport, ...]
    timings: tuple[Timing, ...]
    bytes_before: int
    bytes_after: int
    kept_back: tuple[KeptBack, ...] = ()
    would_do: Mapping[str, float] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """True if every output that counts is within the bounds.

        False also if the bounds left "auto" nothing to make smaller. The model is then the one in float32.
        """
        return not self.is_whole and all(not self.beyond(output.errors) for output in self.outputs if output.counts)

    @property
    def is_whole(self) -> bool:
        """True if the bounds left every weight in float32, although some could be smaller."""
        return bool(self.kept_back) and all(layer.precision == "float32" for layer in self.layers)

    @property
    def kept(self) -> tuple[LayerReport, ...]:
        """The nodes whose weights stayed in float32."""
        return tuple(layer for layer in self.layers if layer.precision == "float32")

    def beyond(self, errors: Errors) -> bool:
        """Return True if these errors are beyond a bound."""
        too_far = self.max_error is not None and not errors.relative <= self.max_error
        return too_far or (self.min_db is not None and not errors.db >= self.min_db)

    @property
    def advice(self) -> str:
        """A text with bounds that would hold, or "" if the given ones hold."""
        bounds = " and ".join(f"{name} = {value:g}" for name, value in self.would_do.items())
        return f"{bounds} would hold" if bounds else ""

    def raise_for_failure(self) -> Self:
        """Return the report itself if it holds. Otherwise raise `VerificationError`, which lists the outputs."""
        if self.is_whole:
            raise VerificationError(f"{self.source}: no weight can be smaller within the bounds; {self.advice}")
        failed = [o for o in self.outputs if o.counts and self.beyond(o.errors)]
        if failed:
            listed = "; ".join(f"{o.name}: {o.errors.relative:.3g}, {o.errors.db:.1f} dB below" for o in failed)
            raise VerificationError(f"{self.source}: beyond the bounds in {self.precision}: {listed}; {self.advice}")
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON. Numbers that are not finite become strings such as "inf"."""
        names = [
            name
            for name in self.__dataclass_fields__
            if name not in ("model", "layers", "outputs", "timings", "kept_back", "would_do")
        ]
        tables = {name: [asdict(entry) for entry in getattr(self, name)] for name in _TABLES}
        measured = [*(layer.errors for layer in self.layers), *(output.errors for output in self.outputs)]
        for errors, entry in zip(measured, (*tables["layers"], *tables["outputs"]), strict=True):
            entry["errors"] |= {"relative": errors.relative, "drift": errors.drift}
        said = {"holds": self.holds, "is_whole": self.is_whole, "would_do": dict(self.would_do)}
        whole = said | {name: getattr(self, name) for name in names} | tables
        return dict(plain(whole))

    def __str__(self) -> str:
        share = self.bytes_after / max(self.bytes_before, 1)
        lines = [f"{self.source} ({self.precision}): {self.bytes_before:,} to {self.bytes_after:,} bytes ({share:.1%})"]
        for layer in self.layers:
            cost = "" if layer.alone is None else f", alone {layer.alone:.2e}"
            kept = f" ({layer.why})" if layer.why else ""
            lines.append(f"  {layer.op} {layer.name}: {layer.precision}{kept}, {_figures(layer.errors)}{cost}")
        for output in self.outputs:
            verdict = "beyond the bound" if output.counts and self.beyond(output.errors) else ""
            lines.append(f"  output {output.name}: {_figures(output.errors)}{', ' if verdict else ''}{verdict}")
        for held in self.kept_back:
            saves = "" if held.seconds_saved is None else f" and {1e6 * held.seconds_saved:.1f} us"
            lines.append(
                f"  kept back: {held.name} in {held.precision}, {held.error:.2e} ({held.db:.1f} dB below), saves"
                f" {held.bytes_saved:,} bytes{saves}"
            )
        if self.is_whole:
            lines.append(f"  no weight can be smaller within the bounds; {self.advice}")
        elif self.advice:
            lines.append(f"  beyond the bounds; {self.advice}")
        lines += [f"  a call of {t.label}: {1e6 * t.before_s:.1f} to {1e6 * t.after_s:.1f} us" for t in self.timings]
        return "\n".join(lines)


def _figures(errors: Errors) -> str:
    return f"largest {errors.largest:.2e}, mean {errors.mean:.2e}, {errors.db:.1f} dB below"
