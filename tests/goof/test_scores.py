"""Scores, planted floors and the overfitting test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from oracles import goof as naive
from scipy import stats
from sklearn.datasets import load_digits

from fastgen.goof import nearest, overfit_test, pca_floor, planted, score
from fastgen.linear import LinearGAN

torch = pytest.importorskip("torch")
nn = torch.nn

from fastgen.goof import overfitting, scores

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.usefixtures("one_torch_thread"),
]
SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
QUICK = {"pool_size": 300, "n_starts": 4, "max_iter": 40, "random_state": 0}


@pytest.fixture(scope="module")
def digits():
    return load_digits().images.astype(np.float32) / 16


def decoder(k=4, d=64, seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(k, 24), nn.ReLU(), nn.Linear(24, d), nn.Sigmoid())


def trained_decoder(images, k=4):
    """A decoder fitted to a few images, each with a latent of its own: it memorises."""
    torch.manual_seed(0)
    net, z = decoder(k), torch.randn(len(images), k)
    X = torch.from_numpy(images).reshape(len(images), -1)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(300):
        optimiser.zero_grad()
        ((net(z) - X) ** 2).mean().backward()
        optimiser.step()
    return net, z


def test_scores_are_their_formulas(digits):
    X = digits[:30]
    gan = LinearGAN(5, "unsupervised").fit(X.reshape(30, -1))
    found = score(gan, X.reshape(30, -1), random_state=0)
    squares = naive.linear_free(gan.components_.T, gan.mean_, X.reshape(30, -1).astype(float))
    np.testing.assert_allclose(found.squared_distance, squares, rtol=1e-9)
    assert found.mean == pytest.approx(np.sqrt(squares).mean())
    assert found.rms == pytest.approx(np.sqrt(squares.mean()))
    assert found.mse == pytest.approx(squares.mean() / 64)
    assert found.median == pytest.approx(np.median(squares) / 64)
    assert found.rms**2 == pytest.approx(pca_floor(X, 5))
    spread = ((X - X.mean(axis=0)) ** 2).sum()
    assert found.relative == pytest.approx(squares.sum() / spread, rel=1e-5)
    assert found.quantiles[0.95] == pytest.approx(np.quantile(squares, 0.95) / 64)
    assert found.planted.recovered == 1
    assert found.search_error_share < 1e-20
    assert "planted floor" in repr(found)
    assert "targets in [0, 1]" in repr(found)


def test_the_planted_floor_stands_beside_the_score(digits):
    net = decoder()
    found = score(net, digits[:12].reshape(12, 64), n_planted=20, **QUICK)
    assert len(found.planted.mse) == 20
    assert found.search_error_share == pytest.approx(found.planted.mse.mean() / found.mse)
    assert 0 < found.search_error_share < 0.1
    poor = score(
        net, digits[:12].reshape(12, 64), n_planted=20, **{**QUICK, "n_starts": 1, "max_iter": 1}
    )
    assert poor.search_error_share > found.search_error_share
    figure = found.plot(n_images=4)
    assert {axes.get_xlabel() for axes in figure.axes} >= {
        "squared distance per pixel",
        "passes through the generator per target",
    }
    assert len(figure.axes) == 2 * 4 + 2


def test_planted_targets_are_generated():
    net = decoder().double()
    found = planted(net, 25, **QUICK)
    assert found.targets.shape == (25, 64)
    again = planted(net, 25, **QUICK)
    np.testing.assert_array_equal(found.targets, again.targets)
    other = planted(net, 25, **{**QUICK, "random_state": 1})
    assert not np.allclose(found.targets, other.targets)
    # not members of the pool: a pool alone does not find them
    pool = nearest(net, found.targets, **{**QUICK, "max_iter": 1, "method": "adam", "n_starts": 1})
    assert pool.mse.min() > 1e-9
    for tolerance, rate in zip(found.tolerances, found.rate, strict=True):
        assert rate == (found.mse < tolerance).mean()
    assert (found.interval[:, 0] <= found.rate).all()
    assert (found.rate <= found.interval[:, 1]).all()
    assert "recovered" in repr(found)
    assert len(found.plot(n_images=3).axes) == 7


@pytest.mark.parametrize(("count", "n"), [(0, 20), (3, 20), (20, 20)])
def test_intervals_are_clopper_and_pearson(count, n):
    exact = stats.binomtest(count, n).proportion_ci(0.95, method="exact")
    np.testing.assert_allclose(scores._interval(count, n), exact, atol=1e-12)


def test_planted_conditions_and_mixtures():
    class Conditional(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = decoder(6)

        def forward(self, z, label):
            return self.body(torch.cat([z, label], 1))

    labels = np.eye(2, dtype=np.float32)
    found = planted(Conditional(), 9, cond=labels, latent_dim=4, **QUICK)
    assert (found.mse < 1e-6).mean() > 0.8
    mixed = planted([decoder(seed=1), decoder(3, seed=2)], 11, **QUICK)
    assert (mixed.mse < 1e-6).mean() > 0.8
    assert set(mixed.nearest.component) == {0, 1}
    np.testing.assert_array_equal(mixed.nearest.component[[0, 10]], [0, 1])


def test_a_model_that_memorised_is_found_out(digits):
    train, held_out = digits[:16].reshape(16, 64), digits[16:56].reshape(40, 64)
    net, z = trained_decoder(train)
    learnt = ((net(z).detach().numpy() - train) ** 2).sum(axis=1)
    started = nearest(net, train, init=z, n_starts=0, pool_size=0)
    assert (started.squared_distance <= learnt * (1 + 1e-6)).all()  # GLO: its loss is its GOoF
    found = overfit_test(net, train, held_out, n_planted=10, n_permutations=999, **QUICK)
    assert found.gap > 0.3
    assert found.permutation_pvalue < 0.01
    assert found.overfitted
    assert found.ks_statistic == pytest.approx(
        naive.ks_statistic(found.train.mse, found.validation.mse)
    )
    assert found.gap == pytest.approx(
        1 - np.median(found.train.mse) / np.median(found.validation.mse)
    )
    assert "validation" in repr(found)
    assert len(found.plot().axes) == 1
    fair = overfit_test(net, held_out[:20], held_out[20:], n_planted=10, **QUICK)
    assert fair.permutation_pvalue > 0.01
    backwards = overfit_test(net, held_out, train, n_planted=10, n_permutations=99, **QUICK)
    assert backwards.gap < 0 < backwards.absolute_gap == -backwards.gap
    assert backwards.permutation_pvalue > 0.9


# Webster et al. 2019, Table 1: median errors of training and validation images, printed gap.
# The table prints absolute values: three rows are negative.
TABLE = [
    ("CelebA-HQ DCGAN", 4.95e-2, 5.04e-2, 1.79e-2, 1),
    ("CelebA-HQ GLO-128", 9.94e-4, 3.30e-2, 9.70e-1, 1),
    ("CelebA-HQ GLO-8192", 3.00e-3, 3.64e-3, 1.75e-1, 1),
    ("CelebA-HQ AEGAN-1024", 8.52e-2, 1.16e-1, 2.68e-1, 1),
    ("LSUN GLO-32768", 6.58e-3, 6.25e-3, 5.40e-2, -1),
    ("MNIST DCGAN", 3.00e-2, 2.75e-2, 8.85e-2, -1),
    ("CIFAR10 DCGAN", 2.29e-1, 2.28e-1, 3.65e-3, -1),
]


@pytest.mark.parametrize(("name", "train", "validation", "printed", "sign"), TABLE)
def test_signed_gaps(name, train, validation, printed, sign):
    gap = overfitting.mre_gap([train], [validation])
    assert abs(gap) == pytest.approx(printed, abs=0.0047), name
    assert np.sign(gap) == sign


@pytest.mark.parametrize(("n", "expected"), [(1800, 0.054), (500, 0.103), (8, 0.81)])
def test_detectable_ks(n, expected):
    assert overfitting._KS_CRITICAL * np.sqrt(2 / n) == pytest.approx(expected, rel=0.01)
    assert stats.kstwobign.sf(overfitting._KS_CRITICAL) == pytest.approx(0.01, rel=0.01)


def test_permutation_pvalues():
    rng = np.random.default_rng(0)
    low, high = rng.random(30), 1 + rng.random(30)
    p = overfitting.permutation_pvalue(low, high, 199, np.random.default_rng(1))
    assert p == 1 / 200
    assert overfitting.permutation_pvalue(high, low, 199, np.random.default_rng(1)) == 1
    same = [overfitting.permutation_pvalue(*rng.random((2, 20)), 99, rng) for _ in range(100)]
    assert stats.kstest(same, "uniform").pvalue > 1e-3
    assert overfitting.permutation_pvalue(np.ones(5), np.ones(5), 99, rng) == 1


def test_equal_errors_have_no_gap():
    assert np.isnan(overfitting.mre_gap([0.0], [0.0]))
    assert overfitting.mre_gap([1.0, 2.0], [2.0, 1.0]) == 0


# --- range coverage ------------------------------------------------------------------------------


def test_mode_collapse_bounds_the_score(digits):
    X = digits[:60].reshape(60, 64)
    labels = load_digits().target[:60]
    one = LinearGAN(4, "unsupervised").fit(X[labels == 0])
    found = score(one, X, random_state=0)
    away = labels != 0
    r = np.sqrt(found.squared_distance[away].min())
    assert found.rms**2 >= away.mean() * r**2 > 0


def test_a_mixture_fits_its_clusters(digits):
    X = digits[:90].reshape(90, 64).astype(np.float64)
    cluster = load_digits().target[:90] % 3
    members = [LinearGAN(3, "unsupervised").fit(X[cluster == j]) for j in range(3)]
    bound = sum(nearest(m, X[cluster == j]).squared_distance.sum() for j, m in enumerate(members))
    found = score(members, X, random_state=0)
    assert found.rms**2 <= bound / 90 + 1e-12
    assert found.rms**2 < pca_floor(X, 3)


# --- a trained decoder, where the shared data are -------------------------------------------------


@pytest.fixture(scope="module")
def vae():
    path = SHARED / "mnist_vae_k20.npz"
    if not path.is_file():
        pytest.skip("needs ../shared/data/mnist_vae_k20.npz")
    with np.load(path, allow_pickle=False) as arrays:
        weights = {name: torch.from_numpy(arrays[name]).float() for name in arrays.files}

    def linear(name):
        layer = nn.Linear(*weights[f"{name}.weight"].shape[::-1])
        layer.weight.data, layer.bias.data = weights[f"{name}.weight"], weights[f"{name}.bias"]
        return layer

    decode = nn.Sequential(linear("fc3"), nn.ReLU(), linear("fc4"), nn.Sigmoid())
    encode = nn.Sequential(linear("fc1"), nn.ReLU(), linear("fc21"))
    return decode, encode.requires_grad_(False)


def test_a_trained_decoder(vae):
    decode, encode = vae
    floor = planted(decode, 32, pool_size=2000, n_starts=4, random_state=0)
    assert floor.recovered == 1
    assert np.median(floor.mse) < 1e-13
    with np.load(SHARED / "mnist_test_10000.npz", allow_pickle=False) as arrays:
        X = arrays["images"][:32].reshape(32, -1).astype(np.float32) / 255
    start = ((decode(encode(torch.from_numpy(X))).detach().numpy() - X) ** 2).mean(axis=1)
    found = nearest(decode, X, init=encode, pool_size=2000, n_starts=4, random_state=0)
    assert (found.mse <= start).all()
    assert found.mse.mean() < 0.7 * start.mean()  # 0.0054 and 0.0082 in the notes
    assert set(found.status) <= {"local", "max_iter"}


# --- errors --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: planted(decoder(), 0), ValueError, "n must be at least 1, got 0"),
        (lambda: planted(decoder(), 2.5), TypeError, "n must be an integer"),
        (lambda: planted(decoder(), 4, init=np.zeros((4, 4))), ValueError, "init must be an enc"),
        (lambda: score(decoder(), np.zeros((2, 64)), n_planted=0), ValueError, "n_planted must be"),
        (lambda: overfit_test(decoder(), np.zeros((1, 64)), np.zeros((3, 64))), ValueError,
         "X_train must have at least 2 rows, got 1"),
        (lambda: overfit_test(decoder(), np.zeros((3, 64)), np.zeros((3, 64)), cond=[0]), TypeError,
         "pass cond_train and cond_val in place of cond"),
        (lambda: overfit_test(decoder(), *np.zeros((2, 3, 64)), n_permutations=0), ValueError,
         "n_permutations must be at least 1"),
        (lambda: overfit_test(decoder(), *np.zeros((2, 3, 64)), init=np.zeros((3, 4))), ValueError,
         "init belongs to one set of targets"),
    ],
)  # fmt: skip
def test_bad_calls(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_planted_targets_must_be_finite():
    net = decoder()
    with pytest.raises(ValueError, match=r"not finite for \d+ of 20 latents of the prior"):
        planted(lambda z: net(z) / (z[:, :1] > 0), 20, latent_dim=4, pool_size=100, random_state=0)


def test_more_members_than_planted_targets(digits):
    members = [decoder(seed=seed) for seed in range(5)]
    found = planted(members, 3, **QUICK)
    assert found.targets.shape == (3, 64)
    np.testing.assert_array_equal(found.targets[:1], planted(members[:1], 1, **QUICK).targets)
    beside = score(members, digits[:2].reshape(2, 64), n_planted=1, **QUICK).planted
    assert len(beside.nearest) == 1


def test_what_is_found_is_kept_before_the_floor(digits, monkeypatch):
    kept = []

    def killed(*arguments, **options):
        raise SystemExit(143)

    monkeypatch.setattr(scores, "planted", killed)
    X = digits[:3].reshape(3, 64)
    with pytest.raises(SystemExit):
        score(decoder(), X, keep=kept.append, **QUICK)
    monkeypatch.undo()
    (found,) = kept
    assert not found.interrupted.any()
    again = score(decoder(), X, resume=found, n_planted=2, **QUICK)
    assert again.nearest is found
