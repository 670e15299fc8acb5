"""The steps of a scheduler, with one of our own in the place of those of diffusers."""

from __future__ import annotations

import types

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fastgen.diffusion import alphas_cumprod, from_predictor, local_sample, noise_levels

pytestmark = pytest.mark.usefixtures("one_torch_thread")

KEPT = alphas_cumprod("linear", 100)


class Scheduler:
    """DDIM in the form of diffusers: evenly spaced times, a count of steps, perhaps noise."""

    def __init__(self, order=1, noisy=False, custom=False):
        self.alphas_cumprod = torch.as_tensor(KEPT)
        self.config = types.SimpleNamespace(prediction_type="epsilon")
        self.order, self.noisy, self.steps_taken, self.begin = order, noisy, 0, None
        if custom:
            self.custom_timesteps = False

    def set_timesteps(self, num_inference_steps=None, timesteps=None):
        if timesteps is None:
            timesteps = np.linspace(99, 0, num_inference_steps).round().astype(int)
            timesteps = np.repeat(timesteps, self.order)
        self.timesteps = torch.as_tensor(np.asarray(timesteps))

    def set_begin_index(self, begin):
        self.begin = begin

    def share(self, t):
        return self.alphas_cumprod[t].float()

    def add_noise(self, x, noise, timesteps):
        a = self.share(timesteps).reshape(-1, 1)
        return a.sqrt() * x + (1 - a).sqrt() * noise

    def scale_model_input(self, y, t):
        return y

    def step(self, told, t, y, generator=None):
        if self.order == 2 and self.steps_taken % 2 == 0:
            self.steps_taken += 1
            return types.SimpleNamespace(prev_sample=y)  # a corrector would look here
        self.steps_taken += 1
        at = self.begin + self.steps_taken
        a = self.share(t)
        below = self.share(self.timesteps[at]) if at < len(self.timesteps) else torch.ones(())
        clean = (y - (1 - a).sqrt() * told) / a.sqrt()
        y = below.sqrt() * clean + (1 - below).sqrt() * told
        if self.noisy:
            rows = [torch.randn(y[0].shape, generator=g) for g in generator]
            y = y + 0.1 * torch.stack(rows)
        return types.SimpleNamespace(prev_sample=y)


def network(x, t):
    a = torch.as_tensor(KEPT)[t].float().reshape(-1, 1)
    return (1 - a).sqrt() * x / (0.1 * a + 1 - a)


def images(n=5):
    return (np.random.default_rng(0).standard_normal((n, 6)) * 0.3).clip(-1, 1).astype(np.float32)


def sampled(scheduler, x=None, **options):
    options = {"sampler": "scheduler", "ratio": 0.5, "random_state": 0, **options}
    return local_sample(network, images() if x is None else x, scheduler=scheduler, **options)


@pytest.mark.parametrize("custom", [False, True])
@pytest.mark.parametrize("order", [1, 2])
def test_its_steps_are_taken_from_where_was_noised_to(custom, order):
    scheduler = Scheduler(order=order, custom=custom and order == 1)
    found = sampled(scheduler)
    plain = local_sample(network, images(), alphas_cumprod=KEPT, ratio=0.5, eta=0, random_state=0)
    np.testing.assert_allclose(found.samples, plain.samples, rtol=1e-4, atol=1e-5)
    assert (found.t, found.sampler, found.stochastic) == (50, "scheduler", False)
    assert found.steps == 50 * order
    assert found.sigma == pytest.approx(noise_levels(KEPT)[49])
    assert (scheduler.steps_taken, scheduler.begin) == (0, None)  # a copy has stepped


def test_start_is_the_nearest_step_below():
    found = sampled(Scheduler(), steps=5)  # ten steps of all: 99, 88, 77, ...
    assert (found.t, found.ratio) == (45, 0.45)
    assert found.sigma == pytest.approx(noise_levels(KEPT)[44])
    assert found.steps == 5
    listed = sampled(Scheduler(custom=True), steps=5)
    assert (listed.t, listed.steps) == (50, 5)
    assert sampled(Scheduler(), ratio=None, t=0).rms == 0


def test_noise_of_its_steps_belongs_to_the_image():
    whole = sampled(Scheduler(noisy=True), n_samples=2)
    assert whole.stochastic
    part = sampled(Scheduler(noisy=True), images()[:2], n_samples=2, batch_size=1)
    np.testing.assert_allclose(part.samples, whole.samples[:2], rtol=1e-5, atol=1e-6)
    flat = whole.samples.reshape(10, -1)
    assert len(np.unique(flat.round(4), axis=0)) == 10


class Short(Scheduler):
    def set_timesteps(self, num_inference_steps=None, timesteps=None):
        self.timesteps = torch.tensor([99])


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: sampled(None, alphas_cumprod=KEPT), TypeError, "needs scheduler, and its steps"),
        (lambda: sampled(Scheduler(), clip=(-1, 1)), ValueError, "leave clip out"),
        (lambda: sampled(Short()), ValueError, "no step at 49 or below among 1"),
        (
            lambda: local_sample(
                lambda x, t: x * torch.nan, images(), ratio=0.5, scheduler=Scheduler(),
                sampler="scheduler",
            ),
            ValueError,
            "NaN or infinity at step 49",
        ),
        (
            lambda: local_sample(
                from_predictor(network, KEPT), images(), ratio=0.5, scheduler=Scheduler(),
                sampler="scheduler",
            ),
            TypeError,
            "belong to a plain network",
        ),
    ],
)  # fmt: skip
def test_refusals(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
