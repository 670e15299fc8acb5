"""Small inputs take plain arrays: the same answers as from kernels, and no wait for a compiler."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
from oracles import nearest_rows as naive_rows
from sklearn.datasets import load_digits
from sklearn.mixture import GaussianMixture as Sklearn

from fastgen import metrics, neighbors
from fastgen._dispatch import compiling, gaussian, mixture_norm, smoothing
from fastgen.mixture import GaussianMixture, NonparametricMixture, engines
from fastgen.mixture import _smoothing as npmsl
from fastgen.neighbors import nearest_rows

pytestmark = pytest.mark.sizes
RNG = np.random.default_rng(0)


def two_groups(n, d, gap=3.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, d)) + gap * rng.integers(0, 2, size=(n, 1))


@pytest.fixture
def begun(monkeypatch):
    """Name what was taken: the plain way or the kernels'."""
    found = []
    worthwhile = compiling.worthwhile

    def spy(work, least):
        found.append(worthwhile(work, least))
        return found[-1]

    monkeypatch.setattr(compiling, "worthwhile", spy)
    return found


def test_the_choice_is_one_of_size_alone():
    assert not compiling.worthwhile(5, 5)
    assert compiling.worthwhile(6, 5)
    with compiling.always():
        assert compiling.worthwhile(0, 5)
        with compiling.always():
            pass
        assert compiling.worthwhile(0, 5)
    assert not compiling.worthwhile(5, 5)


@pytest.mark.parametrize("limit", ["_PLAIN", "_PLAIN_PRODUCTS", "_PLAIN_NUMBERS"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_rows_on_both_sides_of_the_limit(limit, dtype, monkeypatch):
    x, pool = (RNG.integers(0, 4, size=(n, 3)).astype(dtype) for n in (7, 40))
    work = {"_PLAIN": 7 * 40 * 3, "_PLAIN_PRODUCTS": 7 * 40, "_PLAIN_NUMBERS": 40 * 3}[limit]
    taken = []
    for kind in ("_Products", "_Screen"):
        search = getattr(neighbors, kind).search
        monkeypatch.setattr(
            getattr(neighbors, kind),
            "search",
            lambda self, *args, kind=kind, search=search: taken.append(kind) or search(self, *args),
        )
    monkeypatch.setattr(neighbors, limit, work)
    expected = naive_rows.nearest_rows(x, pool, 5)
    for given in (pool, iter([pool[:30], pool[30:]])):
        for found, wanted in zip(nearest_rows(x, given, 5), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)  # ties in the order of their numbers
    assert taken == ["_Products"] * 3
    pool = np.vstack([pool, pool[:1]])
    for found, wanted in zip(
        nearest_rows(x, pool, 5), naive_rows.nearest_rows(x, pool, 5), strict=True
    ):
        np.testing.assert_array_equal(found, wanted)
    assert taken == ["_Products"] * 3 + ["_Screen"]


@pytest.mark.parametrize("shift", [0.0, 1e6])
@pytest.mark.parametrize("scale", [1e-140, 1.0, 1e140])
def test_near_ties_far_from_the_origin(shift, scale):
    base = RNG.normal(size=(30, 8))
    pool = scale * (np.vstack([base, base + 1e-9 * RNG.normal(size=(30, 8))] * 3) + shift)
    x = scale * (base[:9] + shift)
    with compiling.always():
        expected = nearest_rows(x, pool, 4)
    found = nearest_rows(x, pool, 4)
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_allclose(found[0], expected[0], rtol=1e-13)


def test_digits_among_themselves():
    x = load_digits().data[:300]
    squared, index = nearest_rows(x, np.vstack([x, x]), 2)
    assert (squared == 0).all()
    np.testing.assert_array_equal(index, np.arange(300)[:, None] + [0, 300])


@pytest.mark.parametrize("kind", ["diag", "full"])
def test_mixtures_on_both_sides_of_the_limit(kind, monkeypatch, begun):
    X = two_groups(401, 3)
    longer = engines._LONGER
    if kind == "full":
        longer = engines._LONGER_FULL + engines._LEFT_OUT * 9
    monkeypatch.setattr(engines, "_PLAIN", longer * 400 * 2 * 101)
    for n in (400, 401):
        options = {"covariance_type": kind, "tol": 1e-9, "max_iter": 100, "means_init": X[:2]}
        ours = GaussianMixture(2, **options).fit(X[:n])
        ours.predict(X)
        theirs = Sklearn(2, init_params="random_from_data", random_state=0, **options)
        start = ours.means_, ours.weights_, ours.precisions_
        theirs.set_params(means_init=start[0], weights_init=start[1], precisions_init=start[2])
        theirs.fit(X[:n])
        np.testing.assert_allclose(ours.lower_bound_, theirs.lower_bound_, rtol=1e-7)
        np.testing.assert_allclose(ours.means_, theirs.means_, atol=1e-3)
    assert begun == [False, False, True, False]  # one pass is little work


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_mixtures_agree(kind, dtype):
    X = two_groups(300, 4)
    mixture = GaussianMixture(3, covariance_type=kind, dtype=dtype, random_state=0, max_iter=20)
    mixture.set_params(tol=1e-12)

    def outcome():
        with pytest.warns(UserWarning, match="did not converge"):
            mixture.fit(X)
        values = mixture.weights_, mixture.means_, mixture.covariances_
        return *values, mixture.predict_proba(X), mixture.score_samples(X + 1)

    found = outcome()
    for again, once in zip(outcome(), found, strict=True):
        np.testing.assert_array_equal(again, once)
    with compiling.always():
        expected = outcome()
    tolerance = 1e-9 if dtype == "float64" else 2e-3
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def test_features_of_very_different_units():
    X = two_groups(200, 3) * [1e-7, 1.0, 1e7]
    plain = GaussianMixture(2, reg_covar=0, random_state=0).fit(X)
    with compiling.always():
        kernels = GaussianMixture(2, reg_covar=0, random_state=0).fit(X)
        scores = kernels.score_samples(X)
    np.testing.assert_allclose(plain.score_samples(X), scores, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(plain.means_, kernels.means_, rtol=1e-9)


@pytest.mark.parametrize("above", [False, True])
def test_overlaps_on_both_sides_of_the_limit(above, monkeypatch, begun):
    c = np.stack([np.cov(RNG.normal(size=(6, 20))) for _ in range(3)])
    e = np.stack([np.cov(RNG.normal(size=(6, 4))) for _ in range(3)])  # rank 3
    m = RNG.normal(size=(3, 6))
    monkeypatch.setattr(gaussian, "_PLAIN", -1.0 if above else gaussian._PLAIN)
    found = metrics.dist_bures_squared(m, m, c, e)
    assert begun == [above]
    expected = np.empty((3, 3))
    for i, a in enumerate(c):
        values, vectors = np.linalg.eigh(a)
        root = (vectors * np.sqrt(values)) @ vectors.T
        for j, b in enumerate(e):
            inner = np.clip(np.linalg.eigvalsh(root @ b @ root), 0, None)
            expected[i, j] = np.trace(a) + np.trace(b) - 2 * np.sqrt(inner).sum()
    expected += ((m[:, None] - m) ** 2).sum(-1)
    np.testing.assert_allclose(found[1] if isinstance(found, tuple) else found, expected, rtol=1e-6)


@pytest.mark.parametrize("bandwidth", [None, "S", 0.4])
@pytest.mark.parametrize("method", ["npmsl", "npem"])
def test_nonparametric_mixtures_agree(method, bandwidth):
    X = np.round(two_groups(120, 3, gap=4.0), 1)  # with equal values
    X[:3] = [[30.0], [33.0], [36.0]]  # where kernels vanish
    new = two_groups(30, 3, gap=9.0, seed=1)
    mixture = NonparametricMixture(2, method=method, bandwidth=bandwidth, random_state=0)
    mixture.set_params(n_grid=1000)

    def outcome():
        mixture.fit(X)
        values = mixture.weights_, mixture.posteriors_, mixture.objective_, mixture.densities_
        return *values, mixture.predict_proba(new), mixture.score_samples(new), mixture.bandwidth_

    found = outcome()
    with compiling.always():
        expected = outcome()
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12)


def test_nonparametric_mixtures_on_both_sides_of_the_limit(monkeypatch):
    X = two_groups(50, 2, gap=4.0)
    taken = []
    backend = smoothing.backend
    monkeypatch.setattr(
        smoothing,
        "backend",
        lambda device, plain: taken.append(plain) or backend(device, plain=plain),
    )
    found = []
    for limit in (100 * 200 * 2, 100 * 200 * 2 - 1):
        monkeypatch.setattr(npmsl, "_PLAIN_OFTEN", limit)
        found.append(NonparametricMixture(2, random_state=0).fit(X))
    assert taken == [True, False]
    np.testing.assert_allclose(found[0].posteriors_, found[1].posteriors_, atol=1e-12)


@pytest.mark.parametrize("n_components", [1, 3])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_normalized_batches_agree(n_components, training, dtype):
    torch = pytest.importorskip("torch")
    from fastgen.networks import MixtureNorm2d

    kind = getattr(torch, dtype)
    batch = torch.randn(6, 5, 3, 3, generator=torch.Generator().manual_seed(0), dtype=kind)
    batch[:3] += 2

    def outcome():
        torch.manual_seed(1)
        layer = MixtureNorm2d(5, n_components, dtype=kind)
        layer(batch)
        layer.train(training)
        x = batch.clone().requires_grad_()
        y = layer(x)
        (y.square() * torch.arange(5, dtype=kind)[:, None, None]).sum().backward()
        order = layer.running_weights.argsort()  # from equal components no one comes first
        components = layer.running_weights, layer.running_means, layer.running_vars
        sorted_ones = (value[order] for value in components)
        return y.detach(), x.grad, layer.weight.grad, layer.bias.grad, *sorted_ones

    found = outcome()
    with compiling.always():
        expected = outcome()
    tolerance = 1e-10 if dtype == "float64" else 1e-4
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance)


def test_normalization_on_both_sides_of_the_limit(monkeypatch, begun):
    x = RNG.normal(size=(2, 4, 7))
    means, variances = RNG.normal(size=(3, 4)), RNG.uniform(0.5, 2, size=(3, 4))
    logs = np.log([0.5, 0.3, 0.2])
    densities = logs - 0.5 * (
        ((x[:, :, None] - means.T[None, ..., None]) ** 2 / variances.T[..., None])
        .sum(1)
        .transpose(0, 2, 1)
        + np.log(variances).sum(1)
    )
    nu = np.exp(densities)
    nu = (nu / nu.sum(-1, keepdims=True)).transpose(0, 2, 1)
    gaps = x[:, None] - means[..., None]
    for limit in (x.size * 3, x.size * 3 - 1):
        monkeypatch.setattr(mixture_norm, "_PLAIN", limit)
        found, counts, sums = mixture_norm.em_sums(x, means, variances, logs)
        np.testing.assert_allclose(found[:, :3], nu, rtol=1e-12)
        np.testing.assert_allclose(counts, [nu.sum((0, 2)), (nu**2).sum((0, 2))], rtol=1e-12)
        for power, part in enumerate(sums, 1):
            wanted = (nu[:, :, None] * gaps**power).sum((0, 3))
            np.testing.assert_allclose(part, wanted, rtol=1e-11, atol=1e-12)
    assert begun == [False, True]


SMALL = """
import sys
import numpy as np
from fastgen import metrics
from fastgen.mixture import GaussianMixture, NonparametricMixture
from fastgen.neighbors import nearest_rows
rng = np.random.default_rng(0)
x = np.concatenate([rng.normal(size=(100, 3)), rng.normal(size=(100, 3)) + 4])
for kind in ("full", "tied", "diag", "spherical"):
    GaussianMixture(2, covariance_type=kind, random_state=0).fit(x).predict(x)
NonparametricMixture(2, random_state=0).fit(x).predict(x)
c = np.stack([np.cov(x.T), np.eye(3)])
metrics.dist_bures_squared(np.zeros((2, 3)), np.zeros((2, 3)), c, c)
metrics.wam(x, x + 0.1, n_components=1, random_state=0)
nearest_rows(x, x, 2)
try:
    import torch
except ImportError:
    pass
else:
    from fastgen.networks import MixtureNorm1d
    MixtureNorm1d(3)(torch.randn(50, 3, requires_grad=True)).sum().backward()
print([name for name in ("fastgen.kernels.cpu.compilation", "ot") if name in sys.modules])
"""


def test_small_inputs_load_no_compiler_and_say_nothing(tmp_path):
    run = subprocess.run(
        [sys.executable, "-c", SMALL],
        env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "[]"
    assert run.stderr == ""
    assert not list(tmp_path.iterdir())
