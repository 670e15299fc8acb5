"""One test body for every array library, and the route of CUDA tensors with stand-ins."""

from __future__ import annotations

import numpy as np
import pytest
from conftest import put_in_place_of_cupy
from oracles import bures as naive
from shim import strict

from fastgen import _arrays, metrics
from fastgen._arrays import library
from fastgen.metrics import CovarianceFactor, engines, mw2
from fastgen.metrics.engines import device


def stacks(seed, k, d, n):
    rng = np.random.default_rng(seed)
    factors = rng.standard_normal((k, d, n)) / np.sqrt(n)
    return rng.standard_normal((k, d)), factors, factors @ factors.transpose(0, 2, 1)


# --- every library -------------------------------------------------------------------------------


@pytest.mark.parametrize(("d", "n"), [(1, 3), (6, 4), (6, 20), (40, 60)])
def test_distances(backend, d, n):
    (m, f, c), (k, g, e) = stacks(0, 3, d, n), stacks(1, 2, d, n)
    m_, f_, c_, k_, g_, e_ = map(backend.array, (m, f, c, k, g, e))
    expected = naive.costs(m, c, k, e)
    found = metrics.dist_bures_squared(m_, k_, c_, e_)
    assert isinstance(found, backend.kind)
    np.testing.assert_allclose(backend.host(found), expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(
        backend.host(found), metrics.dist_bures_squared(m, k, c, e), rtol=1e-7
    )
    lists = [[CovarianceFactor(x) for x in side] for side in (f_, g_)]
    factored = metrics.dist_bures_squared(m_, k_, *lists)
    np.testing.assert_allclose(backend.host(factored), expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(
        backend.host(metrics.frechet_distance(m_[0], c_[0], k_, e_)), expected[0], rtol=1e-6
    )
    parts = backend.host(metrics.bures(c_[:, None], e_))
    np.testing.assert_allclose(parts, metrics.bures(c[:, None], e), rtol=1e-7)
    assert (np.diagonal(backend.host(metrics.dist_bures_squared(m_, m_, c_, c_))) == 0).all()
    assert float(metrics.bures(c_[0], c_[0])) == 0


def test_single_precision(backend):
    (m, _, c), (k, _, e) = stacks(0, 3, 6, 9), stacks(1, 2, 6, 9)
    arguments = [backend.array(x.astype(np.float32)) for x in (m, k, c, e)]
    found = metrics.dist_bures_squared(*arguments)
    expected = np.float64 if backend.name == "numpy" else np.float32
    assert backend.host(found).dtype == expected
    np.testing.assert_allclose(
        backend.host(found), metrics.dist_bures_squared(m, k, c, e), rtol=1e-4
    )


def test_shapes_of_covariances(backend):
    m, _, c = stacks(2, 3, 4, 9)
    rng = np.random.default_rng(0)
    for given, dense in (
        (c[0], c[[0, 0, 0]]),
        (v := rng.gamma(1, size=(3, 4)), v[:, :, None] * np.eye(4)),
        (s := rng.gamma(1, size=3), s[:, None, None] * np.eye(4)),
    ):
        found = metrics.dist_bures_squared(*map(backend.array, (m, m, given, c)))
        np.testing.assert_allclose(
            backend.host(found), naive.costs(m, dense, m, c), rtol=1e-7, atol=1e-7
        )


def test_mixtures(backend):
    pytest.importorskip("ot")
    (m, _, c), (k, _, e) = stacks(3, 3, 2, 5), stacks(4, 2, 2, 5)
    w, v = np.array([0.2, 0.3, 0.5]), np.array([0.5, 0.5])
    w_, m_, c_, v_, k_, e_ = map(backend.array, (w, m, c, v, k, e))
    expected, plan = naive.transport(w, v, naive.costs(m, c, k, e))
    found = mw2((w_, m_, c_), (v_, k_, e_))
    assert float(found.squared_distance) == pytest.approx(expected, rel=1e-7)
    np.testing.assert_allclose(backend.host(found.plan), plan, atol=1e-9)
    assert isinstance(found.costs, backend.kind)
    assert found.n_evaluated == 6
    loss = metrics.gmm_ot_loss(m_, k_, c_, e_, w_, v_)
    assert float(loss) == pytest.approx(expected, rel=1e-7)
    again, log = metrics.gmm_ot_plan(m_, k_, c_, e_, w_, v_, log=True)
    np.testing.assert_allclose(backend.host(again), plan, atol=1e-9)
    assert log["u"] @ w + log["v"] @ v == pytest.approx(expected, rel=1e-7)
    x = np.random.default_rng(0).standard_normal((7, 2))
    moved = metrics.gmm_ot_apply_map(backend.array(x), m_, k_, c_, e_, w_, v_)
    np.testing.assert_allclose(moved, found.transport(backend.array(x)), rtol=1e-9)
    np.testing.assert_allclose(moved, mw2((w, m, c), (v, k, e)).transport(x), rtol=1e-9)
    told = found.to_dict()
    assert told["squared_distance"] == pytest.approx(expected, rel=1e-7)
    np.testing.assert_allclose(told["plan"], plan, atol=1e-9)


def test_what_the_caller_changes_afterwards_changes_nothing(backend):
    pytest.importorskip("ot")
    (m, _, c), (k, _, e) = stacks(3, 3, 2, 5), stacks(4, 2, 2, 5)
    w, v = np.array([0.2, 0.3, 0.5]), np.array([0.5, 0.5])
    x = np.random.default_rng(0).standard_normal((7, 2))
    arrays = w_, m_, c_, v_, k_, e_ = [backend.array(a.copy()) for a in (w, m, c, v, k, e)]
    found = mw2((w_, m_, c_), (v_, k_, e_))
    before = found.transport(x), found.interpolate(0.5).covariances_, found.to_dict()
    for array in arrays:
        array *= 100
    np.testing.assert_array_equal(found.transport(x), before[0])
    np.testing.assert_array_equal(found.interpolate(0.5).covariances_, before[1])
    assert found.to_dict() == before[2]


@pytest.mark.parametrize("call", ["mw2", "gmm_ot_loss", "gmm_ot_plan", "gmm_ot_apply_map"])
def test_the_transport_problem_is_solved_once(backend, monkeypatch, call):
    from fastgen.metrics import _transport

    pytest.importorskip("ot")
    (m, _, c), (k, _, e) = stacks(3, 3, 2, 5), stacks(4, 2, 2, 5)
    w, v = np.array([0.2, 0.3, 0.5]), np.array([0.5, 0.5])
    w, m, c, v, k, e = map(backend.array, (w, m, c, v, k, e))
    calls = []
    solve = _transport.solve
    monkeypatch.setattr(_transport, "solve", lambda *a: calls.append(1) or solve(*a))
    if call == "mw2":
        mw2((w, m, c), (v, k, e), method="dense")
    elif call == "gmm_ot_apply_map":
        metrics.gmm_ot_apply_map(backend.array(np.zeros((4, 2))), m, k, c, e, w, v)
    else:
        getattr(metrics, call)(m, k, c, e, w, v)
    assert len(calls) == 1


@pytest.mark.parametrize(
    ("covariance", "message"),
    [
        ([[1.0, 2.0], [2.0, 1.0]], "cov1 must be positive semidefinite, got an eigenvalue -1"),
        ([[1.0, 0.5], [0.0, 1.0]], r"cov1 must be symmetric.*by 0\.5 of the largest"),
        ([[1.0, 0.0], [0.0, np.nan]], r"cov1 must be finite, got nan at \[1, 1\]"),
        ([[1.0, 0.0]], r"cov1 must be a square matrix \(d, d\), got shape \(1, 2\)"),
        (np.eye(3), "same dimension, got 3 and 2"),
    ],
)
def test_bad_covariances_are_refused(backend, covariance, message):
    with pytest.raises(ValueError, match=message):
        metrics.bures(backend.array(np.array(covariance)), backend.array(np.eye(2)))


def test_more_refusals(backend):
    m, one = backend.array(np.zeros((2, 2))), backend.array(np.eye(2))
    with pytest.raises(ValueError, match=r"C_s of shape \(2, 2\) may be tied or diagonal"):
        metrics.dist_bures_squared(m, m, one, one)
    with pytest.raises(ValueError, match=r"C_s must have shape \(2, 2, 2\)"):
        metrics.dist_bures_squared(m, m, backend.array(np.ones((3, 2, 2))), one)
    line, bad = m[:, :1], backend.array(np.array([1.0, -1.0]))
    with pytest.raises(ValueError, match=r"C_s must hold variances, got -1\.0 at \[1\]"):
        metrics.dist_bures_squared(line, line, bad, bad)
    with pytest.raises(ValueError, match="must hold 2 covariances, got 1"):
        metrics.dist_bures_squared(m, m, [CovarianceFactor(one)], [])
    with pytest.raises(ValueError, match=r"must be a factor \(d, n\)"):
        metrics.bures(CovarianceFactor(backend.array(np.ones(2))), one)
    with pytest.raises(ValueError, match=r"mean1 must have shape \(\.\.\., 2\)"):
        metrics.frechet_distance(backend.array(np.zeros(3)), one, m[0], one)
    with pytest.raises(ValueError, match="mean2 must be finite, got nan"):
        metrics.frechet_distance(m[0], one, backend.array(np.array([0.0, np.nan])), one)
    for function, bad in ((metrics.frechet_distance, np.zeros(2) * 1j),):
        with pytest.raises(TypeError, match="mean1 must hold real numbers, got dtype"):
            function(backend.array(bad), one, m[0], one)
    with pytest.raises(TypeError, match="cov1 must hold real numbers"):
        metrics.bures(backend.array(np.eye(2, dtype=complex)), one)


def test_integers_are_exact(backend):
    mean, cov = backend.array(np.array([1, 2])), backend.array(np.array([[2, 0], [0, 8]]))
    zero, one = backend.array(np.zeros(2, dtype=int)), backend.array(np.eye(2, dtype=int))
    expected = 5 + (2**0.5 - 1) ** 2 + (8**0.5 - 1) ** 2
    found = metrics.frechet_distance(mean, cov, zero, one)
    assert float(found) == pytest.approx(expected, rel=1e-12)
    assert float(metrics.bures(cov, one)) == pytest.approx(expected - 5, rel=1e-12)
    costs = metrics.dist_bures_squared(mean[None], zero[None], cov[None], one[None])
    assert float(costs[0, 0]) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("position", range(6))
def test_one_array_of_the_library_among_numpys(backend, position):
    pytest.importorskip("ot")
    (m, _, c), (k, _, e) = stacks(3, 3, 2, 5), stacks(4, 2, 2, 5)
    given = [m, k, c, e, np.array([0.2, 0.3, 0.5]), np.array([0.5, 0.5])]
    expected = metrics.gmm_ot_loss(*given)
    costs = metrics.dist_bures_squared(*given[:4])
    given[position] = backend.array(given[position])
    assert float(metrics.gmm_ot_loss(*given)) == pytest.approx(expected, rel=1e-9)
    m, k, c, e, w, v = given
    found = mw2((w, m, c), (v, k, e))
    assert float(found.squared_distance) == pytest.approx(expected, rel=1e-9)
    if position < 4:
        there = metrics.dist_bures_squared(*given[:4])
        np.testing.assert_allclose(backend.host(there), costs, rtol=1e-9)
        assert isinstance(there, backend.kind)


# --- which engine --------------------------------------------------------------------------------


def test_libraries_are_told_apart():
    class Device:
        __cuda_array_interface__ = None

    class Tensor:
        requires_grad = False

    assert library(np.ones(2), [1.0]) == "numpy"
    assert library([CovarianceFactor(Device())], 1.0) == "cupy"
    assert library(np.ones(2), Tensor()) == "torch"
    assert engines.of([CovarianceFactor(Device())], 1.0) is device
    with pytest.raises(TypeError, match="got both; convert one"):
        library(Device(), Tensor())


# --- CUDA tensors --------------------------------------------------------------------------------


@pytest.fixture(params=["with CuPy", "without"])
def cuda_tensors(request, monkeypatch):
    """Let tensors of the CPU pass for CUDA's, and refuse copies of matrices to the host."""
    import sys

    from fastgen.metrics.engines import host, tensors

    launched = []
    if request.param == "with CuPy":
        from fastgen._dispatch import gaussian

        put_in_place_of_cupy(monkeypatch)
        launchers = gaussian.cuda_kernels()

        class Watched:
            @staticmethod
            def pair_nuclear_norms(*arguments):
                launched.append(arguments)
                return launchers.pair_nuclear_norms(*arguments)

        monkeypatch.setattr(gaussian, "cuda_kernels", lambda: Watched)
        monkeypatch.setattr(
            strict.DeviceArray, "__dlpack__", lambda self, **k: strict.to_host(self).__dlpack__(**k)
        )
    else:
        monkeypatch.setitem(sys.modules, "cupy", None)
    monkeypatch.setattr(_arrays, "on_device", _arrays.is_tensor)
    to_host = _arrays.to_host

    def small(value):
        if np.ndim(value) == 3 or (np.ndim(value) == 2 and value.shape[0] == value.shape[1]):
            raise AssertionError(f"a covariance {tuple(value.shape)} was copied to the host")
        return to_host(value)

    def never(*arguments):
        raise AssertionError("a covariance was parsed on the host")

    monkeypatch.setattr(_arrays, "to_host", small)
    monkeypatch.setattr(host, "covariances", never)
    monkeypatch.setattr(tensors.torch.Tensor, "cpu", never)
    monkeypatch.setattr(tensors.torch.Tensor, "numpy", never)
    return launched, request.param == "with CuPy"


def test_covariances_of_cuda_tensors_stay_there(cuda_tensors):
    torch = pytest.importorskip("torch")
    launched, with_cupy = cuda_tensors
    (m, _, c), (k, _, e) = stacks(0, 3, 4, 9), stacks(1, 2, 4, 9)
    expected = naive.costs(m, c, k, e)
    there = [torch.tensor(x, requires_grad=True) for x in (m, k, c, e)]
    found = metrics.dist_bures_squared(*there)
    np.testing.assert_allclose(found.tolist(), expected, rtol=1e-7)
    assert len(launched) == with_cupy
    found.sum().backward()
    for a, b in ((0, 1), (1, 0)):
        maps = [naive.gaussian_map(x, y) for x in (c, e)[a][:1] for y in (c, e)[b]]
        slope = len(maps) * np.eye(4) - np.sum(maps, axis=0)
        np.testing.assert_allclose(there[2 + a].grad[0].tolist(), slope, rtol=1e-6, atol=1e-9)
    part = metrics.frechet_distance(there[0][0], there[2][0], there[1], there[3])
    np.testing.assert_allclose(part.tolist(), expected[0], rtol=1e-7)


@pytest.mark.parametrize("kind", ["tied", "diag", "spherical", "factors"])
def test_other_shapes_of_cuda_tensors(cuda_tensors, kind):
    torch = pytest.importorskip("torch")
    m, f, c = stacks(2, 3, 4, 9)
    v = np.random.default_rng(0).gamma(1, size=(3, 4))
    given, dense = {
        "tied": (c[0], c[[0, 0, 0]]),
        "diag": (v, v[:, :, None] * np.eye(4)),
        "spherical": (v[:, 0], v[:, :1, None] * np.eye(4)),
        "factors": (f, c),
    }[kind]
    there = torch.tensor(given)
    there = [CovarianceFactor(x) for x in there] if kind == "factors" else there
    m_, c_ = torch.tensor(m), torch.tensor(c)
    found = metrics.dist_bures_squared(m_, m_, there, c_)
    np.testing.assert_allclose(found.tolist(), naive.costs(m, dense, m, c), rtol=1e-7, atol=1e-9)


@pytest.mark.gpu
def test_cuda_tensors_on_the_device():
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    for d in (6, 40, 100):
        (m, _, c), (k, _, e) = stacks(5, 3, d, 2 * d), stacks(6, 2, d, d)
        found = metrics.dist_bures_squared(*(torch.tensor(x).cuda() for x in (m, k, c, e)))
        assert found.is_cuda
        np.testing.assert_allclose(found.cpu(), metrics.dist_bures_squared(m, k, c, e), rtol=1e-7)
