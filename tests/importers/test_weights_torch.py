"""PyTorch checkpoints, written by torch (tools/make_weight_files.py) and by hand, read without it."""

from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
from craft_files import tensor_pickle, torch_legacy, torch_zip, zip_of

from fastgru.errors import InvalidModelError, UnreadTensorsError, UnsupportedModelError
from fastgru.importers.weights import find_grus, read_weights

DATA = Path(__file__).parent.parent / "data" / "weights"
BASE = (np.arange(24) / 8).reshape(4, 6)
FORMS = ("zip", "legacy")


@pytest.fixture(params=FORMS)
def form(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_every_dtype_comes_back_with_its_values(form: str) -> None:
    weights = read_weights(DATA / f"dtypes.{form}.pt")
    assert weights.format == f"torch-{form}"
    for name, array in weights.items():
        if name == "bool":
            expected = BASE > 1
        elif "float" in name:
            expected = BASE.astype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
        else:
            expected = np.arange(24).reshape(4, 6).astype(name)
        assert array.dtype == expected.dtype, name
        np.testing.assert_array_equal(array, expected)
    assert list(weights)[:4] == ["float64", "float32", "float16", "bfloat16"]  # the order of the file
    assert weights.unread == ()


def test_views_strides_and_shared_storages(form: str) -> None:
    weights = read_weights(DATA / f"views.{form}.pt")
    expected = {
        "whole": BASE,
        "transposed": BASE.T,
        "sliced": BASE[1:, ::2],
        "row": BASE[2],
        "element": BASE[3, 5],
        "expanded": np.broadcast_to(BASE[:, :1], (4, 3)),
        "empty": BASE[:0],
        "parameter": BASE[1:3],
    }
    assert list(weights) == list(expected)
    for name, array in weights.items():
        np.testing.assert_array_equal(array, expected[name].astype("f4"), err_msg=name)
        assert array.dtype == np.float32
        assert not array.flags.writeable


def test_the_state_dict_is_found_beside_the_optimizer_and_module_is_stripped(form: str) -> None:
    weights = read_weights(DATA / f"checkpoint.{form}.pt")
    assert sorted(weights) == sorted(
        [f"gru.{kind}_{side}_l{layer}" for kind in ("weight", "bias") for side in ("ih", "hh") for layer in (0, 1)]
        + ["fc.weight", "fc.bias"]
    )
    assert [str(gru) for gru in find_grus(weights)] == ["GRU 'gru' (3 -> 4, 2 layers)"]
    chosen = read_weights(DATA / f"checkpoint.{form}.pt", key="model")
    np.testing.assert_array_equal(chosen["fc.weight"], weights["fc.weight"])
    with pytest.raises(UnsupportedModelError, match="'history' is a pickled NumPy array"):
        read_weights(DATA / f"checkpoint.{form}.pt", key="")


def test_two_state_dicts_need_a_key(form: str) -> None:
    path = DATA / f"two.{form}.pt"
    with pytest.raises(InvalidModelError, match=r"'generator', 'discriminator': choose one with .*key="):
        read_weights(path)
    assert [str(gru) for gru in find_grus(read_weights(path, key="discriminator"))] == [
        "GRU '' (3 -> 4, bidirectional)"
    ]
    with pytest.raises(InvalidModelError, match=r"under 'critic'; expected one of 'generator'"):
        read_weights(path, key="critic")


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_every_pickle_protocol(form: str, protocol: int) -> None:
    weights = read_weights(DATA / f"protocol{protocol}.{form}.pt")
    for name, array in read_weights(DATA / f"two.{form}.pt", key="generator").items():
        np.testing.assert_array_equal(weights[name], array)
        assert array.any()


@pytest.mark.parametrize(("stem", "dtype"), [("complex", "complex64"), ("float8", "float8_e4m3fn")])
def test_dtypes_that_are_not_read_are_named(form: str, stem: str, dtype: str) -> None:
    with pytest.raises(UnsupportedModelError, match=f"has dtype {dtype}.*convert it"):
        read_weights(DATA / f"{stem}.{form}.pt")


def test_a_whole_module_is_refused_with_the_way_round() -> None:
    for content in (
        (DATA / "module.zip.pt").read_bytes(),
        torch_legacy(b"\x80\x02ctorch.nn.modules.rnn\nGRU\n)\x81}X\x08\x00\x00\x00trainingI01\nsb."),
    ):
        with pytest.raises(UnsupportedModelError, match=r"torch.nn.modules.rnn.GRU.*torch.save\(model.state_dict\(\)"):
            read_weights(content)


def test_other_forms_are_refused_by_name(form: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidModelError, match="expected a state dict"):
        read_weights(DATA / f"tensor.{form}.pt")
    with pytest.raises(UnsupportedModelError, match="'array' is a pickled NumPy array"):
        read_weights(DATA / f"numpy.{form}.pt")
    with pytest.raises(InvalidModelError, match="set_crc32_options"):
        read_weights(DATA / "unchecked.zip.pt")
    with pytest.raises(UnsupportedModelError, match=r"TorchScript.*torch.jit.load"):
        read_weights(zip_of({"a/data.pkl": b"\x80\x02}.", "a/constants.pkl": b"\x80\x02).", "a/code/m.py": b""}))
    with pytest.raises(UnsupportedModelError, match="plain Python pickle"):
        read_weights(b"\x80\x04}\x94.")
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            tar.addfile(tarfile.TarInfo(name))
    with pytest.raises(UnsupportedModelError, match=r"tar archive.*before 0\.1\.10"):
        read_weights(buffer.getvalue())


def test_the_order_of_bytes_is_that_of_the_record() -> None:
    values = np.arange(24, dtype="f4")
    pickled = tensor_pickle((4, 6), (6, 1))
    for order, raw in (("little", values.tobytes()), ("big", values.astype(">f4").tobytes()), (None, values.tobytes())):
        weights = read_weights(torch_zip(pickled, {"0": raw}, order))
        np.testing.assert_array_equal(weights["w"], values.reshape(4, 6))
        assert weights["w"].dtype.isnative
    with pytest.raises(InvalidModelError, match="byte order"):
        read_weights(torch_zip(pickled, {"0": values.tobytes()}, "middle"))


def test_arrays_are_views_of_the_bytes_where_the_archive_stores_them() -> None:
    content = torch_zip(tensor_pickle((4, 6), (6, 1)), {"0": np.arange(24, dtype="f4").tobytes()})
    array = read_weights(content)["w"]
    assert np.shares_memory(array, np.frombuffer(content, np.uint8))


@pytest.mark.parametrize(
    "wrong",
    [
        {"shape": (5, 6), "strides": (6, 1)},  # beyond the end
        {"shape": (4, 6), "strides": (6, 1), "offset": 1},
        {"shape": (4, 6), "strides": (6, 1), "offset": 2**39},
        {"shape": (4, 6), "strides": (-6, 1), "offset": 18},
        {"shape": (4, 6), "strides": (6, 1), "offset": -1},
        {"shape": (-4, 6), "strides": (6, 1)},
        {"shape": (4, 6), "strides": (6,)},
        {"shape": (2**40, 2**40), "strides": (0, 0)},
        {"shape": (2**30,), "strides": (0,)},
        {"shape": (0, 2**39, 2**39), "strides": (1, 1, 1)},
        {"shape": (2,) * 33, "strides": (0,) * 33},
        {"shape": (4, 6), "strides": (6, 1), "size": 23},  # not the number of bytes
        {"shape": (4, 6), "strides": (6, 1), "size": 2**39},
        {"shape": (4, 6), "strides": (6, 1), "size": -24},
        {"shape": (4, 6), "strides": (6, 1), "storage": "DoubleStorage"},
        {"shape": (4, 6), "strides": (6, 1), "storage": "NoStorage"},
        {"shape": (4, 6), "strides": (6, 1), "storage": "UntypedStorage"},
        {"shape": (4, 6), "strides": (6, 1), "key": "1"},  # a storage that is not there
        {"shape": (4, 6), "strides": (6, 1), "key": "../version"},
    ],
)
def test_a_tensor_that_its_storage_does_not_hold(form: str, wrong: dict[str, object]) -> None:
    raw = np.arange(24, dtype="f4").tobytes()
    pickled = tensor_pickle(**wrong)  # type: ignore[arg-type]
    content = torch_zip(pickled, {"0": raw}) if form == "zip" else torch_legacy(pickled, {"0": (24, raw)})
    with pytest.raises((InvalidModelError, UnsupportedModelError)):
        read_weights(content)


def test_a_bool_is_0_or_1(form: str) -> None:
    pickled = tensor_pickle((4,), (1,), size=4, storage="BoolStorage")
    for raw, fine in ((b"\0\1\1\0", True), (b"\0\1\2\0", False)):
        content = torch_zip(pickled, {"0": raw}) if form == "zip" else torch_legacy(pickled, {"0": (4, raw)})
        if fine:
            assert read_weights(content)["w"].tolist() == [False, True, True, False]
        else:
            with pytest.raises(InvalidModelError, match="neither 0 nor 1"):
                read_weights(content)


def test_legacy_storages_end_with_the_file() -> None:
    raw = np.arange(24, dtype="f4").tobytes()
    pickled = tensor_pickle((4, 6), (6, 1))
    for count, tail in ((24, b"x"), (25, b""), (2**60, b""), (-1, b"")):
        with pytest.raises(InvalidModelError):
            read_weights(torch_legacy(pickled, {"0": (count, raw)}) + tail)


def test_gtcrn_is_read_from_its_tar_without_torch(shared_models: Path) -> None:
    with_torch = "torch" in sys.modules  # another test may have imported it
    weights = read_weights(shared_models / "gtcrn" / "model_trained_on_dns3.tar")
    assert ("torch" in sys.modules) == with_torch
    grus = find_grus(weights)
    assert len(grus) == 14
    assert {(gru.hidden_size, gru.bidirectional) for gru in grus} == {(4, True), (8, False), (16, False)}
    assert weights.unread == tuple(weights)
    view = weights.sub("dpgrnn1.intra_rnn.rnn1")
    assert set(view) == {f"{k}_{s}_l0{r}" for k in ("weight", "bias") for s in ("ih", "hh") for r in ("", "_reverse")}
    for array in view.values():
        assert np.isfinite(array).all()
        assert array.any()
    view.check_all_read()
    with pytest.raises(UnreadTensorsError, match=rf"{len(weights) - 8} tensor\(s\) were not read"):
        weights.check_all_read()


def test_the_checksum_of_every_member_counts() -> None:
    content = bytearray((DATA / "two.zip.pt").read_bytes())
    with zipfile.ZipFile(io.BytesIO(bytes(content))) as archive:
        member = next(m for m in archive.namelist() if m.endswith("/data/0"))
        at = content.index(archive.read(member))
    content[at] ^= 0x10
    with pytest.raises(InvalidModelError, match="checksum of member"):
        read_weights(bytes(content), key="generator")


@pytest.mark.parametrize(
    "name",
    ["torch qint8", "torch._utils _rebuild_qtensor", "torch ScriptObject", "torchao.dtypes AffineQuantizedTensor"],
)
def test_tensors_that_were_quantised_are_refused(name):
    module, attribute = name.split()
    pickled = f"\x80\x02}}(X\x01\x00\x00\x00wc{module}\n{attribute}\nu.".encode("latin-1")
    message = f"{module}.{attribute}.*quantised and packed.*state dict of the float model"
    with pytest.raises(UnsupportedModelError, match=message):
        read_weights(torch_zip(pickled))
