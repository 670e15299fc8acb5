"""Benchmarks reach into the package, and are not run by the tests: what they name must be there."""

import ast
import importlib
import pathlib
import types

import pytest

pytest.importorskip("torch")  # of which modules that are named are made

ROOT = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = sorted(path for part in ("peers", "studies", "benchmarks")
                 for path in (ROOT / "bench" / part).glob("*.py"))  # fmt: skip


def named(text):
    """Yield (module, name) of all that a script takes from fastgen, attributes of modules too."""
    tree, modules = ast.parse(text), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "fastgen":
            for alias in node.names:
                yield node.module, alias.name
                value = found(node.module, alias.name)
                if isinstance(value, types.ModuleType):
                    modules[alias.asname or alias.name] = value.__name__
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            if node.value.id in modules:
                yield modules[node.value.id], node.attr


def found(module, name):
    """Return what a module has under a name, or its submodule; None if there is neither."""
    value = getattr(importlib.import_module(module), name, None)
    if value is None:
        try:
            return importlib.import_module(f"{module}.{name}")
        except ModuleNotFoundError:
            return None
    return value


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_what_a_benchmark_names_is_there(path):
    missing = [pair for pair in named(path.read_text()) if found(*pair) is None]
    assert not missing


def test_what_has_moved_would_be_seen():
    text = "from fastgen.linear import problems, nothing\nproblems.RANK_TOLERANCE\n"
    assert [pair for pair in named(text) if found(*pair) is None] == [
        ("fastgen.linear", "nothing"),
        ("fastgen.linear.problems", "RANK_TOLERANCE"),
    ]
