"""What weights of low precision cost and save, as frozen data that prints as tables and converts to JSON."""

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
    """How far one tensor is from what it is in float32, over all inputs.

    largest, mean: of |difference|, infinite where one side has a NaN and the other not. scale: the largest
    |value in float32|. db: how far the difference lies below the signal, by their mean squares, in decibel.
    by_step: the largest at each step of the longest case, empty where it has none.
    """

    largest: float
    mean: float
    scale: float
    db: float
    by_step: tuple[float, ...] = ()

    @property
    def relative(self) -> float:
        """`largest`, over the magnitude where that is beyond 1: what `max_error` bounds."""
        return self.largest / max(1.0, self.scale)

    @property
    def drift(self) -> float | None:
        """The mean of the last tenth of `by_step` over that of the second tenth; None for less than 100 steps."""
        tenth = len(self.by_step) // 10
        if tenth < 10:
            return None
        early, late = (math.fsum(part) / tenth for part in (self.by_step[tenth : 2 * tenth], self.by_step[-tenth:]))
        return late / early if early else None


@dataclass(frozen=True)
class LayerReport:
    """One node with weights.

    name: its first output, by which `precision=` finds it. shape: (outputs, inputs) of its largest matrix.
    precision: of its weights; why: what kept it from the one asked for. bytes_before, bytes_after: of its matrices.
    errors: of its outputs with all weights as they were chosen; alone: the largest `Errors.relative` of the model's
    outputs with no weights but its own in low precision, None where they are not.
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
    """A lower precision that the bounds kept from the weights of a node, and what it would cost and save by itself.

    error: the largest `Errors.relative` of the outputs that count, with no other weights of low precision. db: the
    least `Errors.db` of them. bytes_saved: of its matrices, over what was chosen. seconds_saved: of a call of the first
    case, over all in float32, None where that was not measured.
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
    """One output of the model. counts: whether the bounds apply to it: states do not, where there is anything else."""

    name: str
    counts: bool
    errors: Errors


@dataclass(frozen=True)
class Timing:
    """Seconds of one call, on one thread: the median of calls by turns."""

    label: str
    before_s: float
    after_s: float


@dataclass(frozen=True)
class QuantizeReport:
    """A model with weights of low precision, and what came of it.

    model: ready to run. precision: what was asked for. max_error, min_db: the bounds, None for none. bytes_before,
    bytes_after: of all constants, floats in float32 before. kept_back: what the bounds kept "auto" from, the least
    error first. would_do: where the bounds do not hold, those that would, by their names.

    holds: every output that counts is within the bounds. It is False, too, where they left "auto" nothing to make
    smaller: the model is the one in float32 then.
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
        return not self.is_whole and all(not self.beyond(output.errors) for output in self.outputs if output.counts)

    @property
    def is_whole(self) -> bool:
        """Whether the bounds kept every weight in float32 that could be smaller."""
        return bool(self.kept_back) and all(layer.precision == "float32" for layer in self.layers)

    @property
    def kept(self) -> tuple[LayerReport, ...]:
        """The nodes whose weights stayed in float32."""
        return tuple(layer for layer in self.layers if layer.precision == "float32")

    def beyond(self, errors: Errors) -> bool:
        """Whether these are beyond a bound."""
        too_far = self.max_error is not None and not errors.relative <= self.max_error
        return too_far or (self.min_db is not None and not errors.db >= self.min_db)

    @property
    def advice(self) -> str:
        """Which bounds would do, "" where they hold."""
        bounds = " and ".join(f"{name} = {value:g}" for name, value in self.would_do.items())
        return f"{bounds} would do" if bounds else ""

    def raise_for_failure(self) -> Self:
        """Return self, or raise `VerificationError` that lists the outputs beyond the bounds."""
        if self.is_whole:
            raise VerificationError(f"{self.source}: no weight can be smaller within the bounds; {self.advice}")
        failed = [o for o in self.outputs if o.counts and self.beyond(o.errors)]
        if failed:
            listed = "; ".join(f"{o.name}: {o.errors.relative:.3g}, {o.errors.db:.1f} dB below" for o in failed)
            raise VerificationError(f"{self.source}: beyond the bounds in {self.precision}: {listed}; {self.advice}")
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain data that JSON can hold; what is not finite is the string "inf"."""
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
