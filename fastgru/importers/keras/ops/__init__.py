"""The functions of `keras.ops` that are read, one module a family: each registers its own."""
