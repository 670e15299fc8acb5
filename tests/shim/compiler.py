"""NVRTC, the compiler of CUDA sources that users run, called without a GPU."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from fastgen.kernels import cuda

ARCHITECTURES = ("sm_80", "sm_90")


class Compiled(NamedTuple):
    status: int
    log: str
    lowered: dict[str, bytes]
    cubin: bytes


@functools.cache
def nvrtc() -> ctypes.CDLL:
    found = importlib.util.find_spec("nvidia")
    libraries = [
        path
        for place in (found.submodule_search_locations if found else ())
        for path in sorted(Path(place).glob("**/lib/libnvrtc.so.*"))
    ]
    if not libraries:
        pytest.skip("NVRTC is not installed: pip install nvidia-cuda-nvrtc")
    return ctypes.CDLL(str(libraries[-1]))


def check(status: int) -> None:
    if status:
        raise RuntimeError(f"NVRTC returned {status}")


def text_of(program: ctypes.c_void_p, what: str) -> bytes:
    lib, size = nvrtc(), ctypes.c_size_t()
    check(getattr(lib, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
    buffer = ctypes.create_string_buffer(size.value)
    check(getattr(lib, f"nvrtcGet{what}")(program, buffer))
    return buffer.raw


def compile_cuda(
    source: str, expressions: Sequence[str], arch: str, options: Sequence[str] = ()
) -> Compiled:
    lib = nvrtc()
    names, texts = zip(*cuda.headers().items(), strict=True)
    program = ctypes.c_void_p()
    strings = ctypes.c_char_p * len(names)
    check(
        lib.nvrtcCreateProgram(
            ctypes.byref(program),
            source.encode(),
            b"kernel.cu",
            len(names),
            strings(*(text.encode() for text in texts)),
            strings(*(name.encode() for name in names)),
        )
    )
    try:
        for expression in expressions:
            check(lib.nvrtcAddNameExpression(program, expression.encode()))
        arguments = ("-std=c++17", f"-arch={arch}", *options)
        status = lib.nvrtcCompileProgram(
            program,
            len(arguments),
            (ctypes.c_char_p * len(arguments))(*(x.encode() for x in arguments)),
        )
        log = text_of(program, "ProgramLog").rstrip(b"\0").decode().strip()
        if status:
            return Compiled(status, log, {}, b"")
        lowered = {}
        for expression in expressions:
            name = ctypes.c_char_p()
            check(lib.nvrtcGetLoweredName(program, expression.encode(), ctypes.byref(name)))
            lowered[expression] = name.value
        return Compiled(status, log, lowered, text_of(program, "CUBIN"))
    finally:
        lib.nvrtcDestroyProgram(ctypes.byref(program))
