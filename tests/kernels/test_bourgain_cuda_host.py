"""The CUDA kernels of distances to random sets, on the CPU by the shim."""

from __future__ import annotations

from unittest import mock

import numpy as np
import pytest
from oracles import modes as naive
from shim import host

from fastgen import _arrays
from fastgen._dispatch import bourgain as dispatch
from fastgen.kernels.cuda import _load, bourgain
from fastgen.modes import BourgainEmbedding


def problem(n, d, n_sets=4, seed=0):
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((n, d))
    sets = rng.random((n_sets, n)) < rng.random((n_sets, 1))
    sets[-1] = False
    starts = np.concatenate([[0], sets.sum(1).cumsum()])
    return rows, sets, starts, np.flatnonzero(sets) % n


@pytest.mark.parametrize(("n", "d"), [(1, 1), (5, 2), (33, 7)])
def test_launchers_are_the_oracle(n, d):
    rows, sets, starts, members = problem(n, d)
    distances = naive.pairwise(rows)
    expected = naive.set_distances(distances, sets).T
    with host.numpy_as_cupy():
        by_matrix = bourgain.matrix_set_distances(distances, starts, members)
        columns = np.ascontiguousarray(rows.T)
        by_points = bourgain.point_set_distances(columns, starts, members)
    np.testing.assert_array_equal(by_matrix, expected)
    np.testing.assert_allclose(by_points, expected, rtol=1e-13, atol=0)


def test_coincident_points_and_a_set_of_all():
    rows = np.zeros((3, 2))
    with host.numpy_as_cupy():
        found = bourgain.point_set_distances(rows.T.copy(), np.array([0, 3]), np.arange(3))
    np.testing.assert_array_equal(found, np.zeros((1, 3)))


@pytest.mark.parametrize("matrix", [True, False])
def test_device_cuda_gives_what_the_cpu_gives(matrix):
    rows = problem(20, 3)[0]
    given = naive.pairwise(rows) if matrix else rows
    options = {"metric": "precomputed" if matrix else "euclidean", "n_sets": 3, "random_state": 0}
    cpu = BourgainEmbedding(**options).fit(given)
    with host.numpy_as_cupy():
        cuda = BourgainEmbedding(**options, device="cuda").fit(given)
    np.testing.assert_allclose(cuda.embedding_, cpu.embedding_, rtol=1e-12, atol=1e-12)
    assert cuda.distortion_ == pytest.approx(cpu.distortion_, rel=1e-12)


def test_grid_changes_no_bit():
    rows, sets, starts, members = problem(40, 2)
    columns = np.ascontiguousarray(rows.T)
    found = []
    for n_blocks in (1, 3):
        out = np.full((len(sets), 40), np.nan)
        sizes = np.int64(40), np.int32(2), np.int64(len(sets))
        arguments = (columns, starts, members, *sizes, out)
        host.launch("bourgain", "point_set_distances<double>", n_blocks, 128, arguments)
        found.append(out)
    np.testing.assert_array_equal(*found)


MUTANTS = {
    "the farthest member": ("first < least", "first > least"),
    "an empty set is left as it is": ("least < T(0) ? T(0) : least", "least"),
    "no root": ("sqrt(least)", "least"),
    "the last member is left out": ("m < starts[set + 1]", "m + 1 < starts[set + 1]"),
    "one coordinate too few": ("c < d;", "c < d - 1;"),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_kernel_is_noticed(name):
    """The comparison above can fail: each fault changes what comes out."""
    old, new = MUTANTS[name]
    rows, sets, starts, members = problem(33, 3)
    header = _load.headers()["include/bourgain.cuh"].replace("#pragma once", "")
    text = _load.sources()["bourgain"].replace('#include "include/bourgain.cuh"', header)
    assert old in text
    distances = naive.pairwise(rows)
    expected = naive.set_distances(distances, sets).T.copy()
    wrong = []
    for kernel, given, sizes in (
        ("matrix", distances, ()),
        ("point", np.ascontiguousarray(rows.T), (np.int32(3),)),
    ):
        out = np.full_like(expected, np.nan)
        arguments = (given, starts, members, np.int64(33), *sizes, np.int64(len(sets)), out)
        expression = f"{kernel}_set_distances<double>"
        host.launch("bourgain", expression, 1, 128, arguments, text=text.replace(old, new))
        wrong.append(not np.allclose(out, expected, rtol=1e-12, atol=0))
    assert any(wrong)


def test_without_a_device_the_door_says_so():
    error = RuntimeError("no CUDA device")
    with (
        mock.patch.object(_arrays, "require_device", side_effect=error),
        pytest.raises(RuntimeError, match="no CUDA device"),
    ):
        BourgainEmbedding(device="cuda").fit(np.eye(5))
    rows, sets = np.eye(3), np.ones((1, 3), bool)
    with (
        mock.patch.object(_arrays, "require_device", side_effect=error),
        pytest.raises(RuntimeError, match="no CUDA device"),
    ):
        dispatch.set_distances(rows, sets, matrix=True, device="cuda", n_jobs=None)


@pytest.mark.slow
def test_no_data_race():
    rows, sets, starts, members = problem(40, 2)
    sizes = np.int64(40), np.int32(2), np.int64(len(sets))
    arguments = (np.ascontiguousarray(rows.T), starts, members, *sizes, np.empty((len(sets), 40)))
    expression = "point_set_distances<double>"
    assert host.thread_sanitizer("bourgain", expression, 1, 128, arguments) == ""
