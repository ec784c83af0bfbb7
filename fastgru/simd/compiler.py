"""Compile Python functions to object code that runs without Numba: Numba infers types and lowers, LLVM does the rest.

Numba would optimise and generate code for every function that a kernel calls, each with an entry for Python, and then
once more inside the kernel. Here the modules of these functions are only linked, and optimised once, as one module with
one symbol. Passes of Numba for features that kernels do not use (closures, arrays, reference counts) do not run.

A native function has no caller that could handle an exception. Where Numba would raise one, it stops the process.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, ClassVar, Final

import llvmlite.binding as llvm
from llvmlite import ir
from numba import njit
from numba.core import cgutils, compiler, types, typing
from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from fastgru.errors import FastGRUError
from fastgru.simd.native import target_machine
from fastgru.simd.target import TARGET, Target

__all__ = ["RAISED", "callable_kernel", "compile_object", "compile_python", "inlined", "kernel"]

# No nnan or ninf: NaN and infinities are data. No reassoc: sums have one order.
_OPTIONS: Final = {"error_model": "numpy", "boundscheck": False, "fastmath": {"nsz"}, "_nrt": False}

_UNUSED: Final = {
    "DumpParforDiagnostics",
    "InlineClosureLikes",
    "InlineInlinables",
    "InlineOverloads",
    "LiteralPropagationSubPipelinePass",
    "LiteralUnroll",
    "MakeFunctionToJitFunction",
    "NopythonRewrites",
    "RewriteDynamicRaises",
    "WithLifting",
}

_OPTIMISATION: Final = 3

RAISED: Final = -(1 << 63)


class _KernelCompiler(compiler.CompilerBase):
    """Numba's passes without `_UNUSED`: one list for all functions, because making it takes longer than some passes."""

    _pipelines: ClassVar[list[Any]] = []

    def define_pipelines(self) -> list[Any]:
        if not self._pipelines:
            pipeline = compiler.DefaultPassBuilder.define_nopython_pipeline(self.state)
            pipeline.passes = [each for each in pipeline.passes if each[0].__name__ not in _UNUSED]
            pipeline.finalize()
            self._pipelines.append(pipeline)
        return self._pipelines


_for_python = partial(njit, nogil=True, pipeline_class=_KernelCompiler, **_OPTIONS)
_for_kernels = partial(_for_python, no_cpython_wrapper=True, no_cfunc_wrapper=True)

# `kernel` is for functions that only kernels call, `callable_kernel` for those that Python calls as well.
kernel, callable_kernel = _for_kernels(), _for_python()
# For a function that a loop calls in every iteration, and that LLVM may think too large to inline.
inlined = _for_kernels(forceinline=True)


class _Unlinked(JITCodeLibrary):
    """The code that one function was lowered to: not optimised, not linked to its callees, not in Numba's engine."""

    def _optimize_functions(self, ll_module: Any) -> None:
        ll_module.data_layout = self._codegen._data_layout

    def finalize(self) -> None:
        self._finalized = True

    def get_pointer_to_function(self, name: str) -> int:
        return 0

    def whole(self) -> Any:
        """Return a new module with the function and everything it calls, each once."""
        module = self._final_module.clone()
        seen, left = {self}, list(self._linking_libraries)
        while left:
            library = left.pop()
            if library in seen:
                continue
            seen.add(library)
            ours = isinstance(library, _Unlinked)
            module.link_in(library._final_module if ours else library._get_module_for_linking(), preserve=True)
            left += library._linking_libraries if ours else ()
        return module

    def _get_module_for_linking(self) -> Any:
        """Return the module to link into a function that is not a kernel, which Numba compiles in its own way."""
        module = self.whole()
        for function in module.functions:
            if not function.is_declaration and function.linkage == llvm.Linkage.external:
                function.linkage = "linkonce_odr"
        return module


def _empty_module(name: str) -> Any:
    module = ir.Module(cgutils.normalize_ir_text(name))
    module.triple, module.data_layout = TARGET.triple, str(target_machine().target_data)
    return module


@contextmanager
def _unlinked(codegen: Any) -> Iterator[None]:
    """Make Numba's code generator return `_Unlinked` libraries for the target.

    Numba's lock must be held, because all of the process uses this generator.
    """
    data = target_machine().target_data
    ours = {
        "_library_class": _Unlinked,
        "_create_empty_module": _empty_module,
        "_target_data": data,
        "_data_layout": str(data),
        "set_env": lambda name, environment: None,  # the module is not in memory, so it has no address to write to
    }
    own = dict(codegen.__dict__)  # restored as it was: a signal handler or finaliser may compile in the middle
    codegen.__dict__.update(ours)
    try:
        yield
    finally:
        for name in ours:
            if name in own:
                setattr(codegen, name, own[name])
            else:
                delattr(codegen, name)


def compile_object(
    function: Any, arguments: tuple[Any, ...], result: Any, symbol: str, target: Target = TARGET
) -> bytes:
    """Return object code for a level with one symbol: a C function whose arguments and result are Numba's types."""
    code: bytes = _compile(function, typing.signature(result, *arguments), symbol, target, _export_c)
    return code


def compile_python(function: Any, kinds: str, symbol: str, target: Target = TARGET, *, keep_gil: bool) -> bytes:
    """Return object code for a level with one symbol: a C function that CPython calls (METH_FASTCALL).

    function: takes one 64-bit integer for each letter of `kinds`: "i" for an int of Python, "o" for the address of any
    object, borrowed for the call. It returns an integer, or `RAISED` if it has set an exception of Python, which the
    caller then gets. keep_gil: True for a function that is too short to release the GIL, or releases it itself.
    """
    signature = typing.signature(types.int64, *[types.int64] * len(kinds))
    code: bytes = _compile(function, signature, symbol, target, partial(_export_python, kinds, keep_gil))
    return code


@global_compiler_lock
def _compile(function: Any, signature: Any, symbol: str, target: Target, export: Callable[..., None]) -> bytes:
    context = cpu_target.target_context
    context.refresh()
    cpu_target.typing_context.refresh()
    flags = compiler.Flags()
    cpu_target.options.parse_as_flags(flags, {"nopython": True, **_OPTIONS})
    flags.no_cpython_wrapper = True
    flags.no_cfunc_wrapper = True
    flags.no_compile = True
    codegen = context.codegen()
    with _unlinked(codegen):
        compiled = compiler.compile_extra(
            cpu_target.typing_context,
            context,
            function,
            signature.args,
            signature.return_type,
            flags,
            locals={},
            pipeline_class=_KernelCompiler,
        )
        library = codegen.create_library(symbol)
        outside = library.create_ir_module(symbol)
        export(context, outside, context.declare_function(outside, compiled.fndesc), signature, symbol)
        library.add_ir_module(outside)
        library.add_linking_library(compiled.library)
        module = library.whole()
    for defined in (*module.functions, *module.global_variables):
        if not defined.is_declaration and defined.name != symbol:
            defined.linkage = "internal"
    machine = target_machine(target)
    tuning = llvm.create_pipeline_tuning_options(speed_level=_OPTIMISATION)
    tuning.loop_vectorization = True
    tuning.slp_vectorization = False
    builder = llvm.create_pass_builder(machine, tuning)
    builder.getModulePassManager().run(module, builder)
    foreign = [f.name for f in (*module.functions, *module.global_variables) if f.is_declaration and _is_numbas(f.name)]
    if foreign:
        raise FastGRUError(f"{symbol}: its code needs {', '.join(foreign)} of Numba's runtime; kernels must not")
    for i, local in enumerate(f for f in module.functions if f.linkage == llvm.Linkage.internal):
        local.name = f"local{i}"  # Numba's name contains a number that differs between processes
    code: bytes = machine.emit_object(module)
    return code


def _is_numbas(name: str) -> bool:
    return name.startswith(("NRT_", "numba_", "_numba", "_ZN5numba", ".numba"))


def _call(context: Any, builder: Any, inner: Any, signature: Any, values: list[Any]) -> Any:
    """Call the lowered function and return its result. An exception stops the process."""
    status, value = context.call_conv.call_function(builder, inner, signature.return_type, signature.args, values)
    with builder.if_then(status.is_error, likely=False):
        builder.call(builder.module.declare_intrinsic("llvm.trap", (), ir.FunctionType(ir.VoidType(), [])), [])
        builder.unreachable()
    return value


def _export_c(context: Any, module: Any, inner: Any, signature: Any, symbol: str) -> None:
    """Define `symbol` in a module as the C function around a lowered one."""
    returns = signature.return_type != types.void
    kind = context.get_value_type(signature.return_type) if returns else ir.VoidType()
    outer = ir.Function(module, ir.FunctionType(kind, [context.get_value_type(a) for a in signature.args]), symbol)
    builder = ir.IRBuilder(outer.append_basic_block())
    value = _call(context, builder, inner, signature, list(outer.args))
    if returns:
        builder.ret(value)
    else:
        builder.ret_void()


def _export_python(
    kinds: str, keep_gil: bool, context: Any, module: Any, inner: Any, signature: Any, symbol: str
) -> None:
    """Define PyObject *symbol(PyObject *self, PyObject *const *args, Py_ssize_t nargs) around a lowered function."""
    word, text, nothing = ir.IntType(64), ir.IntType(8).as_pointer(), ir.VoidType()
    outer = ir.Function(module, ir.FunctionType(text, [text, text.as_pointer(), word]), symbol)
    builder = ir.IRBuilder(outer.append_basic_block())
    failed = outer.append_basic_block()
    ir.IRBuilder(failed).ret(ir.Constant(text, None))

    def python(name: str, result: Any, *values: Any) -> Any:
        function = module.globals.get(name) or ir.Function(
            module, ir.FunctionType(result, [v.type for v in values]), name
        )
        return builder.call(function, values)

    wrong, right = outer.append_basic_block(), outer.append_basic_block()
    builder.cbranch(builder.icmp_signed("==", outer.args[2], ir.Constant(word, len(kinds))), right, wrong)
    builder.position_at_end(wrong)
    kind = ir.GlobalVariable(module, text, "PyExc_TypeError")
    message = cgutils.make_bytearray(f"{symbol}() takes {len(kinds)} positional arguments\0".encode())
    where = builder.bitcast(cgutils.global_constant(module, "message", message), text)
    python("PyErr_SetString", nothing, builder.load(kind), where)
    builder.branch(failed)
    builder.position_at_end(right)
    values = []
    for i, letter in enumerate(kinds):
        given = builder.load(builder.gep(outer.args[1], [ir.Constant(word, i)]))
        if letter == "o":
            values.append(builder.ptrtoint(given, word))
            continue
        values.append(python("PyLong_AsLongLong", word, given))
        with builder.if_then(builder.icmp_signed("==", values[-1], ir.Constant(word, -1)), likely=False):
            error = builder.ptrtoint(python("PyErr_Occurred", text), word)
            fine = outer.append_basic_block()
            builder.cbranch(builder.icmp_signed("!=", error, ir.Constant(word, 0)), failed, fine)
            builder.position_at_end(fine)
    state = None if keep_gil else python("PyEval_SaveThread", text)
    value = _call(context, builder, inner, signature, values)
    if not keep_gil:
        python("PyEval_RestoreThread", nothing, state)
    with builder.if_then(builder.icmp_signed("==", value, ir.Constant(word, RAISED)), likely=False):
        error = builder.ptrtoint(python("PyErr_Occurred", text), word)
        fine = outer.append_basic_block()
        builder.cbranch(builder.icmp_signed("!=", error, ir.Constant(word, 0)), failed, fine)
        builder.position_at_end(fine)
    builder.ret(python("PyLong_FromLongLong", text, value))
