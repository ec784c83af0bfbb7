"""IOBinding: inputs and outputs that a session reads and writes in the memory of the caller."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastgru.arrays import Array
from fastgru.compat.onnxruntime.devices import check_device
from fastgru.compat.onnxruntime.errors import Fail, InvalidArgument, RuntimeException
from fastgru.compat.onnxruntime.loaded import LoadedFile
from fastgru.compat.onnxruntime.values import OrtValue, OrtValueVector, array_at, element_dtype
from fastgru.errors import ShapeError

__all__ = ["IOBinding"]


class IOBinding:
    """Inputs and outputs of a session that are bound to memory, made by `InferenceSession.io_binding`.

    A binding holds until it is replaced or cleared. An unknown name raises `RuntimeException`.
    """

    def __init__(self, session: LoadedFile) -> None:
        self._session = session
        self._inputs: dict[str, Array] = {}
        self._outputs: dict[str, Array | None] = {}  # None: new memory in each run
        self._results: dict[str, Array] = {}

    def bind_cpu_input(self, name: str, arr_on_cpu: Array) -> None:
        """Read this array in every run. You may change its elements between two runs.

        An array that is not contiguous is copied at once.
        """
        self._check(name, [arg.name for arg in self._session.get_inputs()])
        self._inputs[name] = np.asarray(arr_on_cpu, order="C")

    def bind_input(
        self, name: str, device_type: str, device_id: int, element_type: Any, shape: Sequence[int], buffer_ptr: int
    ) -> None:
        """Read the memory at the address buffer_ptr in every run. The memory must stay valid."""
        check_device(device_type, device_id)
        self._check(name, [arg.name for arg in self._session.get_inputs()])
        self._inputs[name] = array_at(buffer_ptr, element_dtype(element_type), shape)

    def bind_ortvalue_input(self, name: str, ortvalue: OrtValue) -> None:
        """Read this value in every run."""
        self._check(name, [arg.name for arg in self._session.get_inputs()])
        self._inputs[name] = _array(ortvalue)

    def bind_output(
        self,
        name: str,
        device_type: str = "cpu",
        device_id: int = 0,
        element_type: Any = None,
        shape: Sequence[int] | None = None,
        buffer_ptr: int | None = None,
    ) -> None:
        """Compute this output in every run.

        buffer_ptr: write the output to this address, as an array of element_type and shape. The memory must stay valid.
            None means new memory in each run.
        """
        check_device(device_type, device_id)
        self._check(name, [arg.name for arg in self._session.get_outputs()])
        if buffer_ptr is None:
            self._outputs[name] = None
            return
        if element_type is None or shape is None:
            raise InvalidArgument(f"output {name!r}: buffer_ptr came without element_type or shape; give all three")
        self._outputs[name] = array_at(buffer_ptr, element_dtype(element_type), shape)

    def bind_ortvalue_output(self, name: str, ortvalue: OrtValue) -> None:
        """Write the output into this value in every run."""
        self._check(name, [arg.name for arg in self._session.get_outputs()])
        self._outputs[name] = _array(ortvalue)

    def synchronize_inputs(self) -> None:
        """Do nothing, because all inputs are in the memory of this process."""

    def synchronize_outputs(self) -> None:
        """Do nothing, because all outputs are in the memory of this process."""

    def get_outputs(self) -> list[OrtValue]:
        """Return the outputs of the last run, in the order in which they were bound."""
        return [OrtValue(array) for array in self._results.values()]

    def get_outputs_as_ortvaluevector(self) -> OrtValueVector:
        """Return the outputs of the last run as an `OrtValueVector`."""
        return OrtValueVector(self.get_outputs())

    def copy_outputs_to_cpu(self) -> list[Array]:
        """Return copies of the outputs of the last run, as arrays."""
        return [array.copy() for array in self._results.values()]

    def clear_binding_inputs(self) -> None:
        """Remove all bindings of inputs."""
        self._inputs.clear()

    def clear_binding_outputs(self) -> None:
        """Remove all bindings and results of outputs."""
        self._outputs.clear()
        self._results.clear()

    def run(self) -> None:
        """Run the session on this binding, as `InferenceSession.run_with_iobinding` does."""
        # Copies, because another thread may bind in the meantime.
        inputs, outputs = dict(self._inputs), dict(self._outputs)
        if not outputs:
            raise RuntimeException("Error in execution: At least one output should be requested.")
        try:
            self._results = self._session.compute(inputs, list(outputs), outputs)
        except (ShapeError, Fail) as error:
            raise RuntimeException(f"Error in execution: {getattr(error, 'detail', error)}") from error

    def _check(self, name: str, known: list[str]) -> None:
        if name not in known:
            raise RuntimeException(f"Failed to find NodeArg with name: {name} in the def list ({', '.join(known)})")


def _array(value: OrtValue) -> Array:
    if not isinstance(value, OrtValue):
        raise TypeError(f"got {type(value).__name__}, expected an OrtValue")
    return value.numpy()
