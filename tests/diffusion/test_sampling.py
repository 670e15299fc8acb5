"""Local sampling against its laws, network-free; strengths, seeds, refusals."""

from __future__ import annotations

import types

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from oracles import diffusion as naive

from fastgen.diffusion import (
    Calibration,
    Denoiser,
    ExactSet,
    SamplingInterrupted,
    alphas_cumprod,
    as_generator,
    calibrate,
    from_denoiser,
    from_flow,
    from_predictor,
    laws,
    local_sample,
    noise_levels,
    pairing,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.usefixtures("one_torch_thread"),
]

KEPT = alphas_cumprod("linear")
LAMBDAS = np.repeat([4.0, 1.0, 0.05], 1000)
POINTS = np.array([[1.0, 1], [1, -1], [-1, 1], [-0.2, -0.3]])
KERNELS = {
    200: [[0.72, 0.09, 0.09, 0.10], [0.09, 0.70, 0.01, 0.20],
          [0.09, 0.01, 0.73, 0.17], [0.10, 0.20, 0.17, 0.52]],
    400: [[0.33, 0.23, 0.23, 0.22], [0.23, 0.36, 0.16, 0.26],
          [0.23, 0.16, 0.36, 0.25], [0.22, 0.26, 0.25, 0.28]],
}  # fmt: skip


def gaussian_noise(kept=KEPT, lam=LAMBDAS):
    """The exact noise predictor of a Gaussian, in the paper's symbols."""
    lam, kept = torch.as_tensor(lam), torch.as_tensor(kept)

    def predict(x, t):
        a = kept[t].reshape(-1, 1)
        return torch.sqrt(1 - a) * x / (a * lam + 1 - a)

    return predict


def gaussian(prediction="epsilon", kept=KEPT):
    """A Gaussian as the user's network, of each kind."""
    noise, shares = gaussian_noise(kept), torch.as_tensor(kept)

    def predict(x, t):
        e, a = noise(x, t), shares[t].reshape(-1, 1)
        clean = (x - torch.sqrt(1 - a) * e) / torch.sqrt(a)
        velocity = torch.sqrt(a) * e - torch.sqrt(1 - a) * clean
        return {"epsilon": e, "sample": clean, "v": velocity}[prediction]

    return from_predictor(predict, kept, prediction=prediction, span=None)


def images(rows=60, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, len(LAMBDAS))) * np.sqrt(LAMBDAS)


def by_direction(found, x):
    """Mean squared moves of the three variances."""
    return ((found.samples[:, 0] - x) ** 2).mean(0).reshape(3, -1).mean(1)


@pytest.mark.parametrize("start", [50, 200, 400])
@pytest.mark.parametrize("eta", [1.0, 0.0])
def test_gaussian_moves_as_the_exact_recursion_says(start, eta):
    x = images()
    steps = None if start < 300 else 100
    chosen = np.unique(np.linspace(start, 0, steps or start + 1).round().astype(int))[::-1]
    found = local_sample(gaussian(), x, t=start + 1, eta=eta, steps=steps, random_state=1)
    expected, variance = laws.chain_distance([4.0, 1.0, 0.05], KEPT, chosen, eta=eta)
    np.testing.assert_allclose(by_direction(found, x), expected, rtol=0.02)
    spread = (found.samples**2).mean((0, 1)).reshape(3, -1).mean(1)
    np.testing.assert_allclose(spread, variance, rtol=0.02)
    assert (found.t, found.sampler, found.stochastic) == (start + 1, "ddim", eta == 1)
    assert found.alpha_bar == pytest.approx(KEPT[start])
    if steps is None and (eta == 0 or start >= 100):
        limit = laws.gaussian_distance([4.0, 1.0, 0.05], found.sigma, eta=eta)
        tolerance = 0.05 if eta else 0.02
        np.testing.assert_allclose(by_direction(found, x), limit, rtol=tolerance + 0.01)


@pytest.mark.parametrize("prediction", ["epsilon", "v", "sample"])
def test_kinds_of_predictors_agree(prediction):
    x = images(2)
    found = local_sample(gaussian(prediction), x, t=60, steps=5, random_state=0).samples
    right = local_sample(gaussian(), x, t=60, steps=5, random_state=0).samples
    np.testing.assert_allclose(found, right, rtol=1e-9, atol=1e-9)


def continuous():
    return from_denoiser(lambda y, s: y * (lam := torch.as_tensor(LAMBDAS).to(y))
                         / (lam + s.reshape(-1, 1) ** 2), span=None)  # fmt: skip


def flow():
    def velocity(z, s):
        s, lam = s.reshape(-1, 1), torch.as_tensor(LAMBDAS).to(z)
        return z * (s - (1 - s) * lam) / ((1 - s) ** 2 * lam + s**2)

    return from_flow(velocity, span=None)


@pytest.mark.parametrize("model", [continuous, flow])
@pytest.mark.parametrize(("sampler", "eta"), [("ddim", 1.0), ("ddim", 0.0), ("heun", 0.0)])
def test_continuous_models_follow_the_limit(model, sampler, eta):
    x = images(60)
    found = local_sample(model(), x, ratio=0.5, eta=eta, sampler=sampler, steps=160, random_state=0)
    assert (found.sigma, found.t) == (1.0, None)
    limit = laws.gaussian_distance([4.0, 1.0, 0.05], 1.0, eta=eta)
    np.testing.assert_allclose(by_direction(found, x), limit, rtol=0.05 if eta else 0.03)


def test_heun_needs_few_steps():
    x = images(30)
    limit = laws.gaussian_distance([4.0, 1.0, 0.05], 1.0, eta=0)
    gaps = {}
    for sampler in ("ddim", "heun"):
        found = local_sample(
            continuous(), x, sigma=1.0, eta=0, sampler=sampler, steps=12, random_state=0
        )
        gaps[sampler] = np.abs(by_direction(found, x) / limit - 1)[:2].max()
    assert gaps["heun"] < 0.03 < gaps["ddim"]


@pytest.fixture(scope="module")
def memorized():
    """Moves on four points with all steps of the schedule, in their kernels and distances."""
    torch.set_num_threads(1)
    model = ExactSet(POINTS).denoiser(alphas_cumprod=KEPT)
    found = {}
    for start in (100, 200, 400):
        x = np.repeat(POINTS, 2500 if start == 100 else 1500, axis=0)
        steps = 150 if start == 400 else None
        found[start] = local_sample(
            model, x, t=start + 1, steps=steps, batch_size=len(x), random_state=start
        )
    return found


@pytest.mark.parametrize("start", [200, 400])
def test_detailed_balance_on_a_finite_set(memorized, start):
    samples = memorized[start].samples[:, 0]
    gaps = np.linalg.norm(samples[:, None] - POINTS, axis=2)
    assert gaps.min(1).max() < 1e-6  # noise at the last step would leave the set
    chosen = gaps.argmin(1).reshape(4, -1)
    kernel = np.stack([np.bincount(row, minlength=4) for row in chosen]) / chosen.shape[1]
    sigma = noise_levels(KEPT)[start]
    exact = naive.transitions(POINTS, sigma, np.random.default_rng(0))
    np.testing.assert_allclose(exact, KERNELS[start], atol=0.015)
    np.testing.assert_allclose(exact, exact.T, atol=0.01)
    error = np.sqrt(0.25 / chosen.shape[1])
    np.testing.assert_allclose(kernel, exact, atol=0.015 + 2 * error)
    np.testing.assert_allclose(kernel, kernel.T, atol=0.015 + 2 * error)


def test_distances_on_a_finite_set(memorized):
    """Twice the denoising error, and the values of the notes."""
    table = {100: 0.070, 200: 0.941, 400: 2.426}
    rng = np.random.default_rng(0)
    for start, expected in table.items():
        found = 2 * memorized[start].rms ** 2  # two coordinates
        error = np.std(2 * memorized[start].distances ** 2) / len(memorized[start].distances) ** 0.5
        assert found == pytest.approx(expected, rel=0.03, abs=3 * error)
        sigma = noise_levels(KEPT)[start]
        x = np.repeat(POINTS, 10_000, axis=0)
        gap = ExactSet(POINTS).means(x + sigma * rng.standard_normal(x.shape), sigma) - x
        law = laws.distance_from_mmse((gap**2).sum(1).mean())
        assert found == pytest.approx(law, rel=0.03, abs=3 * error)
    distances = [memorized[start].rms for start in table]
    assert distances == sorted(distances)


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    data = load_digits()
    return (data.data / 8 - 1).astype(np.float32), data.target


def test_digits_from_identity_to_chance(digits):
    x, labels = digits
    schedule = alphas_cumprod("cosine", 200)
    model = ExactSet(x).denoiser(alphas_cumprod=schedule)
    distances, kept = [], []
    for t in (0, 40, 100, 140, 200):
        found = local_sample(model, x[:200], t=t, steps=10, random_state=0, batch_size=200)
        nearest = ((found.samples[:, 0, None] - x) ** 2).sum(2).argmin(1)
        kept.append((labels[nearest] == labels[:200]).mean())
        distances.append(found.rms)
    assert distances == sorted(distances)
    assert distances[0] == 0
    assert kept[:2] == [1.0, 1.0]
    assert kept[-1] < 0.2


def test_identity_is_a_copy(digits):
    x = digits[0][:3]
    model = ExactSet(x).denoiser(alphas_cumprod=KEPT)
    found = local_sample(model, x, t=0, n_samples=2)
    np.testing.assert_array_equal(found.samples, np.stack([x, x], 1))
    assert not np.shares_memory(found.samples, x)
    assert found.to_dict()["t"] == found.to_dict()["steps"] == 0
    assert not found.stochastic


def network():
    torch.manual_seed(0)
    body = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.Tanh(),
                               torch.nn.Conv2d(4, 1, 3, padding=1))  # fmt: skip

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.body, self.calls = body, 0

        def forward(self, x, t, shift=None):
            self.calls += 1
            assert t.dtype == torch.int64
            assert not self.training
            found = self.body(x)
            return found if shift is None else found + shift.reshape(-1, 1, 1, 1)

    return Net()


def test_seeds_do_not_know_of_batches():
    net, x = network(), np.random.default_rng(0).uniform(-1, 1, (5, 1, 6, 6)).astype(np.float32)
    shift = np.linspace(0, 1, 5).astype(np.float32)
    options = {
        "ratio": 0.2, "n_samples": 3, "random_state": 7,
        "alphas_cumprod": alphas_cumprod(n_steps=50),
        "model_kwargs": {"shift": torch.from_numpy(shift)},
    }  # fmt: skip
    whole = local_sample(net, x, **options)
    assert net.training
    assert net.calls == 10
    for size in (1, 4, 100):
        part = local_sample(net, x, batch_size=size, **options)
        np.testing.assert_allclose(part.samples, whole.samples, rtol=1e-4, atol=1e-5)
    alone = local_sample(net, x[:1], **{**options, "model_kwargs": {"shift": torch.zeros(1)}})
    np.testing.assert_allclose(alone.samples[0], whole.samples[0], rtol=1e-4, atol=1e-5)
    flat = whole.samples.reshape(15, -1)
    assert len(np.unique(flat.round(3), axis=0)) == 15
    other = local_sample(net, x, **{**options, "random_state": 8})
    assert np.abs(other.samples - whole.samples).max() > 0.1
    assert whole.to_dict() == {
        "images": 5, "n_samples": 3, "rms": whole.rms, "sigma": whole.sigma, "t": 10, "ratio": 0.2,
        "alpha_bar": whole.alpha_bar, "steps": 10, "sampler": "ddim", "eta": 1.0,
        "stochastic": True, "seed": "7",
    }  # fmt: skip


def test_published_chain_with_the_same_noise():
    """Boomerang's loop as printed, with the noise of one image."""
    kept = alphas_cumprod(n_steps=20)
    net, x = network().eval(), torch.rand(1, 1, 4, 4) * 2 - 1
    found = local_sample(net, x, t=12, alphas_cumprod=kept, random_state=3).samples[0, 0]
    seed = np.random.SeedSequence(3).spawn(1)[0].spawn(1)[0]
    rng = np.random.Generator(np.random.SFC64(seed))
    draws = rng.standard_normal((8192 // 16, 16), dtype=np.float32)
    noise = iter(torch.from_numpy(draws).reshape(-1, 1, 1, 4, 4))
    betas = 1 - kept / np.append(1.0, kept[:-1])
    y = kept[11] ** 0.5 * x + (1 - kept[11]) ** 0.5 * next(noise)
    with torch.no_grad():
        for t in range(11, -1, -1):
            e = net(y, torch.tensor([t]))
            y = (y - betas[t] / (1 - kept[t]) ** 0.5 * e) / (1 - betas[t]) ** 0.5
            if t > 0:
                y = y + ((1 - kept[t - 1]) / (1 - kept[t]) * betas[t]) ** 0.5 * next(noise)
    torch.testing.assert_close(found, y[0], rtol=1e-4, atol=1e-4)


def scheduler(kept=KEPT, prediction="epsilon"):
    config = types.SimpleNamespace(prediction_type=prediction)
    return types.SimpleNamespace(alphas_cumprod=torch.as_tensor(kept), config=config)


def test_scheduler_is_read_and_checked():
    net, x = network(), torch.zeros(1, 1, 4, 4)
    plain = local_sample(net, x, t=9, alphas_cumprod=KEPT, random_state=0)

    class Output:
        def __init__(self, sample):
            self.sample = sample

    def told(y, t):
        return Output(net(y, t))

    told.network = net
    found = local_sample(told, x, t=9, scheduler=scheduler(), random_state=0)
    torch.testing.assert_close(found.samples, plain.samples)
    other = local_sample(
        net, x, t=9, scheduler=scheduler(prediction="v_prediction"), random_state=0
    )
    assert not torch.allclose(other.samples, plain.samples)
    wrong = scheduler(alphas_cumprod("scaled_linear"))
    with pytest.raises(ValueError, match="from_config"):
        local_sample(net, x, t=9, scheduler=wrong, alphas_cumprod=KEPT)
    with pytest.raises(ValueError, match="no alphas_cumprod"):
        local_sample(net, x, t=9, scheduler=types.SimpleNamespace(config=None))


def test_latents():
    x = torch.rand(2, 1, 4, 4) * 2 - 1
    model = from_denoiser(lambda y, s: y / (1 + s.reshape(-1, 1, 1, 1) ** 2), span=None)
    found = local_sample(
        model, x, sigma=1e-4, steps=2, encode=lambda x: x[:, :, ::2], random_state=0,
        decode=lambda z: z.repeat_interleave(2, dim=2),
    )  # fmt: skip
    expected = x[:, :, ::2].repeat_interleave(2, dim=2)
    torch.testing.assert_close(found.samples[:, 0], expected, atol=1e-3, rtol=0)


def test_interruption_keeps_what_is_finished():
    calls = []

    def model(y, sigma):
        calls.append(1)
        if len(calls) > 7:
            raise KeyboardInterrupt
        return y / (1 + sigma.reshape(-1, 1) ** 2)

    x = np.zeros((6, 3), np.float32)
    wrapped = from_denoiser(model, span=None)
    with pytest.raises(SamplingInterrupted, match="3 images") as stop:
        local_sample(wrapped, x, sigma=1.0, steps=1, n_samples=2, batch_size=1, random_state=0)
    assert stop.value.found.samples.shape == (3, 2, 3)
    with pytest.raises(SamplingInterrupted) as stop:
        local_sample(wrapped, x, sigma=1.0, steps=1)
    assert stop.value.found is None
    seen = []
    model = from_denoiser(lambda y, s: y, span=None)
    local_sample(model, x, sigma=1.0, steps=1, batch_size=4, progress=lambda *a: seen.append(a))
    assert seen == [(4, 6), (6, 6)]


def paired():
    rule = pairing("assignment")
    return from_predictor(network(), KEPT, independent=rule.independent)


def returning(what):
    return from_denoiser(lambda y, s: what(y))


def tried(x=None, model=None, **options):
    x = np.zeros((2, 1, 4, 4), np.float32) if x is None else x
    options = {"t": 5} if not options else options
    if model is None:
        model = network()
        options.setdefault("alphas_cumprod", KEPT)
    return local_sample(model, x, **options)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: tried(np.full((1, 1, 4, 4), 1.2)), ValueError, r"\[-1, 1\], the range of"),
        (lambda: tried(np.zeros((1, 3, 4, 4))), ValueError, "must have 1 channels"),
        (lambda: tried(np.zeros((1, 1, 4, 4), np.uint8)), TypeError, r"x / 127.5 - 1"),
        (lambda: tried(np.full((1, 1, 4, 4), np.nan)), ValueError, "x0 must be finite"),
        (lambda: tried(np.zeros(4)), ValueError, r"shape \(n, ...\)"),
        (lambda: tried(ratio=0.0), ValueError, r"ratio must lie in \(0, 1\]"),
        (lambda: tried(ratio=1.5), ValueError, r"ratio must lie in \(0, 1\]"),
        (lambda: tried(ratio=1e-5), ValueError, "less than half a step"),
        (lambda: tried(t=1001), ValueError, "at most the 1000 steps"),
        (lambda: tried(t=-1), ValueError, "at least 0"),
        (lambda: tried(t=5, sigma=1.0), TypeError, "exactly one of t, ratio, sigma and rms"),
        (lambda: tried(alphas_cumprod=KEPT), TypeError, "got none"),
        (lambda: tried(sigma=1e4), ValueError, "largest level"),
        (lambda: tried(rms=0.1), TypeError, "rms needs calibration"),
        (lambda: tried(t=5, eta=2), ValueError, r"eta must lie in \[0, 1\]"),
        (lambda: tried(t=5, sampler="heun"), ValueError, "pass eta=0"),
        (lambda: tried(t=5, sampler="hune"), ValueError, "did you mean 'heun'"),
        (lambda: tried(t=5, steps=0), ValueError, "steps must be at least 1"),
        (lambda: tried(t=5, encode=lambda x: x), TypeError, "together"),
        (lambda: tried(t=5, alphas_cumprod=None), TypeError, "needs alphas_cumprod or scheduler"),
        (lambda: tried(t=5, model=3), TypeError, "Denoiser or callable"),
        (lambda: tried(t=5, model=continuous()), ValueError, "t needs a model with a schedule"),
        (lambda: tried(ratio=1, model=continuous()), ValueError, "below 1"),
        (lambda: tried(t=5, model=continuous(), prediction="v"), TypeError, "has its own"),
        (lambda: tried(sigma=1, model=returning(lambda y: y * torch.nan)), ValueError, "NaN"),
        (lambda: tried(sigma=1, model=returning(lambda y: y[:, :, :2])), ValueError, "shape"),
        (lambda: tried(sigma=1, model=returning(lambda y: None)), TypeError, "tensor"),
        (lambda: tried(t=5, model=paired()), ValueError, "knows no score.*pass eta=0"),
        (lambda: Denoiser(None, span=(1, 0)), ValueError, "that rise"),
        (lambda: from_predictor(None, KEPT, prediction="noise"), ValueError, "prediction"),
        (lambda: ExactSet(np.zeros(3)), ValueError, r"shape \(N, ...\)"),
        (lambda: ExactSet(POINTS).means(np.zeros((1, 3)), 1.0), ValueError, r"\(B, 2\)"),
        (lambda: ExactSet(POINTS).means(POINTS, 0.0), ValueError, "positive"),
    ],
)  # fmt: skip
def test_refusals(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_deterministic_sampling_of_a_model_with_assigned_noise():
    found = tried(t=5, eta=0, model=paired())
    assert not found.stochastic


def test_calibration_gives_the_distance_that_is_wanted(tmp_path):
    x = images(60)
    model = gaussian()
    curve = calibrate(model, x, n_levels=20)
    predicted = np.sqrt(2 * laws.gaussian_mmse(LAMBDAS, curve.sigma[:, None]).mean(1))
    np.testing.assert_allclose(curve.rms, predicted, rtol=0.01)
    found = local_sample(model, x, rms=0.8, calibration=curve, steps=60, random_state=0)
    assert found.rms == pytest.approx(0.8, rel=0.05)
    curve.save(tmp_path / "curve.npz")
    again = Calibration.load(tmp_path / "curve.npz")
    np.testing.assert_array_equal(again.rms, curve.rms)
    assert again.sigma_of(0.8) == curve.sigma_of(0.8)
    assert curve.to_dict()["size"] == len(LAMBDAS)
    assert len(curve.plot().axes[0].lines) == 1
    with pytest.raises(ValueError, match="rms must lie in"):
        curve.sigma_of(100.0)
    np.savez(tmp_path / "other.npz", a=np.zeros(2))
    with pytest.raises(ValueError, match="no calibration"):
        Calibration.load(tmp_path / "other.npz")
    clipped = calibrate(from_denoiser(lambda y, s: 9 * y, span=None), 0 * x, clip=(-0.5, 0.5))
    assert clipped.rms.max() <= np.sqrt(0.5)
    with pytest.raises(ValueError, match="NaN"):
        calibrate(from_denoiser(lambda y, s: y * torch.nan, span=None), x)


@pytest.mark.parametrize("sampler", ["ddim", "heun"])
def test_generator(sampler):
    """Noise goes to the data's spread; latents have gradients; weights are the network's."""
    x = torch.randn(200, len(LAMBDAS), dtype=torch.float64)
    made = as_generator(continuous(), (len(LAMBDAS),), steps=60, sampler=sampler)(x)
    spread = (made**2).mean(0).reshape(3, -1).mean(1)
    np.testing.assert_allclose(spread, [4.0, 1.0, 0.05], rtol=0.12)
    net = network().eval()
    generator = as_generator(net, (1, 4, 4), steps=3, alphas_cumprod=KEPT, sampler=sampler)
    assert generator.latent_dim == 16
    assert len(list(generator.parameters())) == len(list(net.parameters()))
    z = torch.zeros(2, 16, requires_grad=True)
    generator(z).sum().backward()
    assert generator(z).shape == (2, 1, 4, 4)
    assert bool(torch.isfinite(z.grad).all())
    assert z.grad.abs().max() > 0


def test_generator_is_scored_by_goof():
    from fastgen.goof import score

    rng = np.random.default_rng(0)
    mixing = torch.as_tensor(rng.standard_normal((3, 3)), dtype=torch.float64)
    covariance = mixing @ mixing.T

    def denoise(y, s):
        total = covariance.to(y) + s.reshape(-1, 1, 1) ** 2 * torch.eye(3).to(y)
        return torch.linalg.solve(total, y[..., None]).squeeze(2) @ covariance.to(y)

    generator = as_generator(from_denoiser(denoise, span=None), (3,), steps=4)
    found = score(
        generator, rng.standard_normal((6, 3)), latent_dim=3, pool_size=64, n_starts=2,
        n_planted=4, random_state=0, progress=False,
    )  # fmt: skip
    assert found.to_dict()["rms"] < 1e-2
