"""Every CUDA instantiation compiles with NVRTC, the compiler users run. Needs no GPU."""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pytest

from fastgen.kernels import cuda

ARCHITECTURES = ("sm_80", "sm_90")
EVERY = [(name, arch) for name in cuda.sources() for arch in ARCHITECTURES]


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


@pytest.mark.parametrize(("name", "arch"), EVERY)
def test_every_instantiation_compiles_without_a_warning(name, arch):
    expressions = cuda.instantiations(name)
    result = compile_cuda(cuda.sources()[name], expressions, arch)
    assert (result.status, result.log) == (0, "")
    assert len(set(result.lowered.values())) == len(expressions)
    for lowered in result.lowered.values():
        assert lowered in result.cubin


@pytest.mark.parametrize(("name", "arch"), EVERY)
def test_no_kernel_spills_registers(name, arch):
    expressions = cuda.instantiations(name)
    result = compile_cuda(cuda.sources()[name], expressions, arch, ["--ptxas-options=-v"])
    spills = re.findall(r"(\d+) bytes spill stores, (\d+) bytes spill loads", result.log)
    assert len(spills) >= len(expressions)
    assert set(spills) == {("0", "0")}


def test_every_source_file_is_listed():
    files = {path.stem for path in Path(cuda.folder()).glob("*.cu")}
    assert files == set(cuda.sources())
    assert all(cuda.instantiations(name) for name in files)


SOUND = "template <typename T> __global__ void f(T* x) { x[threadIdx.x] = 1; }\n"


def test_the_checker_accepts_a_sound_kernel():
    result = compile_cuda(SOUND, ["f<float>", "f<double>"], "sm_80")
    assert (result.status, result.log) == (0, "")
    assert result.lowered["f<float>"] in result.cubin


@pytest.mark.parametrize(
    ("source", "expression", "message"),
    [
        (SOUND.replace("x[", "y["), "f<float>", '"y" is undefined'),
        (SOUND, "g<float>", "g<float>"),
        (SOUND.replace("= 1", "= INFINITY"), "f<float>", '"INFINITY" is undefined'),
        ("#include <cmath>\n" + SOUND, "f<float>", "cmath"),
        (
            SOUND.replace("{", "{ __shared__ T s[10000]; x[1] = s[int(x[0])];"),
            "f<double>",
            "shared",
        ),
    ],
    ids=["undefined", "no such kernel", "INFINITY", "standard header", "shared memory"],
)
def test_the_checker_refuses_a_broken_kernel(source, expression, message):
    result = compile_cuda(source, [expression], "sm_80")
    assert result.status != 0
    assert message in result.log


def test_the_checker_sees_warnings():
    result = compile_cuda(SOUND.replace("{", "{ int unused;"), ["f<float>"], "sm_80")
    assert result.status == 0
    assert "unused" in result.log
