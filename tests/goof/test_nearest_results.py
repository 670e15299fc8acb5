"""fastgen.goof.nearest at the door: what its result holds, and what it refuses."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from fastgen.goof import Ball, NearestResult, nearest
from fastgen.linear import LinearGAN

torch = pytest.importorskip("torch")
nn = torch.nn

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.usefixtures("one_torch_thread"),
]
QUICK = {"pool_size": 300, "n_starts": 4, "max_iter": 40, "random_state": 0}


def mlp(k=3, h=12, d=16, last=None, seed=0):
    torch.manual_seed(seed)
    layers = [nn.Linear(k, h), nn.ReLU(), nn.Linear(h, d)] + ([last()] if last else [])
    return nn.Sequential(*layers)


def test_results_are_what_they_say(tmp_path):
    net = mlp(3, 12, 16)
    X = np.random.default_rng(0).standard_normal((9, 16)).astype(np.float32)
    found = nearest(net, X, **QUICK)
    again = net(torch.from_numpy(found.z)).detach().numpy()
    np.testing.assert_allclose(found.reconstruction, again, atol=1e-6)
    np.testing.assert_allclose(
        found.squared_distance, ((found.reconstruction.astype(float) - X) ** 2).sum(axis=1)
    )
    np.testing.assert_allclose(found.mse, found.squared_distance / 16)
    assert len(found) == 9
    assert (found.n_forward > 4 * 3).all()
    assert (np.diff(found.history[:, 0]) > 0).all()
    assert (np.diff(found.history[:, 1]) <= 0).all()
    assert found.history[-1, 1] == pytest.approx(found.squared_distance.mean(), rel=1e-5)
    assert "9 targets" in repr(found)
    found.save(tmp_path / "found.npz")
    loaded = NearestResult.load(tmp_path / "found.npz")
    for name in ("z", "reconstruction", "squared_distance", "status", "component", "history"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(found, name))
    np.savez(tmp_path / "other.npz", z=np.zeros(3))
    with pytest.raises(ValueError, match="not a saved NearestResult: it lacks component"):
        NearestResult.load(tmp_path / "other.npz")
    with pytest.raises(ValueError, match=r"path must end in \.npz"):
        found.save(tmp_path / "found.pkl")
    figure = found.plot(X, n_images=5)
    assert len(figure.axes) == 11
    with pytest.raises(ValueError, match=r"X must be the targets, of shape \(9, 16\), got \(3, 16"):
        found.plot(X[:3])


def test_data_outside_the_range_are_warned_of():
    X = 255 * np.random.default_rng(0).random((3, 16))
    with pytest.warns(UserWarning, match=r"X reaches from .* ends in Tanh.* from -1 to 1; scale X"):
        nearest(mlp(last=nn.Tanh), X, **QUICK)
    bytes_ = X.astype(np.uint8)
    with pytest.warns(UserWarning, match="ends in Sigmoid"):
        nearest(mlp(last=nn.Sigmoid), bytes_, **QUICK)


NET = mlp()
X = np.zeros((4, 16), np.float32)
BAD = [
    (dict(generator=3), TypeError, "generator must be an nn.Module"),
    (dict(generator=[]), ValueError, "at least one generator, got an empty list"),
    (dict(generator=lambda z: z), ValueError, r"latent_dim cannot be inferred \(no network"),
    (dict(generator=nn.Sequential(nn.Conv2d(1, 1, 1))), ValueError, "first layer Conv2d.*pass lat"),
    (dict(latent_dim=5), ValueError, r"failed on latents of shape \(4, 5\), as given"),
    (dict(latent_dim=0), ValueError, "latent_dim must be at least 1, got 0"),
    (dict(generator=lambda z: z.numpy(), latent_dim=2), TypeError, "must return a tensor"),
    (dict(generator=lambda z: z.double(), latent_dim=2), TypeError, "must return torch.float32"),
    (dict(generator=NET.half()), ValueError, r"float32 or float64 weights, got torch.float16"),
    (dict(X=X[0]), ValueError, r"X must have shape \(n, \.\.\.\) with at least one row"),
    (dict(X=X[:0]), ValueError, r"with at least one row, got \(0, 16\)"),
    (dict(X=X[:, :3]), ValueError, r"rows of shape \(16,\), what the generator returns"),
    (dict(X=X.reshape(2, 4, 8)), ValueError, r"X must have rows of shape \(16,\).* got \(4, 8\)"),
    (dict(X=X.astype(object)), TypeError, "X must be a numeric array"),
    (dict(X=np.where(np.arange(4)[:, None] == 2, np.nan, X)), ValueError, "infinity in row 2"),
    (dict(X=np.where(np.arange(4)[:, None] == 1, np.inf, X)), ValueError, "infinity in row 1"),
    (dict(n_starts=0), ValueError, "n_starts must be at least 1 where init is not given"),
    (dict(n_starts=500), ValueError, "pool_size must be at least n_starts=500, got 300"),
    (dict(pool_size=0), ValueError, "pool_size must be at least n_starts=4, got 0"),
    (dict(pool_size=-1), ValueError, "pool_size must be at least 0"),
    (dict(method="lmm"), ValueError, "method must be one of .* did you mean 'lm'"),
    (dict(prior="gauss"), ValueError, "prior must be one of 'normal', 'uniform'"),
    (dict(max_iter=0), ValueError, "max_iter must be at least 1"),
    (dict(penalty=-1), ValueError, "penalty must be finite and at least 0"),
    (dict(generator=[mlp(), mlp()], init=np.zeros((4, 3))), ValueError, "init and forward are for"),
    (dict(generator=LinearGAN(2, "unsupervised").fit(np.eye(16)), cond=[0] * 4), ValueError,
     "a linear model takes neither"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "kind", "message"), BAD)
def test_bad_calls_are_one_clear_line(arguments, kind, message):
    call = {"generator": mlp(), "X": X, **QUICK, **arguments}
    with pytest.raises(kind, match=message) as caught:
        nearest(call.pop("generator"), call.pop("X"), **call)
    assert "\n" not in str(caught.value)


def test_import_is_light():
    code = (
        "import sys, fastgen.goof as goof; heavy = {'numba', 'torch', 'scipy', 'matplotlib'} & "
        "set(sys.modules); assert not heavy, heavy; goof.Ball(1); assert 'torch' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_radius_only_helps():
    net = mlp().double()
    Y = 2 * np.random.default_rng(0).standard_normal((8, 16))
    small = nearest(net, Y, domain=Ball(0.5), **QUICK)
    large = nearest(net, Y, domain=Ball(2.0), init=small.z, **QUICK)
    assert (large.squared_distance <= small.squared_distance * (1 + 1e-9)).all()
