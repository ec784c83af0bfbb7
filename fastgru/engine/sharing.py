"""How a team shares a GRU, and how many seconds that saves, estimated from sizes alone.

The estimates are rough on purpose: they only have to rank three ways, and to keep short work on one thread.
"""

from __future__ import annotations

from typing import Final

from fastgru.kernels.operands.gemm import PANEL_VECTORS
from fastgru.kernels.operands.gru import ALONE, ROWS, UNITS
from fastgru.records import dataclass
from fastgru.simd.cpu import cache_sizes
from fastgru.simd.target import VECTOR_BYTES
from fastgru.spec import GRUSpec

__all__ = ["LINEAR_FLOPS_S", "Split", "choose"]

# What one core does on weights in its cache: half the rate of two fused units at 3 GHz. A multiply-add counts as two.
LINEAR_FLOPS_S: Final = 3e9 * VECTOR_BYTES / 4 * 2
_MEMORY_BYTES_S: Final = 25e9
_MEETING_S: Final = 3e-7
_MIN_ROWS: Final = 4  # rows of a member: with fewer, its tiles are not worth reading all weights for


@dataclass(frozen=True)
class Split:
    """One way to share a GRU.

    split: ALONE, ROWS or UNITS. side_by_side: a member for each direction. gain_s: seconds saved in a call.
    """

    split: int
    side_by_side: bool
    gain_s: float


def choose(members: int, T: int, N: int, spec: GRUSpec, itemsize: int, weight_bytes: int) -> Split:
    """Return the way that saves most. itemsize: bytes of a value. weight_bytes: bytes of a weight."""
    alone = Split(ALONE, False, 0.0)
    if members == 1 or T * N == 0:
        return alone
    I, H, D = spec.input_size, spec.hidden_size, spec.num_directions
    weights = 3 * H * (I + H) * weight_bytes
    spills = weights > cache_sizes()["l2"]
    compute = 2.0 * 3 * H * (I + H) * T * N / LINEAR_FLOPS_S * (weight_bytes / 4)
    fetch = 3 * H * H * weight_bytes * T / _MEMORY_BYTES_S if spills else 0.0
    each = max(compute, fetch)
    saved = 1 - 1 / members
    panels = H * itemsize // (VECTOR_BYTES * PANEL_VECTORS[0])
    meetings = T * (1 if spec.reset_after else 2) * D
    ways = [alone]
    if panels >= members:
        ways.append(Split(UNITS, False, each * D * saved - meetings * _MEETING_S))
    if _MIN_ROWS * members <= N:
        ways.append(Split(ROWS, False, (compute * saved if not spills else max(0.0, compute - fetch) * saved) * D))
    if D == 2:
        ways.append(Split(ALONE, True, each))
    return max(ways, key=lambda way: way.gain_s)
