"""Loops over the vector vocabulary. Each operation is one handler with one signature; see `kernels.registry`."""

# First of all: it may have to tell Numba, before Numba is imported, to build for a lesser CPU.
from fastgru.simd import cpu as cpu
