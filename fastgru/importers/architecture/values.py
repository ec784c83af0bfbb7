"""How messages show values."""

from fastgru.graphbuilder import Value

__all__ = ["Shape", "shown"]

Shape = tuple[int | None, ...]


def shown(value: Value) -> str:
    """The shape: free dimensions by their names."""
    sizes = [n or "?" if s is None else str(s) for s, n in zip(value.shape, value.dims, strict=True)]
    return f"({', '.join(sizes)}{',' if len(sizes) == 1 else ''})"
