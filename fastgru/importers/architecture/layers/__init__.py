"""The types of layers that a description may have, one module a family: each registers its own, see `registry`."""
