"""The CPU and its vectors; the only floor that imports llvmlite. `target` says for which machines code is built."""
