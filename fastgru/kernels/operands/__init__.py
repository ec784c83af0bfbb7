"""What the engine and the packing know of a kernel without compiling it: codes, layouts, sizes of scratch.

One module a family, of the same stem as the kernels'. None imports Numba: a model whose kernels are in the cache runs
without it.
"""
