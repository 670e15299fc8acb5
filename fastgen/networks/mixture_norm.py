"""Mixture normalization: batch normalization by the statistics of soft clusters of activations."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import fx, nn
from torch.autograd import forward_ad
from torch.nn.modules.batchnorm import _BatchNorm, _LazyNormBase

from .. import _validate
from . import _mixture_fit, _mixture_plain
from ._mixture_fit import Components, Fit
from ._mixture_transform import normalize


class _MixtureNorm(_BatchNorm):
    """What the two layers share; see `MixtureNorm1d`.

    A BatchNorm by name, so that ``torch.optim.swa_utils.update_bn`` and wrappers for several
    devices find it.
    """

    _dimensions: tuple[int, ...] = ()
    running_means: torch.Tensor | None
    running_vars: torch.Tensor | None
    running_weights: torch.Tensor | None

    def __init__(
        self,
        num_features: int,
        n_components: int = 3,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: Any = None,
        dtype: torch.dtype | None = None,
        *,
        em_steps: int = 2,
        start_steps: int = 20,
        fit_size: int | None = 8192,
        bias: bool = True,
    ) -> None:
        nn.Module.__init__(self)  # BatchNorm's statistics are of one component
        self.num_features = _validate.integer(num_features, "num_features")
        self.n_components = _validate.integer(n_components, "n_components")
        self.eps = _validate.number(eps, "eps")
        self.momentum = None if momentum is None else _validate.number(momentum, "momentum")
        self.affine = affine
        self.track_running_stats = track_running_stats
        self.em_steps = _validate.integer(em_steps, "em_steps")
        self.start_steps = _validate.integer(start_steps, "start_steps", minimum=0)
        if fit_size is not None:
            fit_size = _validate.integer(fit_size, "fit_size", minimum=2 * self.n_components)
        self.fit_size = fit_size
        like: dict[str, Any] = {"device": device, "dtype": dtype}
        channels = (self.num_features,)
        for name, wanted in (("weight", affine), ("bias", affine and bias)):
            parameter = nn.Parameter(torch.empty(channels, **like)) if wanted else None
            self.register_parameter(name, parameter)
        table = (self.n_components, self.num_features)
        shapes = {
            "running_means": table,
            "running_vars": table,
            "running_weights": table[:1],
        }
        for name, shape in shapes.items():
            value = torch.empty(shape, **like) if track_running_stats else None
            self.register_buffer(name, value)
        count = torch.tensor(0, dtype=torch.long, device=device) if track_running_stats else None
        self.register_buffer("num_batches_tracked", count)
        self.reset_parameters()

    def reset_running_stats(self) -> None:
        """Forget the components: means 0, variances 1, equal weights."""
        running = self._buffers_of_components()
        if running is not None:
            for buffer, value in zip(running, (1 / self.n_components, 0, 1), strict=True):
                buffer.fill_(value)
            assert self.num_batches_tracked is not None
            self.num_batches_tracked.zero_()

    def reset_parameters(self) -> None:
        """Reset the components, the weight to 1 and the bias to 0."""
        self.reset_running_stats()
        if self.weight is not None:
            nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def extra_repr(self) -> str:
        """Arguments, as they appear in ``print(module)``."""
        return (
            f"{self.num_features}, n_components={self.n_components}, eps={self.eps}, "
            f"momentum={self.momentum}, affine={self.affine}, "
            f"track_running_stats={self.track_running_stats}"
        )

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalize a batch; see the class."""
        reader = _mixture_plain.reader(input)
        if reader not in ("torch.jit.trace", "torch.fx"):  # whose shapes are not numbers
            self._check(input)
        if not self._uses_batch() and reader is not None:
            return self._evaluate_plainly(input)
        if reader not in (None, "torch.compile", "forward derivatives"):
            raise RuntimeError(
                f"{type(self).__name__} fits a mixture to each batch when it trains (or keeps no "
                f"running components), which {reader} cannot record; call eval() on the network "
                "first, with track_running_stats=True"
            )
        if self.training and self.track_running_stats and self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        if not input.numel():
            return self._affine_only(input)
        return self._normalize(input)

    def _normalize(self, input: torch.Tensor) -> torch.Tensor:
        """Normalize a batch that holds something, by compiled kernels where they take it."""
        kept = _memory_format(input)
        wide = input.to(torch.float64 if input.dtype == torch.float64 else torch.float32)
        # Kernels read (B, C, P); rows of a table are positions of one image.
        x = (wide.t()[None] if wide.ndim == 2 else wide.flatten(2)).contiguous()
        weight, bias = (
            None if value is None else value.to(x.dtype) for value in (self.weight, self.bias)
        )
        with torch.no_grad():
            values = forward_ad.unpack_dual(x).primal if _mixture_plain.has_tangent(x) else x
            components, nu, counts = self._mixture(values.detach())
        y = normalize(x, weight, bias, nu, components, counts, self.eps)
        y = y[0].t() if wide.ndim == 2 else y.reshape(wide.shape)
        y = y.to(input.dtype)
        return y if kept is None else y.contiguous(memory_format=kept)

    def _evaluate_plainly(self, input: torch.Tensor) -> torch.Tensor:
        function = _mixture_plain.evaluate
        if isinstance(input, fx.Proxy):
            function = _mixture_plain.evaluate_as_one_node
        running = self._buffers_of_components()
        assert running is not None
        affine = (self.weight, self.bias)
        return function(input, *affine, *running, self.n_components, self.eps)

    def _affine_only(self, input: torch.Tensor) -> torch.Tensor:
        """Return an empty batch, through which weight and bias get gradients of zero."""
        shape = (1, -1) + (1,) * (input.ndim - 2)
        out = input
        if self.weight is not None:
            out = out * self.weight.reshape(shape).to(input.dtype)
        return out if self.bias is None else out + self.bias.reshape(shape).to(input.dtype)

    def __prepare_scriptable__(self) -> nn.Module:
        """Return what ``torch.jit.script`` compiles: the layer in evaluation."""
        running = self._buffers_of_components()
        if self.training or running is None:
            raise RuntimeError(
                f"{type(self).__name__} can be scripted in evaluation only, with running "
                "components; call eval() on the network first"
            )
        return _mixture_plain.Evaluation((self.weight, self.bias), running, self.eps)

    def _check(self, input: torch.Tensor) -> None:
        name = type(self).__name__
        if input.ndim not in self._dimensions:
            wanted = " or ".join(f"{d}D" for d in self._dimensions)
            raise ValueError(f"{name} expected {wanted} input (got {input.ndim}D input)")
        if input.shape[1] != self.num_features:
            raise ValueError(
                f"{name} expected {self.num_features} channels in dimension 1 of the input, got "
                f"{input.shape[1]} of shape {tuple(input.shape)}"
            )
        if not input.is_floating_point():
            raise TypeError(f"{name} expected floating-point input, got {input.dtype}")
        positions = input.numel() // self.num_features
        empty = positions == 0 and self.n_components == 1  # as BatchNorm
        if self._uses_batch() and positions < 2 * self.n_components and not empty:
            whom = f" for each of {self.n_components} components" if self.n_components > 1 else ""
            raise ValueError(
                f"Expected more than 1 value per channel when training{whom}, got input size "
                f"{input.size()}; use larger batches (drop_last=True) or fewer components"
            )

    def _check_input_dim(self, input: torch.Tensor) -> None:
        self._check(input)

    def _uses_batch(self) -> bool:
        return self.training or self.running_means is None

    def _buffers_of_components(self) -> Components | None:
        """Return the running components as they are stored."""
        if self.running_weights is None or self.running_means is None or self.running_vars is None:
            return None
        return Components(self.running_weights, self.running_means, self.running_vars)

    def _running(self, x: torch.Tensor) -> Components | None:
        """Return copies of the running components where this batch has to do with them."""
        stored = self._buffers_of_components()
        if stored is None or (self.training and not self.track_running_stats):
            return None
        dtype = torch.float64 if _mixture_fit.compiled(x) else x.dtype
        return Components(*(value.to(dtype, copy=True) for value in stored))

    def _mixture(self, x: torch.Tensor) -> tuple[Components, torch.Tensor, torch.Tensor | None]:
        """Components and posteriors to normalize with, and counts where they are the batch's."""
        running = self._running(x)
        if not self._uses_batch():
            assert running is not None
            return running, _mixture_fit.posteriors(x, running, self.eps), None
        blank = running is None or not _mixture_fit.distinct(running)
        fit = _mixture_fit.fit(
            x,
            None if blank else running,
            self.n_components,
            eps=self.eps,
            em_steps=self.em_steps,
            start_steps=self.start_steps,
            fit_size=self.fit_size,
        )
        if running is not None:
            self._update(running, fit, blank)
        return fit.components, fit.nu, fit.counts

    def _update(self, running: Components, fit: Fit, blank: bool) -> None:
        """Move the running components towards those of the batch that belong to them."""
        weights, means, variances = fit.components
        finite = fit.counts.isfinite().all() and means.isfinite().all()
        if self.momentum == 0 or not finite:
            return
        stored, tracked = self._buffers_of_components(), self.num_batches_tracked
        assert stored is not None
        assert tracked is not None
        if blank and self.momentum is None:
            tracked.fill_(1)
        factor = 1.0 if blank else self.momentum or 1 / tracked.item()
        # 1 - sum of squared shares is 1 - 1/n for equal shares: the unbiased variance.
        shares = fit.squares / fit.counts.square()
        variances = variances / (1 - shares)[:, None]
        alive = weights > 0
        means = torch.where(alive[:, None], means, running.means)
        variances = torch.where(alive[:, None], variances, running.variances)
        order = _mixture_fit.match(running, Components(weights, means, variances))
        new = Components(*(value[order] for value in (weights, means, variances)))
        for buffer, old, value in zip(stored, running, new, strict=True):
            buffer.copy_((1 - factor) * old + factor * value)

    def _load_from_state_dict(
        self, state_dict: dict[str, torch.Tensor], prefix: str, *args: Any
    ) -> None:
        """Take a BatchNorm checkpoint too: every component gets its statistics."""
        if f"{prefix}running_mean" in state_dict and self.running_means is not None:
            _spread(state_dict, prefix, self.n_components)
            tracked = f"{prefix}num_batches_tracked"
            if tracked not in state_dict:  # written before torch 0.4.1
                state_dict[tracked] = torch.tensor(0, dtype=torch.long)
            if self.bias is not None and f"{prefix}weight" in state_dict:
                state_dict.setdefault(f"{prefix}bias", torch.zeros(self.num_features))
        nn.Module._load_from_state_dict(self, state_dict, prefix, *args)


def _memory_format(x: torch.Tensor) -> torch.memory_format | None:
    """Return channels_last where the images have that layout and no other."""
    last = torch.channels_last
    if x.ndim != 4 or x.is_contiguous() or not x.is_contiguous(memory_format=last):
        return None
    return last


class MixtureNorm1d(_MixtureNorm):
    r"""Mixture normalization of (N, C) or (N, C, L): a drop-in for ``BatchNorm1d``.

    A mixture of K Gaussians with diagonal covariances is fitted to the vectors of the minibatch
    (for (N, C, L) all N L positions, in R^C). With posteriors :math:`\nu_k(x_i)`, weights
    :math:`\lambda_k`, and the means and variances of the batch weighted by
    :math:`\hat\nu_k(x_i) = \nu_k(x_i) / \sum_j \nu_k(x_j)`,

    .. math:: y_i = \gamma \sum_k \frac{\nu_k(x_i)}{\sqrt{\lambda_k}}
              \frac{x_i - m_k}{\sqrt{v_k + \epsilon}} + \beta .

    The batch mean of the sum is 0. Its variance is K, not 1, where components are well separated
    (1 / lambda_k within component k) and also where they coincide. Differences between the means
    of components are removed: on vectors of whole samples, as before a classifier, where components
    may be the classes, BatchNorm keeps what this layer hides.

    Parameters
    ----------
    num_features : int
        Channels C.
    n_components : int, default 3
        Components K. With one, the layer is ``BatchNorm1d`` to rounding.
    eps : float, default 1e-5
        Added to variances, in the transform and in the densities.
    momentum : float or None, default 0.1
        Share of the newest batch in the running components; None for their plain average.
    affine : bool, default True
        Learn ``weight`` and ``bias`` (C,).
    track_running_stats : bool, default True
        Keep components for evaluation. Without them every batch is fitted from seeds, also in
        evaluation.
    device, dtype
        Where parameters and buffers are, and their type.
    em_steps : int, default 2
        Steps of expectation maximisation on the whole batch, from the running components.
    start_steps : int, default 20
        Steps before those where there are no components to start from: in the first batch, and when
        a component loses its positions. They follow k-means++ seeds (the best of eight after ten
        Lloyd steps), drawn from torch's random numbers.
    fit_size : int or None, default 8192
        Random positions on which seeds and ``start_steps`` work; None for all.
    bias : bool, default True
        Learn ``bias`` where ``affine``, as in BatchNorm.

    Attributes
    ----------
    weight, bias : Parameter (C,) or None
    running_means, running_vars : tensor (K, C)
    running_weights : tensor (K,)
    num_batches_tracked : tensor

    Raises
    ------
    ValueError
        In the forward pass, for a wrong shape, and in training for fewer than 2 K positions (for
        K = 1 BatchNorm's own limit, so that an empty batch passes).
    TypeError
        For input that is not floating-point.
    RuntimeError
        For tracing, export and functional transforms in training.

    See Also
    --------
    convert_batchnorm : replaces layers of a network.

    Notes
    -----
    M. M. Kalayeh and M. Shah, "Training Faster by Separating Modes of Variation in
    Batch-Normalized Models", IEEE TPAMI 2019, arXiv:1806.02892: the transform, their Fisher vector
    of a mixture. What their text leaves open is decided here: posteriors and weights are constants
    for the gradient in training, which passes through :math:`x - m_k` and the variances; the fit
    continues from the running components.

    **Running components.** The components of a batch are assigned to them by the smallest sum of
    squared 2-Wasserstein distances, then averaged with ``momentum``; variances without bias. A
    component without positions (for want of distinct vectors) has weight 0 and keeps its place. The
    first batch replaces the initial values; BatchNorm's average with them, also for K = 1. In
    evaluation posteriors and statistics come from the running components, so one sample is enough,
    and gradients are those of all that is computed. A batch that is not finite gives NaN (with one
    component in the channels that are not finite), as in BatchNorm, but leaves the components as
    they are. An empty batch gives an empty one, in training with one component only.

    **State dict.** As BatchNorm's, with the names above. A BatchNorm checkpoint loads: all
    components take its statistics and ``weight`` is divided by :math:`\sqrt K`, so that evaluation
    gives the same output; the first training batch then separates them. Another number of
    components is refused as a size mismatch.

    **Tracing, export, compilation.** In evaluation ``torch.jit.trace`` and ``script``,
    ``torch.export``, ONNX, ``torch.compile``, ``torch.fx`` and the transforms of ``torch.func`` see
    plain torch operations. In training ``torch.compile`` breaks the graph at the layer, forward
    derivatives pass, and the others are refused: what they would record is the fit of one batch.

    **Several processes.** As with BatchNorm, ``DistributedDataParallel`` broadcasts the buffers of
    rank 0; each rank fits and normalizes its own batch.

    Under activation checkpointing the second forward pass continues from components that the first
    one moved; its posteriors differ slightly.

    float32 and float64 on the CPU run in compiled kernels; other types are computed in float32,
    other devices with torch operations.

    Examples
    --------
    >>> import torch
    >>> from fastgen.networks import MixtureNorm1d
    >>> _ = torch.manual_seed(0)
    >>> side = torch.where(torch.rand(2000, 1) < 0.3, -3.0, 3.0)
    >>> layer = MixtureNorm1d(1, n_components=2)
    >>> y = layer(side + 0.5 * torch.randn(2000, 1))
    >>> round(y.var().item(), 2)
    2.0
    """

    _dimensions = (2, 3)


class MixtureNorm2d(_MixtureNorm):
    """Mixture normalization of (N, C, H, W): a drop-in for ``BatchNorm2d``.

    The N H W positions are the vectors, in R^C. Everything else is as in `MixtureNorm1d`.

    Parameters
    ----------
    num_features, n_components, eps, momentum, affine, track_running_stats, device, dtype
        See `MixtureNorm1d`.
    em_steps, start_steps, fit_size, bias
        See `MixtureNorm1d`.

    Raises
    ------
    ValueError, TypeError
        See `MixtureNorm1d`.

    Examples
    --------
    >>> import torch
    >>> from fastgen.networks import MixtureNorm2d
    >>> layer = MixtureNorm2d(8)
    >>> layer(torch.randn(4, 8, 5, 5)).shape
    torch.Size([4, 8, 5, 5])
    >>> layer.eval()(torch.randn(1, 8, 5, 5)).shape
    torch.Size([1, 8, 5, 5])
    """

    _dimensions = (4,)


_TWINS: dict[type[nn.Module], type[_MixtureNorm]] = {
    nn.BatchNorm1d: MixtureNorm1d,
    nn.BatchNorm2d: MixtureNorm2d,
}


def convert_batchnorm(
    module: nn.Module,
    n_components: int = 3,
    layers: Iterable[str | int] | Callable[[str, nn.Module], bool] | None = None,
    **options: Any,
) -> nn.Module:
    r"""Replace ``BatchNorm1d`` and ``BatchNorm2d`` layers of a network by mixture normalization.

    Parameters
    ----------
    module : nn.Module
        Changed in place, unless it is itself a BatchNorm.
    n_components : int, default 3
        Components of each new layer.
    layers : iterable of str or int, or callable, optional
        Which layers: names as in ``module.named_modules()``; indices among its BatchNorm layers in
        that order, negative ones from the end; or a predicate of name and layer. All by default.
    **options
        ``em_steps``, ``start_steps`` and ``fit_size`` of `MixtureNorm1d`.

    Returns
    -------
    nn.Module
        ``module``, or its replacement.

    Raises
    ------
    ValueError
        For a name or index that is no BatchNorm layer, or when nothing is selected. The message
        names ``SyncBatchNorm``, ``BatchNorm3d`` and other layers that cannot be converted.
    TypeError
        For a selection of another type.

    Notes
    -----
    eps, momentum, affine, device, dtype, training mode, bias and statistics carry over; every
    component takes the statistics of the layer, and ``weight`` is divided by the root of
    ``n_components``, so that in evaluation the network computes what it did. A layer without
    ``affine`` has no weight to divide: its output grows by that root. The parameters are new
    tensors: make the optimizer afterwards.

    Examples
    --------
    >>> from torch import nn
    >>> from fastgen.networks import convert_batchnorm
    >>> net = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.BatchNorm2d(8))
    >>> convert_batchnorm(net, 2, layers=["1"])[1]
    MixtureNorm2d(8, n_components=2, eps=1e-05, momentum=0.1, affine=True, track_running_stats=True)
    """
    found = {
        name: layer
        for name, layer in module.named_modules()
        if isinstance(layer, _BatchNorm) and type(layer) in _TWINS
    }
    chosen = _select(found, layers, _others(module))
    twins = {found[name]: _twin(found[name], n_components, options) for name in chosen}
    if module in twins:
        return twins[module]
    for parent in list(module.modules()):
        for name, child in list(parent._modules.items()):  # named_children skips repeated ones
            if child in twins:
                setattr(parent, name, twins[child])
    return module


def _others(module: nn.Module) -> list[str]:
    """Name the normalization layers that have no twin, and what to do about each kind."""
    advice = {
        nn.SyncBatchNorm: "convert before torch.nn.SyncBatchNorm.convert_sync_batchnorm",
        nn.BatchNorm3d: "there is no MixtureNorm3d",
        _MixtureNorm: "already converted",
        _LazyNormBase: "run a batch through the network first",
    }
    told = []
    for name, layer in module.named_modules():
        if type(layer) in _TWINS:
            continue
        kind = next((kind for kind in advice if isinstance(layer, kind)), None)
        if kind is not None:
            told.append(f"{name or 'the module'}: {type(layer).__name__} ({advice[kind]})")
    return told


def _select(found: dict[str, _BatchNorm], layers: Any, others: list[str]) -> list[str]:
    """Names of the chosen layers among those found."""
    names = list(found)
    if layers is None:
        chosen = names
    elif callable(layers):
        chosen = [name for name in names if layers(name, found[name])]
    elif isinstance(layers, str) or not isinstance(layers, Iterable):
        raise TypeError(
            "layers must be a list of names or indices, or a predicate of name and layer, got "
            f"{layers!r}"
        )
    else:
        chosen = [_name(item, names) for item in layers]
    if not chosen:
        raise ValueError(
            f"layers selects none of the {len(names)} BatchNorm1d and BatchNorm2d layers of the "
            f"module; they are {names}"
            + (f"; it also has {', '.join(others[:8])}" if others else "")
        )
    return chosen


def _name(item: str | int, names: list[str]) -> str:
    if isinstance(item, str):
        if item in names:
            return item
        near = difflib.get_close_matches(item, names, n=1, cutoff=0.4)
        hint = f"; did you mean {near[0]!r}?" if near else f"; they are {names}"
        raise ValueError(f"layers: {item!r} is no BatchNorm1d or BatchNorm2d layer{hint}")
    index = _validate.integer(item, "layers", minimum=-len(names))
    if index >= len(names):
        raise ValueError(
            f"layers must be indices below {len(names)}, the number of BatchNorm1d and BatchNorm2d "
            f"layers, got {index}"
        )
    return names[index]


def _twin(layer: _BatchNorm, n_components: int, options: dict[str, Any]) -> _MixtureNorm:
    """Return a mixture normalization with the parameters and statistics of a BatchNorm."""
    example = layer.weight if layer.weight is not None else layer.running_mean
    twin = _TWINS[type(layer)](
        layer.num_features,
        n_components,
        layer.eps,
        layer.momentum,
        layer.affine,
        layer.track_running_stats,
        device=None if example is None else example.device,
        dtype=None if example is None else example.dtype,
        bias=layer.bias is not None,
        **options,
    )
    state = layer.state_dict()
    _spread(state, "", n_components)
    twin.load_state_dict(state)
    for name, parameter in layer.named_parameters():
        getattr(twin, name).requires_grad_(parameter.requires_grad)
    return twin.train(layer.training)


def _spread(state: dict[str, torch.Tensor], prefix: str, n_components: int) -> None:
    """Turn the entries of a BatchNorm into those of K components that compute the same."""
    if f"{prefix}running_mean" in state:
        mean, variance = (state.pop(f"{prefix}{name}") for name in ("running_mean", "running_var"))
        state[f"{prefix}running_means"] = mean.repeat(n_components, 1)
        state[f"{prefix}running_vars"] = variance.repeat(n_components, 1)
        state[f"{prefix}running_weights"] = mean.new_full((n_components,), 1 / n_components)
    if f"{prefix}weight" in state:
        state[f"{prefix}weight"] = state[f"{prefix}weight"] / n_components**0.5
