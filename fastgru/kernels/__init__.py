"""Loops over the vectors of `simd`. Each operation is a handler, and all have one signature: see `kernels.registry`."""
