"""An eight-lane vector type for Numba kernels that work on eight small problems at once.

LLVM does not vectorise a fixed loop of eight over arrays that might overlap, so the lanes are
spelled out: ``load`` takes eight consecutive values of a C-contiguous array from a flat offset,
arithmetic acts lane by lane (multiply and add may contract to a fused multiply-add), ``store`` puts
them back.
"""

from __future__ import annotations

import operator

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, lower_builtin, models, register_model, type_callable

LANES = 8


class Vector(types.Type):
    """Numba type of eight lanes of ``dtype``."""

    def __init__(self, dtype: types.Float) -> None:
        self.dtype = dtype
        super().__init__(name=f"Vector({dtype})")


@register_model(Vector)
class _VectorModel(models.PrimitiveModel):
    def __init__(self, dmm, fe_type):
        lane = dmm.lookup(fe_type.dtype).get_value_type()
        super().__init__(dmm, fe_type, ir.VectorType(lane, LANES))


def _address(context, builder, array_type, array, offset):
    data = context.make_array(array_type)(context, builder, array).data
    scalar = builder.gep(data, [offset])
    vector = context.get_value_type(Vector(array_type.dtype))
    return builder.bitcast(scalar, vector.as_pointer())


@intrinsic
def load(typingctx, array, offset):
    """Eight values of ``array`` (C-contiguous, any shape) from flat position ``offset``."""

    def codegen(context, builder, signature, args):
        where = _address(context, builder, signature.args[0], args[0], args[1])
        return builder.load(where, align=signature.args[0].dtype.bitwidth // 8)

    return Vector(array.dtype)(array, types.intp), codegen


@intrinsic
def store(typingctx, array, offset, value):
    """Write the eight lanes of ``value`` to ``array`` from flat position ``offset``."""

    def codegen(context, builder, signature, args):
        where = _address(context, builder, signature.args[0], args[0], args[1])
        builder.store(args[2], where, align=signature.args[0].dtype.bitwidth // 8)
        return context.get_dummy_value()

    return types.void(array, types.intp, value), codegen


@intrinsic
def splat(typingctx, array, value):
    """``value`` in every lane, in the dtype of ``array``."""

    def codegen(context, builder, signature, args):
        vector = context.get_value_type(signature.return_type)
        one = builder.insert_element(
            ir.Constant(vector, ir.Undefined), args[1], ir.Constant(ir.IntType(32), 0)
        )
        mask = ir.Constant(ir.VectorType(ir.IntType(32), LANES), [0] * LANES)
        return builder.shuffle_vector(one, one, mask)

    return Vector(array.dtype)(array, array.dtype), codegen


def _elementwise(op, instruction):
    @type_callable(op)
    def _typer(context):
        def typer(a, b):
            if isinstance(a, Vector) and a == b:
                return a
            return None

        return typer

    @lower_builtin(op, Vector, Vector)
    def _lower(context, builder, signature, args):
        return getattr(builder, instruction)(*args, flags=("contract",))


for _op, _instruction in (
    (operator.add, "fadd"),
    (operator.sub, "fsub"),
    (operator.mul, "fmul"),
    (operator.truediv, "fdiv"),
):
    _elementwise(_op, _instruction)


@intrinsic
def lesser(typingctx, a, b):
    """Return the lesser of ``a`` and ``b``, neither of them NaN, lane by lane."""

    def codegen(context, builder, signature, args):
        # a comparison and a choice would be stored under a mask, which is slow
        vector = args[0].type
        kind = ir.FunctionType(vector, [vector, vector])
        name = f"llvm.minnum.v{LANES}{vector.element.intrinsic_name}"
        minimum = cgutils.get_or_insert_function(builder.module, kind, name)
        return builder.call(minimum, args, fastmath=("nnan", "nsz"))

    return a(a, b), codegen


__all__ = ["LANES", "Vector", "lesser", "load", "splat", "store"]
