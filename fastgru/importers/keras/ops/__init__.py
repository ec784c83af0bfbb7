"""The supported functions of `keras.ops`, one module per family; each module registers its own."""
