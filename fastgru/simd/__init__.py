"""The CPU and its vectors; the only floor that imports llvmlite. `target` tells what code is built for."""
