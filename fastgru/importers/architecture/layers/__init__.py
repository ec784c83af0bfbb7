"""The types of layers for descriptions, one module per family; each module registers its own in `registry`."""
