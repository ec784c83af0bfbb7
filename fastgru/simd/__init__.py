"""The CPU and its vectors: the only package that imports llvmlite. `target` lists what code can be built for."""
