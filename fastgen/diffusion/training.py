"""Training of denoisers, on the parts of the loop of `fastgen.gan.fit`."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import os
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from .. import _arrays, _random, _validate
from .._evaluation import evaluation_mode
from .._progress import reporter
from .._results import Result, plain
from ..gan import sharing
from ..gan.averaging import Average
from ..gan.checkpoints import RunFolder
from ..gan.draws import Order, share, source
from ..gan.rows import Rows
from ..gan.steps import NotFiniteError
from ..networks.weights import write_weights
from .denoiser import Denoiser, output_of
from .objectives import LogVariance, Objective
from .objectives import objective as named
from .pairing import Pairing

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["FitResult", "fit"]

# Purposes of what a run draws, beside the order of the rows.
_SPLIT, _LEVELS, _NOISE, _GLOBAL, _HELD = range(20, 25)
# Rows of the held-out set that are measured, and how many at once.
_MEASURED, _AT_ONCE = 1000, 256
_SLACK = 1e-3


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class FitResult(Result):
    """What `fit` made.

    Attributes
    ----------
    network : nn.Module
        The network that was handed over, trained in place.
    ema : nn.Module or None
        The network with averaged weights, in evaluation mode.
    denoiser : Denoiser
        The averaged network where there is one, else the network: the model for `local_sample`.
    levels : float64 array (m,)
        Noise levels at which the held-out error is measured.
    history : list of dict
        One row for every ``log_every`` steps: step, images, and ``held_out``, the mean squared
        errors (m,) of denoising held-out samples with independent noise, per entry.
    steps, images : int
        Steps and samples of the whole run, earlier calls included.
    """

    network: nn.Module
    ema: nn.Module | None
    denoiser: Denoiser
    levels: np.ndarray
    history: list[dict[str, Any]]
    steps: int
    images: int

    @property
    def held_out(self) -> np.ndarray:
        """Held-out errors (rows of the history, m)."""
        return np.array([row["held_out"] for row in self.history]).reshape(-1, len(self.levels))

    @property
    def noise_error(self) -> np.ndarray:
        """Held-out errors of predicting the noise, a mean over the levels, row by row."""
        return (self.held_out / self.levels**2).mean(1)

    def to_dict(self) -> dict[str, Any]:
        """Return steps, images and the last held-out errors."""
        last = self.held_out[-1] if self.history else []
        told = {"step": self.steps, "images": self.images, "levels": self.levels}
        return plain({**told, "held_out": last})

    def plot(self) -> Figure:
        """Return a figure of the held-out errors over the steps."""
        from ..plotting.diffusion import training_figure

        return training_figure([row["step"] for row in self.history], self.held_out, self.levels)


def fit(
    network: nn.Module,
    data: Any,
    *,
    steps: int,
    labels: Any = None,
    objective: str | Objective = "ddpm",
    log_variance: bool = False,
    pairing: Pairing | None = None,
    held_out: Any = 0.1,
    held_out_labels: Any = None,
    span: tuple[float, float] | None = (-1.0, 1.0),
    batch_size: int = 128,
    lr: float = 1e-3,
    betas: tuple[float, float] = (0.9, 0.999),
    ema: float | None = 50_000,
    ema_warmup: float = 0.05,
    out: str | os.PathLike | None = None,
    resume: bool = False,
    checkpoint_every: int = 1000,
    log_every: int = 500,
    callback: Callable[[dict[str, Any], nn.Module], None] | None = None,
    random_state: int | None = 0,
    progress: bool | Callable[[int, int], None] | None = None,
) -> FitResult:
    """Train a denoiser.

    How far a run has come is told by one measure alone: the error of denoising samples that it was
    not trained on, with independent noise, level by level. The loss of the training is not
    logged: pairing noise with images and weighing levels change it without making the network any
    better.

    Parameters
    ----------
    network : nn.Module
        Maps noisy samples (B, ...) and times (B,), and ``class_labels=`` (B,) if there are labels,
        to predictions (B, ...), or an object that holds them in ``sample``: the networks of
        `fastgen.networks`, ``UNet2DModel`` of diffusers. Trained in place, where it is.
    data : array or tensor (n, ...)
        Samples. Values of type uint8 are scaled to [-1, 1]; a memory-mapped array is read row by
        row.
    steps : int
        Steps of the whole run; a resumed one goes on until then.
    labels : array of int (n,), optional
        For conditional networks.
    objective : {"ddpm", "edm", "flow"} or Objective, default "ddpm"
        Noise levels, weights and targets, with options in `fastgen.diffusion.DDPM`, ``EDM`` and
        ``Flow``.
    log_variance : bool, default False
        Weigh every level by a learned estimate of its loss (Karras et al., arXiv 2312.02696,
        section 2.2 of the appendix), so that all count alike.
    pairing : Pairing, optional
        What noise goes with which sample, see `fastgen.diffusion.pairing`; independent if not
        given.
    held_out : float or array (m, ...), default 0.1
        Samples to measure with, 1000 at most, or the share of the data that is kept from training
        for it.
    held_out_labels : array of int (m,), optional
        Labels of an array ``held_out``.
    span : (float, float) or None, default (-1.0, 1.0)
        Range of the samples; None for any.
    batch_size : int, default 128
        Samples of a step, over all processes; a multiple of their number.
    lr : float, default 1e-3
        Learning rate of Adam.
    betas : tuple of float, default (0.9, 0.999)
    ema : float or None, default 50_000
        Half-life, in samples, of an exponential moving average of the weights.
    ema_warmup : float, default 0.05
        The half-life is at most this share of the samples so far.
    out : path, optional
        Folder for checkpoints, log and ``denoiser.safetensors`` (averaged weights where there are
        any). A step's files are written whole or not at all.
    resume : bool, default False
        Go on with the run in ``out``, from its last checkpoint, if there is one. The result is bit
        for bit that of an uninterrupted run on a CPU: nothing random is stored, every step derives
        what it draws from seed and step.
    checkpoint_every : int, default 1000
        Steps between checkpoints; one is also written at the end.
    log_every : int, default 500
        Steps between measurements; one is also made at the end.
    callback : callable, optional
        Called with a row of the log and the network that was measured.
    random_state : int or None, default 0
    progress : bool or callable, optional
        As for `fastgen.gan.fit`.

    Returns
    -------
    FitResult

    Raises
    ------
    ValueError, TypeError
        For an argument out of its range, samples of another shape than the network's, missing
        labels, or a folder that holds something else: nothing has been written then. For a sample
        outside the span, when it is drawn.
    NotFiniteError
        If a loss or weight is NaN or infinite. The last checkpoint is kept.

    Notes
    -----
    In a process group of torch (``torchrun``) every process calls this with the same arguments, as
    for `fastgen.gan.fit`.

    Examples
    --------
    >>> import torch
    >>> from fastgen.diffusion import fit
    >>> from fastgen.networks import MLPDenoiser
    >>> _ = torch.manual_seed(0)
    >>> data = torch.randn(500, 2)
    >>> network = MLPDenoiser(2, width=16)
    >>> found = fit(network, data, steps=40, lr=1e-2, batch_size=64, span=None, progress=False)
    >>> bool(found.noise_error[-1] < 0.9)
    True
    """
    run = _Run(
        network, Rows(data, labels, None), _held_out(held_out, held_out_labels), named(objective),
        LogVariance() if log_variance else None, pairing, span,
        _validate.integer(batch_size, "batch_size"), _seed(random_state),
    )  # fmt: skip
    steps = _validate.integer(steps, "steps", minimum=0)
    every = _Every(
        _validate.integer(checkpoint_every, "checkpoint_every"),
        _validate.integer(log_every, "log_every"),
    )
    lr = _validate.number(lr, "lr")
    optimizer = torch.optim.Adam(run.parameters(), lr=lr, betas=betas)
    average = None if ema is None else Average(network, ema, ema_warmup)
    folder = None
    if out is not None:
        options = {"lr": lr, "betas": list(betas), "ema": ema, "ema_warmup": ema_warmup}
        folder = RunFolder(out, {**run.identity(), **options}, resume=resume)
    elif resume:
        raise ValueError("resume needs out, the folder of the run to go on with")
    return _loop(run, optimizer, average, folder, steps, every, callback, progress)


class _Every(NamedTuple):
    """How often, in steps."""

    checkpoint: int
    log: int


class _Run:
    """What a run is made of, checked once, and its steps."""

    def __init__(
        self, network: nn.Module, rows: Rows, held: float | tuple[Any, Any], objective: Objective,
        log_variance: LogVariance | None, pairing: Pairing | None, span: Any, batch_size: int,
        seed: int,
    ) -> None:  # fmt: skip
        self.network, self.rows, self.objective = network, rows, objective
        self.pairing = None if pairing is None else copy.copy(pairing)
        self.span, self.batch_size, self.seed = span, batch_size, seed
        self.place = sharing.place()
        first = next(network.parameters())
        self.dtype, self.device = first.dtype, first.device
        self.log_variance = None if log_variance is None else log_variance.to(self.device)
        self._check()
        if isinstance(held, float):
            order = torch.randperm(rows.n_rows, generator=source(seed, _SPLIT))
            count = max(1, round(held * rows.n_rows))
            if count == rows.n_rows:
                raise ValueError(
                    f"held_out {held:g} leaves none of {rows.n_rows} rows to train on; pass a "
                    "smaller share, or an array"
                )
            self.measured, kept = rows, order[:count]
            self.trained = order[count:].sort().values
        else:
            self.measured = Rows(held[0], held[1], None)
            kept, self.trained = torch.arange(self.measured.n_rows), torch.arange(rows.n_rows)
            if self.measured.shape != rows.shape:
                raise ValueError(
                    f"held_out must have samples of shape {rows.shape}, as data, got "
                    f"{self.measured.shape}"
                )
            if (self.measured.labels is None) != (rows.labels is None):
                raise ValueError("held_out_labels and labels must be given together")
        self.kept = kept[:_MEASURED]
        self.order = Order(len(self.trained), seed)

    def _check(self) -> None:
        shape = getattr(self.network, "image_shape", None)
        if shape is not None and tuple(shape) != self.rows.shape:
            raise ValueError(
                f"data must have samples of shape {tuple(shape)}, as the network, got "
                f"{self.rows.shape}; resize the data, or build the network with "
                f"image_shape={self.rows.shape}"
            )
        conditional, labels = getattr(self.network, "n_classes", None), self.rows.labels
        if conditional is not None and labels is None:
            raise ValueError(
                f"labels must be given, one of {conditional} classes for each row, for a network "
                "with n_classes"
            )
        if conditional is not None and labels is not None and int(labels.max()) >= conditional:
            raise ValueError(
                f"labels must be below {conditional}, the number of classes, got "
                f"{int(labels.max())}"
            )
        if self.batch_size % self.place.size:
            raise ValueError(
                f"batch_size must be a multiple of {self.place.size}, the processes, got "
                f"{self.batch_size}"
            )

    def parameters(self) -> list[nn.Parameter]:
        """Return what is trained."""
        nets = [net for net in (self.network, self.log_variance) if net is not None]
        return [p for net in nets for p in net.parameters() if p.requires_grad]

    def identity(self) -> dict[str, Any]:
        """Return what makes this run what it is."""
        rule = self.pairing
        paired = None
        if rule is not None:
            seed = _random.to_text(rule.seed.entropy), list(rule.seed.spawn_key)
            paired = [rule.kind, rule.share, rule.candidates, *seed]
        return {
            "data": self.rows.fingerprint(),
            "held_out": [self.measured.fingerprint(), len(self.kept), len(self.trained)],
            "network": {key: list(t.shape) for key, t in self.network.state_dict().items()},
            "objective": repr(self.objective),
            "log_variance": self.log_variance is not None,
            "pairing": paired,
            "batch_size": self.batch_size,
            "random_state": self.seed,
        }

    def loss(self, step: int) -> Tensor:
        """Return the mean loss of the part of this process of a batch."""
        size = self.batch_size
        rows = self.trained[self.order.rows(step * size, size)]
        sigma = self.objective.draw(size, source(self.seed, _LEVELS, step))
        sigma, mine = (share(part, self.place, 1) for part in (sigma, rows))
        noise = self._noise(step, rows)
        x = self._taken(self.rows, mine)
        noisy, time, target = self.objective.example(x, noise, sigma)
        told = output_of(self.network(noisy, time, **self._labels(self.rows, mine)))
        if told.shape != target.shape:
            raise ValueError(
                f"the network returned shape {tuple(told.shape)} for samples of shape "
                f"{tuple(target.shape)}; it must return as many channels as it takes"
            )
        loss = (told - target).square().flatten(1).mean(1)
        if self.log_variance is None:
            return loss.mean()
        spread = self.log_variance(sigma).to(loss)
        return (loss * torch.exp(-spread) + spread).mean()

    def _noise(self, step: int, rows: Tensor) -> Tensor:
        """Return the noise of the part of this process; the rows are those of all."""
        if self.pairing is None:
            drawn = torch.randn(
                len(rows), *self.rows.shape, dtype=self.dtype,
                generator=source(self.seed, _NOISE, step),
            )  # fmt: skip
        else:
            self.pairing.step = step
            known = self.rows.labels
            condition = None if known is None else known[rows].numpy()
            x = self.rows.take(rows, torch.float32, torch.device("cpu"))
            drawn = torch.from_numpy(self.pairing(x, rows.numpy(), condition=condition))
        return share(drawn, self.place, 1).to(self.device, self.dtype)

    def _taken(self, source: Rows, rows: Tensor) -> Tensor:
        x = source.take(rows, self.dtype, self.device)
        if self.span is not None:
            low, high = self.span
            least, most = float(x.min()), float(x.max())
            slack = _SLACK * (high - low)
            if not (low - slack <= least and most <= high + slack):
                raise ValueError(
                    f"data must lie in [{low:g}, {high:g}], got values from {least:.4g} to "
                    f"{most:.4g}; scale the data, or pass their span, None for any"
                )
        return x

    def _labels(self, source: Rows, rows: Tensor) -> dict[str, Tensor]:
        if source.labels is None:
            return {}
        return {"class_labels": source.labels[rows].to(self.device)}

    def error(self, network: nn.Module, levels: np.ndarray) -> list[float]:
        """Return held-out errors of denoising with independent noise, level by level."""
        denoiser = self.objective.denoiser(network, span=None)
        total = np.zeros(len(levels))
        draws = source(self.seed, _HELD)
        with evaluation_mode([network]), torch.no_grad():
            for rows in self.kept.split(_AT_ONCE):
                x = self._taken(self.measured, rows)
                kwargs = self._labels(self.measured, rows)
                for i, level in enumerate(levels):
                    noise = torch.randn(x.shape, dtype=self.dtype, generator=draws).to(x)
                    gap = denoiser(x + float(level) * noise, float(level), **kwargs) - x
                    total[i] += float(gap.double().square().flatten(1).mean(1).sum())
        return (total / len(self.kept)).tolist()


def _loop(
    run: _Run,
    optimizer: torch.optim.Optimizer,
    average: Average | None,
    folder: RunFolder | None,
    steps: int,
    every: _Every,
    callback: Callable[[dict[str, Any], nn.Module], None] | None,
    progress: Any,
) -> FitResult:
    """Take the steps, from the last checkpoint where there is one."""
    best = run.network if average is None else average.module
    modules: dict[str, nn.Module] = {"network": run.network}
    if run.log_variance is not None:
        modules["log_variance"] = run.log_variance
    if average is not None:
        modules["ema"] = average.module
    levels = run.objective.levels()
    run.error(best, levels[:1])  # what does not fit is found before anything is written
    saved = None if folder is None else folder.last()
    start, history = 0, []
    if folder is not None and saved is not None:
        start = folder.load(saved, modules, {"network": optimizer}, {})["step"]
        history = folder.cut_log(start)
    sharing.from_first(modules.values())
    writes = folder if run.place.rank == 0 else None
    if writes is not None:
        writes.begin()
    run.network.train()
    with (
        _random_kept(run.device),
        reporter(
            False if run.place.rank else progress, unit="step", total=steps, done=min(start, steps)
        ) as report,
    ):
        for step in range(start, steps):
            _step(run, optimizer, step)
            done, images = step + 1, (step + 1) * run.batch_size
            if average is not None:
                average.update(images, run.batch_size)
            report()
            if done % every.log == 0 or done == steps:
                row = {"step": done, "images": images, "held_out": run.error(best, levels)}
                history.append(row)
                if writes is not None:
                    writes.log(row)
                if callback is not None:
                    callback(row, best)
            if writes is not None and (done % every.checkpoint == 0 or done == steps):
                _check_weights(run, done)
                writes.save(done, modules, {"network": optimizer}, {}, {"images": images})
                write_weights(best.state_dict(), writes.path / "denoiser.safetensors")
    independent = run.pairing is None or run.pairing.independent
    last = max(start, steps)
    return FitResult(
        run.network, None if average is None else average.module,
        run.objective.denoiser(best, span=run.span, independent=independent),
        levels, history, last, last * run.batch_size,
    )  # fmt: skip


def _step(run: _Run, optimizer: torch.optim.Optimizer, step: int) -> None:
    # for layers that draw, such as dropout; torch.manual_seed would visit every kind of device
    seed = source(run.seed, _GLOBAL, step).initial_seed() + run.place.rank
    torch.default_generator.manual_seed(seed)
    if run.device.type == "cuda":
        torch.cuda.manual_seed(seed)
    loss = run.loss(step)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    value = float(sharing.average_gradients(run.parameters(), loss))
    if not np.isfinite(value):
        raise NotFiniteError(
            f"the loss is {value} at step {step} ({step * run.batch_size} images); lower lr, or "
            "check the data"
        )
    optimizer.step()


def _check_weights(run: _Run, step: int) -> None:
    """Raise if weights are not finite: a finite loss may have a gradient that is not."""
    if not all(bool(torch.isfinite(p).all()) for p in run.parameters()):
        raise NotFiniteError(
            f"the network has weights that are not finite after step {step}: a gradient was NaN or "
            "infinite; lower lr"
        )


@contextlib.contextmanager
def _random_kept(device: torch.device) -> Iterator[None]:
    """Give the random numbers of torch back as they were."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        yield


def _held_out(value: Any, labels: Any) -> float | tuple[Any, Any]:
    """Return a share in (0, 1), or samples and their labels."""
    if not _arrays.is_array(value) and not isinstance(value, list):
        found = _validate.number(value, "held_out")
        if not 0 < found < 1:
            raise ValueError(f"held_out must be an array, or a share in (0, 1), got {value}")
        if labels is not None:
            raise ValueError("held_out_labels belong to an array held_out; leave them out")
        return found
    return value, labels


def _seed(random_state: int | None) -> int:
    """Return an integer that seeds the run and can be kept in JSON."""
    if random_state is None:
        return int(_random.seed_sequence(None).generate_state(1)[0])
    return _validate.integer(random_state, "random_state", minimum=0)
