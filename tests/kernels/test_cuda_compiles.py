"""Every CUDA instantiation compiles with NVRTC, the compiler users run. Needs no GPU."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from shim.compiler import ARCHITECTURES, compile_cuda

from fastgen.kernels import cuda

EVERY = [(name, arch) for name in cuda.sources() for arch in ARCHITECTURES]


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
