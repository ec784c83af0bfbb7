"""Loops over the vector vocabulary. Each operation is one handler with one signature; see `kernels.registry`."""

import fastgru.simd  # noqa: F401  (before Numba, which may have to be told to build for a lesser CPU)
