"""The operators that are planned, one module a family: each registers its own, see `engine.lowering`."""
