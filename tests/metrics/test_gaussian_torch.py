"""Distances of Gaussians and mixtures for torch tensors: values, derivatives, singular points."""

from __future__ import annotations

import numpy as np
import pytest
from oracles import bures as naive

torch = pytest.importorskip("torch")

from fastgen.metrics import (
    CovarianceFactor,
    bures,
    dist_bures_squared,
    frechet_distance,
    gmm_ot_loss,
    mw2,
)
from fastgen.metrics.engines import device

gradcheck = torch.autograd.gradcheck


def tensors(seed, *shapes):
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)
        for shape in shapes
    ]


def covariance(factor, jitter=0.1):
    """Positive definite, so that a step of one entry of the factor keeps it a covariance."""
    return factor @ factor.mT + jitter * torch.eye(factor.shape[-2], dtype=factor.dtype)


def mixture(seed, k, d):
    weights, means, factors = tensors(seed, (k,), (k, d), (k, d, d))
    return weights.softmax(0), means, covariance(factors)


# --- values --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_values_are_numpys(dtype):
    (w, m, c), (v, n, e) = (
        tuple(x.detach().to(dtype) for x in mixture(seed, k, 4)) for seed, k in ((0, 3), (1, 2))
    )
    rtol = 1e-12 if dtype == torch.float64 else 1e-5
    for function, arguments in (
        (bures, (c[0], e)),
        (bures, (c[:2], e)),
        (frechet_distance, (m[0], c[0], n, e)),
        (dist_bures_squared, (m, n, c, e)),
        (gmm_ot_loss, (m, n, c, e, w, v)),
    ):
        found = function(*arguments)
        assert found.dtype == dtype
        expected = function(*(x.double().numpy() for x in arguments))
        np.testing.assert_allclose(found.numpy(), expected, rtol=rtol)
    result = mw2((w, m, c), (v, n, e))
    assert isinstance(result.plan, torch.Tensor)
    assert result.costs.shape == (3, 2)
    assert result.transport(m).shape == (3, 4)
    assert float(bures(c, c).max()) == 0
    assert bures(c[0], c[0]).shape == ()


@pytest.mark.parametrize("kind", ["tied", "diag", "spherical", "factors"])
def test_shapes_of_covariances(kind):
    (factors,) = tensors(2, (3, 5, 4))
    means = tensors(3, (3, 5), (3, 5))
    variances = factors[:, :, 0].square()
    given, dense = {
        "tied": (factors[0] @ factors[0].T, (factors[0] @ factors[0].T).expand(3, 5, 5)),
        "diag": (variances, torch.diag_embed(variances)),
        "spherical": (variances[:, 0], torch.diag_embed(variances[:, :1].expand(3, 5))),
        "factors": ([CovarianceFactor(f) for f in factors], factors @ factors.mT),
    }[kind]
    other = torch.eye(5, dtype=torch.float64).expand(3, 5, 5)
    found = dist_bures_squared(*means, given, other)
    expected = dist_bures_squared(*means, dense, other)
    np.testing.assert_allclose(found.detach(), expected.detach(), rtol=1e-10)
    slopes = [
        torch.autograd.grad(x.sum(), factors, retain_graph=True)[0] for x in (found, expected)
    ]
    np.testing.assert_allclose(*slopes, rtol=1e-7, atol=1e-9)


# --- derivatives ---------------------------------------------------------------------------------


def test_bures_gradients():
    assert gradcheck(lambda x, y: bures(covariance(x), covariance(y)), tensors(4, (3, 3), (3, 3)))
    assert gradcheck(
        lambda x, y: bures(covariance(x), covariance(y)), tensors(5, (2, 3, 3), (3, 3))
    )


def test_factor_gradients():
    # fewer samples than dimensions: no covariance is formed
    def distance(x, y):
        return bures(CovarianceFactor(x), CovarianceFactor(y))

    assert gradcheck(distance, tensors(6, (5, 2), (5, 3)))
    assert gradcheck(
        lambda x, y: bures(CovarianceFactor(x), covariance(y)), tensors(7, (4, 2), (4, 4))
    )


def test_frechet_gradients():
    def distance(m, x, k, y):
        return frechet_distance(m, covariance(x), k, covariance(y))

    assert gradcheck(distance, tensors(8, (3,), (3, 3), (3,), (3, 3)))


def test_mixture_gradients():
    pytest.importorskip("ot")

    def loss(a, m, x, b, n, y):
        first = a.softmax(0), m, covariance(x)
        second = b.softmax(0), n, covariance(y)
        return mw2(first, second).squared_distance

    inputs = tensors(9, (3,), (3, 2), (3, 2, 2), (2,), (2, 2), (2, 2, 2))
    assert gradcheck(loss, inputs)


def test_gradient_of_a_covariance_is_the_identity_less_the_map():
    (x,) = tensors(10, (4, 4))
    a = covariance(x).detach().requires_grad_()
    b = covariance(x.flip(0) * 2).detach()
    (slope,) = torch.autograd.grad(bures(a, b), a)
    expected = np.eye(4) - naive.gaussian_map(a.detach().numpy(), b.numpy())
    np.testing.assert_allclose(slope, expected, rtol=1e-8, atol=1e-10)
    small = (1e-6 * a).detach().requires_grad_()
    (slope,) = torch.autograd.grad(bures(small, 1e-6 * b), small)
    np.testing.assert_allclose(slope, expected, rtol=1e-8, atol=1e-10)


def test_singular_points():
    (x,) = tensors(11, (5, 2))
    flat = (x @ x.T).detach().requires_grad_()
    # at its minimum: no slope along the range, and slope one out of it
    (slope,) = torch.autograd.grad(bures(flat, flat.detach()), flat)
    q = torch.linalg.qr(x.detach())[0]
    np.testing.assert_allclose(slope, np.eye(5) - (q @ q.T).numpy(), atol=1e-7)
    zero = torch.zeros(5, 5, dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(bures(zero, flat.detach()), zero)
    np.testing.assert_array_equal(slope, np.eye(5))
    (slope,) = torch.autograd.grad(bures(zero.detach(), flat), flat)
    np.testing.assert_allclose(slope, np.eye(5))
    for factor in (x, torch.zeros_like(x)):
        leaf = factor.detach().requires_grad_()
        distance = bures(CovarianceFactor(leaf), CovarianceFactor(factor.detach()))
        (slope,) = torch.autograd.grad(distance, leaf)
        np.testing.assert_allclose(slope, np.zeros((5, 2)), atol=1e-9)
        assert distance == 0
    other = torch.eye(5, dtype=torch.float64)
    (slope,) = torch.autograd.grad(bures(flat, other), flat)
    assert torch.isfinite(slope).all()


def test_descent_reaches_the_target():
    (x, y) = tensors(12, (4, 4), (4, 4))
    target = covariance(y).detach()
    leaf = x.detach().requires_grad_()
    optimiser = torch.optim.SGD([leaf], lr=0.2)
    for _ in range(150):
        optimiser.zero_grad()
        distance = bures(CovarianceFactor(leaf), target)
        distance.backward()
        optimiser.step()
    assert distance < 1e-6
    np.testing.assert_allclose((leaf @ leaf.T).detach(), target, atol=1e-2)


# --- refusals, other routes ----------------------------------------------------------------------


def test_refusals_name_the_argument():
    bad = torch.tensor([[1.0, 2.0], [2.0, 1.0]])
    with pytest.raises(ValueError, match="cov1 must be positive semidefinite"):
        bures(bad, torch.eye(2))
    with pytest.raises(ValueError, match="same dimension, got 3 and 2"):
        bures(torch.eye(3), torch.eye(2))
    with pytest.raises(ValueError, match=r"mean1 must have shape \(\.\.\., 2\)"):
        frechet_distance(torch.zeros(3), torch.eye(2), torch.zeros(2), torch.eye(2))
    with pytest.raises(ValueError, match="same number of columns"):
        dist_bures_squared(torch.zeros(1, 2), torch.zeros(1, 3), torch.ones(1), torch.ones(1))
    with pytest.raises(ValueError, match="w_s must sum to"):
        gmm_ot_loss(
            torch.zeros(1, 1), torch.zeros(1, 1), torch.ones(1), torch.ones(1), torch.zeros(1), [1]
        )


def test_route_of_cuda_tensors_on_the_cpu():
    c, e = (mixture(seed, 3, 4)[2].detach() for seed in (0, 1))
    sides = [[device.Covariance(device.root(torch, x, "c"), "c") for x in side] for side in (c, e)]
    rows, columns = np.array([0, 1, 2]), np.array([0, 2, 1])
    expected = [bures(c[a], e[b]) for a, b in zip(rows, columns, strict=True)]
    found = device.PairParts(*sides, xp=torch).evaluate(rows, columns)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    again = device.PairParts(sides[0], sides[0], xp=torch).evaluate(rows[:1], rows[:1])
    assert float(again[0]) == 0


# --- second derivatives --------------------------------------------------------------------------


def second_order_cases():
    def pair(x, y):
        return bures(covariance(x), covariance(y))

    def squared(x, y):
        return pair(x, y) ** 2

    def frechet(x, y):
        return frechet_distance(x[0], covariance(x), y[0], covariance(y))

    def costs(x, y):
        stacks = covariance(x)[None], covariance(y)[None]
        return dist_bures_squared(x[:1], y[:1], *stacks).sum()

    def factored(x, y):
        return bures(CovarianceFactor(x), CovarianceFactor(y))

    def weighted(x, y):
        first = x[0].softmax(0), x, covariance(x[None].expand(3, 3, 3))
        second = y[0].softmax(0), y.detach(), covariance(y.detach()[None].expand(3, 3, 3) * 2)
        return mw2(first, second).squared_distance

    return [pair, squared, frechet, costs, factored, weighted]


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated")  # torch.func's own
@pytest.mark.parametrize("function", second_order_cases(), ids=lambda f: f.__name__)
def test_second_derivatives_are_refused_not_wrong(function):
    pytest.importorskip("ot")
    inputs = tensors(21, (3, 3), (3, 3))
    slopes = torch.autograd.grad(function(*inputs), inputs, create_graph=True)  # a first one
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(sum(s.square().sum() for s in slopes), inputs)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.functional.hessian(lambda x: function(x, inputs[1]), inputs[0])
    with pytest.raises(RuntimeError):
        torch.func.hessian(lambda x: function(x, inputs[1]))(inputs[0])
    with pytest.raises((RuntimeError, NotImplementedError)):
        torch.func.jvp(lambda x: function(x, inputs[1]), (inputs[0],), (inputs[0],))


def test_second_derivatives_in_means_and_fixed_weights_are_right():
    pytest.importorskip("ot")
    m, n = tensors(22, (3, 2), (2, 2))
    c, e = covariance(tensors(23, (3, 2, 2))[0]).detach(), covariance(torch.eye(2).double()[None])
    w, v = torch.tensor([0.2, 0.3, 0.5]).double(), torch.tensor([0.5, 0.5]).double()

    def loss(m):
        return mw2((w, m, c), (v, n.detach(), e.expand(2, 2, 2))).squared_distance

    curvature = torch.autograd.functional.hessian(loss, m.detach()).reshape(6, 6)
    np.testing.assert_allclose(curvature, np.diag(np.repeat(2 * w.numpy(), 2)), atol=1e-12)
