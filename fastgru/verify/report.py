"""The result of a verification, as frozen data that prints as a table and converts to JSON."""

import math
from dataclasses import asdict
from typing import Any, Self

from fastgru.errors import VerificationError
from fastgru.records import dataclass

__all__ = ["Check", "Report", "plain"]


@dataclass(frozen=True)
class Check:
    """One output compared with one opponent: the worst of all cases.

    against: "definition" (float64), or a runtime and its version.
    max_abs: the largest |got - expected|; infinite if the shapes differ or only one of two values is NaN.
    scale, allowed: the largest |expected| in the case of max_abs, and the limit for max_abs there.
    where: that case.
    step: the step in time of max_abs, counted over all calls of the case. None without a time axis.
    by_step: the largest error at each time step; empty if the output has no time axis.
    is_compared: False if no expected number is finite, so that nothing could be compared. The check does not hold.
    """

    output: str
    against: str
    max_abs: float
    scale: float
    allowed: float
    holds: bool
    where: str
    step: int | None
    by_step: tuple[float, ...] = ()
    is_compared: bool = True

    def __str__(self) -> str:
        if not self.is_compared:
            return f"{self.output} against {self.against}: no expected number is finite, so nothing was compared"
        step = "" if self.step is None else f", step {self.step}"
        return (
            f"{self.output} against {self.against}: {self.max_abs:.3g} at {self.where}{step}"
            f" ({'within' if self.holds else 'beyond'} {self.allowed:.3g})"
        )


@dataclass(frozen=True)
class Report:
    """The result of `verify`: every check of one model.

    source, precision, seed: the name of the model, its precision, and the seed of the random inputs.
    cases: descriptions of the inputs that were run.
    checks: one entry for each output that was compared.
    skipped: the runtimes that were not compared, each with the reason.
    reference_nodes: the nodes that onnx's reference implementation runs. Only a comparison with another runtime checks
        these, because the definition runs them in the same way.
    """

    source: str
    precision: str
    seed: int
    cases: tuple[str, ...]
    checks: tuple[Check, ...]
    skipped: tuple[tuple[str, str], ...] = ()
    reference_nodes: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """True if there is at least one check, and all checks hold."""
        return bool(self.checks) and all(check.holds for check in self.checks)

    def raise_for_failure(self) -> Self:
        """Return the report itself if it holds. Otherwise raise `VerificationError`, which lists the failed checks."""
        if not self.holds:
            failed = "; ".join(str(check) for check in self.checks if not check.holds)
            raise VerificationError(f"{self.source}: {failed or 'nothing was checked'}")
        return self

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON. An infinite error becomes the string "inf"."""
        return {"holds": self.holds, **plain(asdict(self))}

    def __str__(self) -> str:
        lines = [f"{self.source} ({self.precision}): {'holds' if self.holds else 'FAILS'}"]
        lines += [f"  {check}" for check in self.checks]
        lines += [f"  {name} not compared: {reason}" for name, reason in self.skipped]
        lines += [f"  by onnx's reference implementation, slowly: {node}" for node in self.reference_nodes]
        return "\n".join(lines)


def plain(value: Any) -> Any:
    """Return plain data with lists instead of tuples, and texts instead of numbers that are not finite, for JSON."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    return {k: plain(v) for k, v in value.items()} if isinstance(value, dict) else value
