"""The tree as it is, held against every check of the house."""

from __future__ import annotations

from pathlib import Path

import pytest
from house import checks, docstrings

ROOT = Path(__file__).resolve().parent.parent.parent

# The root offers these from the ground, as scikit-learn does.
FROM_THE_GROUND = dict.fromkeys(("__version__", "show_versions"), "a name of the root")

# Oracles under another name: one name has one meaning among them.
RENAMED = {
    "alternating.match_pairs": "penalized",
    "bourgain.matrix_pair_ratios": "pair_ratios",
    "bourgain.matrix_set_distances": "set_distances",
    "bourgain.point_pair_ratios": "pair_ratios",
    "bourgain.point_set_distances": "set_distances",
    "linear_frame.absorb_rows": "add_rows",
    "linear_frame.left_vectors": "principal_frame",
    "mixture_norm.posteriors": "shares",
    "polar.polar_rows": "polar",
    "polar.root_near_diagonal": "root",
    "secular.dense_path": "tall_path",
}

# Kernels without an oracle of their own, and what holds them instead.
NO_ORACLE = {
    "blas": "thin calls of LAPACK and BLAS; NumPy's own products are the oracle",
    "simd": "single instructions; every kernel that is written with them is compared",
    "linear_frame.pairs_frame": "the others of its file in one call; sweeps meet every output",
    "linear_frame.gram_error": "a bound: tests see that errors stay below it",
    "smoothing.cache_rows": "size of a buffer",
    "smoothing.fill_cache": "fills the buffer that `grid_sums` and `smoothed_logs` read",
    "secular.axis_nodes": "nodes of a quadrature, whose sums `root_increments` checks",
}

NO_DOCTEST = {
    "nearest_distributed": "needs a process group",
    "inception_v3": "needs weights on disk",
    "resnet18": "needs weights on disk",
}


@pytest.fixture(scope="module")
def tree():
    return checks.Tree(ROOT / "fastgen")


@pytest.mark.parametrize(
    "check",
    [
        checks.circular_imports,
        checks.upward_imports,
        checks.private_imports,
        checks.array_questions,
        checks.counted_frames,
        checks.progress_bars,
        checks.loaded_files,
        docstrings.defaults,
        docstrings.parameters,
        docstrings.genitives,
        docstrings.roles,
    ],
)
def test_check(check, tree):
    found = check(tree)
    assert not found, "\n".join(["", *found])


def test_public_names_live_in_public_files(tree):
    assert checks.private_homes(tree, FROM_THE_GROUND) == []


def test_public_docstrings_are_whole(tree):
    found = docstrings.sections(tree, NO_DOCTEST)
    assert not found, "\n".join(["", *found])


@pytest.mark.parametrize("folder", ["fastgen", "kernels", "tests", "bench"])
def test_files_are_short(folder):
    assert checks.long_files(ROOT / folder) == []


@pytest.mark.parametrize("folder", ["fastgen", "kernels"])
def test_names_are_american(folder):
    found = checks.british_names(ROOT / folder)
    assert not found, "\n".join(["", *found])


def test_every_public_kernel_has_an_oracle():
    found = checks.kernels_without_oracle(
        ROOT / "kernels" / "cpu", ROOT / "tests" / "oracles", RENAMED, NO_ORACLE
    )
    assert not found, "\n".join(["", *found])


def test_oracles():
    assert checks.oracle_offences(ROOT / "tests" / "oracles") == []
