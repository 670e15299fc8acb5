"""Models and schedulers of diffusers through our samplers, beside diffusers' own loops."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from fastgen.diffusion import (
    DDPM,
    alphas_cumprod,
    as_generator,
    calibrate,
    fit,
    from_predictor,
    laws,
    local_sample,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.usefixtures("one_torch_thread"),
]

BETAS = {"beta_start": 1e-4, "beta_end": 0.02, "beta_schedule": "linear"}
SCHEDULERS = {
    "ddpm": lambda: diffusers.DDPMScheduler(**BETAS),
    "ddim": lambda: diffusers.DDIMScheduler(**BETAS),
    "euler": lambda: diffusers.EulerDiscreteScheduler(**BETAS),
    "euler ancestral": lambda: diffusers.EulerAncestralDiscreteScheduler(**BETAS),
    "dpm-solver++": lambda: diffusers.DPMSolverMultistepScheduler(**BETAS),
    "dpm-solver++ sde": lambda: diffusers.DPMSolverMultistepScheduler(
        **BETAS, algorithm_type="sde-dpmsolver++"
    ),
    "heun": lambda: diffusers.HeunDiscreteScheduler(**BETAS),
    "unipc": lambda: diffusers.UniPCMultistepScheduler(**BETAS),
    "pndm": lambda: diffusers.PNDMScheduler(**BETAS, skip_prk_steps=True),
}


STOCHASTIC = ("ddpm", "euler ancestral", "dpm-solver++ sde")


class Gaussian(torch.nn.Module):
    """The exact noise predictor of images whose channels have these variances."""

    variances = torch.tensor([0.09, 0.02])
    in_channels = 2

    def forward(self, x, t):
        kept = torch.as_tensor(alphas_cumprod("linear"))
        low = t.double().floor().long()
        share = (t.double() - low)[:, None, None, None]
        level = ((1 - kept) / kept).sqrt()
        after = level[(low + 1).clamp(max=999)][:, None, None, None]
        sigma = (1 - share) * level[low][:, None, None, None] + share * after
        a = 1 / (1 + sigma**2)
        lam = self.variances[:, None, None]
        return ((1 - a).sqrt() * x / (a * lam + 1 - a)).to(x.dtype)


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_schedulers_own_steps_follow_the_law_of_their_family(kind):
    """From a tenth of the steps back in 40: distances of a Gaussian, per direction."""
    scheduler = SCHEDULERS[kind]()
    if hasattr(scheduler.config, "clip_sample"):
        scheduler.register_to_config(clip_sample=False)
    x = torch.randn(40, 2, 16, 16, generator=torch.Generator().manual_seed(0))
    x = (x * Gaussian.variances.sqrt()[:, None, None]).clamp(-1, 1)
    options = {"scheduler": scheduler, "sampler": "scheduler", "steps": 40, "random_state": 0}
    eta = float(kind in STOCHASTIC)
    found = local_sample(Gaussian(), x, ratio=0.1, eta=eta, **options)
    assert found.stochastic == (eta == 1)
    assert 95 <= found.t <= 101
    limit = laws.gaussian_distance([0.09, 0.02], found.sigma, eta=eta)
    moved = ((found.samples[:, 0] - x) ** 2).mean((0, 2, 3)).numpy()
    np.testing.assert_allclose(moved, limit, rtol=0.1)
    # each image has its own noise, whatever the batch
    part = local_sample(Gaussian(), x[:3], ratio=0.1, eta=eta, batch_size=2, **options)
    torch.testing.assert_close(part.samples, found.samples[:3], rtol=1e-3, atol=1e-3)


def unet(**options):
    torch.manual_seed(0)
    return diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, block_out_channels=(8, 16),
        layers_per_block=1, norm_num_groups=4, down_block_types=("DownBlock2D",) * 2,
        up_block_types=("UpBlock2D",) * 2, **options,
    )  # fmt: skip


def images(n=3):
    return torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(0)) * 2 - 1


@pytest.mark.parametrize("kind", SCHEDULERS)
def test_schedulers_are_read_and_left_alone(kind):
    """Every scheduler of one set of betas leads to the same samples, and is not changed."""
    scheduler, network = SCHEDULERS[kind](), unet()
    before = repr(vars(scheduler))
    options = {"ratio": 0.1, "steps": 4, "random_state": 0}
    found = local_sample(network, images(), scheduler=scheduler, **options)
    plain = local_sample(network, images(), alphas_cumprod=alphas_cumprod("linear"), **options)
    torch.testing.assert_close(found.samples, plain.samples, rtol=1e-4, atol=1e-4)
    assert (found.t, found.samples.shape) == (100, (3, 1, 1, 8, 8))
    assert repr(vars(scheduler)) == before
    with pytest.raises(ValueError, match=r"disagree.*from_config"):
        local_sample(network, images(), scheduler=scheduler, ratio=0.1,
                     alphas_cumprod=alphas_cumprod("scaled_linear"))  # fmt: skip


def test_betas_that_another_class_replaced_are_refused():
    """from_config of a scheduler with other defaults makes another schedule without a word."""
    trained = alphas_cumprod("linear")
    stable = diffusers.EulerDiscreteScheduler(beta_start=0.00085, beta_end=0.012,
                                              beta_schedule="scaled_linear")  # fmt: skip
    with pytest.raises(ValueError, match="replaced the betas"):
        local_sample(unet(), images(), ratio=0.1, scheduler=stable, alphas_cumprod=trained)
    flow = diffusers.FlowMatchEulerDiscreteScheduler()
    with pytest.raises(ValueError, match="has no alphas_cumprod"):
        local_sample(unet(), images(), ratio=0.1, scheduler=flow)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_steps_are_those_of_ddim_and_ddpm(prediction, eta):
    """Diffusers' own loop over the same steps from the same noise, with its noise in each step."""
    network = unet().eval()
    start, kept = 60, alphas_cumprod("linear")
    options = {**BETAS, "clip_sample": False, "prediction_type": prediction}
    scheduler = diffusers.DDPMScheduler(**options) if eta else diffusers.DDIMScheduler(
        **options, set_alpha_to_one=True
    )  # fmt: skip
    found = local_sample(network, images(1), t=start, eta=eta, scheduler=scheduler,
                         random_state=3).samples[0, 0]  # fmt: skip
    seed = np.random.SeedSequence(3).spawn(1)[0].spawn(1)[0]
    rng = np.random.Generator(np.random.SFC64(seed))
    ahead = 1024 // 64
    draws = np.concatenate(
        [rng.standard_normal((ahead, 64), dtype=np.float32) for _ in range(start)]
    )
    noise = iter(torch.from_numpy(draws).reshape(-1, 1, 1, 8, 8))
    scheduler.set_timesteps(1000)
    y = scheduler.add_noise(images(1), next(noise), torch.tensor([start - 1]))
    with torch.no_grad():
        for t in range(start - 1, -1, -1):
            told = network(y, t).sample
            if eta and t:
                # its step without noise, and the noise of ours: it takes no noise from outside
                before = scheduler.step(told, t, y, generator=torch.Generator().manual_seed(t))
                again = torch.randn(y.shape, generator=torch.Generator().manual_seed(t))
                spread = scheduler._get_variance(t) ** 0.5
                y = before.prev_sample + spread * (next(noise) - again)
            else:
                y = scheduler.step(told, t, y).prev_sample
    torch.testing.assert_close(found, y[0], rtol=2e-3, atol=2e-3)
    assert kept[start - 1] == pytest.approx(float(scheduler.alphas_cumprod[start - 1]), rel=1e-5)


def test_latent_pipeline_of_random_weights():
    torch.manual_seed(0)
    vae = diffusers.AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=1, block_out_channels=(8, 16),
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        norm_num_groups=4, layers_per_block=1,
    )  # fmt: skip
    x = torch.rand(2, 3, 16, 16) * 2 - 1
    found = local_sample(
        unet(), x, scheduler=SCHEDULERS["ddim"](), ratio=0.05, steps=3, random_state=0,
        encode=lambda x: vae.encode(x).latent_dist.mode(), decode=lambda z: vae.decode(z).sample,
    )  # fmt: skip
    assert found.samples.shape == (2, 1, 3, 16, 16)
    assert bool(torch.isfinite(found.samples).all())


def test_labels_calibration_and_generator():
    network, x = unet(num_class_embeds=3), images()
    labels = {"class_labels": torch.tensor([0, 1, 2])}
    scheduler = SCHEDULERS["ddpm"]()
    found = local_sample(network, x, ratio=0.05, steps=3, scheduler=scheduler, model_kwargs=labels)
    assert found.samples.shape == (3, 1, 1, 8, 8)
    with pytest.raises(ValueError, match="must have 1 channels"):
        local_sample(network, x.expand(-1, 3, -1, -1), ratio=0.05, scheduler=scheduler)
    curve = calibrate(unet(), x, scheduler=scheduler, n_levels=3)
    assert len(curve.sigma) == 3
    made = as_generator(unet(), (1, 8, 8), steps=3, scheduler=scheduler)(torch.zeros(2, 64))
    assert made.shape == (2, 1, 8, 8)


def test_training_takes_its_networks():
    found = fit(
        unet(num_class_embeds=2), images(12), labels=np.arange(12) % 2, steps=4, batch_size=4,
        objective=DDPM(alphas_cumprod("cosine", 50)), progress=False,
    )  # fmt: skip
    near = local_sample(found.denoiser, images(2), ratio=0.1,
                        model_kwargs={"class_labels": torch.tensor([0, 1])})  # fmt: skip
    assert bool(torch.isfinite(near.samples).all())
    again = from_predictor(found.network, alphas_cumprod("cosine", 50))
    assert again.channels == 1
