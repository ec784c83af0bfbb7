"""Arranges weights in the layouts that the kernels read. Every pack has an unpack; tests prove the round trip."""
