"""The interfaces of kernels for the engine and packing: operands, codes, layouts, sizes of scratch.

There is one module for each family of kernels, with the same name; `declare` has the means to declare operands. None of
them imports Numba, so a model whose kernels are cached runs without Numba. A module with microkernels lists their names
in `MICROKERNELS`. `kernels.table` lists such modules, and gives each microkernel its place among the bases.
"""
