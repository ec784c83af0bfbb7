"""The lowerings of operators, one module a family. Each module registers its own, see `engine.lowering`."""
