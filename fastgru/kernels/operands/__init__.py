"""What the engine and the packing know of a kernel without compiling it: operands, codes, layouts, sizes of scratch.

One module a family, of the same stem as the kernels'; `declare` is how. None imports Numba: a model whose kernels are
in the cache runs without it. A module whose kernels are native code that several handlers call names them in
`MICROKERNELS`; `kernels.table`, which has a list of such modules, gives each its place among the bases.
"""
