"""Names load when first used: dir() is clean, help() and completion work without torch."""

from __future__ import annotations

import ast
import importlib
import pathlib
import subprocess
import sys

import pytest

import fastgen

PACKAGES = (
    "diffusion", "gan", "goof", "linear", "metrics", "mixture", "modes", "networks",
    "plotting", "report",
)  # fmt: skip

WITHOUT_TORCH = """
import sys

class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("torch", "torchmetrics", "torchvision", "safetensors"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name.partition(".")[0])

sys.meta_path.insert(0, Absent())
import importlib.util

found = importlib.util.find_spec
def find_spec(name, package=None):
    try:
        return found(name, package)
    except ModuleNotFoundError:
        return None
importlib.util.find_spec = find_spec
"""


def run(code):
    whole = WITHOUT_TORCH + code
    return subprocess.run([sys.executable, "-c", whole], capture_output=True, text=True).stderr


@pytest.mark.parametrize("package", ["", *PACKAGES])
def test_dir_holds_public_names_only(package):
    module = importlib.import_module(f"fastgen.{package}".rstrip("."))
    names = [name for name in dir(module) if not (name[:2] == name[-2:] == "__")]
    assert set(names) == set(module.__all__) - {"__version__"}
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        module.nothing  # noqa: B018


@pytest.mark.parametrize("package", ["", *PACKAGES])
def test_editors_and_type_checkers_see_the_same_names(package):
    path = pathlib.Path(fastgen.__file__).parent / package / "__init__.py"
    parsed = ast.parse(path.read_text())
    (block,) = (node for node in parsed.body if isinstance(node, ast.If))
    static = {alias.name: node.module for node in block.body for alias in node.names}
    module = importlib.import_module(f"fastgen.{package}".rstrip("."))
    assert {n: home for n, home in static.items() if home} == {
        n: home.lstrip(".") for n, home in module._HOMES.items()
    }
    assert set(static) == set(module.__all__)


def test_the_tests_know_every_package():
    top = pathlib.Path(fastgen.__file__).parent
    found = {path.parent.name for path in top.glob("[a-z]*/__init__.py")}
    assert found - {"cli", "kernels"} == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_help_and_completion_without_torch(package):
    errors = run(f"""
import pydoc, rlcompleter
import fastgen
pydoc.render_doc("fastgen.{package}")
completer = rlcompleter.Completer({{"fastgen": fastgen}})
completer.complete("fastgen.{package}.", 0)
for name in dir(fastgen.{package}):
    getattr(fastgen.{package}, name)
assert not any(name.split(".")[0] == "torch" for name in sys.modules)
""")
    assert not errors


def test_missing_libraries_say_how_to_install_them():
    errors = run("""
from fastgen import metrics, networks
for package, name, extra in (
    (networks, "MixtureNorm1d", "torch"), (metrics, "torchmetrics", "torchmetrics")
):
    try:
        getattr(package, name)
    except ImportError as error:
        assert f'pip install "fastgen-core[{extra}]"' in str(error), error
    else:
        raise AssertionError(name)
try:
    from fastgen.networks import MixtureNorm2d
except ImportError as error:
    assert "fastgen.networks.MixtureNorm2d needs torch" in str(error)
    assert 'pip install "fastgen-core[torch]"' in str(error)
""")
    assert not errors


def test_a_function_wins_over_the_module_of_its_name():
    code = """
import fastgen.linear.subspace, fastgen.linear.sweep
from fastgen.linear import sweep
assert callable(sweep) and callable(fastgen.linear.sweep)
import sys
assert sys.modules["fastgen.linear.sweep"].sweep is sweep
"""
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_help_says_what_the_submodules_are_for():
    for package in PACKAGES:
        assert f"``{package}``\n    " in fastgen.__doc__
