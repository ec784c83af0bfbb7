"""Weights in the layouts the kernels read. Every pack has an unpack, proved by a round trip."""
