"""The panels of matrices, and the microkernels that read them."""

from typing import Final

__all__ = ["MICROKERNELS", "PANEL_VECTORS"]

MICROKERNELS: Final = ("gemm_panel", "gemm_gates", "gemm_pair")

PANEL_VECTORS: Final = (4, 2, 1)  # widest first, in the order in which `packing.panels` lays them out
