"""What comes to the door of a search: arrays of every kind, generators that cannot be searched,
calls from several threads, and a machine without torch."""

from __future__ import annotations

import asyncio
import concurrent.futures
import subprocess
import sys
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn

from fastgen.goof import Ball, NearestResult, Sphere, nearest, overfit_test, planted, score
from fastgen.goof.study import subsample
from fastgen.goof.targets import Targets
from fastgen.linear import LinearGAN

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.usefixtures("one_torch_thread"),
]

QUICK = {"pool_size": 60, "n_starts": 2, "max_iter": 4, "random_state": 0, "progress": False}


def mlp(seed=0, d=16):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 24), nn.Tanh(), nn.Linear(24, d))


X = np.random.default_rng(0).standard_normal((5, 16)).astype(np.float32)


ABSENT = [
    name
    for name, there in [("cuda", torch.cuda.is_available()), ("mps", torch.mps.is_available())]
    if not there
]


# --- arrays --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [">f4", "<f8", ">f8", np.longdouble, "f2"])
def test_floats_of_every_kind(kind):
    half = X.astype(np.float16).astype(np.float32)
    expected = nearest(mlp(), half, **QUICK)
    found = nearest(mlp(), half.astype(kind), **QUICK)
    np.testing.assert_array_equal(found.z, expected.z)
    np.testing.assert_array_equal(found.squared_distance, expected.squared_distance)


@pytest.mark.parametrize("kind", ["u1", "i1", ">i2", "<u2", "i4", "u4", "i8", "u8", bool])
def test_integers_of_every_kind(kind):
    whole = np.random.default_rng(0).integers(0, 2, (5, 16)).astype(kind)
    expected = nearest(mlp(), whole.astype(np.float32), **QUICK)
    np.testing.assert_array_equal(nearest(mlp(), whole, **QUICK).z, expected.z)


def test_rows_that_must_not_be_written_to():
    rows = X.copy()
    rows.flags.writeable = False
    labels = np.zeros(5, np.uint8)
    labels.flags.writeable = False
    expected = nearest(mlp(), X, **QUICK)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = nearest(mlp(), rows, **QUICK)
        Targets(rows, cond=labels)
    np.testing.assert_array_equal(found.z, expected.z)
    np.testing.assert_array_equal(rows, X)


@pytest.mark.parametrize(
    ("value", "error", "match"),
    [
        (np.ma.masked_greater(X, 1.0), ValueError, r"X must not be masked, got \d+ masked"),
        (np.zeros((3, 16), "datetime64[s]"), TypeError, "numeric array"),
        (1e160 * X.astype(float), ValueError, "divide X by a constant"),
        (1e-160 * X.astype(float), ValueError, "divide X by a constant"),
        (np.full((2, 16), 1e60), ValueError, r"X must be finite in torch.float32"),
        (X.reshape(5, 4, 4)[:, :, :3], ValueError, "rows of shape"),
    ],
)
def test_rows_that_are_refused(value, error, match):
    with pytest.raises(error, match=match):
        nearest(mlp(), value, **QUICK)


@pytest.mark.parametrize("scale", [1e-170, 1e-155, 1e155, 1e170])
def test_linear_searches_of_extreme_rows_are_finite_or_refused(scale):
    rows = X.astype(float)
    gan = LinearGAN(2, "unsupervised").fit(rows)
    with pytest.raises(ValueError, match="divide X by a constant"):
        nearest(gan, scale * rows, **QUICK)


def test_equal_sizes_are_reshaped_and_axes_in_another_order_are_not():
    flat = nearest(mlp(), X, **QUICK)
    images = nearest(mlp(), X.reshape(5, 4, 4), **QUICK)
    np.testing.assert_array_equal(images.squared_distance, flat.squared_distance)
    assert images.reconstruction.shape == (5, 4, 4)
    net = nn.Sequential(mlp(), nn.Unflatten(1, (1, 2, 8)))
    np.testing.assert_array_equal(nearest(net, X, **QUICK).z, flat.z)
    channels = nn.Sequential(mlp(), nn.Unflatten(1, (2, 2, 4)))
    with pytest.raises(ValueError, match="axes are in another order"):
        nearest(channels, X.reshape(5, 2, 4, 2), **QUICK)


def test_a_mixture_copies_targets_once():
    targets = Targets(X)
    assert np.shares_memory(targets.rows, X)
    assert targets.take(np.array([1, 3])).shape == (2, 16)
    first = targets.as_tensor(torch.float64, torch.device("cpu"))
    assert targets.as_tensor(torch.float64, torch.device("cpu")) is first


class Labelled(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table = nn.Embedding(3, 3)
        self.body = mlp()

    def forward(self, z, labels):
        return self.body(z + self.table(labels))


@pytest.mark.parametrize("kind", [np.uint8, np.int16, ">i4", np.uint64, list, torch.uint8])
def test_labels_of_every_kind(kind):
    labels = np.array([0, 1, 2, 1, 0])
    expected = nearest(Labelled(), X, latent_dim=3, cond=labels, **QUICK)
    if kind is list:
        given = labels.tolist()
    else:
        own = isinstance(kind, torch.dtype)
        given = torch.as_tensor(labels).to(kind) if own else labels.astype(kind)
    found = nearest(Labelled(), X, latent_dim=3, cond=given, **QUICK)
    np.testing.assert_array_equal(found.z, expected.z)
    with pytest.raises(TypeError, match="labels or embeddings in numbers"):
        nearest(Labelled(), X, latent_dim=3, cond=np.array(list("abcab")), **QUICK)


# --- generators ----------------------------------------------------------------------------------


def without_grad(z):
    with torch.no_grad():
        return mlp()(z)


@pytest.mark.parametrize(
    "generator",
    [
        without_grad,
        torch.inference_mode()(lambda z: mlp()(z)),
        lambda z: mlp()(z.detach()),
        lambda z: torch.from_numpy(mlp()(z).detach().numpy()),
        lambda z: (mlp()(z) > 0).to(z.dtype),
    ],
)
def test_a_gradient_that_does_not_reach_the_latents_is_said(generator):
    with pytest.raises(ValueError, match="no gradient of the generator reaches its latents"):
        nearest(generator, X, latent_dim=3, **QUICK)


@pytest.mark.parametrize("method", ["auto", "gncg", "lbfgs", "adam"])
@pytest.mark.parametrize("quantise", [torch.round, torch.floor, torch.sign])
def test_a_generator_without_a_slope_is_never_converged(quantise, method):
    net = mlp()
    targets = quantise(40 * net(torch.randn(5, 3))).detach()
    with pytest.warns(UserWarning, match="gradient is 0 everywhere, as behind rounding"):
        found = nearest(
            lambda z: quantise(40 * net(z)), targets, latent_dim=3, method=method, **QUICK
        )
    assert set(found.status) <= {"flat", "exact"}


@pytest.mark.parametrize(
    ("generator", "hint"),
    [
        (lambda z: {"image": mlp()(z)}, r"got dict; pick one: forward=.*\['image'\]"),
        (lambda z: (mlp()(z), z), r"got tuple; pick one: forward=.*\[0\]"),
        (lambda z: mlp()(z).detach().numpy(), r"got ndarray; leave out \.numpy\(\)"),
        (lambda z: mlp()(z).round().to(torch.uint8), "got torch.uint8"),
    ],
)
def test_outputs_that_are_no_tensor_are_explained(generator, hint):
    with pytest.raises(TypeError, match=hint):
        nearest(generator, X, latent_dim=3, **QUICK)


@pytest.mark.parametrize("device", ["foo", "meta", "", "cuda:99", "xla", *ABSENT])
def test_devices_that_cannot_be_used(device):
    gan = LinearGAN(2, "unsupervised").fit(X)
    for generator in (gan, lambda z: z.repeat(1, 6)[:, :16]):
        with pytest.raises(ValueError, match="cannot be used") as caught:
            nearest(generator, X, latent_dim=2 if generator is gan else 3, device=device, **QUICK)
        assert "\n" not in str(caught.value)


def test_estimators_with_components_in_either_order():
    from sklearn.decomposition import PCA

    data = np.random.default_rng(0).standard_normal((40, 6))
    for whiten in (False, True):
        pca = PCA(2, whiten=whiten).fit(data)
        found = nearest(pca, data)
        expected = pca.inverse_transform(pca.transform(data))
        np.testing.assert_allclose(found.reconstruction, expected, atol=1e-12)
    square = PCA(6).fit(data)
    np.testing.assert_allclose(nearest(square, data).squared_distance, 0, atol=1e-20)


# --- without torch -------------------------------------------------------------------------------

WITHOUT = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Blocked())
import numpy as np
from fastgen.goof import Ball, Sphere, nearest, planted, score
from fastgen.linear import LinearGAN
X = np.random.default_rng(0).standard_normal((40, 6))
gan = LinearGAN(2, "unsupervised").fit(X)
print(nearest(gan, X, domain=Ball(0.5)).squared_distance.sum())
print(planted(gan, 8, domain=Sphere(2.0), random_state=0).recovered)
print(score([gan, gan], X, random_state=0).goof)
for search in (nearest, score):
    try:
        search(lambda z: z, X)
    except ImportError as error:
        print(error)
try:
    import fastgen.goof.torchmetrics
except ImportError as error:
    print(error)
"""


def test_linear_models_need_no_torch():
    ran = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    data = np.random.default_rng(0).standard_normal((40, 6))
    gan = LinearGAN(2, "unsupervised").fit(data)
    lines = ran.stdout.splitlines()
    held = nearest(gan, data, domain=Ball(0.5)).squared_distance.sum()
    assert float(lines[0]) == pytest.approx(held)
    assert float(lines[1]) == planted(gan, 8, domain=Sphere(2.0), random_state=0).recovered == 1
    assert float(lines[2]) == pytest.approx(score(gan, data, random_state=0).goof)
    assert all('pip install "fastgen-core[torch]"' in line for line in lines[3:5])
    assert len(lines) == 6


# --- threads and other executors -----------------------------------------------------------------


def test_searches_in_threads_give_the_serial_numbers():
    nets = [mlp(seed) for seed in range(4)]
    serial = [nearest(net, X, **QUICK).squared_distance for net in nets]
    before = torch.get_float32_matmul_precision()
    for _ in range(3):
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda net: nearest(net, X, **QUICK).squared_distance, nets))
        for one, other in zip(found, serial, strict=True):
            np.testing.assert_array_equal(one, other)
        assert torch.get_float32_matmul_precision() == before

    async def together():
        calls = (asyncio.to_thread(nearest, net, X, **QUICK) for net in nets)
        return await asyncio.gather(*calls)

    for one, other in zip(asyncio.run(together()), serial, strict=True):
        np.testing.assert_array_equal(one.squared_distance, other)


def test_a_network_shared_by_threads_is_given_back_as_it_was():
    net = nn.Sequential(mlp(), nn.Dropout(0.5), nn.BatchNorm1d(16)).train()
    net[0][0].weight.requires_grad_(False)
    for _ in range(3):
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            parts = [net, net, net[0]]
            list(pool.map(lambda part: nearest(part, X, **QUICK), parts))
        assert all(part.training for part in net.modules())
        assert [p.requires_grad for p in net[0][0].parameters()] == [False, True]


def test_the_precision_of_the_user_stays():
    before = torch.get_float32_matmul_precision()
    try:
        for chosen in ("high", "medium", "highest"):
            torch.set_float32_matmul_precision(chosen)
            nearest(mlp(), X, **QUICK)
            assert torch.get_float32_matmul_precision() == chosen
    finally:
        torch.set_float32_matmul_precision(before)


def search_of_worker(seed):
    torch.set_num_threads(1)
    return nearest(mlp(seed), X, **QUICK).squared_distance


def test_workers_give_the_serial_numbers():
    import joblib

    serial = [search_of_worker(seed) for seed in range(2)]
    found = joblib.Parallel(2, backend="loky")(
        joblib.delayed(search_of_worker)(seed) for seed in range(2)
    )
    for one, other in zip(found, serial, strict=True):
        np.testing.assert_array_equal(one, other)


# --- results -------------------------------------------------------------------------------------


def test_results_have_one_face():
    import json

    data = np.random.default_rng(0).standard_normal((30, 6))
    gan = LinearGAN(2, "unsupervised").fit(data)
    found = score(gan, data, random_state=0)
    for result in (
        found, found.nearest, found.planted, subsample(data, 4),
        overfit_test(gan, data[:15], data[15:], random_state=0),
    ):  # fmt: skip
        told = json.dumps(result.to_dict(), allow_nan=False)
        assert json.loads(told) == result.to_dict()
        assert result._repr_html_().startswith("<table>")
    assert found.to_dict()["goof"] == found.goof == found.rms
    assert "GOoF: rms distance" in repr(found)
    assert found.summary().splitlines()[1].startswith("GOoF (root mean square distance)")
    dataset = found.to_xarray()
    assert dict(dataset.sizes) == {"target": 30, "latent": 2, "planted": 64}
    assert json.loads(dataset.attrs["figures"]) == found.to_dict()
    np.testing.assert_array_equal(found.nearest.to_xarray().mse, found.nearest.mse)


def test_a_score_goes_on_from_what_was_found():
    found = nearest(mlp(), X, **QUICK)
    whole = score(mlp(), X, n_planted=4, resume=found, **QUICK)
    np.testing.assert_array_equal(whole.squared_distance, found.squared_distance)


def test_damaged_results_are_refused_by_name(tmp_path):
    path = tmp_path / "FOUND.NPZ"
    found = nearest(mlp(), X, **QUICK)
    found.save(path)
    np.testing.assert_array_equal(NearestResult.load(path).z, found.z)
    whole = path.read_bytes()
    changed = bytearray(whole)
    changed[80:90] = b"x" * 10
    for content in (whole[:-40], b"", b"<html>", bytes(changed)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"FOUND\.NPZ"):
            NearestResult.load(path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["FOUND.NPZ"]
