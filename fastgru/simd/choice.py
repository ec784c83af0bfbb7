"""A choice of one of several functions by a code at run time: a jump table instead of a long chain of branches."""

from collections.abc import Mapping
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.extending import intrinsic

__all__ = ["make_choice"]


def make_choice(functions: Mapping[int, Any]) -> Any:
    """Return choose(code, *arguments), which calls functions[code](*arguments), or the last one for an unknown code.

    functions: kernels, operators of Python, or others that Numba knows. Results are cast to the type of the first.
    """

    @intrinsic
    def choose(typingctx, code, *arguments):
        kinds = {number: typingctx.resolve_value_type(function) for number, function in functions.items()}
        calls = {number: (kind, kind.get_call_type(typingctx, arguments, {})) for number, kind in kinds.items()}
        result = next(iter(calls.values()))[1].return_type

        def codegen(context, builder, sig, args):
            given = [builder.extract_value(args[1], i) for i in range(len(arguments))]
            other, behind, made = builder.append_basic_block(), builder.append_basic_block(), []
            chosen = builder.switch(context.cast(builder, args[0], sig.args[0], types.int64), other)
            for number, (kind, call) in calls.items():
                block = builder.append_basic_block()
                chosen.add_case(ir.Constant(ir.IntType(64), number), block)
                builder.position_at_end(block)
                values = [context.cast(builder, *each) for each in zip(given, arguments, call.args, strict=True)]
                value = context.get_function(kind, call)(builder, values)
                made.append((context.cast(builder, value, call.return_type, result), builder.block))
                builder.branch(behind)
            builder.position_at_end(other)
            builder.branch(block)
            builder.position_at_end(behind)
            value = builder.phi(context.get_value_type(result))
            for each in made:
                value.add_incoming(*each)
            return value

        return result(code, types.StarArgTuple.from_types(arguments)), codegen

    return choose
