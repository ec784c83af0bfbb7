"""Kernels: loops over the vectors of `simd`. Each operation is a handler, all with one signature: see `kernels.registry`."""
