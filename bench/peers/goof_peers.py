"""What is run today for the nearest point in a generator's range, and the generators it is run on.

Every contestant takes a case and targets and returns latents and the passes it spent per target: a
forward or a tangent pass counts 1, a reverse pass 2, what all targets share not at all. Latents are
judged elsewhere, all by the same code.

The peers are written here from the settings of the published scripts: Webster et al. (CVPR 2019,
L-BFGS of torch.optim, one image at a time, no line search, last iterate), csgm (Bora et al., ICML
2017: Adam 0.1 for 500 steps with 2 restarts; on MNIST Adam 0.01 for 1000 steps with 10), the same
Adam with the nearest samples of a pool as starts and the best iterate kept, and two libraries that
take one problem at a time, in a loop, from the nearest sample of the pool: SciPy's least_squares
and pytorch-minimize.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from scipy.optimize import least_squares

from fastgen.goof import nearest

ROOT = Path(__file__).resolve().parents[2]
POOL, SMALL_POOL = 20_000, 2500
SHARE = 8  # targets that solvers of one problem at a time are run on; their cost is linear

Contestant = Callable[["Case", torch.Tensor], tuple[torch.Tensor, float]]


def studies() -> ModuleType:
    path = ROOT / "bench" / "studies" / "train_generators.py"
    spec = importlib.util.spec_from_file_location("train_generators", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@dataclasses.dataclass(frozen=True)
class Case:
    """A generator with targets of one seed."""

    net: torch.nn.Module
    latent_shape: tuple[int, ...]
    seed: int
    planted: torch.Tensor
    real: torch.Tensor

    def latents(self, count: int, salt: int) -> torch.Tensor:
        source = torch.Generator().manual_seed(1000 * self.seed + salt)
        return torch.randn((count, *self.latent_shape), generator=source)

    def outputs(self, z: torch.Tensor) -> torch.Tensor:
        return self.net(z).reshape(len(z), -1)

    def mse(self, z: torch.Tensor, X: torch.Tensor) -> np.ndarray:
        with torch.no_grad():
            outputs = torch.cat([self.outputs(piece) for piece in z.split(256)])
        return ((outputs.double() - X.double()) ** 2).mean(dim=1).numpy()

    def warm(self, X: torch.Tensor, count: int, size: int = POOL) -> torch.Tensor:
        """Nearest ``count`` samples of a pool to each target: (count, n, *latent_shape)."""
        pool = self.latents(size, 1)
        with torch.no_grad():
            outputs = torch.cat([self.outputs(piece) for piece in pool.split(1000)])
        order = torch.cdist(X, outputs).topk(count, largest=False).indices
        return pool[order].transpose(0, 1)


def make_case(
    name: str, images: Path | str, weights: Path, vae: Path | str, seed: int, n: int
) -> Case:
    """A trained generator, ``n`` targets that it made and ``n`` digits in its range of pixels."""
    study = studies()
    if name == "vae":
        net, shape = study.vae_decoder(vae), (20,)
    else:
        net = study.load(name, weights / f"{name}_0.safetensors")
        shape = (64,) if name == "mlp_gan" else (100, 1, 1)
    net.requires_grad_(False)
    with np.load(images, allow_pickle=False) as arrays:
        pixels = arrays["images"].reshape(len(arrays["images"]), -1)
    rows = np.random.default_rng(seed).choice(len(pixels), n, replace=False)
    real = torch.from_numpy(pixels[rows]).float().div(255)
    if name != "vae":
        real = 2 * real - 1
    source = torch.Generator().manual_seed(10_000 + seed)
    planted = net(torch.randn((n, *shape), generator=source)).reshape(n, -1)
    return Case(net, shape, seed, planted, real)


# --- contestants ---------------------------------------------------------------------------------


def fastgen(n_starts: int, pool: int = POOL, **options) -> Contestant:
    def run(case: Case, X: torch.Tensor) -> tuple[torch.Tensor, float]:
        found = nearest(
            case.net, X, latent_dim=case.latent_shape, pool_size=pool, n_starts=n_starts,
            random_state=case.seed, progress=False, **options,
        )  # fmt: skip
        z = torch.from_numpy(found.z).reshape(-1, *case.latent_shape)
        return z, float(found.n_forward.mean())

    return run


def adam(steps: int, restarts: int, rate: float, *, pool: int | None = None) -> Contestant:
    """All targets in one batch, restarts in turn, the best iterate of all kept."""

    def run(case: Case, X: torch.Tensor) -> tuple[torch.Tensor, float]:
        n = len(X)
        starts = case.warm(X, restarts, pool) if pool else case.latents(restarts * n, 2)
        starts = starts.reshape(restarts, n, *case.latent_shape)
        best, kept = torch.full((n,), float("inf")), starts[0].clone()
        for start in starts:
            z = start.clone().requires_grad_()
            optimiser = torch.optim.Adam([z], lr=rate)
            for _ in range(steps):
                optimiser.zero_grad()
                losses = ((case.outputs(z) - X) ** 2).mean(dim=1)
                losses.sum().backward()
                better = losses.detach() < best
                kept[better], best[better] = z.detach()[better], losses.detach()[better]
                optimiser.step()
        return kept, 3.0 * steps * restarts

    return run


def webster(steps: int) -> Contestant:
    """The script as shipped: one image, one random start, no line search, the last iterate."""

    def run(case: Case, X: torch.Tensor) -> tuple[torch.Tensor, float]:
        starts, found = case.latents(len(X), 3), []
        for x, start in zip(X, starts, strict=True):
            z = start[None].clone().requires_grad_()
            optimiser = torch.optim.LBFGS([z], max_iter=1)

            def closure(z=z, optimiser=optimiser, x=x):
                optimiser.zero_grad()
                loss = ((case.outputs(z) - x) ** 2).mean()
                loss.backward()
                return loss

            for _ in range(steps):
                optimiser.step(closure)
            found.append(z.detach()[0])
        return torch.stack(found).nan_to_num(), 3.0 * steps

    return run


def scipy_least_squares(restarts: int) -> Contestant:
    """SciPy's trust-region least squares, Jacobians in forward mode, target after target."""

    def run(case: Case, X: torch.Tensor) -> tuple[torch.Tensor, float]:
        X = X[:SHARE]
        found, passes = [], 0.0

        def residual(z, x):
            with torch.no_grad():
                z = torch.from_numpy(z).float().reshape(1, *case.latent_shape)
                return (case.outputs(z)[0] - x).double().numpy()

        def jacobian(z, x):
            z = torch.from_numpy(z).float()
            forward = torch.func.jacfwd(lambda v: case.outputs(v.reshape(1, *case.latent_shape))[0])
            return forward(z).double().numpy()

        for x, starts in zip(X, case.warm(X, restarts).transpose(0, 1), strict=True):
            results = [
                least_squares(
                    residual, start.flatten().double().numpy(), jacobian, args=(x,), max_nfev=50
                )
                for start in starts
            ]
            best = min(results, key=lambda result: result.cost)
            found.append(torch.from_numpy(best.x).float().reshape(case.latent_shape))
            passes += sum(result.nfev + starts[0].numel() * result.njev for result in results)
        return torch.stack(found), passes / len(X)

    return run


def torchmin_solver(method: str) -> Contestant:
    """pytorch-minimize, target after target: "least_squares" (exact trust region) or "bfgs"."""

    def run(case: Case, X: torch.Tensor) -> tuple[torch.Tensor, float]:
        import torchmin

        X = X[:SHARE]
        found, calls = [], 0
        for x, start in zip(X, case.warm(X, 1)[0], strict=True):

            def residual(z, x=x):
                nonlocal calls
                calls += 1
                return case.outputs(z.reshape(1, *case.latent_shape))[0] - x

            flat = start.flatten().clone()
            if method == "least_squares":
                # the Jacobian is built row by row in reverse mode: passes are not comparable
                result = torchmin.least_squares(residual, flat, tr_solver="exact", max_nfev=50)
            else:
                loss = lambda z, residual=residual: residual(z).square().sum()  # noqa: E731
                result = torchmin.minimize(loss, flat, method, max_iter=200)
            found.append(result.x.detach().reshape(case.latent_shape))
        passes = float("nan") if method == "least_squares" else 3.0 * calls / len(X)
        return torch.stack(found).nan_to_num(), passes

    return run


def contestants(name: str, quick: bool) -> dict[str, Contestant]:
    if quick:
        return {
            "fastgen, 2 starts": fastgen(2),
            "fastgen lbfgs, 4 x 40": fastgen(4, SMALL_POOL, method="lbfgs", max_iter=40),
            "Adam 0.1, 50 x 2, warm": adam(50, 2, 0.1, pool=POOL),
            "Webster L-BFGS, 5": webster(5),
        }
    slow = name == "dcgan"  # a pass costs 30 times that of the others
    found = {
        f"fastgen lbfgs, {s} x {n}": fastgen(s, SMALL_POOL, method="lbfgs", max_iter=n)
        for s, n in ((1, 40), (4, 40), (8, 60), (16, 100), (32, 150))[: 4 if slow else 5]
    }
    found |= {f"fastgen, {s} starts": fastgen(s) for s in ((2, 8) if slow else (1, 2, 8, 32))}
    count = {"dcgan": 2, "vae": 3}.get(name, 4)
    for steps, restarts in ((100, 2), (500, 2), (500, 8), (500, 20))[:count]:
        label = f"Adam 0.1, {steps} x {restarts}, warm"
        found[label] = adam(steps, restarts, 0.1, pool=POOL)
    label = f"Adam 0.1, 500 x 2, warm, pool {SMALL_POOL}"
    found[label] = adam(500, 2, 0.1, pool=SMALL_POOL)
    if slow:
        return found
    found["Adam 0.1, 500 x 2 (csgm)"] = adam(500, 2, 0.1)
    if name == "vae":
        found["Adam 0.01, 1000 x 10 (csgm, MNIST)"] = adam(1000, 10, 0.01)
    found["Webster L-BFGS, 50"] = webster(50)
    for restarts in (1, 2):
        label = f"scipy least_squares x {restarts}, warm, on {SHARE}"
        found[label] = scipy_least_squares(restarts)
    if importlib.util.find_spec("torchmin"):
        for method in ("least_squares", "bfgs"):
            label = f"pytorch-minimize {method}, warm, on {SHARE}"
            found[label] = torchmin_solver(method)
    return found
