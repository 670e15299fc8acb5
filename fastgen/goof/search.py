"""The nearest point of a generator's range to each data point."""

from __future__ import annotations

import contextlib
import contextvars
import dataclasses
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _arrays, _random, _validate
from .._evaluation import evaluation_mode
from .._progress import reporter
from .._warnings import warn
from . import domains
from . import starts as _starts
from .bounds import lower_bounds
from .domains import Free
from .effort import EFFORTS
from .generators import (
    Adapter,
    adapt,
    check_device,
    is_linear_model,
    linear_map,
    members_of,
    modules_of,
)
from .results import NearestResult, join, mean_history
from .solvers import METHODS, affine, lm, precision, race, restarts
from .solvers.objective import Objective
from .solvers.typical_metric import typical_metric
from .status import Status, labels
from .targets import Targets, check_rows, warn_of_range

if TYPE_CHECKING:
    from torch import Tensor

_CHUNK = 256  # targets searched together
_MATRIX_VALUES = 2**26  # values of the normal matrices of a chunk, at most
_POLISH_STEPS = 10
_advising = contextvars.ContextVar("advising", default=True)


@contextlib.contextmanager
def without_advice() -> Iterator[None]:
    """Let interrupted searches inside end without a warning: the caller raises, or advises."""
    token = _advising.set(False)
    try:
        yield
    finally:
        _advising.reset(token)


@dataclasses.dataclass(frozen=True)
class _Settings:
    """Checked options of a search."""

    prior: str | Callable
    domain: Free
    pool_size: int
    n_starts: int
    rounds: tuple[int, ...]
    method: str
    max_iter: int
    penalty: float
    polish: bool
    seed: int


def nearest(
    generator: Any,
    X: Any,
    *,
    latent_dim: int | tuple[int, ...] | None = None,
    prior: str | Callable = "normal",
    domain: Any = None,
    init: Any = None,
    effort: str = "standard",
    pool_size: int = 20_000,
    n_starts: int | None = None,
    method: str = "auto",
    max_iter: int = 50,
    penalty: float = 0.0,
    cond: Any = None,
    forward: Callable | None = None,
    polish: bool = False,
    resume: NearestResult | None = None,
    random_state: Any = None,
    device: Any = None,
    progress: bool | Callable[[int, int], None] | None = None,
) -> NearestResult:
    r"""Find the nearest point of a generator's range to each row of X: ``min_z ||G(z) - x||``.

    Searches start at the nearest of a pool of samples, race by L-BFGS in the metric that is typical
    of the generator, and those ahead end in a second-order solver. Two searches of four starts each
    then go on independently, by restarts around the best that each has found, until they come to
    the same point or the effort ends. Each (target, start) pair has its own damping, step length
    and stopping, and the best latent seen is kept. Linear generators are solved in closed form.

    Parameters
    ----------
    generator : nn.Module, callable (B, k) -> (B, ...), LinearGAN, or a list of them
        Networks are held in evaluation mode with frozen weights during the call and given back
        as they were. A list is a mixture: the least distance over its members.
    X : array or tensor (n, ...)
        Targets, in the units that the generator returns; of its shape, or flattened where one of
        the two is flat.
    latent_dim : int or tuple, optional
        Size k of a latent, or its shape, such as (k, 1, 1). Read off the first layer if that is
        Linear or ConvTranspose.
    prior : {"normal", "uniform"} or callable, default "normal"
        Distribution of the latents of the pool: N(0, I), U[-1, 1]^k, or a function
        ``prior(count, rng)`` that returns latents (count, k).
    domain : Ball, Box, Sphere, optional
        Where latents may lie; everywhere by default. It changes the answer: the nearest latents of
        real images often lie far outside the prior.
    init : array (n, k) or (n, s, k), or encoder, optional
        Starts tried before those of the pool. An encoder is called with X.
    effort : {"quick", "standard", "thorough"}, default "standard"
        How long a target whose two searches do not agree is searched: 2, 8 or 32 rounds of restarts
        around the best latents, from 8, 8 or 16 starts. A greater effort never raises a distance.
    pool_size : int, default 20000
        Samples drawn for starts, once for all targets; for a conditional generator shared equally
        by the distinct conditions.
    n_starts : int, optional
        Starts from the pool per target, by default those of ``effort``; 0 only with ``init``. More
        never raise a distance. Restarts need 8 starts, those of ``init`` counted; the first 32 have
        them.
    method : {"auto", "lm", "gncg", "lbfgs", "adam"}, default "auto"
        "auto" is the closed form if the generator is linear, else "lm" (Levenberg-Marquardt) up to
        256 latent coordinates and "gncg" (Gauss-Newton by conjugate gradients) beyond. "lbfgs" ends
        after the race: it is faster, but comes only near a target that is in the range, where the
        others reach it to rounding. "adam" is the baseline that most scripts run.
    max_iter : int, default 50
        Most steps that the solver takes from a start. The race before it takes at most three
        gradients for each of these steps. A step of "lbfgs" or "adam" is one gradient: give more.
    penalty : float, default 0
        Adds ``penalty * ||z||^2`` to the squared distance during the search. Starts are ranked and
        distances reported without it.
    cond : array (n, ...), optional
        Labels or embeddings, row by row with X, for a generator called as ``generator(z, cond)``;
        integers are passed as int64, other numbers in the precision of the generator.
    forward : callable, optional
        Called in place of ``generator``, such as ``lambda w: net.synthesis(w)``, or
        ``lambda z: net(z)["image"]`` where the generator does not return a tensor alone.
    polish : bool, default False
        End with steps in float64 on a copy of the network.
    resume : NearestResult, optional
        An earlier result for the same X: only what it marks as interrupted is searched.
    random_state : int, Generator or None
        Seed of the pool of starting samples.
    device : str or device, optional
        Where the search runs; where the generator is, by default.
    progress : bool or callable, optional
        A bar on standard error if it is a terminal and the search takes a while; True always, False
        never. A callable is given the number of finished targets and of all.

    Returns
    -------
    NearestResult
        On Ctrl-C with what is finished, the rest marked "interrupted", and a warning.

    Raises
    ------
    TypeError, ValueError
        For an argument out of its range, X that is not finite or of another shape, a latent size
        that cannot be read off, or a generator whose output depends on batch mates or on chance, or
        no gradient of which reaches the latents.
    ImportError
        If torch is not installed; linear models do without it.

    Notes
    -----
    The distance is that of GOoF (Luzi 2020) and of latent recovery (Webster et al., CVPR 2019);
    which norm and normalization the former used is a reading of ours. The problem is not convex:
    ``squared_distance`` is an upper bound, see `planted` for how loose, and ``lower_bound``.
    A target is searched on its own: batch mates and order change it by rounding only, which in
    float32 can decide between two local minima that are almost equally good. That two searches
    agree is evidence, not proof: see `displaced` for what the search may miss. The pool, the first
    gradients and the first normal matrices of float32 networks are computed with factors rounded to
    bfloat16 where the processor has it; torch's process-wide setting for that is changed meanwhile
    and restored. That setting and torch's levels of forward-mode derivatives belong to the process:
    searches called from several threads run one after the other, each on torch's own threads.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.goof import Ball, nearest
    >>> from fastgen.linear import LinearGAN
    >>> X = np.random.default_rng(0).standard_normal((50, 6))
    >>> gan = LinearGAN(2, "unsupervised").fit(X)
    >>> found = nearest(gan, X)
    >>> bool(np.allclose(found.reconstruction, gan.inverse_transform(gan.transform(X))))
    True
    >>> bool((nearest(gan, X, domain=Ball(0.5)).squared_distance >= found.squared_distance).all())
    True
    """
    settings = _settings(
        prior, domain, init, effort, pool_size, n_starts, method, max_iter, penalty, polish,
        random_state,
    )  # fmt: skip
    members = members_of(generator)
    if len(members) > 1 and (init is not None or forward is not None):
        raise ValueError("init and forward are for a single generator; put functions in the list")
    targets = Targets(X, cond, init)
    todo = np.arange(len(targets))
    if resume is not None:
        todo = _unfinished(resume, len(targets))
        if not len(todo):
            return resume
        targets = targets.take(todo)
    options = {"latent_dim": latent_dim, "forward": forward, "device": device}
    found: list[NearestResult] = []
    with reporter(progress, unit="target", total=len(members) * len(targets)) as report:
        for member in members:
            found.append(_member(member, targets, settings, options, report))
            if found[-1].interrupted.any():
                break
    whole = found[0] if len(members) == 1 else _mixture(found, len(members))
    return whole if resume is None else join(resume, whole, todo)


def _unfinished(resume: NearestResult, n: int) -> np.ndarray:
    """Return the rows that an earlier result lacks."""
    if not isinstance(resume, NearestResult) or len(resume) != n:
        raise ValueError("resume must be the NearestResult of an earlier search of the same X")
    return np.flatnonzero(resume.interrupted)


def _settings(
    prior: Any, domain: Any, init: Any, effort: Any, pool_size: Any, n_starts: Any, method: Any,
    max_iter: Any, penalty: Any, polish: Any, random_state: Any,
) -> _Settings:  # fmt: skip
    """Check the options that do not depend on the generator."""
    if not callable(prior):
        _validate.one_of(prior, "prior", ("normal", "uniform"))
    asked = EFFORTS[_validate.one_of(effort, "effort", tuple(EFFORTS))]
    n_starts = asked.n_starts if n_starts is None else n_starts
    n_starts = _validate.integer(n_starts, "n_starts", minimum=0)
    pool_size = _validate.integer(pool_size, "pool_size", minimum=0)
    if n_starts == 0 and init is None:
        raise ValueError("n_starts must be at least 1 where init is not given, got 0")
    if n_starts > pool_size:
        raise ValueError(
            f"pool_size must be at least n_starts={n_starts}, got {pool_size}; give a larger pool, "
            "or init= with n_starts=0"
        )
    return _Settings(
        prior=prior,
        domain=domains.check(domain),
        pool_size=pool_size,
        n_starts=n_starts,
        rounds=asked.rounds,
        method=_validate.one_of(method, "method", METHODS),
        max_iter=_validate.integer(max_iter, "max_iter"),
        penalty=_validate.number(penalty, "penalty"),
        polish=bool(polish),
        # one seed, so that every member of a mixture is searched as it would be alone
        seed=int(_random.generator(random_state).integers(2**63)),
    )


def _member(
    member: Any,
    targets: Targets,
    settings: _Settings,
    options: dict[str, Any],
    report: Callable[[int], None],
) -> NearestResult:
    """Search the range of one generator: in closed form where it is linear."""
    closed = settings.method == "auto" and not settings.penalty
    plain = options["forward"] is None and targets.cond is None
    if closed and plain and is_linear_model(member):
        check_device(options["device"])
        weight, bias = linear_map(member, options["latent_dim"])
        return _closed_form(weight, bias, targets, settings, report)
    _arrays.require_torch("nearest of a generator that is no linear model")
    with precision.alone(), evaluation_mode(modules_of(member, options["forward"])):
        generator = adapt(member, cond=targets.cond, double=targets.double, **options)
        warn_of_range(member, targets)
        if closed and generator.affine is not None:
            return _closed_form(*generator.affine, targets, settings, report)
        return _descended(generator, targets, settings, report)


def _descended(
    generator: Adapter, targets: Targets, settings: _Settings, report: Callable[[int], None]
) -> NearestResult:
    """Search the range of one generator from many starts."""
    rows = targets.on(generator)
    starts, dropped = _first_latents(generator, targets, rows, settings)
    z, status, n_iter, work, history = _search(generator, rows, starts, settings, report)
    done = status != Status.INTERRUPTED
    lower = np.zeros(len(targets))
    if done.any() and generator.layers is not None:
        lower[done] = lower_bounds(generator.layers, targets.exact[done])
    if settings.polish:
        z, outputs = _polished(generator, targets, z, done, settings)
    else:
        outputs = _outputs(generator, z, done)
    return _result(
        targets, z.cpu().numpy(), outputs, status,
        n_iter=n_iter, n_forward=work, lower_bound=lower, history=history, n_dropped=dropped,
    )  # fmt: skip


def _first_latents(
    generator: Adapter, targets: Targets, rows: Tensor, settings: _Settings
) -> tuple[Tensor, int]:
    """Return starts (n, s, k), the user's first, and how many of the pool were not finite."""
    import torch

    starts, dropped = [], 0
    if targets.init is not None:
        starts.append(_starts.from_user(targets, generator))
    if settings.n_starts:
        pool, dropped = _starts.from_pool(
            generator,
            rows,
            prior=settings.prior,
            domain=settings.domain,
            pool_size=settings.pool_size,
            n_starts=settings.n_starts,
            rng=np.random.default_rng(settings.seed),
        )
        starts.append(pool)
    return torch.cat(starts, 1), dropped


def _search(
    generator: Adapter,
    targets: Tensor,
    starts: Tensor,
    settings: _Settings,
    report: Callable[[int], None],
) -> tuple[Tensor, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Search chunk by chunk; a keyboard interrupt ends it with what is finished."""
    n, _, k = starts.shape
    size = max(1, min(_CHUNK, _MATRIX_VALUES // (k * k * 16)))
    z = starts[:, 0].clone()
    status = np.full(n, int(Status.INTERRUPTED), dtype=np.int8)
    n_iter, work = np.zeros(n, dtype=np.int64), np.zeros(n)
    histories: list[tuple[int, np.ndarray]] = []
    metric = None
    if settings.method != "adam":
        # a stream of its own: the pool is the same with and without
        stream = np.random.default_rng([settings.seed, 1])
        metric = typical_metric(
            generator, settings.prior, settings.domain, settings.penalty, stream
        )
    again = None
    if not generator.flat:
        again = restarts.draw(
            generator, settings.prior, settings.seed, starts.shape[1], settings.rounds
        )
    with _until_interrupted(histories, n):
        for start in range(0, n, size):
            rows = slice(start, min(start + size, n))
            part = generator.select(rows)
            objective = Objective(part, targets[rows], settings.domain, settings.penalty, metric)
            history: list[tuple[float, float]] = []
            plan = race.plan(settings.method, settings.max_iter, objective, again)
            best = race.search(objective, starts[rows], plan, history)
            z[rows], n_iter[rows] = best.z, best.n_iter.cpu().numpy()
            work[rows] = objective.work.cpu().numpy()
            # last: what has a status is finished
            status[rows] = best.status.cpu().numpy()
            count = rows.stop - rows.start
            histories.append((count, np.reshape(history, (-1, 2)) / count))
            report(count)
    if generator.flat:
        _mark_flat(status)
    return z, status, n_iter, work, mean_history(histories)


@contextlib.contextmanager
def _until_interrupted(finished: list[tuple[int, np.ndarray]], n: int) -> Iterator[None]:
    """End the work inside on Ctrl-C, with a warning that says how much of it is finished."""
    try:
        yield
    except KeyboardInterrupt:
        if _advising.get():
            warn(
                f"interrupted after {sum(count for count, _ in finished)} of {n} targets; pass the "
                "result as resume= to go on",
                RuntimeWarning,
            )


def _mark_flat(status: np.ndarray) -> None:
    """Mark, and warn, that without a slope nothing was searched but the starts."""
    ended = (status == Status.LOCAL) | (status == Status.MAX_ITER)
    status[ended] = int(Status.FLAT)
    if ended.any():
        warn(
            "the generator's output changes with its latent, but its gradient is 0 everywhere, as "
            f"behind rounding or a threshold: {ended.sum()} of {len(status)} targets are marked "
            f"{Status.FLAT.label!r}, whose distances are those of the best of their starts only; "
            "leave rounding out of the generator"
        )


def _polished(
    generator: Adapter, targets: Targets, z: Tensor, done: np.ndarray, settings: _Settings
) -> tuple[Tensor, np.ndarray]:
    """Return latents and outputs after float64 steps from the latents found."""
    import torch

    double = generator.double()
    if double is None:
        raise ValueError("polish needs an nn.Module; pass a float64 callable and float64 X instead")
    z = z.double()
    rows = torch.from_numpy(np.flatnonzero(done)).to(z.device)
    if len(rows):
        objective = Objective(double, targets.on(double), settings.domain, settings.penalty)
        for piece in rows.split(_CHUNK):
            found = lm.solve(objective, z[piece], piece, max_iter=_POLISH_STEPS, tol=1e-12)
            z[piece] = found.z
    return z, _outputs(double, z, done)


def _outputs(generator: Adapter, z: Tensor, done: np.ndarray) -> np.ndarray:
    """Return outputs (n, d), NaN where nothing was searched."""
    import torch

    found = np.full((len(z), generator.output_dim), np.nan, dtype=z.cpu().numpy().dtype)
    rows = torch.from_numpy(np.flatnonzero(done)).to(z.device)
    for piece in rows.split(_CHUNK) if len(rows) else ():
        found[piece.cpu().numpy()] = generator(z[piece], piece).cpu().numpy()
    return found


def _closed_form(
    weight: np.ndarray,
    bias: np.ndarray,
    targets: Targets,
    settings: _Settings,
    report: Callable[[int], None],
) -> NearestResult:
    """Solve a linear generator exactly, in float64."""
    check_rows(targets.shape[1:], (len(bias),))
    z = affine.solve(weight, bias, targets.exact, settings.domain)
    n = len(z)
    report(n)
    found = _result(
        targets, z, z @ weight.T + bias, np.full(n, int(Status.EXACT), dtype=np.int8),
        n_iter=np.ones(n, dtype=np.int64), n_forward=np.ones(n), lower_bound=np.full(n, np.inf),
        history=np.empty((0, 2)), n_dropped=0,
    )  # fmt: skip
    history = np.array([[1.0, found.squared_distance.mean()]])
    return dataclasses.replace(found, history=history)


def _result(
    targets: Targets, z: np.ndarray, outputs: np.ndarray, status: np.ndarray, **rest: Any
) -> NearestResult:
    """Assemble the result; distances are those of the reconstructions returned, in float64."""
    z = z.copy()
    z[status == Status.INTERRUPTED] = np.nan
    squared = targets.squared_distances(outputs)
    rest["lower_bound"] = np.minimum(rest["lower_bound"], squared)
    return NearestResult(
        z=z,
        reconstruction=outputs.reshape(targets.shape),
        squared_distance=squared,
        status=labels(status),
        component=np.zeros(len(z), dtype=np.int64),
        **rest,
    )


def _mixture(found: list[NearestResult], n_members: int) -> NearestResult:
    """Return the nearest over the members; work adds up, the lower bound is the least one.

    A target that some member was not searched for stays interrupted, with the best so far.
    """
    distances = np.stack([member.squared_distance for member in found])
    component = distances.argmin(axis=0)
    rows = np.arange(distances.shape[1])
    widest = max(member.z.shape[1] for member in found)

    def pick(name: str) -> np.ndarray:
        return np.stack([getattr(member, name) for member in found])[component, rows]

    padded = [
        np.pad(m.z, ((0, 0), (0, widest - m.z.shape[1])), constant_values=np.nan) for m in found
    ]
    effort = np.sum([member.n_forward for member in found], axis=0)
    unfinished = np.any([member.interrupted for member in found], axis=0)
    unfinished |= len(found) < n_members
    known = np.min([member.lower_bound for member in found], axis=0)
    return NearestResult(
        z=np.stack(padded)[component, rows],
        reconstruction=pick("reconstruction"),
        squared_distance=pick("squared_distance"),
        status=np.where(unfinished, Status.INTERRUPTED.label, pick("status")),
        n_iter=pick("n_iter"),
        n_forward=effort,
        component=component,
        lower_bound=np.where(unfinished, 0.0, known),
        history=np.array([[effort.mean(), pick("squared_distance").mean()]]),
        n_dropped=sum(member.n_dropped for member in found),
    )
