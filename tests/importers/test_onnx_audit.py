"""The proof of `fastgru.reference.audited`: what it lets through has the numbers of onnxruntime.

A sample of every entry runs with the other tests; `pytest -m slow tests/importers/test_onnx_audit.py` is the whole.
"""

from __future__ import annotations

import warnings
import zlib
from itertools import product

import numpy as np
import onnxruntime
import pytest
from fallback_cases import GENERATORS, model_of, opset_range
from onnx import TensorProto, defs, numpy_helper
from onnx.backend.test.loader import load_model_tests

import fastgru
from fastgru.errors import UnsupportedModelError
from fastgru.reference.audited import AUDITED

ENTRIES = sorted(AUDITED)


def _session(data):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])


def _assert_same(got, want, what):
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, f"{what}: shape {got.shape}, onnxruntime's is {want.shape}"
    if want.dtype.kind != "f":
        np.testing.assert_array_equal(got, want, err_msg=what)
        return
    finite = want[np.isfinite(want)]
    scale = max(1, np.abs(finite).max(initial=0))
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * scale, equal_nan=True, err_msg=what)


def _proved(model, all_feeds, what):
    """Whether onnx's implementation ran the model, and gave onnxruntime's numbers; False where it did not run it."""
    data = model.SerializeToString()
    wide = any(i.type.tensor_type.elem_type == TensorProto.DOUBLE for i in (*model.graph.input, *model.graph.output))
    precision = "float64" if wide or any(a.dtype == np.float64 for a in all_feeds[0].values()) else "float32"
    try:
        loaded = fastgru.load(data, fallback="reference", precision=precision, allow_unread=True)
    except UnsupportedModelError:
        return False
    if not loaded.reference_nodes:
        return False
    session = _session(data)
    for feeds in all_feeds:
        want = session.run(None, feeds)
        for got, expected in zip(loaded.run(feeds).values(), want, strict=True):
            _assert_same(got, expected, f"{what}: {[str(n) for n in model.graph.node][:1]}")
    return True


def _types(entry):
    """Every combination of the dtypes of an entry, by type parameter."""
    names = list(entry.dtypes)
    return [dict(zip(names, chosen, strict=True)) for chosen in product(*(entry.dtypes[n].split() for n in names))]


def _versions(domain, op):
    """The versions of an entry that the installed onnx defines: an older package lacks some."""
    defined = {s.since_version for s in defs.get_all_schemas_with_history() if (s.domain, s.name) == (domain, op)}
    return [version for version in AUDITED[domain, op].versions if version in defined]


def _draw(domain, op, count):
    """(version, types, model, feeds): `count` random nodes of each version and combination of dtypes of an entry."""
    entry, generate = AUDITED[domain, op], GENERATORS[domain, op]
    for version in _versions(domain, op):
        opsets = opset_range(op, domain, version)
        for types in _types(entry):
            rng = np.random.default_rng(zlib.crc32(f"{op} {version} {types}".encode()))
            for i in range(count):
                yield version, types, *model_of(generate(rng, types, version), op, domain, opsets[i % 2])


def test_every_entry_has_a_generator_and_names_what_onnx_defines():
    assert set(AUDITED) <= set(GENERATORS)
    assert not {op for _, op in AUDITED} & {"GRU", "LSTM", "RNN", "If", "Loop", "Scan"}
    for (domain, op), entry in AUDITED.items():
        for version in _versions(domain, op):
            schema = defs.get_schema(op, opset_range(op, domain, version)[0], domain)
            assert schema.since_version == version
            assert entry.dtypes.keys() <= {formal.type_str for formal in schema.inputs}, op
            if version == entry.versions[-1]:
                assert entry.attributes.keys() <= schema.attributes.keys(), op


@pytest.mark.parametrize(("domain", "op"), ENTRIES, ids=lambda name: str(name))
def test_a_sample_of_every_entry(domain, op):
    proved = 0
    drawn = list(_draw(domain, op, 4))
    if not drawn:
        pytest.skip("the installed onnx does not define it")
    for version, types, model, feeds in drawn[:: max(1, len(drawn) // 8)]:
        proved += _proved(model, [feeds], f"{op}-{version} {types}")
    assert proved


@pytest.mark.slow
@pytest.mark.parametrize(("domain", "op"), ENTRIES, ids=lambda name: str(name))
def test_random_nodes_of_every_version_and_dtype(domain, op):
    proved: dict[tuple[int, str], int] = {}
    for version, types, model, feeds in _draw(domain, op, 24):
        ours = _proved(model, [feeds], f"{op}-{version} {types}")
        for pair in types.items():
            key = version, str(pair)
            proved[key] = proved.get(key, 0) + ours
    assert all(proved.values()), f"let through, and never tried: {[key for key, n in proved.items() if not n]}"


def _arrays(case, data_set):
    return {
        info.name: numpy_helper.to_array(value) if isinstance(value, TensorProto) else _array(value)
        for info, value in zip(case.model.graph.input, data_set[0], strict=True)
    }


def _array(value):
    return np.asarray(value, object if isinstance(value, list | type(None)) else None)


def _other(rng, array):
    """New numbers of the same shape and dtype; integers, which may be sizes and places, stay."""
    if array.dtype.kind != "f" or array.size < 2:
        return array
    usual = np.clip(np.nan_to_num(array.astype(np.float64)), -1e3, 1e3)
    return rng.uniform(usual.min(), usual.max(), array.shape).astype(array.dtype)


@pytest.mark.slow
def test_the_node_tests_of_onnx():
    with warnings.catch_warnings(action="ignore"):  # of the arithmetic with which onnx makes its cases
        cases = [case for case in load_model_tests(kind="node") if case.model is not None]
    wrong, proved = [], {}
    rng = np.random.default_rng(0)
    for case in cases:
        ours = [(n.domain, n.op_type) for n in case.model.graph.node if (n.domain, n.op_type) in AUDITED]
        feeds = [_arrays(case, data_set) for data_set in case.data_sets]
        if not ours or any(a.dtype == object for given in feeds for a in given.values()):  # sequences
            continue
        feeds += [{name: _other(rng, a) for name, a in feeds[0].items()} for _ in range(3)]
        try:
            if _proved(case.model, feeds, case.name):
                proved.update(dict.fromkeys(ours))
        except Exception as error:  # onnxruntime's own among them: what it does not run is not proved
            wrong.append(f"{case.name}: {error!r:.300}")
    assert not wrong, "\n".join(wrong)
    assert len(proved) > 30
