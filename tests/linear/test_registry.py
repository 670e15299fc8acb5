"""The registry of problems: one line makes a tenth problem known everywhere."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import fastgen.linear
from fastgen.cli.app import app
from fastgen.gains import LAWS
from fastgen.linear import LinearGAN, sweep, theory
from fastgen.linear.problems import PROBLEMS, Problem
from fastgen.plotting import sweep_figure

ROOT = Path(fastgen.linear.__file__).parent
SMALL = dict(latent_dims=range(1, 9), n_samples=6, n_supervised=[4, 6], n_trials=2, random_state=0)


def identity_rows(trial, ks, n_pairs):
    """The generator eye(d, k) scaled by the size of the data, whatever the latents."""
    d = len(trial.x)
    scale = np.sqrt((trial.x**2).mean())
    rows = np.empty((4, len(ks)))
    for v, k in enumerate(np.minimum(ks, d)):
        g = scale * np.eye(d, k)
        nuclear = np.linalg.svd(trial.factor @ g, compute_uv=False).sum()
        train = ((trial.x[:, :n_pairs] - g @ trial.z[:k, :n_pairs]) ** 2).sum() / n_pairs
        outside = (trial.factor[:, k:] ** 2).sum()
        rows[:, v] = [
            trial.trace + (g**2).sum() - 2 * nuclear,
            outside,
            train,
            (g**2).sum() / trial.trace,
        ]
    return rows


def identity_generator(trial, n_pairs):
    return np.sqrt((trial.x**2).mean()) * np.eye(len(trial.x), len(trial.z))


@pytest.fixture
def tenth(monkeypatch):
    problem = Problem("identity", identity_rows, generator=identity_generator, theory="a half")
    monkeypatch.setitem(PROBLEMS, "identity", problem)
    monkeypatch.setitem(LAWS, "a half", lambda n, ks, ridge: (np.full(ks.shape, 0.5), False))


def test_a_tenth_problem_is_swept_beside_others(tenth):
    both = sweep(**SMALL, problems=["ridge", "identity"])
    alone = sweep(**SMALL, problems="identity")
    assert both.problem.values.tolist() == ["ridge", "identity"]
    np.testing.assert_array_equal(both.sel(problem="identity").w2, alone.w2[0])
    assert both.converged.all()
    assert not both.n_iter.any()


def test_a_tenth_problem_has_an_estimator(tenth):
    X = np.random.default_rng(0).standard_normal((20, 5))
    gan = LinearGAN(3, "identity", center=False).fit(X)
    np.testing.assert_allclose(gan.components_.T, np.sqrt((X**2).mean()) * np.eye(5, 3))
    assert gan.converged_


def test_a_tenth_problem_is_a_choice_of_the_command(tenth):
    help_ = CliRunner().invoke(app, ["sweep", "--help"]).stdout
    assert "identity" in help_
    assert "unsupervised is PCA" in " ".join(help_.split())
    arguments = ["sweep", "--n-samples", "6", "--latent-dims", "1:8", "--trials", "2"]
    result = CliRunner().invoke(app, [*arguments, "--problems", "identity", "--no-progress"])
    assert result.exit_code == 0, result.output
    assert result.stdout.splitlines()[1].startswith("identity")
    refused = CliRunner().invoke(app, [*arguments, "--problems", "identify"])
    assert "did you mean 'identity'?" in refused.stderr


def test_a_tenth_problem_is_drawn(tenth):
    figure = sweep_figure(sweep(**SMALL, problems=["pseudo_supervised", "identity"]))
    labels = [text.get_text() for legend in figure.legends for text in legend.get_texts()]
    for axes in figure.axes:
        labels += [text.get_text() for text in axes.texts]
        labels += [line.get_label() for line in axes.lines]
        if axes.get_legend():
            labels += [text.get_text() for text in axes.get_legend().get_texts()]
    assert any("identity" in str(label) for label in labels)


def test_what_theory_knows_of_a_tenth_problem(tenth):
    gain, exact = theory.gain_curve("identity", 10, [1, 2])
    assert gain.tolist() == [0.5, 0.5]
    assert not exact
    assert np.isnan(theory.gain_curve("nobody's", 10, [1, 2])[0]).all()


def test_a_problem_without_a_solver_on_the_device_is_refused(tenth, monkeypatch):
    monkeypatch.setattr("fastgen._arrays.require_device", lambda: np)
    with pytest.raises(ValueError, match="device must be \"cpu\" for the problem 'identity'"):
        sweep(**SMALL, problems="identity", device="cuda")


def test_a_problem_without_a_generator_has_no_estimator(monkeypatch):
    monkeypatch.setitem(PROBLEMS, "bare", Problem("bare", identity_rows))
    with pytest.raises(ValueError, match="problem must be one of 'unsupervised'"):
        LinearGAN(2, "bare").fit(np.eye(5))


def test_every_problem_says_what_it_is():
    for name in PROBLEMS:
        assert f'- "{name}"' in sweep.__doc__
        assert f'"{name}"' in LinearGAN.__doc__


def test_an_import_loads_no_kernels_and_no_device():
    code = (
        "import sys, fastgen.linear.problems, fastgen.linear.device.run; "
        "loaded = {'numba', 'cupy', 'torch', 'xarray', 'zarr', 'sklearn'} & set(sys.modules); "
        "assert not loaded, loaded"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def imports(path):
    """Modules of fastgen.linear that a file imports, for types too."""
    package = path.parent.relative_to(ROOT).parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and 0 < node.level <= len(package) + 1:
            base = package[: len(package) + 1 - node.level]
            named = tuple(node.module.split(".")) if node.module else ()
            for alias in node.names:
                yield from ((*base, *named), (*base, *named, alias.name))


def test_no_circle():
    graph = {
        path.relative_to(ROOT).with_suffix("").parts: set(imports(path))
        for path in ROOT.rglob("*.py")
        if path.name != "__init__.py"
    }
    graph = {name: uses & set(graph) for name, uses in graph.items()}
    while graph:
        ground = {name for name, uses in graph.items() if not uses}
        assert ground, f"a circle among {sorted('.'.join(name) for name in graph)}"
        graph = {name: uses - ground for name, uses in graph.items() if name not in ground}
