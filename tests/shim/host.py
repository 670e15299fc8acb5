"""Run the CUDA kernels on the CPU, through ``host_shim.h`` and g++.

    host.launch("nuclear", "nuclear_norms<float, 32, 32>", grid, block, arguments)

takes the arguments that CuPy's kernel call would take, NumPy arrays and NumPy scalars, and writes
into the arrays. Nothing here knows a kernel: the instantiations come from `fastgen.kernels.cuda`.
`numpy_as_cupy` lets the functions of `fastgen.kernels.cuda` do the same, grids and all.
`thread_sanitizer` runs one launch in a program of its own and returns what the sanitizer found.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
import types
from collections.abc import Iterator, Sequence
from pathlib import Path
from unittest import mock

import numpy as np
import pytest

from fastgen import _arrays
from fastgen.kernels import cuda
from fastgen.kernels.cuda import _load

_SHIM = Path(__file__).with_name("host_shim.h")
_FLAGS = ("-std=c++20", "-O1", "-g", "-Wall", "-pthread")
# Without the second flag the statics of two libraries, shared arrays included, would be merged.
_LIBRARY = ("-fPIC", "-shared", "-fno-gnu-unique", "-fvisibility=hidden")
_TSAN = ("-fsanitize=thread",)
_RACE = 66  # the sanitizer's exit status

_LIBRARY_ENTRY = """
extern "C" __attribute__((visibility("default")))
int run(int which, unsigned grid, unsigned block, const shim::Argument* arguments, size_t count) {
    return pick(which, grid, block, arguments, count);
}
"""

# Arguments on the command line: which, grid, block, then an item size and a file for each.
_PROGRAM_ENTRY = """
int main(int argc, char** argv) {
    std::vector<std::vector<char>> bytes;
    std::vector<shim::Argument> arguments;
    for (int i = 4; i + 1 < argc; i += 2) {
        std::FILE* file = std::fopen(argv[i + 1], "rb");
        if (file == nullptr) return 2;
        std::fseek(file, 0, SEEK_END);
        bytes.emplace_back(std::ftell(file));
        std::rewind(file);
        const size_t n_read = std::fread(bytes.back().data(), 1, bytes.back().size(), file);
        std::fclose(file);
        if (n_read != bytes.back().size()) return 2;
        arguments.push_back({bytes.back().data(), size_t(std::atoi(argv[i]))});
    }
    return pick(std::atoi(argv[1]), std::atoi(argv[2]), std::atoi(argv[3]), arguments.data(),
                arguments.size());
}
"""


def _launcher(name: str, text: str, entry: str, expressions: Sequence[str]) -> str:
    cases = "\n".join(
        f"    if (which == {i}) return shim::call({expression}, grid, block, arguments, count);"
        for i, expression in enumerate(expressions)
    )
    return (
        f'#line 1 "{name}.cu"\n{text}\n#line 1 "launch.cpp"\n'
        "static int pick(int which, unsigned grid, unsigned block, const shim::Argument* arguments,"
        f" size_t count) {{\n{cases}\n    return 101;\n}}\n{entry}"
    )


@functools.cache
def _compiler() -> str:
    """Return g++, or skip the test where there is none that knows C++20's barriers."""
    gxx = shutil.which("g++")
    if gxx is None:
        pytest.skip("g++ is not installed")
    probe = subprocess.run(
        [gxx, "-std=c++20", "-fsyntax-only", "-x", "c++", "-"],
        input="#include <barrier>\nstd::barrier<> b(1);\n",
        capture_output=True,
        text=True,
        timeout=60,
    )
    if probe.returncode:
        pytest.skip("g++ does not compile C++20 with <barrier>")
    return gxx


def _cache_folder() -> Path:
    """Return a folder that keeps builds between test runs and that nobody else can write to."""
    folder = Path(tempfile.gettempdir()) / f"fastgen-cuda-host-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid() or folder.stat().st_mode & 0o022:
        return Path(tempfile.mkdtemp(prefix="fastgen-cuda-host-"))
    return folder


@functools.cache
def build(name: str, text: str | None = None, *, sanitize: str | None = None) -> Path:
    """Compile ``NAME.cu`` with the shim and return the library, or the sanitized program.

    Parameters
    ----------
    name : str
        A key of `fastgen.kernels.cuda.sources`.
    text : str, optional
        Source to compile instead of the file, for mutants.
    sanitize : str, optional
        Build a program under ThreadSanitizer, of this instantiation only, instead of a library.
    """
    gxx = _compiler()
    source = _launcher(
        name,
        text or cuda.sources()[name],
        _PROGRAM_ENTRY if sanitize else _LIBRARY_ENTRY,
        [sanitize] if sanitize else cuda.instantiations(name),
    )
    flags = (*_FLAGS, *(_TSAN if sanitize else _LIBRARY))
    version = subprocess.run([gxx, "--version"], capture_output=True, text=True, timeout=60).stdout
    parts = (version, *flags, _SHIM.read_text(), source, *cuda.headers().values())
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]
    target = _cache_folder() / f"{name}-{digest}{'' if sanitize else '.so'}"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
            launcher, beside = Path(scratch, "launch.cpp"), Path(scratch, "built")
            launcher.write_text(source)
            command = [gxx, *flags, "-I", cuda.folder(), "-include", str(_SHIM), str(launcher)]
            done = subprocess.run(
                [*command, "-o", str(beside)], capture_output=True, text=True, timeout=300
            )
            if done.returncode and sanitize and "tsan" in done.stderr:
                pytest.skip("the ThreadSanitizer runtime is not installed")
            if done.returncode:
                raise RuntimeError(f"g++ failed on {name}.cu:\n{done.stderr}")
            os.replace(beside, target)
    return target


class _Argument(ctypes.Structure):
    _fields_ = (("data", ctypes.c_void_p), ("itemsize", ctypes.c_size_t))


@functools.cache
def _library(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    library.run.argtypes = (
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_uint,
        ctypes.POINTER(_Argument),
        ctypes.c_size_t,
    )
    return library


def _as_arrays(arguments: Sequence[np.ndarray | np.generic]) -> list[np.ndarray]:
    arrays = [x if isinstance(x, np.ndarray) else np.array(x) for x in arguments]
    for position, array in enumerate(arrays):
        if not array.flags.c_contiguous:
            raise ValueError(f"argument {position} must be C contiguous; use np.ascontiguousarray")
    return arrays


def launch(
    name: str,
    expression: str,
    grid: int,
    block: int,
    arguments: Sequence[np.ndarray | np.generic],
    *,
    text: str | None = None,
) -> None:
    """Run one instantiation; the kernel writes into the arrays.

    Parameters
    ----------
    name, expression : str
        The ``.cu`` and one of its instantiations.
    grid, block : int
        Blocks and threads per block; keep the grid tiny, every CUDA thread is a real one.
    arguments : sequence of numpy arrays and numpy scalars
        As for CuPy's kernel call.
    text : str, optional
        Source to run instead of the file.
    """
    which = cuda.instantiations(name).index(expression)
    arrays = _as_arrays(arguments)
    packed = (_Argument * len(arrays))(*((x.ctypes.data, x.itemsize) for x in arrays))
    code = _library(build(name, text)).run(which, grid, block, packed, len(arrays))
    if code:
        reason = "their count" if code >= 100 else f"the item size of argument {code - 1}"
        raise TypeError(f"{expression}: the arguments do not fit the kernel: {reason}")


def _empty(shape, dtype):
    """Return what a device's fresh memory may hold at the worst: NaN."""
    return np.full(shape, np.nan, dtype=dtype)


@contextlib.contextmanager
def numpy_as_cupy() -> Iterator[types.ModuleType]:
    """Let the functions of `fastgen.kernels.cuda` take NumPy arrays and run through the shim.

    Only CuPy's own functions are not what runs on a device.
    """
    names = "asarray ascontiguousarray zeros linalg".split()
    array_module = types.SimpleNamespace(**{n: getattr(np, n) for n in names}, empty=_empty)

    def launch_on_host(name, expression, n_blocks, arguments):
        launch(name, expression, min(n_blocks, _load.MAX_BLOCKS), _load.THREADS, arguments)

    with (
        mock.patch.object(_load, "require_device", return_value=array_module),
        mock.patch.object(_load, "device_of", side_effect=contextlib.nullcontext),
        mock.patch.object(_arrays, "require_device", return_value=array_module),
        mock.patch.object(_arrays, "device_of", side_effect=contextlib.nullcontext),
        mock.patch.object(_load, "launch", launch_on_host),
    ):
        yield cuda


class OnDevice:
    """The functions of `fastgen.kernels.cuda` for NumPy arrays, on a real device."""

    def __init__(self, cupy):
        self.cupy = cupy

    def __getattr__(self, name):
        def call(*arguments):
            is_array = [isinstance(x, np.ndarray) and x.ndim == 3 for x in arguments]
            there = [
                self.cupy.asarray(x) if a else x for a, x in zip(is_array, arguments, strict=True)
            ]
            found = getattr(cuda, name)(*there)
            if isinstance(found, tuple):
                return tuple(map(self.cupy.asnumpy, found))
            return self.cupy.asnumpy(found)

        return call


def require_device() -> types.ModuleType:
    """Return CuPy, or skip the test where it finds no device."""
    cupy = pytest.importorskip("cupy")
    if not cupy.cuda.is_available():
        pytest.skip("no CUDA device")
    return cupy


def thread_sanitizer(
    name: str,
    expression: str,
    grid: int,
    block: int,
    arguments: Sequence[np.ndarray | np.generic],
    *,
    text: str | None = None,
) -> str:
    """Run one instantiation under ThreadSanitizer; return its report, empty if it is clean.

    The parameters are those of `launch`; the arrays are not written to.
    """
    program = build(name, text, sanitize=expression)
    setarch = shutil.which("setarch")
    if setarch is None:
        pytest.skip("setarch is not installed: ThreadSanitizer needs fixed addresses")
    # The sanitizer's shadow memory collides with the addresses that newer kernels hand out.
    plain = [setarch, "-R"]
    if subprocess.run([*plain, "true"], capture_output=True, timeout=60).returncode:
        pytest.skip("setarch -R is not permitted here: ThreadSanitizer needs fixed addresses")
    with tempfile.TemporaryDirectory() as scratch:
        line = ["0", str(grid), str(block)]
        for position, array in enumerate(_as_arrays(arguments)):
            file = Path(scratch, str(position))
            file.write_bytes(array.tobytes())
            line += [str(array.itemsize), str(file)]
        done = subprocess.run(
            [*plain, str(program), *line],
            capture_output=True,
            text=True,
            timeout=300,
            env={**os.environ, "TSAN_OPTIONS": f"exitcode={_RACE}"},
        )
    if done.returncode not in (0, _RACE):
        raise RuntimeError(f"the sanitized program failed ({done.returncode}):\n{done.stderr}")
    return done.stderr if done.returncode else ""
