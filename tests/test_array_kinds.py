"""Every door takes the same kinds of arrays and refuses the same, by name of the argument."""

import numpy as np
import pandas
import pytest
import torch

from fastgen import _arrays, goof, linear, metrics, mixture, modes

X = np.random.default_rng(7).standard_normal((40, 3)) + np.repeat([[0], [5]], 20, axis=0)
Z = np.random.default_rng(8).standard_normal((40, 2))
one = (np.ones(1), np.zeros((1, 3)), np.eye(3)[None])

FIT = {
    "LinearGAN.fit": lambda x: linear.LinearGAN(2, "unsupervised").fit(x),
    "SubspaceFit.fit": lambda x: linear.SubspaceFit(2, supervision=0).fit(x),
    "NonparametricMixture.fit": lambda x: mixture.NonparametricMixture(
        2, max_iter=3, tol=1.0, random_state=0
    ).fit(x),
    "GaussianMixture.fit": lambda x: mixture.GaussianMixture(2, random_state=0).fit(x),
    "BourgainEmbedding.fit": lambda x: modes.BourgainEmbedding(random_state=0).fit(x),
}
FITTED = {name: fit(X) for name, fit in FIT.items()}
DOORS = {
    **FIT,
    "LinearGAN.transform": FITTED["LinearGAN.fit"].transform,
    "LinearGAN.score": FITTED["LinearGAN.fit"].score,
    "SubspaceFit.transform": FITTED["SubspaceFit.fit"].transform,
    "NonparametricMixture.predict": FITTED["NonparametricMixture.fit"].predict,
    "GaussianMixture.score": FITTED["GaussianMixture.fit"].score,
    "sweep": lambda x: linear.sweep(x, latent_dims=[1], n_samples=5, n_trials=1),
    "fid": lambda x: metrics.fid(X, x),
    "wam": lambda x: metrics.wam(x, X, n_components=1),
    "FeatureStatistics": lambda x: metrics.FeatureStatistics().update(x),
    "CovarianceFactor": metrics.CovarianceFactor.from_samples,
    "transport": metrics.mw2(one, one).transport,
    "nearest_rows": lambda x: goof.nearest_rows(X, x),
    "pca_floor": lambda x: goof.pca_floor(x, 1),
    "log_pairwise_distances": modes.log_pairwise_distances,
    "mode_report": lambda x: modes.mode_report(x, X[:2], 1.0),
}
TAKEN = {
    "bfloat16": lambda x: torch.from_numpy(x).bfloat16(),
    "float16": lambda x: torch.from_numpy(x).half(),
    "requires grad, bfloat16": lambda x: torch.from_numpy(x).bfloat16().requires_grad_(),
    "result of a graph": lambda x: torch.from_numpy(x).requires_grad_() * 2,
    "big-endian float32": lambda x: x.astype(">f4"),
    "DataFrame": lambda x: pandas.DataFrame(x),
}
REFUSED = {
    "masked": lambda x: np.ma.masked_less(x, -1.0),
    "meta": lambda x: torch.empty(x.shape, device="meta", dtype=torch.bfloat16),
    "sparse": lambda x: torch.from_numpy(x).to_sparse_csr(),
    "timedelta": lambda x: x.astype("m8[s]"),
    "datetime": lambda x: x.astype("M8[s]"),
}


@pytest.mark.filterwarnings("ignore:.*Sparse CSR:UserWarning", "ignore::RuntimeWarning")
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.filterwarnings("ignore:.*float16.*:UserWarning", "ignore:.*samples per:UserWarning")
@pytest.mark.parametrize("door", DOORS)
def test_kinds_of_arrays_are_taken_or_refused_alike(door):
    for make in TAKEN.values():
        DOORS[door](make(X))
    for kind, make in REFUSED.items():
        with pytest.raises((TypeError, ValueError)) as caught:
            DOORS[door](make(X))
        told = str(caught.value)
        assert {"X", "data", "batch", "pool", "Y", "samples"} & set(told.split()), (kind, told)


def test_half_precision_gives_what_its_values_give():
    half = torch.from_numpy(X).bfloat16()
    exact = half.double().numpy()
    for name in ("LinearGAN.fit", "SubspaceFit.fit"):
        given, wanted = FIT[name](half), FIT[name](exact)
        np.testing.assert_array_equal(given.components_, wanted.components_)
        np.testing.assert_array_equal(given.transform(half), wanted.transform(exact))
    given = FIT["NonparametricMixture.fit"](half.requires_grad_())
    np.testing.assert_array_equal(
        given.predict_proba(half), FIT["NonparametricMixture.fit"](exact).predict_proba(exact)
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn])
def test_latents_may_be_tensors(dtype):
    z = torch.from_numpy(Z).to(dtype)
    whole = z.double().numpy()
    given = linear.LinearGAN(2).fit(X, Z=z)
    np.testing.assert_array_equal(given.components_, linear.LinearGAN(2).fit(X, whole).components_)
    np.testing.assert_array_equal(given.inverse_transform(z), given.inverse_transform(whole))
    given = linear.SubspaceFit(2, random_state=0).fit(X, Z=z)
    np.testing.assert_array_equal(
        given.components_, linear.SubspaceFit(2, random_state=0).fit(X, Z=whole).components_
    )
    assert given.score(X, Z=z) == given.score(X, Z=whole)


def test_dates_in_a_column_are_refused():
    frame = pandas.DataFrame({"a": X[:, 0], "when": pandas.to_datetime(np.arange(40))})
    with pytest.raises(TypeError, match=r"X must hold numbers.*'when'"):
        linear.LinearGAN(1).fit(frame)
    with pytest.raises(TypeError, match="X must be a numeric array, got dtype datetime64"):
        mixture.NonparametricMixture(2).fit(np.zeros((9, 2), "M8[D]"))


def test_lists_of_rows_on_the_host_or_in_a_graph():
    rows = [torch.from_numpy(row).requires_grad_() for row in X]
    assert metrics.fid(rows, X) < 1e-9
    assert linear.LinearGAN(1, "unsupervised").fit(rows).score(X) <= 0


class Strict:
    """An array that follows the array API standard and nothing else."""

    def __init__(self, array):
        self._array = array

    def __array_namespace__(self, api_version=None):
        raise AssertionError("nothing dispatches to it")

    def __array__(self, dtype=None, copy=None):
        return np.array(self._array, dtype)


@pytest.mark.parametrize("door", FIT)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_arrays_of_the_standard_become_numpys(door):
    assert type(_arrays.to_host(Strict(X))) is np.ndarray
    FIT[door](Strict(X))


VIEWS = {
    "flipped": lambda x: x[:, ::-1],
    "read-only": lambda x: np.broadcast_to(x, x.shape),
    "big-endian": lambda x: x.astype(x.dtype.newbyteorder(">")),
}


def _local_samples(x):
    from fastgen.diffusion import ExactSet, local_sample

    known = np.random.default_rng(1).standard_normal((20, 4)).astype(np.float32)
    return local_sample(
        ExactSet(known).denoiser(), x, sigma=0.3, steps=3, random_state=0, progress=False
    ).samples


def _jittered(x):
    from fastgen.diffusion.jitter import jitter

    return jitter(x, 0.1, 1, 0)


def _energy(x):
    from fastgen.gan import energy_distance

    return energy_distance(x, np.zeros((3, 4), np.float32))


def _module_features(x):
    from fastgen.metrics.features import ModuleFeatures

    return ModuleFeatures(torch.nn.Flatten())(x)


def _gan_rows(x):
    from fastgen.gan.rows import Rows

    return Rows(x, None, None).take(torch.tensor([2, 0]), torch.float64, torch.device("cpu"))


TORCH_DOORS = {
    "local_sample": _local_samples,
    "gaussian_jitter": _jittered,
    "energy_distance": _energy,
    "ModuleFeatures": _module_features,
    "Rows": _gan_rows,
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("door", TORCH_DOORS)
def test_views_that_torch_refuses_or_warns_of_are_taken(door, view):
    x = np.random.default_rng(0).standard_normal((6, 4)).astype(np.float32)
    seen = VIEWS[view](x)
    expected = TORCH_DOORS[door](np.array(seen, dtype=np.float32))
    np.testing.assert_array_equal(np.asarray(TORCH_DOORS[door](seen)), np.asarray(expected))
