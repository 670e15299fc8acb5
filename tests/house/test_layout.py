"""The house: the kernels link, what a wheel holds, what an import loads."""

from __future__ import annotations

import ast
import importlib.metadata
import resource
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

import fastgen

ROOT = Path(__file__).resolve().parent.parent.parent


def test_kernels_is_a_link():
    link = ROOT / "fastgen" / "kernels"
    assert link.is_symlink(), (
        "fastgen/kernels is not a symbolic link: the checkout lost it (git config core.symlinks "
        "false, as on Windows without developer mode); restore it with: ln -s ../kernels "
        "fastgen/kernels"
    )
    assert link.readlink() == Path("../kernels")


def imports_of(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or "")


def test_kernels_import_nothing_from_above():
    for path in (ROOT / "kernels").rglob("*.py"):
        for name in imports_of(path):
            assert not name.startswith("fastgen") or name.startswith("fastgen.kernels"), path


def test_only_the_dispatcher_imports_kernels():
    for path in (ROOT / "fastgen").glob("**/*.py"):
        if path.relative_to(ROOT / "fastgen").parts[0] in ("kernels", "_dispatch"):
            continue
        assert not any("kernels" in name.split(".") for name in imports_of(path)), path


def test_cuda_kernels_have_a_cpu_neighbour():
    cuda = {path.stem for path in (ROOT / "kernels" / "cuda").glob("*.cu")}
    assert cuda
    assert cuda <= {path.stem for path in (ROOT / "kernels" / "cpu").glob("*.py")}


def test_import_is_light():
    code = (
        "import sys, fastgen; heavy = {'numba', 'torch', 'cupy', 'xarray', 'scipy', 'sklearn', "
        "'matplotlib', 'zarr'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    best = float("inf")
    for _ in range(3):
        start = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", "import fastgen"], check=True)
        end = resource.getrusage(resource.RUSAGE_CHILDREN)
        # processor time, which other processes on the machine do not add to
        best = min(best, end.ru_utime - start.ru_utime + end.ru_stime - start.ru_stime)
    assert best < 0.5


def test_lazy_names():
    assert set(fastgen.__all__) <= set(dir(fastgen))
    for name in fastgen.__all__:
        assert getattr(fastgen, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        fastgen.nothing  # noqa: B018


def test_show_versions(capsys):
    fastgen.show_versions()
    lines = capsys.readouterr().out.splitlines()
    names = [line.split(":")[0] for line in lines]
    assert {"fastgen", "kernels", "python", "numba", "torch", "cores", "CUDA device"} <= set(names)


@pytest.fixture(scope="module")
def archives(tmp_path_factory):
    """The wheel and the sdist of a clean copy of the tracked files."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    if int(importlib.metadata.version("setuptools").split(".")[0]) < 77:
        pytest.skip("needs setuptools 77 or newer: pip install -e .[test]")
    copy = tmp_path_factory.mktemp("tree")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in listed.stdout.decode().split("\0"):
        source = ROOT / name
        if name and (source.is_symlink() or source.is_file()):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy / name, follow_symlinks=False)
    out = tmp_path_factory.mktemp("dist")
    code = (
        "import sys, setuptools.build_meta as b; out = sys.argv[1]; "
        "b.build_sdist(out); b.build_wheel(out)"
    )
    subprocess.run([sys.executable, "-c", code, out], cwd=copy, check=True, capture_output=True)
    return next(out.glob("*.whl")), next(out.glob("*.tar.gz")), copy / "kernels"


def test_wheel_holds_the_kernels_as_real_files(archives):
    with zipfile.ZipFile(archives[0]) as wheel:
        names = set(wheel.namelist())
        top = next(name for name in names if name.endswith("top_level.txt"))
        assert wheel.read(top).decode().split() == ["fastgen"]
    sources = [path for path in archives[2].rglob("*") if path.suffix in (".py", ".cu", ".cuh")]
    assert len(sources) > 5
    for source in sources:
        assert f"fastgen/kernels/{source.relative_to(archives[2])}" in names
    assert not any(name.startswith("kernels") for name in names)
    assert "fastgen/py.typed" in names


def test_sdist_holds_the_sources(archives):
    with tarfile.open(archives[1]) as sdist:
        members = {name.partition("/")[2]: sdist.getmember(name) for name in sdist.getnames()}
    assert members["fastgen/kernels/cuda/nuclear.cu"].isfile()
    assert members["fastgen/kernels/cpu/nuclear.py"].isfile()
    assert "pyproject.toml" in members


def test_sdist_holds_the_tests_whole(archives):
    with tarfile.open(archives[1]) as sdist:
        members = {name.partition("/")[2] for name in sdist.getnames()}
    tests = {str(path.relative_to(ROOT)) for path in (ROOT / "tests").rglob("*.py")}
    assert any(name.startswith("tests/oracles/") for name in tests)
    assert tests <= members


def test_the_command_offers_the_networks_that_there_are():
    from fastgen.cli import features
    from fastgen.metrics import pretrained

    assert features.NETWORKS == tuple(pretrained.NETWORKS)
