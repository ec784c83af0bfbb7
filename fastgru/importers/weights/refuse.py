"""What `fastgru.load` answers to weights that come without a model around them."""

from typing import Final, NoReturn

from fastgru.errors import UnsupportedModelError
from fastgru.importers.files import FORMATS
from fastgru.importers.weights.find import find_grus
from fastgru.importers.weights.read import read_weights
from fastgru.sources import Source, opened

__all__ = ["refuse_state_dict"]

SHOWN: Final = 8


def refuse_state_dict(source: Source) -> NoReturn:
    """Raise `UnsupportedModelError` naming the GRUs in `source` and how to make them; raises as `read_weights`, too."""
    weights = read_weights(source)
    with opened(source) as content:
        path = weights.source.strip("'") if content.path is None else content.path
    grus = find_grus(weights)
    message = (
        f"{weights.source}: this is {FORMATS[weights.format]}, with {len(weights)} tensors and no model around them:"
        " what happens between its layers is not in the file."
    )
    if not grus:
        raise UnsupportedModelError(
            f"{message} Describe that: fastgru.load(..., architecture=...). No tensors named as torch.nn.GRU names them"
            " were found; or read them with fastgru.read_weights and make the layers with fastgru.GRU.from_torch,"
            " from_keras, from_onnx or from_gates"
        )
    listed = "; ".join(map(str, grus[:SHOWN])) + (f"; and {len(grus) - SHOWN} more" if len(grus) > SHOWN else "")
    recipe = grus[0].recipe.replace("(weights,", f'(fastgru.read_weights("{path}"),')
    raise UnsupportedModelError(
        f"{message} It holds {listed}. Make a layer of one with {recipe}, describe the network with"
        " fastgru.load(..., architecture=...), or export it to ONNX"
    )
