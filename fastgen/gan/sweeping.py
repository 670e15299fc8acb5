"""Training over latent sizes and shares of pairs, in one call that resumes."""

from __future__ import annotations

import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from .. import _arrays, _random, _validate
from .._files import replacing
from .._progress import reporter
from .._results import plain
from .._version import __version__
from .draws import FIXED, latent_prior, source
from .ensemble import seeded
from .rows import Rows
from .terms import PseudoSupervision, Schedule, describe
from .training import fit

if TYPE_CHECKING:
    import xarray

__all__ = ["energy_distance", "sweep"]

_IDENTITY = "sweep.json"
_MOST = 2000


def energy_distance(X: Any, Y: Any) -> float:
    """Return the energy distance 2 E|X - Y| - E|X - X'| - E|Y - Y'| of two sets of samples.

    Parameters
    ----------
    X, Y : array or tensor (n, ...)
        At least two rows each; distances are Euclidean between flattened rows. Expectations within
        a set are over distinct rows, so that the estimate has no bias and may fall below zero.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        If a set has fewer than two rows.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.gan import energy_distance
    >>> X = np.random.default_rng(0).standard_normal((500, 2))
    >>> round(energy_distance(X[:250], X[250:]), 1), energy_distance(X, X + 3) > 2
    (0.0, True)
    """
    x, y = (_arrays.to_tensor(part).detach().flatten(1).double().cpu() for part in (X, Y))
    if min(len(x), len(y)) < 2:
        raise ValueError(f"X and Y must have at least two rows, got {len(x)} and {len(y)}")
    within = [torch.cdist(p, p).sum() / (len(p) * (len(p) - 1)) for p in (x, y)]
    return float(2 * torch.cdist(x, y).mean() - within[0] - within[1])


def sweep(
    data: Any,
    *,
    generator: Callable[[int], nn.Module],
    discriminator: Callable[[], nn.Module],
    latent_dims: Sequence[int],
    fractions: Sequence[float] = (0.0, 1.0),
    steps: int,
    holdout: float | Any = 0.2,
    every: int | None = None,
    threshold: float | None = None,
    distance: Callable[[Tensor, Tensor], float] = energy_distance,
    n_trials: int = 3,
    weight: float = 10.0,
    schedule: Schedule = None,
    goof: int = 0,
    store: str | os.PathLike | None = None,
    random_state: Any = 0,
    progress: bool | Callable[[int, int], None] | None = None,
    **options: Any,
) -> xarray.Dataset:
    """Train for every latent size and share of pairs, and measure against samples held out.

    In a trial all shares of pairs start from the same weights and see the same data in the same
    order: the share 0 is the control.

    Parameters
    ----------
    data : array (n, ...)
    generator : callable
        Returns a fresh generator of a latent dimension.
    discriminator : callable
        Returns a fresh discriminator.
    latent_dims : sequence of int
    fractions : sequence of float, default (0.0, 1.0)
        Shares of the training samples that are paired with latents.
    steps : int
        Steps of each training.
    holdout : float or array (m, ...), default 0.2
        Samples to measure against; a number is the share of the data that is held out, at random
        from the seed.
    every : int, optional
        Steps between measurements; a tenth of ``steps`` if not given.
    threshold : float, optional
        Distance to be reached.
    distance : callable, default `energy_distance`
        A distance of two sets: the generated samples and those held out.
    n_trials : int, default 3
    weight : float, default 10.0
        Weight of the pairs; see `PseudoSupervision`.
    schedule : number or callable, optional
        How that weight changes; see `PseudoSupervision`.
    goof : int, default 0
        For so many samples of the training set and of those held out the distance to the nearest
        point in the range is searched at the end (`fastgen.goof.nearest`).
    store : path, optional
        A folder in which finished trainings are kept; the same call resumes.
    random_state : int, Generator or None, default 0
    progress : bool or callable, optional
    **options
        Further arguments of `fit`.

    Returns
    -------
    xarray.Dataset
        Dimensions (fraction, latent_dim, trial), and step for ``distance``, the distance of
        generated to held-out samples. ``steps_to_threshold`` is NaN where the threshold was not
        reached; ``goof_train`` and ``goof_test`` are mean squared distances per value.

    Raises
    ------
    ValueError, TypeError
        For an argument out of its range, or a store made by another call.

    See Also
    --------
    fastgen.linear.sweep : the same for linear generators, exactly.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.gan import sweep
    >>> from fastgen.networks import MLPDiscriminator, MLPGenerator
    >>> found = sweep(
    ...     np.random.default_rng(0).standard_normal((50, 2)),
    ...     generator=lambda k: MLPGenerator(k, 2, widths=(8,)),
    ...     discriminator=lambda: MLPDiscriminator(2, widths=(8,)),
    ...     latent_dims=[1, 2], steps=4, every=2, n_trials=1, progress=False, batch_size=10,
    ... )
    >>> dict(found.sizes)
    {'fraction': 2, 'latent_dim': 2, 'trial': 1, 'step': 2}
    """
    ks = _validate.positive_integers(latent_dims, "latent_dims").tolist()
    shares = sorted({_validate.number(share, "fractions") for share in fractions})
    if not shares or shares[-1] > 1:
        raise ValueError(f"fractions must be from 0 to 1, at least one, got {list(fractions)}")
    steps = _validate.integer(steps, "steps")
    every = max(1, steps // 10) if every is None else _validate.integer(every, "every")
    n_trials = _validate.integer(n_trials, "n_trials")
    goof = _validate.integer(goof, "goof", minimum=0)
    for name in ("random_state", "callback", "out", "resume", "pairs", "log_every"):
        if name in options:
            raise ValueError(f"{name} is no option of a sweep; it sets it itself")
    seeds = _random.seed_sequence(random_state).generate_state(n_trials + 1, np.uint64) >> 33
    train, held = _split(data, holdout, int(seeds[0]))
    identity = {
        "version": __version__,
        "data": [Rows(part, None, None).fingerprint() for part in (train, held)],
        "seeds": seeds.tolist(), "steps": steps, "every": every, "weight": weight,
        "schedule": describe(schedule), "distance": describe(distance), "goof": goof,
        "options": {name: describe(value) for name, value in sorted(options.items())},
    }  # fmt: skip
    folder = None if store is None else _open(pathlib.Path(store), identity)
    cells = [(f, k, t) for t in range(n_trials) for k in ks for f in shares]
    found = {}
    with reporter(progress, unit="training", total=len(cells)) as report:
        for cell in cells:
            share, k, trial = cell
            path = None if folder is None else folder / f"{share:g}-{k}-{trial}.json"
            if path is not None and path.exists():
                found[cell] = json.loads(path.read_text())
            else:
                pairs = PseudoSupervision(share, weight, schedule) if share > 0 else None
                found[cell] = _train(
                    train, held, generator, discriminator, k, pairs, steps, every, distance, goof,
                    int(seeds[trial + 1]), options,
                )  # fmt: skip
                if path is not None:
                    with replacing(path) as beside:
                        beside.write_text(json.dumps(found[cell]))
            report()
    return _dataset(found, shares, ks, n_trials, steps, every, threshold, identity)


def _split(data: Any, holdout: Any, seed: int) -> tuple[Any, Any]:
    if isinstance(holdout, int | float):
        if not 0 < holdout < 1:
            raise ValueError(f"holdout must be a share between 0 and 1, or samples, got {holdout}")
        order = np.random.default_rng(seed).permutation(len(data))
        count = round(holdout * len(data))
        if min(count, len(data) - count) < 2:
            raise ValueError(
                f"holdout must leave at least two samples on both sides, got {count} of {len(data)}"
            )
        return data[order[count:]], data[order[:count]]
    return data, holdout


def _open(folder: pathlib.Path, identity: dict[str, Any]) -> pathlib.Path:
    """Return the folder of the store, made if it is new."""
    identity = json.loads(json.dumps(identity))
    known = folder / _IDENTITY
    if known.exists():
        found = json.loads(known.read_text())
        for name in identity:
            if name != "version" and found.get(name) != identity[name]:
                raise ValueError(
                    f"store {str(folder)!r} was made with another {name}; repeat the first call's "
                    f"{name}, or choose another path"
                )
        return folder
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ValueError(
            f"store must be a new path or a sweep, but {str(folder)!r} holds something else"
        )
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(known) as beside:
        beside.write_text(json.dumps(identity))
    return folder


def _train(
    train: Any, held: Any, generator: Callable[[int], nn.Module],
    discriminator: Callable[[], nn.Module], k: int, pairs: PseudoSupervision | None, steps: int,
    every: int, distance: Callable[[Tensor, Tensor], float], goof: int, seed: int,
    options: dict[str, Any],
) -> dict[str, Any]:  # fmt: skip
    """Train once and return what was measured."""
    net = seeded(lambda: generator(k), seed)
    judge = None if discriminator is None else seeded(discriminator, seed + 1)
    first = next(net.parameters())
    count = min(len(held), _MOST)
    real = Rows(held, None, None).take(torch.arange(count), first.dtype, torch.device("cpu"))
    draw = latent_prior(options.get("prior", "normal"), k, first.dtype)
    z = draw(max(count, k), source(seed, FIXED))[:count].to(first.device)
    curve: list[float] = []

    def measure(row: dict[str, Any], nets: Any) -> None:
        best = nets.generator if nets.ema is None else nets.ema
        curve.append(float(distance(_generate(best, z).cpu(), real)))

    found = fit(
        net, judge, train, steps=steps, pairs=pairs, log_every=every, callback=measure,
        random_state=seed, **{"progress": False, **options},
    )  # fmt: skip
    told: dict[str, Any] = {"distance": curve}
    if goof:
        from ..goof import nearest

        for name, part in (("goof_train", train), ("goof_test", held)):
            rows = Rows(part, None, None).take(
                torch.arange(min(goof, len(part))), first.dtype, first.device
            )
            searched = nearest(found.best, rows, random_state=seed, progress=False)
            told[name] = float(searched.squared_distance.mean() / rows[0].numel())
    return plain(told)


@torch.no_grad()
def _generate(net: nn.Module, z: Tensor) -> Tensor:
    """Return samples in evaluation mode, and restore the mode."""
    training = net.training
    try:
        return net.eval()(z)
    finally:
        net.train(training)


def _dataset(
    found: dict[tuple[float, int, int], dict[str, Any]], shares: list[float], ks: list[int],
    n_trials: int, steps: int, every: int, threshold: float | None, identity: dict[str, Any],
) -> xarray.Dataset:  # fmt: skip
    import xarray

    at = sorted({*range(every, steps + 1, every), steps})
    dims = ("fraction", "latent_dim", "trial")
    shape = (len(shares), len(ks), n_trials)
    curves = np.full((*shape, len(at)), np.nan)
    ends = {name: np.full(shape, np.nan) for name in ("goof_train", "goof_test")}
    for (share, k, trial), told in found.items():
        place = shares.index(share), ks.index(k), trial
        curves[place] = [np.nan if v is None else v for v in told["distance"]]
        for name in ends:
            if told.get(name) is not None:
                ends[name][place] = told[name]
    values: dict[str, Any] = {"distance": ((*dims, "step"), curves)}
    if identity["goof"]:
        values.update({name: (dims, array) for name, array in ends.items()})
    if threshold is not None:
        reached = curves <= threshold
        first = np.asarray(at, dtype=float)[reached.argmax(-1)]
        values["steps_to_threshold"] = (dims, np.where(reached.any(-1), first, np.nan))
    coords = {"fraction": shares, "latent_dim": ks, "trial": range(n_trials), "step": at}
    attrs: dict[str, Any] = {"version": __version__, "arguments": json.dumps(identity)}
    if threshold is not None:
        attrs["threshold"] = threshold
    return xarray.Dataset(values, coords, attrs)
