"""Arrange weights in the layouts that the kernels read. Every pack has an unpack, and tests check the round trip."""
