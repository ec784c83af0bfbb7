"""OrtValues, DLPack, devices and memory: what programs of onnxruntime make and hand over."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from ort_models import BOTH, X, info, model, scaled

import fastgru.compat.onnxruntime as ours


def test_ortvalues_of_every_kind(ort):
    value = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(X, TensorProto.FLOAT)
    assert (value.element_type(), value.shape(), value.is_tensor()) == (TensorProto.FLOAT, [3, 2], True)
    halves = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(np.zeros(3, np.uint16), TensorProto.BFLOAT16)
    assert (halves.element_type(), halves.data_type()) == (TensorProto.BFLOAT16, "tensor(bfloat16)")
    session = ort.InferenceSession(scaled())
    values = session._sess.run_with_ort_values({"x": value._get_c_value()}, ["y"], ort.RunOptions())
    state = importlib.import_module(f"{ort.__name__}.capi.onnxruntime_pybind11_state")
    assert isinstance(values, state.OrtValueVector)
    np.testing.assert_array_equal(values[0].numpy(), X * X)
    room = session.create_ortvalue_from_shape_and_type([3, 2], np.float32, "cpu", 0)
    assert room.shape() == [3, 2]
    with pytest.raises(RuntimeError):
        ort.OrtValue.ortvalue_from_numpy(X, "cuda", 0)


def test_values_go_to_a_vector_and_over_each_other():
    fetched, value = ours.capi._pybind_state.OrtValueVector(), ours.OrtValue.ortvalue_from_numpy(X.copy())
    session = ours.InferenceSession(scaled())
    session.run_with_ortvaluevector(None, ["x"], [value], ["y"], fetched, [])
    np.testing.assert_array_equal(fetched[0].numpy(), X * X)
    assert fetched.element_type_at(0) == 1
    ours.copy_tensors(fetched, [value])
    np.testing.assert_array_equal(value.numpy(), X * X)
    fetched.push_back(value)
    assert [int(np.from_dlpack(v).sum()) for v in fetched] == [91, 91]
    with pytest.raises(ValueError, match="got 2 values in src and 1 in dst"):
        ours.copy_tensors(fetched, [value])
    binding = session.io_binding()
    binding.bind_ortvalue_input("x", value)
    binding.bind_output("y")
    session.run_with_iobinding(binding)
    assert len(binding.get_outputs_as_ortvaluevector()) == 1


def test_what_is_no_tensor_is_a_runtime_error(ort):
    session = ort.InferenceSession(scaled(), providers=["CPUExecutionProvider"])
    for call in (
        lambda: ort.OrtValue.ortvalue_from_numpy(np.array(["text"])),
        lambda: ort.OrtValue.ortvalue_from_numpy(np.zeros(2, np.complex64)),
        lambda: ort.OrtValue.ortvalue_from_shape_and_type([2], 99),
        lambda: ort.OrtValue.ortvalue_from_shape_and_type([2, -1], np.float32),
        lambda: session.run(None, {"x": [[1], [2, 3]]}),
        lambda: session.run(None, {"x": [["a", "b"]]}),
        lambda: session.run(None, {"x": X.astype(complex)}),
    ):
        with pytest.raises(RuntimeError):
            call()
    with pytest.raises(TypeError):
        ort.OrtValue.ortvalue_from_numpy(X.copy()).update_inplace([1.0])
    with pytest.raises(TypeError):
        session.run([3], {"x": X})


def test_numbers_without_axes_are_bound_and_overridden(ort):
    """An array of no axes stays one."""
    weight = numpy_helper.from_array(np.float32(2), "w")
    specs = [info(name, TensorProto.FLOAT, []) for name in "xy"]
    data = model([helper.make_node("Mul", ["x", "w"], ["y"])], specs[:1], specs[1:], [weight])
    options = ort.SessionOptions()
    options.add_initializer("w", value := ort.OrtValue.ortvalue_from_numpy(np.array(3, np.float32)))
    session = ort.InferenceSession(data, options)
    binding = session.io_binding()
    binding.bind_cpu_input("x", np.array(5, np.float32))
    binding.bind_output("y")
    session.run_with_iobinding(binding)
    assert (binding.copy_outputs_to_cpu()[0].shape, float(binding.copy_outputs_to_cpu()[0])) == ((), 15)
    assert value.shape() == []


def test_numbers_of_the_other_byte_order_are_the_same_numbers():
    np.testing.assert_array_equal(ours.InferenceSession(scaled()).run(None, {"x": X.astype(">f4")})[0], X * X)


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "int64", "uint8", "bool"])
def test_dlpack_shares_memory(dtype):
    array = np.arange(4).astype(dtype)
    for package in BOTH:
        kind = importlib.import_module(package).OrtValue
        if package == "onnxruntime" and not hasattr(kind, "from_dlpack"):
            continue
        value = kind.ortvalue_from_numpy(array)
        assert value.__dlpack_device__() == (1, 0)
        other = kind.from_dlpack(value)
        assert other.data_ptr() == value.data_ptr()
        np.testing.assert_array_equal(other.numpy(), array)
        assert other.numpy().dtype == array.dtype
        assert kind.from_dlpack(array).data_ptr() == array.ctypes.data


@pytest.mark.parametrize("shape", [(1, 8, 0, 128), (0,), (0, 4), (4, 0)])
def test_dlpack_of_nothing(shape):
    value = ours.OrtValue.from_dlpack(np.zeros(shape, np.float32))
    assert value.shape() == list(shape)
    assert ours.OrtValue.from_dlpack(value).shape() == list(shape)
    with pytest.raises(TypeError, match="__dlpack__"):
        ours.OrtValue.from_dlpack([1.0])


def test_an_ortvalue_is_an_array(ort):
    value = ort.OrtValue.ortvalue_from_numpy(X.copy())
    assert np.asarray(value).ctypes.data == np.asarray(value, dtype=np.float32).ctypes.data == value.data_ptr()
    wide = np.asarray(value, dtype=np.float64)
    assert wide.dtype == np.float64
    np.testing.assert_array_equal(wide, X)


def test_devices_and_memory(ort):
    cpu, cuda = ort.OrtDevice.make("cpu", 0), ort.OrtDevice.make("cuda", 0)
    assert (cpu.device_id(), cpu.device_type(), cpu.device_mem_type()) == (0, 0, 0)
    assert cpu.device_vendor_id() == ort.OrtDeviceVendorId.NONE
    assert cuda.device_vendor_id() == ort.OrtDeviceVendorId.NVIDIA == 0x10DE
    arena = ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    memory = ort.OrtMemoryInfo("Cpu", arena, 0, ort.OrtMemType.DEFAULT)
    named = ort.OrtMemoryInfo.create_v2(
        "Test", ort.OrtMemoryInfoDeviceType.CPU, 0, 0, ort.OrtDeviceMemoryType.DEFAULT, 128, arena
    )
    for made, name in ((memory, "Cpu"), (named, "Test")):
        assert (made.name, made.device_id, made.mem_type) == (name, 0, ort.OrtMemType.DEFAULT)
        assert (made.allocator_type, made.device_mem_type) == (arena, ort.OrtDeviceMemoryType.DEFAULT)
        assert made.device_vendor_id == 0
    ort.create_and_register_allocator(memory, None)


def test_the_shape_of_an_arena_is_kept(ort):
    by_place = ort.OrtArenaCfg(8, 0, 4, 2)
    assert (by_place.max_mem, by_place.arena_extend_strategy) == (8, 0)
    assert (by_place.initial_chunk_size_bytes, by_place.max_dead_bytes_per_chunk) == (4, 2)
    given = {"max_mem": 16, "arena_extend_strategy": 1, "initial_growth_chunk_size_bytes": 2}
    by_name = ort.OrtArenaCfg(given)
    assert {name: getattr(by_name, name) for name in given} == given
    with pytest.raises(RuntimeError):
        ort.OrtArenaCfg({"no_such_option": 1})


def test_a_device_that_is_not_there_is_refused_where_it_would_be_used():
    cuda = ours.OrtDevice.make("cuda", 0)
    for call in (
        lambda: ours.OrtValue.ortvalue_from_numpy(X, cuda),
        lambda: ours.OrtValue.ortvalue_from_shape_and_type([2], np.float32, "cuda", 0),
        lambda: ours.OrtValue.ortvalue_from_numpy(X, "cpu", 1),
        lambda: ours.InferenceSession(scaled()).io_binding().bind_output("y", "cuda"),
    ):
        with pytest.raises(RuntimeError, match="does not exist here; the only device is 'cpu' 0"):
            call()
    with pytest.raises(RuntimeError, match="Unsupported device type: quantum"):
        ours.OrtDevice.make("quantum", 0)
