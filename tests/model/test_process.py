"""What a process may be like that runs a model: its floating-point mode, its interpreter, its stderr."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest
from users import alone


def test_the_callers_floating_point_mode_changes_no_bit(saved):
    """Rounding upwards and flushing denormals, set before the model is loaded: the same bits, and the mode is kept."""
    code = """
        x = np.random.default_rng(0).standard_normal((50, 2, 64), dtype=np.float32)
        from fastgru.kernels.run import mode_exchanger
        before = mode_exchanger()(-1)
        mode = before ^ int(sys.argv[2])
        mode_exchanger()(mode)
        model = fastgru.load(sys.argv[1])
        y, hn = model(x, np.zeros((1, 2, 64), np.float32))
        parts = model.stream(2).push(x)
        assert (mode_exchanger()(before) ^ mode) & ~63 == 0  # but for the exceptions that have come
        sys.stdout.write(y.tobytes().hex() + hn.tobytes().hex() + parts.tobytes().hex())
    """
    machine = platform.machine().lower()
    if machine in ("x86_64", "amd64"):  # MXCSR: rounding upwards, flushing results and operands to zero
        modes = 2 << 13, 1 << 15 | 1 << 6
    elif machine in ("aarch64", "arm64"):  # FPCR: the same
        modes = 1 << 22, 1 << 24
    else:
        pytest.skip(f"the mode of a {machine} is not known")
    plain = alone(code, saved, "0")
    for mode in modes:
        assert alone(code, saved, str(mode)) == plain


def test_a_subinterpreter_gets_a_result_or_a_plain_refusal():
    """NumPy refuses an isolated one by an ImportError of its own, and warns in one that shares the GIL."""
    pytest.importorskip("_xxsubinterpreters", reason="no subinterpreters of this name here")
    code = """
        import warnings
        import _xxsubinterpreters as interpreters
        script = (
            "import warnings\\nwarnings.simplefilter('ignore')\\n"
            "try:\\n"
            "  import numpy as np, fastgru\\n"
            "  gru = fastgru.GRU.from_torch({f'weight_{n}_l0': np.ones((6, 2), 'f4') for n in ('ih', 'hh')})\\n"
            "  print(gru(np.ones((2, 1, 2), 'f4'))[0].shape, flush=True)\\n"
            "except ImportError:\\n"
            "  print('ImportError', flush=True)\\n"
        )
        for isolated in (False, True):
            interpreters.run_string(interpreters.create(isolated=isolated), script)
        exec(script)
        os._exit(0)
    """
    first, second, last = alone(code).split("\n")[:3]
    assert {first, second} <= {"(2, 1, 2)", "ImportError"}
    assert last == "(2, 1, 2)"


def test_free_threaded_python_is_refused_by_name():
    code = "import sys\nsys.version += ' free-threading build'\nimport fastgru"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 1
    assert "ImportError: fastgru has not been tested on a free-threaded build of Python" in done.stderr


def test_a_closed_stderr_keeps_no_model_from_running(tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("FASTGRU_CACHE_DIR", str(tmp_path / "file" / "below"))
    code = """
        del os.environ["FASTGRU_QUIET"]
        sys.stderr.close()
        print(fastgru.ReLU()(np.array([[-1.0, 2.0]], np.float32)).tolist())
    """
    assert alone(code) == "[[0.0, 2.0]]\n"
