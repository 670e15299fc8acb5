"""Training of generators against discriminators: one loop for all of them."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .. import _random, _validate
from .._progress import reporter
from .._results import Result
from ..networks.weights import write_weights
from . import sharing
from .averaging import Average
from .checkpoints import RunFolder
from .draws import FIXED, source
from .ensemble import Ensemble
from .objectives import Objective
from .objectives import objective as named
from .rows import Rows
from .run import Run
from .steps import Batch, NotFiniteError, discriminator_step, generator_step
from .terms import PseudoSupervision, describe

__all__ = ["FitResult", "Networks", "fit"]

_PRECISIONS = ("float32", "bf16")
_SHOWN = 64


class Networks(NamedTuple):
    """What is being trained; ``ema`` is None where no average is kept."""

    generator: nn.Module
    discriminator: nn.Module | None
    ema: nn.Module | None


@dataclasses.dataclass(frozen=True)
class FitResult(Result):
    """What `fit` made.

    Attributes
    ----------
    generator, discriminator : nn.Module
        The networks that were handed over, trained in place.
    ema : nn.Module or None
        The generator with averaged weights, in evaluation mode.
    history : list of dict
        One row for every ``log_every`` steps: step, images, losses.
    steps, images : int
        Steps and real images of the whole run, earlier calls included.
    """

    generator: nn.Module
    discriminator: nn.Module | None
    ema: nn.Module | None
    history: list[dict[str, Any]]
    steps: int
    images: int

    @property
    def best(self) -> nn.Module:
        """The averaged generator where there is one, else the generator."""
        return self.generator if self.ema is None else self.ema

    def to_dict(self) -> dict[str, Any]:
        """Return steps, images and the last losses."""
        last = self.history[-1] if self.history else {}
        return {**last, "step": self.steps, "images": self.images}

    def plot(self) -> Any:
        """Return a figure of the losses."""
        from ..plotting.training import history_figure

        return history_figure(self.history)


def fit(
    generator: nn.Module,
    discriminator: nn.Module | None,
    data: Any,
    *,
    steps: int,
    labels: Any = None,
    weights: Any = None,
    objective: str | Objective = "non_saturating",
    terms: Sequence[Callable[[Batch], Tensor]] = (),
    pairs: PseudoSupervision | None = None,
    batch_size: int = 64,
    discriminator_steps: int = 1,
    lr: float = 2e-4,
    lr_discriminator: float | None = None,
    betas: tuple[float, float] = (0.5, 0.999),
    lr_schedule: Callable[[int], float] | float | None = None,
    optimizers: Sequence[Callable[..., torch.optim.Optimizer]] | None = None,
    prior: Any = "normal",
    ema: float | None = None,
    ema_warmup: float = 0.05,
    precision: str = "float32",
    out: str | os.PathLike | None = None,
    resume: bool = False,
    checkpoint_every: int = 1000,
    picture_every: int | None = None,
    log_every: int = 100,
    callback: Callable[[dict[str, Any], Networks], None] | None = None,
    random_state: int | None = 0,
    progress: bool | Callable[[int, int], None] | None = None,
) -> FitResult:
    r"""Train a generator, an ensemble of them or a conditional one against a discriminator.

    Parameters
    ----------
    generator : nn.Module
        Maps latents (B, latent_dim), and labels (B,) if it has ``n_classes``, to samples. It has an
        attribute ``latent_dim``, as those of `fastgen.networks` and `Ensemble` do. Trained in
        place, on the device where it is.
    discriminator : nn.Module or None
        Maps samples, and labels, to outputs (B, 1) or (B, 1 + K). None for an objective without
        one.
    data : array or tensor (n, ...)
        Real samples. Values of type uint8 are scaled to [-1, 1]; a memory-mapped array is read row
        by row.
    steps : int
        Steps of the whole run; a resumed one goes on until then.
    labels : array of int (n,), optional
        For conditional networks. Generated samples get labels of rows drawn at random.
    weights : array (n,), optional
        Rows are drawn with replacement with probabilities proportional to them, as multiplicative
        weights ask. Otherwise every row is seen once an epoch.
    objective : str or Objective, default "non_saturating"
        "non_saturating", "wgan_gp", "hinge", "relativistic", "mad", "quadratic", or one with
        options from `fastgen.gan.objectives`.
    terms : sequence of callable, optional
        Extra losses, see `fastgen.gan.terms`.
    pairs : PseudoSupervision, optional
        Images paired with latents.
    batch_size : int, default 64
        Real and generated samples of a step, over all processes; a multiple of members times
        processes.
    discriminator_steps : int, default 1
        Steps of the discriminator for one of the generator.
    lr : float, default 2e-4
        Learning rate of Adam.
    lr_discriminator : float, optional
        Learning rate of the discriminator; ``lr`` if not given.
    betas : tuple of float, default (0.5, 0.999)
    lr_schedule : number or callable, optional
        What rates are multiplied by: a number falls linearly to zero after so many images, a
        callable is called with the images so far.
    optimizers : sequence of two callables, optional
        Return the optimizers of the generator and the discriminator from their parameters, in place
        of Adam.
    prior : {"normal", "uniform", "whitened"}, callable or object with ``sample``
        Law of the latents; see `fastgen.gan.draws.latent_prior`.
    ema : float, optional
        Half-life, in images, of an exponential moving average of the generator's weights.
    ema_warmup : float, default 0.05
        The half-life is at most this share of the images so far.
    precision : {"float32", "bf16"}, default "float32"
        "bf16" runs networks under autocast; parameters keep their type.
    out : path, optional
        Folder for checkpoints, log, pictures, and ``generator.safetensors`` (averaged weights where
        there are any; for an ensemble one file for each member besides). A step's files are
        written whole or not at all.
    resume : bool, default False
        Go on with the run in ``out``, from its last checkpoint, if there is one. The result is bit
        for bit that of an uninterrupted run on a CPU: nothing random is stored, every step derives
        what it draws from seed and step.
    checkpoint_every : int, default 1000
        Steps between checkpoints; one is also written at the end.
    log_every : int, default 100
        Steps between rows of the log.
    picture_every : int, optional
        In steps: a picture of the samples of fixed latents. With every checkpoint if not given.
    callback : callable, optional
        Called with a row of the log and the `Networks`.
    random_state : int or None, default 0
    progress : bool or callable, optional
        True draws a bar, False none; by default one appears on a terminal. A callable receives
        (steps done, steps).

    Returns
    -------
    FitResult

    Raises
    ------
    ValueError, TypeError
        For an argument out of its range, samples of another shape than the networks', an empty data
        set, missing labels, more members than rows, or a folder that holds something else. Nothing
        has been written then.
    NotFiniteError
        If a loss or weight is NaN or infinite. The last checkpoint is kept.

    Notes
    -----
    In a process group of torch (``torchrun``) every process calls this with the same arguments:
    each takes its share of every batch, gradients are averaged by one reduction after each
    backward, and the result is that of one process to rounding, batch norm apart, which takes the
    statistics of each share. The first process writes; to resume, all must see the folder.

    Examples
    --------
    >>> import torch
    >>> from fastgen.gan import fit
    >>> from fastgen.networks import MLPDiscriminator, MLPGenerator
    >>> _ = torch.manual_seed(0)
    >>> data = torch.randn(256, 2) * 0.1 + 3
    >>> generator, discriminator = MLPGenerator(2, 2, widths=(16,)), MLPDiscriminator(2)
    >>> found = fit(generator, discriminator, data, steps=300, lr=2e-3, progress=False)
    >>> bool((generator(torch.randn(100, 2)).mean(0) - 3).abs().max() < 1)
    True
    """
    run = Run(
        generator,
        discriminator,
        Rows(data, labels, weights),
        objective=named(objective),
        terms=tuple(terms),
        pairs=pairs,
        batch_size=_validate.integer(batch_size, "batch_size"),
        discriminator_steps=_validate.integer(discriminator_steps, "discriminator_steps"),
        prior=prior,
        precision=_validate.one_of(precision, "precision", _PRECISIONS),
        seed=_seed(random_state),
    )
    steps = _validate.integer(steps, "steps", minimum=0)
    every = _Every(
        _validate.integer(checkpoint_every, "checkpoint_every"),
        _validate.integer(log_every, "log_every"),
        _validate.integer(
            checkpoint_every if picture_every is None else picture_every, "picture_every"
        ),
    )
    rates = _rates(lr, lr_discriminator, run.discriminator)
    made = _optimizers(run, rates, betas, optimizers)
    average = None if ema is None else Average(generator, ema, ema_warmup)
    folder = None
    if out is not None:
        options = {
            "lr": rates, "betas": list(betas), "lr_schedule": describe(lr_schedule),
            "optimizers": describe(optimizers), "ema": ema, "ema_warmup": ema_warmup,
        }  # fmt: skip
        folder = RunFolder(out, {**run.identity(), **options}, resume=resume)
    elif resume:
        raise ValueError("resume needs out, the folder of the run to go on with")
    return _loop(
        run, made, average, folder, steps, every, callback, progress,
        _multiplier(lr_schedule), rates,
    )  # fmt: skip


class _Every(NamedTuple):
    """How often, in steps."""

    checkpoint: int
    log: int
    picture: int


def _loop(
    run: Run,
    optimizers: dict[str, torch.optim.Optimizer],
    average: Average | None,
    folder: RunFolder | None,
    steps: int,
    every: _Every,
    callback: Callable[[dict[str, Any], Networks], None] | None,
    progress: Any,
    multiplier: Callable[[int], float] | None,
    rates: list[float],
) -> FitResult:
    """Take the steps, from the last checkpoint where there is one."""
    modules = dict(zip(("generator", "discriminator"), run.nets(), strict=False))
    if average is not None:
        modules["ema"] = average.module
    states = {f"term{i}": t.state for i, t in enumerate(run.terms) if hasattr(t, "state")}
    nets = Networks(run.generator, run.discriminator, None if average is None else average.module)
    saved = None if folder is None else folder.last()
    start, history = 0, []
    if folder is not None and saved is not None:
        start = folder.load(saved, modules, optimizers, states)["step"]
        history = folder.cut_log(start)
    sharing.from_first(modules.values())
    writes = folder is not None and run.place.rank == 0
    if folder is not None and writes:
        folder.begin()
    silent = False if run.place.rank else progress

    def save(step: int) -> None:
        if folder is not None and writes:
            _check_weights(run, step)
            folder.save(step, modules, optimizers, states, {"images": step * run.batch_size})
            best = run.generator if nets.ema is None else nets.ema
            _write_networks(folder, best)

    for module in run.nets():
        module.train()
    with (
        torch.random.fork_rng(devices=_cuda(run.device)),
        reporter(silent, unit="step", total=steps, done=min(start, steps)) as report,
    ):
        for step in range(start, steps):
            if multiplier is not None:
                _set_rates(optimizers, rates, multiplier(step * run.batch_size))
            row = _step(run, optimizers, step)
            images = (step + 1) * run.batch_size
            if average is not None:
                average.update(images, run.batch_size)
            report()
            done = step + 1
            if done % every.log == 0 or done == steps:
                told: dict[str, Any] = {"step": done, "images": images}
                losses = {name: value.item() for name, value in row.items()}
                told = {**told, **losses}
                history.append(told)
                if folder is not None and writes:
                    folder.log(told)
                if callback is not None:
                    callback(told, nets)
            if folder is not None and writes and (done % every.picture == 0 or done == steps):
                _draw(run, folder, nets, done)
            if done % every.checkpoint == 0 or done == steps:
                save(done)
    return FitResult(
        run.generator, run.discriminator, nets.ema, history, max(start, steps),
        max(start, steps) * run.batch_size,
    )  # fmt: skip


def _step(run: Run, optimizers: dict[str, torch.optim.Optimizer], step: int) -> dict[str, Tensor]:
    """Take one step: of the discriminator as often as wanted, then of the generator."""
    found = {}
    count = run.discriminator_steps if run.discriminator is not None else 0
    for repeat in range(count):
        assert run.discriminator is not None
        found["discriminator"] = discriminator_step(
            run.discriminator, optimizers["discriminator"], run.batch(step, repeat), run.objective,
            run.terms,
        )  # fmt: skip
    terms = run.terms if run.pairs is None else (*run.terms, run.pairs)
    found["generator"] = generator_step(
        run.discriminator, optimizers["generator"], run.batch(step, count), run.objective, terms
    )
    return found


def _check_weights(run: Run, step: int) -> None:
    """Raise if weights are not finite: a finite loss may have a gradient that is not."""
    for name, net in zip(("generator", "discriminator"), run.nets(), strict=False):
        if not all(bool(torch.isfinite(p).all()) for p in net.parameters()):
            raise NotFiniteError(
                f"the {name} has weights that are not finite after step {step}: a gradient was "
                "NaN or infinite; lower the learning rate, or keep logarithms and roots from zero"
            )


@torch.no_grad()
def _draw(run: Run, folder: RunFolder, nets: Networks, step: int) -> None:
    """Write a picture of the samples of fixed latents."""
    from ..plotting.style import save_figure
    from ..plotting.training import drawable, sample_figure

    if not drawable(run.rows.shape):
        return
    count = -(-_SHOWN // run.n_members) * run.n_members
    if len(run.rows.shape) == 1:
        count *= 16
    draws = source(run.seed, FIXED)
    z = run.prior(max(count, run.latent_dim * run.n_members), draws).to(run.device)
    count = len(z)
    labels = None
    if run.conditional and run.rows.labels is not None:
        chosen = torch.randint(run.rows.n_rows, (count,), generator=draws)
        labels = run.rows.labels[chosen].to(run.device)
    net = run.generator if nets.ema is None else nets.ema
    training = net.training
    net.eval()
    samples = net(z) if labels is None else net(z, labels)
    net.train(training)
    real = member = None
    if samples.ndim == 2:
        shown = torch.arange(min(run.rows.n_rows, 2000))
        real = run.rows.take(shown, torch.float64, torch.device("cpu"))
        member = np.arange(count) // (count // run.n_members)
    figure = sample_figure(samples.double().cpu().numpy(), real, member=member)
    (folder.path / "pictures").mkdir(exist_ok=True)
    save_figure(figure, folder.path / "pictures" / f"{step:010d}.png")


def _write_networks(folder: RunFolder, net: nn.Module) -> None:
    """Write the generator where other commands find it, and the members of an ensemble."""
    write_weights(net.state_dict(), folder.path / "generator.safetensors")
    if isinstance(net, Ensemble):
        for k, member in enumerate(net.members()):
            write_weights(member.state_dict(), folder.path / f"member-{k}.safetensors")


def _seed(random_state: int | None) -> int:
    """Return an integer that seeds the run and can be kept in JSON."""
    if random_state is None:
        return int(_random.seed_sequence(None).generate_state(1)[0])
    return _validate.integer(random_state, "random_state", minimum=0)


def _rates(lr: float, lr_discriminator: float | None, discriminator: Any) -> list[float]:
    lr = _validate.number(lr, "lr")
    if discriminator is None:
        return [lr]
    return [
        lr,
        lr if lr_discriminator is None else _validate.number(lr_discriminator, "lr_discriminator"),
    ]


def _optimizers(
    run: Run,
    rates: list[float],
    betas: tuple[float, float],
    given: Sequence[Callable[..., torch.optim.Optimizer]] | None,
) -> dict[str, torch.optim.Optimizer]:
    nets = dict(zip(("generator", "discriminator"), run.nets(), strict=False))
    if given is not None and len(given) != 2:
        raise ValueError(
            f"optimizers must be two callables, of the generator and the discriminator, got "
            f"{len(given)}"
        )
    found: dict[str, torch.optim.Optimizer] = {}
    for i, (name, net) in enumerate(nets.items()):
        parameters = [p for p in net.parameters() if p.requires_grad]
        if given is not None:
            found[name] = given[i](parameters)
        else:
            found[name] = torch.optim.Adam(parameters, lr=rates[i], betas=betas)
    return found


def _multiplier(schedule: Callable[[int], float] | float | None) -> Callable[[int], float] | None:
    if schedule is None or callable(schedule):
        return schedule
    end = _validate.number(schedule, "lr_schedule")
    return lambda images: max(0.0, 1.0 - images / end)


def _set_rates(
    optimizers: dict[str, torch.optim.Optimizer], rates: list[float], multiplier: float
) -> None:
    for optimizer, rate in zip(optimizers.values(), rates, strict=True):
        for group in optimizer.param_groups:
            group["lr"] = rate * multiplier


def _cuda(device: torch.device) -> list[torch.device]:
    return [device] if device.type == "cuda" else []
