"""Subspace fitting between PCA and regression: the kernel and the estimator."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from oracles import linear as naive
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import check_estimator

from fastgen.kernels.cpu import subspace as kernel
from fastgen.linear import plane, subspace
from fastgen.linear.subspace import SubspaceFit

SLACKS = [0.0, 0.5, 1.0, 3.0, np.inf]


def bounds(slack):
    return max(0.0, 1 - slack), 1 + slack


def problem(p, n_supervised, *, n=16, dim=32, k=4, seed=0):
    """Observed rows of U and x, targets, an orthonormal start."""
    rng = np.random.default_rng(seed)
    u = np.linalg.qr(rng.standard_normal((dim, k)))[0]
    z = rng.standard_normal((k, n))
    x = u @ z + np.sqrt(0.1) * rng.standard_normal((dim, n))
    start = np.linalg.qr(rng.standard_normal((p, k)))[0]
    return u[:p], x[:p], z[:, :n_supervised], start


def descend(x, z, start, slack, tol=0.0, max_iter=1500):
    """Run the kernel on raw moments, without the reduction of ``subspace.solve``."""
    n_s, n_u = z.shape[1], x.shape[1] - z.shape[1]
    moments, constant = [], 0.0
    if n_s:
        moments.append(x[:, :n_s] @ x[:, :n_s].T / n_s)
        constant += (z**2).sum() / n_s
    if n_u:
        moments.append(x[:, n_s:] @ x[:, n_s:].T / n_u)
        constant += np.trace(moments[-1])
    history = np.empty(max_iter + 1)
    w, n_iter, converged = kernel.subspace_descent(
        np.vstack(moments),
        x[:, :n_s] @ z.T / max(n_s, 1),
        constant,
        n_s > 0,
        n_u > 0,
        np.ascontiguousarray(start),
        *bounds(slack),
        tol,
        max_iter,
        history,
    )
    return w, history[: n_iter + 1], converged


# --- the projection ------------------------------------------------------------------------------


@pytest.mark.parametrize("slack", SLACKS)
@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (5, 1), (31, 3), (33, 8)])
def test_projection_is_the_oracles(shape, slack):
    rng = np.random.default_rng(shape[0])
    low, high = bounds(slack)
    w = rng.standard_normal(shape)
    tied = np.linalg.qr(w)[0] * 7.0
    turn = np.linalg.qr(rng.standard_normal((shape[1], shape[1])))[0]
    graded = np.linalg.qr(w)[0] * np.logspace(0, -7, shape[1]) @ turn
    for matrix in (w, 0.01 * w, tied, graded, np.zeros(shape), 1e8 * w):
        found = kernel.clip_singular_values(matrix.copy(), low, high)
        s = np.linalg.svd(found, compute_uv=False)
        scale = min(high, np.linalg.norm(matrix, 2)) + 1
        assert s.min() >= low - 1e-11
        assert s.max() <= high + 1e-11 * scale
        np.testing.assert_allclose(
            np.linalg.norm(found - matrix),
            np.linalg.norm(naive.clip_singular_values(matrix, low, high) - matrix),
            rtol=1e-10,
            atol=1e-11 * scale,
        )
        if matrix.any():  # else the nearest is not unique
            np.testing.assert_allclose(
                found, naive.clip_singular_values(matrix, low, high), atol=1e-10 * scale
            )
        again = kernel.clip_singular_values(found.copy(), low, high)
        np.testing.assert_allclose(again, found, atol=1e-11 * scale)


def test_projection_is_nearest():
    rng = np.random.default_rng(0)
    for slack in SLACKS[:-1]:
        w = 2 * rng.standard_normal((9, 3))
        nearest = np.linalg.norm(kernel.clip_singular_values(w.copy(), *bounds(slack)) - w)
        for _ in range(200):
            u, s, vt = np.linalg.svd(
                w + rng.standard_normal((9, 3)) * 10 ** rng.uniform(-3, 0), full_matrices=False
            )
            s = np.clip(s + 0.1 * rng.standard_normal(3), *bounds(slack))
            assert nearest <= np.linalg.norm(u * s @ vt - w) + 1e-12


# --- the objective and the descent ---------------------------------------------------------------


@pytest.mark.parametrize("n_supervised", [0, 7, 16])
def test_oracle_gradient_is_the_finite_difference(n_supervised):
    _, x, z, start = problem(11, n_supervised)
    w = start + 0.3
    gradient = naive.subspace_gradient(w, x, z)
    for i, j in np.ndindex(w.shape):
        step = np.zeros_like(w)
        step[i, j] = 1e-5
        rise = naive.subspace_objective(w + step, x, z) - naive.subspace_objective(w - step, x, z)
        assert gradient[i, j] == pytest.approx(rise / 2e-5, rel=1e-6, abs=1e-7)


CELLS = [(5, 8), (13, 16), (16, 14), (32, 12), (4, 16), (11, 0)]


@pytest.mark.parametrize("slack", SLACKS)
@pytest.mark.parametrize(("p", "n_supervised"), CELLS)
def test_first_steps_are_the_oracles(p, n_supervised, slack):
    _, x, z, start = problem(p, n_supervised)
    for steps in (1, 12):
        w, history, _ = descend(x, z, start, slack, max_iter=steps)
        expected, objectives = naive.subspace_descent(x, z, start, *bounds(slack), steps)
        np.testing.assert_allclose(w, expected, rtol=1e-9, atol=1e-10)
        np.testing.assert_allclose(history, objectives, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    ("p", "n_supervised", "slack"),
    [(16, 14, 0.0), (32, 8, 0.5), (13, 16, 3.0), (5, 12, np.inf), (11, 0, 0.0)],
)
def test_converged_objective_is_the_oracles(p, n_supervised, slack):
    _, x, z, start = problem(p, n_supervised, seed=1)
    w, history, converged = descend(x, z, start, slack, tol=1e-7)
    assert converged
    expected, objectives = naive.subspace_descent(x, z, start, *bounds(slack), len(history) + 200)
    assert history[-1] == pytest.approx(objectives[-1], rel=1e-10)
    assert naive.subspace_objective(w, x, z) == pytest.approx(history[-1], rel=1e-11)
    np.testing.assert_allclose(w, expected, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(
    p=st.integers(1, 24),
    k=st.integers(1, 5),
    n=st.integers(1, 20),
    share=st.floats(0, 1),
    slack=st.sampled_from([*SLACKS, 0.01, 2.0]),
    scale=st.sampled_from([1e-3, 1.0, 1e3]),
    seed=st.integers(0, 2**32 - 1),
)
def test_objective_never_rises(p, k, n, share, slack, scale, seed):
    k = min(k, p)
    rng = np.random.default_rng(seed)
    x = scale * rng.standard_normal((p, n)) * np.logspace(0, -rng.uniform(0, 4), p)[:, None]
    z = rng.standard_normal((k, round(share * n)))
    start = np.linalg.qr(rng.standard_normal((p, k)))[0]
    w, history, _ = descend(x, z, start, slack, max_iter=60)
    assert (np.diff(history) <= 0).all()
    low, high = bounds(slack)
    s = np.linalg.svd(w, compute_uv=False)
    assert s.min() >= low - 1e-10
    assert s.max() <= high + 1e-10
    plain = naive.subspace_objective(w, x, z)
    size = (x**2).sum() + (z**2).sum()
    assert plain == pytest.approx(history[-1], rel=1e-9, abs=1e-12 * size)
    assert (
        plain
        <= naive.subspace_objective(naive.clip_singular_values(start, low, high), x, z)
        + 1e-12 * size
    )


@pytest.mark.parametrize("n_supervised", [8, 14, 16])
def test_reduction_to_the_span_changes_nothing(n_supervised):
    _, x, z, start = problem(200, n_supervised, dim=200)
    for slack in (0.0, 0.5, 3.0):
        found = subspace.solve(x, z, slack, start, 0.0, 40)
        w, history, _ = descend(x, z, start, slack, max_iter=40)
        np.testing.assert_allclose(found.w, w, atol=1e-7)
        np.testing.assert_allclose(found.history, history, rtol=1e-10, atol=1e-11)


def test_metrics_are_expectations():
    u, x, z, start = problem(9, 12)
    for w in (start, 1.7 * start + 0.2, 3 * np.ones((9, 4))):
        np.testing.assert_allclose(
            plane.expected_errors(w, u, 0.1), naive.subspace_errors(w, u, 0.1), rtol=1e-12
        )
    rng = np.random.default_rng(3)
    z = rng.standard_normal((4, 200_000))
    x = u @ z + np.sqrt(0.1) * rng.standard_normal((9, 200_000))
    drawn = (
        ((z - start.T @ x) ** 2).sum(axis=0).mean(),
        ((x - start @ (start.T @ x)) ** 2).sum(axis=0).mean(),
    )
    np.testing.assert_allclose(naive.subspace_errors(start, u, 0.1), drawn, rtol=0.02)


# --- the estimator -------------------------------------------------------------------------------


def samples(n=40, p=9, k=3, seed=0):
    _, x, z, _ = problem(p, n, n=n, dim=p, k=k, seed=seed)
    return np.ascontiguousarray(x.T), np.ascontiguousarray(z.T)


@pytest.mark.parametrize("slack", SLACKS)
def test_without_targets_it_is_pca(slack):
    rows, _ = samples()
    fit = SubspaceFit(3, 0.0, slack, center=True).fit(rows + 5)
    pca = PCA(3, svd_solver="full").fit(rows + 5)
    np.testing.assert_allclose(fit.components_, pca.components_, atol=1e-12)
    np.testing.assert_allclose(fit.transform(rows), pca.transform(rows), atol=1e-11)
    np.testing.assert_allclose(
        fit.inverse_transform(fit.transform(rows)),
        pca.inverse_transform(pca.transform(rows)),
        atol=1e-11,
    )
    assert fit.converged_
    assert fit.n_iter_ == 1
    x = (rows - rows.mean(axis=0)).T
    none = np.empty((3, 0))
    corner = naive.subspace_corner(x, none, 3, slack)
    assert fit.objective_[-1] == pytest.approx(naive.subspace_objective(corner, x, none))
    # nothing feasible is better
    _, history = naive.subspace_descent(
        x, none, 0.1 * np.linalg.qr(np.random.default_rng(0).standard_normal((9, 3)))[0],
        *bounds(slack), 300,
    )  # fmt: skip
    assert fit.objective_[-1] <= history[-1] + 1e-12


@pytest.mark.parametrize(("n", "p"), [(40, 9), (9, 9), (8, 20)])
def test_regression_corner_is_the_pseudo_inverse(n, p):
    rows, z = samples(n, p)
    fit = SubspaceFit(3, 1.0, np.inf).fit(rows, z)
    corner = naive.subspace_corner(rows.T, z.T, 3, np.inf)
    np.testing.assert_allclose(fit.components_, corner.T, rtol=1e-7, atol=1e-9)
    if p >= n:
        np.testing.assert_allclose(fit.transform(rows), z, atol=1e-9)


def test_regression_corner_of_dependent_columns_is_of_minimum_norm():
    rows, z = samples(40, 5)
    fit = SubspaceFit(3, 1.0, np.inf).fit(np.hstack([rows, rows]), z)
    np.testing.assert_allclose(fit.components_[:, :5], fit.components_[:, 5:], atol=1e-12)


@pytest.mark.parametrize("shape", [(40, 9), (16, 16), (12, 300), (300, 31)])
@pytest.mark.parametrize("share", [0.0, 0.5, 0.9, 1.0])
def test_no_slack_means_orthonormal(shape, share):
    rows, z = samples(*shape, k=4)
    fit = SubspaceFit(4, share, random_state=0, tol=1e-4).fit(rows, z)
    np.testing.assert_allclose(fit.components_ @ fit.components_.T, np.eye(4), atol=1e-10)
    assert (np.diff(fit.objective_) <= 0).all()


def test_ill_conditioned_data_stay_orthonormal():
    rows, z = samples(30, 12)
    rows = rows * np.logspace(0, -8, 12)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fit = SubspaceFit(3, 0.5, random_state=0).fit(rows, z)
        poor = SubspaceFit(3, 0.5, random_state=0, init=np.ones((3, 12))).fit(rows, z)
    for found in (fit, poor):
        np.testing.assert_allclose(found.components_ @ found.components_.T, np.eye(3), atol=1e-10)


def test_only_the_first_targets_are_read():
    rows, z = samples(10, 6)
    holes = z.copy()
    holes[5:] = np.nan
    full = SubspaceFit(3, 0.5, random_state=1).fit(rows, z)
    for targets in (holes, z[:5]):
        again = SubspaceFit(3, 0.5, random_state=1).fit(rows, Z=targets)
        np.testing.assert_array_equal(again.components_, full.components_)
    assert full.n_supervised_ == 5
    assert SubspaceFit(1, 0.05, random_state=0).fit(rows, z[:, :1]).n_supervised_ == 1


def test_score_is_minus_the_error():
    rows, z = samples()
    fit = SubspaceFit(3, 0.5, random_state=0).fit(rows, z)
    w = fit.components_.T
    none = np.empty((3, 0))
    assert fit.score(rows) == pytest.approx(-naive.subspace_objective(w, rows.T, none))
    assert fit.score(rows, z) == pytest.approx(-naive.subspace_objective(w, rows.T, z.T))
    assert fit.score(rows, Z=z) == fit.score(rows, z)
    plain = SubspaceFit(3, 0.0).fit(rows, z)
    assert plain.score(rows, z) == plain.score(rows)


def test_unfinished_fits_say_so():
    rows, z = samples(16, 16)
    fit = SubspaceFit(3, 0.9, 3.0, random_state=0, max_iter=3)
    with pytest.warns(ConvergenceWarning, match=r"max_iter=3 steps .* raise max_iter or tol"):
        fit.fit(rows, z)
    assert not fit.converged_
    assert fit.n_iter_ == 3
    assert fit.objective_.shape == (4,)


def test_a_fit_started_from_its_end_stays():
    rows, z = samples()
    first = SubspaceFit(3, 0.5, 0.5, random_state=0).fit(rows, z)
    again = SubspaceFit(3, 0.5, 0.5, init=first.components_).fit(rows, z)
    assert again.n_iter_ < 20
    np.testing.assert_allclose(again.components_, first.components_, atol=1e-3)


def test_constant_zero_data():
    for share, slack in [(0.0, 0.0), (0.5, 0.0), (0.5, np.inf), (1.0, np.inf), (1.0, 1.0)]:
        fit = SubspaceFit(2, share, slack, random_state=0).fit(np.zeros((6, 4)), np.ones((6, 2)))
        assert np.isfinite(fit.components_).all()
        assert fit.converged_


def test_names_and_grid_search():
    rows, z = samples()
    fit = SubspaceFit(3, 0.0).fit(rows)
    assert list(fit.get_feature_names_out()) == ["subspacefit0", "subspacefit1", "subspacefit2"]
    search = GridSearchCV(
        SubspaceFit(3, 1.0, tol=1e-3, random_state=0), {"orthonormality_slack": [0.0, 1.0]}, cv=2
    )
    assert search.fit(rows, z).best_params_["orthonormality_slack"] in (0.0, 1.0)
    assert clone(SubspaceFit(3, 0.5, np.inf)).orthonormality_slack == np.inf


def test_scikit_learns_checks():
    check_estimator(SubspaceFit(1, supervision=0.0), on_skip=None)


def test_score_counts_features():
    rows, z = samples()
    fit = SubspaceFit(3, 1.0, np.inf).fit(rows, z)
    for call in (lambda: fit.score(rows[:, :1], z), lambda: fit.transform(rows[:, :1])):
        with pytest.raises(ValueError, match="X has 1 features, but SubspaceFit is expecting 9"):
            call()


def spoiled(array, value):
    array = array.copy()
    array[1, 2] = value
    return array


ROWS, Z = samples(10, 6)
BAD_FITS = [
    (dict(n_components=0), {}, ValueError, "n_components must be at least 1, got 0"),
    (dict(n_components=2.0), {}, TypeError, "n_components must be an integer"),
    (dict(n_components=7), {}, ValueError, "n_components must be at most 6, the 6 features of X"),
    (dict(), dict(X=ROWS[:2], Z=Z[:2]), ValueError, "at most 2, the 2 samples of X, got 3"),
    (dict(supervision=-0.1), {}, ValueError, "supervision must be finite and at least 0"),
    (dict(supervision=1.5), {}, ValueError, "supervision must be a share from 0 to 1"),
    (dict(supervision=np.nan), {}, ValueError, "supervision must be finite"),
    (dict(supervision="all"), {}, TypeError, "supervision must be a number"),
    (dict(supervision=0.01), {}, ValueError, r"supervision .* got 0\.01 of 10 samples"),
    (dict(orthonormality_slack=-1), {}, ValueError, "orthonormality_slack must be finite and at"),
    (dict(orthonormality_slack=np.nan), {}, ValueError, "orthonormality_slack must be finite"),
    (dict(orthonormality_slack=None), {}, TypeError, "orthonormality_slack must be a number"),
    (dict(max_iter=0), {}, ValueError, "max_iter must be at least 1"),
    (dict(tol=-1), {}, ValueError, "tol must be finite and at least 0"),
    (dict(init=np.ones((6, 3))), {}, ValueError, r"init must have shape .* = \(3, 6\), got \(6, 3"),
    (dict(init=spoiled(ROWS[:3], np.nan)), {}, ValueError, "init must be finite"),
    (dict(random_state=-1), {}, ValueError, "random_state must be at least 0"),
    ({}, dict(X=ROWS[:1], Z=Z[:1]), ValueError, "1 sample.*minimum of 2 is required"),
    ({}, dict(X=np.empty((0, 6))), ValueError, "0 sample"),
    ({}, dict(X=np.empty((10, 0))), ValueError, "0 feature"),
    ({}, dict(X=spoiled(ROWS, np.nan)), ValueError, "X must be finite, got NaN at row 1, column 2"),
    ({}, dict(X=spoiled(ROWS, np.inf)), ValueError, "X must be finite, got inf at row 1, column 2"),
    ({}, dict(X=1e200 * ROWS), ValueError, "X and Z must have squares that can be summed"),
    ({}, dict(Z=None), ValueError, r"Z must be given, targets of shape \(10, 3\), got None"),
    ({}, dict(Z=Z[:, :2]), ValueError, r"Z must have shape \(10, 3\).*got shape \(10, 2\)"),
    ({}, dict(Z=Z[:9]), ValueError, r"Z must have shape \(10, 3\).*got shape \(9, 3\)"),
    (dict(supervision=0.5), dict(Z=Z[:9]), ValueError, r"\(5 or 10, 3\).*got shape \(9, 3\)"),
    ({}, dict(Z=Z[:, 0]), ValueError, r"Z must have shape \(10, 3\).*got shape \(10,\)"),
    ({}, dict(Z=spoiled(Z, np.nan)), ValueError, "Z must be finite, got NaN at row 1, column 2"),
    ({}, dict(Z=Z.astype(complex)), TypeError, "Z must be a numeric array"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "data", "kind", "message"), BAD_FITS)
def test_bad_fits_are_one_clear_line(options, data, kind, message):
    with pytest.raises(kind, match=message) as caught:
        SubspaceFit(**{"n_components": 3, **options}).fit(**{"X": ROWS, "Z": Z, **data})
    assert "\n" not in str(caught.value)


def test_bad_codes():
    fit = SubspaceFit(3, 1.0, np.inf).fit(ROWS, Z)
    with pytest.raises(ValueError, match="Z must have 3 columns, one per component"):
        fit.inverse_transform(Z[:, :2])
