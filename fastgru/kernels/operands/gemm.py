"""How matrices are cut into panels."""

from typing import Final

__all__ = ["MICROKERNELS", "PANEL_VECTORS"]

MICROKERNELS: Final = ("gemm_panel", "gemm_gates", "gemm_pair")

PANEL_VECTORS: Final = (4, 2, 1)  # widest first: what `packing.panels` lays out
