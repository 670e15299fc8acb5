"""What needs torch: a step of an ensemble, the exact denoiser, local sampling."""

from __future__ import annotations

import importlib.util

import numpy as np

from .common import REPOSITORY, OneThread, agree, load

SEED = 5


class OneTorchThread(OneThread):
    def setup(self, *params: object) -> None:
        if importlib.util.find_spec("torch") is None:
            raise NotImplementedError("torch is not installed")
        super().setup(*params)
        import torch

        self.before = torch.get_num_threads()
        torch.set_num_threads(1)

    def teardown(self, *params: object) -> None:
        import torch

        torch.set_num_threads(self.before)
        super().teardown(*params)


class Ensemble(OneTorchThread):
    """Forward and backward through eight small generators at once."""

    def setup(self) -> None:
        super().setup()
        import torch

        from fastgen.gan import Ensemble as Members
        from fastgen.networks import MLPGenerator

        self.members = Members(lambda: MLPGenerator(8, 2, widths=(64, 64)), 8, seeds=range(8))
        self.z = torch.randn(128, 8, generator=torch.Generator().manual_seed(SEED))
        lone = torch.cat([self.members.member(k)(self.z[16 * k : 16 * (k + 1)]) for k in range(8)])
        agree(float((self.members(self.z) - lone).abs().max().detach()), 1e-5, "the members")

    def time_backward(self) -> None:
        self.members(self.z).square().mean().backward()


class Denoiser(OneTorchThread):
    """The exact denoiser of 2000 points, and local sampling with it."""

    def setup(self) -> None:
        super().setup()
        from fastgen.diffusion import ExactSet

        rng = np.random.default_rng(SEED)
        self.points = rng.standard_normal((2000, 64)).astype(np.float32)
        self.noisy = self.points[:64] + 0.5 * rng.standard_normal((64, 64)).astype(np.float32)
        self.model = ExactSet(self.points)
        naive = load(REPOSITORY / "tests" / "oracles" / "diffusion.py")
        want = naive.weighted_means(self.noisy.astype(np.float64), self.points, np.full(64, 0.5))
        agree(float(np.abs(self.model.means(self.noisy, 0.5) - want).max()), 1e-4, "the means")

    def time_means(self) -> None:
        self.model.means(self.noisy, 0.5)

    def time_local_sample(self) -> None:
        from fastgen.diffusion import local_sample

        local_sample(
            self.model.denoiser(), self.points[:16], sigma=0.5, random_state=0, progress=False
        )
