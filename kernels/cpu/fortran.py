"""Calls of BLAS and LAPACK out of kernels, as light to compile as any other statement.

Numba's own ``np.linalg`` functions compile checks and copies around each call, which takes longer
than all loops of a kernel. Here a kernel calls SciPy's routine itself: ``gemm((T, N, m, ...))``
passes a tuple of letters, integers, numbers and contiguous arrays as Fortran expects them. Fortran
sees the transpose of an array in C order.
"""

from __future__ import annotations

from typing import Any

from llvmlite import binding, ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import get_cython_function_address, intrinsic

# Letters, as Fortran reads them.
L, N, R, S, T, U, V = map(ord, "LNRSTUV")


def _routine(module: str, name: str) -> Any:
    """Make a SciPy routine callable from kernels; machine code on disk knows it by this symbol."""
    symbol = f"fastgen_{name}"
    binding.add_symbol(symbol, get_cython_function_address(f"scipy.linalg.{module}", name))

    @intrinsic
    def call(typingctx, arguments):
        for kind in arguments.types:
            if isinstance(kind, types.Array) and kind.layout != "C":
                raise TypingError(f"{name} takes contiguous arrays, got {kind}")

        def codegen(context, builder, signature, args):
            byte = ir.IntType(8).as_pointer()
            pointers = []
            for i, kind in enumerate(signature.args[0].types):
                value = builder.extract_value(args[0], i)
                if isinstance(kind, types.Array):
                    pointer = context.make_array(kind)(context, builder, value).data
                else:
                    if isinstance(kind, types.Integer):
                        value = builder.trunc(value, ir.IntType(32))
                    pointer = cgutils.alloca_once_value(builder, value)
                pointers.append(builder.bitcast(pointer, byte))
            kind = ir.FunctionType(ir.VoidType(), [byte] * len(pointers))
            routine = cgutils.get_or_insert_function(builder.module, kind, symbol)
            builder.call(routine, pointers)
            return context.get_dummy_value()

        return types.void(arguments), codegen

    return call


gemm = _routine("cython_blas", "dgemm")
trsm = _routine("cython_blas", "dtrsm")
geqrf = _routine("cython_lapack", "dgeqrf")
orgqr = _routine("cython_lapack", "dorgqr")
gesdd = _routine("cython_lapack", "dgesdd")
syevd = _routine("cython_lapack", "dsyevd")
potrf = _routine("cython_lapack", "dpotrf")
trtri = _routine("cython_lapack", "dtrtri")
tpqrt = _routine("cython_lapack", "dtpqrt")
