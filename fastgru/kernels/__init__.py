"""Loops over the vector vocabulary. Each operation is one handler with one signature; see `kernels.registry`."""
