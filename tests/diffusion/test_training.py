"""Training of denoisers: targets, convergence to the exact error, exact resume, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fastgen.diffusion import (
    DDPM,
    EDM,
    Flow,
    alphas_cumprod,
    fit,
    laws,
    local_sample,
    pairing,
)
from fastgen.gan import NotFiniteError
from fastgen.networks import MLPDenoiser, UNetDenoiser, read_weights

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.usefixtures("one_torch_thread"),
]

KEPT = alphas_cumprod("cosine", 100)
OBJECTIVES = [
    DDPM(KEPT), DDPM(KEPT, prediction="v"), DDPM(KEPT, prediction="sample"),
    EDM(0.7), Flow(),
]  # fmt: skip
VARIANCES = np.array([1.0, 0.09])


def gaussian(n=4000, seed=0):
    return np.random.default_rng(seed).standard_normal((n, 2)) * np.sqrt(VARIANCES)


def small(seed=0, **options):
    torch.manual_seed(seed)
    return MLPDenoiser(2, **{"width": 16, "depth": 1, **options})


def trained(network=None, data=None, **options):
    options = {"steps": 30, "batch_size": 16, "span": None, "log_every": 10, "progress": False,
               **options}  # fmt: skip
    return fit(network or small(), gaussian(200) if data is None else data, **options)


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_a_network_that_returns_the_target_denoises_exactly(objective):
    """Input and target hold the same noise: undone together, they give back the clean sample."""
    draws = torch.Generator().manual_seed(0)
    x, noise = torch.randn(2, 50, 3, dtype=torch.float64, generator=draws)
    sigma = objective.draw(50, draws)
    sigma = sigma[sigma < 50][:20]
    x, noise = x[:20], noise[:20]
    noisy, time, target = objective.example(x, noise, sigma)

    class Told(torch.nn.Module):
        def forward(self, seen, when):
            torch.testing.assert_close(seen, noisy)
            torch.testing.assert_close(when, time)
            return target

    denoiser = objective.denoiser(Told(), span=None)
    y = x + sigma[:, None] * noise
    torch.testing.assert_close(denoiser(y, sigma), x, rtol=1e-6, atol=1e-6)
    # the mutant that regresses on another noise, as a library does that permutes a copy
    target = objective.example(x, noise.flip(0), sigma).target
    assert bool((denoiser(y, sigma) - x).abs().max() > 0.1) != (
        getattr(objective, "prediction", "") == "sample"
    )


@pytest.mark.parametrize("objective", OBJECTIVES, ids=repr)
def test_levels_are_those_of_the_training(objective):
    drawn = objective.draw(4000, torch.Generator().manual_seed(0)).numpy()
    levels = objective.levels()
    assert (np.diff(levels) > 0).all()
    below = (drawn[:, None] <= levels).mean(0)
    np.testing.assert_allclose(below, (np.arange(8) + 0.5) / 8, atol=0.03)


@pytest.mark.parametrize(
    ("objective", "options"),
    [
        (DDPM(KEPT), {}),
        (EDM(0.7), {"log_variance": True}),
        pytest.param(EDM(0.7), {}, marks=pytest.mark.slow),
        pytest.param(Flow(), {}, marks=pytest.mark.slow),
    ],
    ids=["ddpm", "log variance", "edm", "flow"],
)
def test_converges_to_the_exact_error(objective, options):
    """The held-out error of a Gaussian tends to its closed form, from above, at every level."""
    found = trained(
        small(width=48, depth=2), gaussian(), objective=objective, steps=400, batch_size=128,
        held_out=gaussian(1000, seed=1), log_every=200, lr=4e-3, ema=5000, **options,
    )  # fmt: skip
    exact = laws.gaussian_mmse(VARIANCES, found.levels[:, None]).mean(1)
    first, last = found.held_out
    chosen = found.levels < 5
    # the sample of the held-out set itself is off by 3 % or so
    np.testing.assert_allclose(last[chosen], exact[chosen], rtol=0.12)
    assert last[chosen].mean() <= first[chosen].mean() * 1.02
    assert found.to_dict()["held_out"] == last.tolist()
    assert set(found.history[0]) == {"step", "images", "held_out"}
    assert len(found.plot().axes[0].lines) == 8


@pytest.mark.parametrize("kind", ["plain", "paired"])
def test_resume_is_exact(tmp_path, kind):
    options = {"objective": EDM(0.7), "log_variance": True, "checkpoint_every": 10, "ema": 100.0}
    if kind == "paired":
        options = {"objective": "ddpm", "pairing": pairing("mix"), "checkpoint_every": 10,
                   "labels": np.arange(200) % 3}  # fmt: skip
    classes = 3 if kind == "paired" else None

    def run(steps, out, seed=0, **more):
        return trained(small(seed, n_classes=classes), steps=steps, out=out, **options, **more)

    whole = run(30, tmp_path / "whole")
    run(13, tmp_path / "parts")
    parts = run(30, tmp_path / "parts", seed=5, resume=True)  # other weights are overwritten
    assert whole.history == [row for row in parts.history if row["step"] != 13]
    for name in ("network", "ema"):
        for a, b in zip(getattr(whole, name).state_dict().values(),
                        getattr(parts, name).state_dict().values(), strict=True):  # fmt: skip
            assert torch.equal(a, b)
    written = read_weights(tmp_path / "whole" / "denoiser.safetensors")
    for name, value in whole.ema.state_dict().items():
        assert torch.equal(written[name], value)
    log = (tmp_path / "whole" / "log.jsonl").read_text().splitlines()
    assert [json.loads(row) for row in log] == whole.history
    with pytest.raises(ValueError, match="holds a run; pass resume=True"):
        run(30, tmp_path / "whole")
    with pytest.raises(ValueError, match="batch_size=16, this call has batch_size=8"):
        run(30, tmp_path / "whole", resume=True, batch_size=8)


def test_runs_repeat_and_leave_the_random_state():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    network = small()
    torch.set_rng_state(before)
    trained(network)
    assert torch.equal(torch.get_rng_state(), before)
    one, other = trained(), trained()
    assert one.history == other.history
    assert trained(random_state=1).history != one.history


def test_pairing_changes_the_training_and_not_the_measure():
    iid = trained()
    fixed = trained(pairing=pairing("fixed"))
    assert fixed.history != iid.history
    assert fixed.denoiser.independent
    rule = pairing("assignment")
    assigned = trained(pairing=rule)
    assert rule.step == 0  # the rule of the caller is as it was
    with pytest.raises(ValueError, match="knows no score"):
        local_sample(assigned.denoiser, gaussian(2), ratio=0.5)
    # with no step taken all rules are measured alike
    zero = [trained(steps=1, lr=0.0, ema=None, pairing=p).held_out for p in (None, rule)]
    np.testing.assert_array_equal(*zero)


def test_held_out_samples_are_kept_from_training():
    """Rows of the held-out share never reach the network in training."""
    data = np.arange(40.0).reshape(-1, 1) + 1000
    seen = set()

    class Watched(MLPDenoiser):
        def forward(self, x, time, class_labels=None):
            if self.training:
                seen.update((x * (1 + 0 * x)).detach().round().flatten().tolist())
            return super().forward(x, time, class_labels)

    class Clean(Flow):
        def example(self, x, noise, sigma):
            found = super().example(x, noise, sigma)
            return found._replace(noisy=x)

    torch.manual_seed(0)
    trained(Watched(1, width=8), data, held_out=0.25, objective=Clean(), batch_size=10)
    assert len(seen) == 30


def test_labels_reach_the_network():
    """Two classes of one point each: only labels tell what is behind much noise."""
    x = np.repeat([[0.9, 0.0], [-0.9, 0.0]], 100, axis=0)
    y = np.repeat([0, 1], 100)
    found = trained(small(n_classes=2, width=32), x, labels=y, objective=EDM(0.5, mean=0.5),
                    steps=150, lr=8e-3, batch_size=32, ema=None)  # fmt: skip
    told = {"class_labels": torch.tensor([0, 1])}
    clean = found.denoiser(20 * torch.randn(2, 2), 20.0, **told)
    torch.testing.assert_close(clean[:, 0], torch.tensor([0.9, -0.9]), atol=0.2, rtol=0)


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 12, 8)])
def test_unet(shape):
    torch.manual_seed(0)
    network = UNetDenoiser(shape, widths=(8, 16, 16), n_blocks=2, n_classes=4)
    x = torch.rand(12, *shape) * 2 - 1
    found = trained(network, x, labels=np.arange(12) % 4, span=(-1, 1), steps=3, batch_size=4)
    assert found.denoiser.channels == shape[0]
    near = local_sample(found.denoiser, x[:2], sigma=0.5, steps=2,
                        model_kwargs={"class_labels": torch.tensor([0, 1])})  # fmt: skip
    assert near.samples.shape == (2, 1, *shape)
    network(x[:4], torch.arange(4), torch.arange(4)).sum().backward()
    assert all(p.grad is not None for p in network.parameters())


class Returning(torch.nn.Module):
    def __init__(self, what):
        super().__init__()
        self.weight, self.what = torch.nn.Parameter(torch.ones(())), what

    def forward(self, x, time):
        return self.what(x * self.weight)


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: trained(data=np.zeros((5, 3))), ValueError, r"shape \(2,\), as the network"),
        (lambda: trained(span=(-1, 1)), ValueError, r"must lie in \[-1, 1\]"),
        (lambda: trained(small(n_classes=2)), ValueError, "labels must be given, one of 2"),
        (lambda: trained(small(n_classes=2), labels=[2] * 200), ValueError, "labels must be below"),
        (lambda: trained(objective="edn"), ValueError, "did you mean 'edm'"),
        (lambda: trained(held_out=1.5), ValueError, r"share in \(0, 1\)"),
        (lambda: trained(data=np.zeros((1, 2))), ValueError, "leaves none of 1 rows"),
        (lambda: trained(held_out=np.zeros((2, 3))), ValueError, r"held_out must have samples of"),
        (lambda: trained(held_out_labels=[1]), ValueError, "belong to an array"),
        (lambda: trained(resume=True), ValueError, "resume needs out"),
        (lambda: trained(batch_size=0), ValueError, "batch_size must be at least 1"),
        (lambda: trained(Returning(lambda x: x[:, :1])), ValueError, "returned shape"),
        (lambda: trained(Returning(lambda x: x * torch.inf)), NotFiniteError, "loss is"),
        (lambda: EDM(0.0), ValueError, "must be positive"),
        (lambda: DDPM(prediction="x"), ValueError, "prediction must be one of"),
        (lambda: DDPM([0.5, 0.6]), ValueError, "must fall"),
        (lambda: MLPDenoiser(2, width=0), ValueError, "width must be at least 1"),
        (lambda: UNetDenoiser((1, 9, 8)), ValueError, "divisible by 2"),
        (lambda: UNetDenoiser((1, 8, 8), widths=(12,)), ValueError, "multiples of 8"),
        (lambda: UNetDenoiser(8), ValueError, r"\(channels, height, width\)"),
        (
            lambda: small(n_classes=2)(torch.zeros(1, 2), torch.zeros(1)),
            ValueError,
            "pass model_kwargs",
        ),
    ],
)
def test_refusals(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


def test_nothing_is_written_by_a_refused_run(tmp_path):
    with pytest.raises(ValueError, match="must lie in"):
        trained(data=gaussian(200) + 5, span=(-1, 1), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
