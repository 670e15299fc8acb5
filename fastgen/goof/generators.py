"""One face for every generator: networks, callables, linear models.

The solvers see an :class:`Adapter`: flat latents (B, k) in, flat outputs (B, d) out, with
derivatives. What the user handed over is left as it was: evaluation mode and frozen weights hold
inside :func:`evaluation_mode` only.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _validate
from .tangents import Chain, straight

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

_BATCH_REMEDY = (
    "this is what batch norm in training mode, dropout or fresh noise do; call .eval() on every "
    "network inside, fix the noise (noise_mode='const'), give batch norm running statistics"
)


class Adapter:
    """A generator as the solvers see it.

    Attributes
    ----------
    latent_shape : tuple of int
        What the generator takes per sample, (k,) or (k, 1, 1).
    output_shape : tuple of int
        What it returns per sample.
    dtype, device
        Of latents and outputs.
    chain : Chain or None
        Explicit tangents where the network is a chain of known layers.
    affine : tuple (W, b) of ndarray or None
        Of a linear generator G(z) = W z + b, float64.
    layers : list of nn.Module or None
        Of a chain, for the lower bounds.
    """

    def __init__(
        self,
        call: Callable[..., Tensor],
        *,
        latent_shape: tuple[int, ...],
        dtype: torch.dtype,
        device: torch.device,
        cond: Tensor | None = None,
        layers: list[nn.Module] | None = None,
        affine: tuple[np.ndarray, np.ndarray] | None = None,
    ) -> None:
        self._call = call
        self.latent_shape = latent_shape
        self.dtype, self.device = dtype, device
        self.cond = cond
        self.layers = layers
        self.chain = None if layers is None else Chain(layers)
        self.affine = affine
        self.output_shape: tuple[int, ...] = ()

    @property
    def latent_dim(self) -> int:
        """Number of latent coordinates k."""
        return math.prod(self.latent_shape)

    @property
    def output_dim(self) -> int:
        """Number of output values d."""
        return math.prod(self.output_shape)

    def __call__(self, z: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return outputs (B, d) at latents (B, k); ``rows`` says whose condition each takes."""
        return self.raw(z, rows).reshape(len(z), self.output_dim)

    def raw(self, z: Tensor, rows: Tensor | None = None) -> Tensor:
        """Return outputs in the generator's own shape."""
        z = z.reshape(len(z), *self.latent_shape)
        return self._call(z) if self.cond is None else self._call(z, self.cond[rows])

    def select(self, rows: Any) -> Adapter:
        """Return the same generator with the conditions of the targets ``rows`` only."""
        import copy

        if self.cond is None:
            return self
        part = copy.copy(self)
        part.cond = self.cond[rows]
        return part

    def double(self) -> Adapter | None:
        """Return the same generator in float64 on a copy of the weights, or None for a callable."""
        import copy

        import torch

        if not isinstance(self._call, torch.nn.Module):
            return None
        module = copy.deepcopy(self._call).double()
        cond = self.cond
        if cond is not None and cond.is_floating_point():
            cond = cond.double()
        adapter = Adapter(
            module,
            latent_shape=self.latent_shape,
            dtype=torch.float64,
            device=self.device,
            cond=cond,
            layers=straight(module) if self.layers is not None else None,
        )
        adapter.output_shape = self.output_shape
        return adapter


def modules_of(generator: Any, forward: Any = None) -> list[nn.Module]:
    """Return the networks behind a generator, also those a bound method belongs to."""
    import torch

    candidates = [generator, forward, getattr(generator, "__self__", None)]
    candidates.append(getattr(forward, "__self__", None))
    return [c for c in candidates if isinstance(c, torch.nn.Module)]


@contextlib.contextmanager
def evaluation_mode(modules: list[nn.Module]) -> Iterator[None]:
    """Hold networks in evaluation mode with frozen weights, and restore what was."""
    import torch

    training = {part: part.training for module in modules for part in module.modules()}
    needs = {p: p.requires_grad for module in modules for p in module.parameters()}
    try:
        for module in modules:
            module.eval()
        for parameter in needs:
            parameter.requires_grad_(False)
        with torch.inference_mode(False), torch.no_grad():
            yield
    finally:
        for part, was in training.items():
            part.training = was
        for parameter, was in needs.items():
            parameter.requires_grad_(was)


def adapt(
    generator: Any,
    *,
    latent_dim: Any = None,
    forward: Callable | None = None,
    cond: Any = None,
    device: Any = None,
    data_dtype: np.dtype | None = None,
) -> Adapter:
    """Return an adapter of a checked generator; call inside :func:`evaluation_mode`.

    Raises
    ------
    TypeError
        If the generator is of no known kind or does not return a tensor.
    ValueError
        If the latent dimension cannot be inferred, or what is generated for a latent depends on the
        other latents of the batch or on chance.
    """
    import torch

    if _is_linear_model(generator):
        return _linear_model(generator, latent_dim, forward, cond, device)
    if not callable(generator):
        raise TypeError(
            "generator must be an nn.Module, a callable (B, k) -> (B, ...), a fitted LinearGAN or "
            f"a list of them, got {type(generator).__name__}"
        )
    call = generator if forward is None else forward
    weights = [p for m in modules_of(generator, forward) for p in m.parameters()]
    weights = [p for p in weights if p.is_floating_point()]
    if weights and weights[0].dtype not in (torch.float32, torch.float64):
        raise ValueError(
            f"generator must hold float32 or float64 weights, got {weights[0].dtype}; call .float()"
        )
    double = data_dtype is not None and np.dtype(data_dtype) == np.float64
    if weights:
        dtype, home = weights[0].dtype, weights[0].device
    else:
        dtype, home = torch.float64 if double else torch.float32, torch.device("cpu")
    device = home if device is None else torch.device(device)
    if weights and device.type != home.type:
        raise ValueError(f"generator is on {home}, device is {device}; move it with .to({device})")
    shape = _latent_shape(call, latent_dim, cond)
    layers = straight(call) if cond is None else None
    adapter = Adapter(
        call,
        latent_shape=shape,
        dtype=dtype,
        device=device,
        cond=_condition(cond, dtype, device),
        layers=layers,
        affine=_affine_layers(layers, shape),
    )
    _probe(adapter, latent_dim)
    return adapter


def _is_linear_model(generator: Any) -> bool:
    return hasattr(generator, "components_") and hasattr(generator, "inverse_transform")


def _linear_model(model: Any, latent_dim: Any, forward: Any, cond: Any, device: Any) -> Adapter:
    """Adapter of a LinearGAN, or any model with ``components_`` (d, k) and ``mean_``."""
    import torch

    if forward is not None or cond is not None:
        raise ValueError("forward and cond are for networks; a linear model takes neither")
    weight = np.asarray(model.components_, dtype=np.float64)
    bias = np.asarray(model.mean_, dtype=np.float64)
    if weight.ndim != 2 or bias.shape != (len(weight),):
        raise ValueError(
            "a linear model must have components_ of shape (n_features, latent_dim) as LinearGAN "
            f"has, got {weight.shape} with mean_ of shape {bias.shape}"
        )
    if latent_dim is not None and latent_dim != weight.shape[1]:
        raise ValueError(f"latent_dim is {weight.shape[1]} in components_, got {latent_dim}")
    layer = torch.nn.Linear(weight.shape[1], len(weight), dtype=torch.float64).eval()
    layer.weight.data.copy_(torch.from_numpy(weight))
    layer.bias.data.copy_(torch.from_numpy(bias))
    layer.requires_grad_(False)
    device = torch.device("cpu" if device is None else device)
    adapter = Adapter(
        layer.to(device),
        latent_shape=(weight.shape[1],),
        dtype=torch.float64,
        device=device,
        layers=[layer],
        affine=(weight, bias),
    )
    adapter.output_shape = (len(weight),)
    return adapter


def _latent_shape(call: Any, latent_dim: Any, cond: Any) -> tuple[int, ...]:
    """Return the shape of one latent: as given, as the network says, or of its first layer."""
    import torch

    remedy = "pass latent_dim=k, or latent_dim=(k, 1, 1) for latents with spatial axes"
    if isinstance(latent_dim, tuple | list):
        return tuple(_validate.integer(size, "latent_dim") for size in latent_dim)
    first = None
    own = getattr(call, "latent_dim", None) if isinstance(call, torch.nn.Module) else None
    if isinstance(own, int) and latent_dim in (None, own):
        return (own,)
    if isinstance(call, torch.nn.Module):
        first = next(
            (m for m in call.modules() if next(m.parameters(False), None) is not None), None
        )
    spatial = type(first).__name__.startswith("ConvTranspose")
    if latent_dim is not None:
        k = _validate.integer(latent_dim, "latent_dim")
        return (k, *[1] * (first.weight.ndim - 2)) if spatial else (k,)
    if cond is not None:
        raise ValueError(f"latent_dim must be given for a conditional generator; {remedy}")
    if isinstance(first, torch.nn.Linear):
        return (first.in_features,)
    if spatial:
        return (first.in_channels, *[1] * (first.weight.ndim - 2))
    found = "no network to look at" if first is None else f"first layer {type(first).__name__}"
    raise ValueError(f"latent_dim cannot be inferred ({found}); {remedy}")


def _condition(cond: Any, dtype: torch.dtype, device: torch.device) -> Tensor | None:
    """Return conditions as a tensor with one row per target."""
    import torch

    if cond is None:
        return None
    cond = torch.as_tensor(cond)
    if cond.ndim < 1:
        raise ValueError(f"cond must have one row per row of X, got shape {tuple(cond.shape)}")
    if cond.is_floating_point():
        if not torch.isfinite(cond).all():
            raise ValueError("cond must be finite")
        cond = cond.to(dtype)
    return cond.to(device)


def _affine_layers(layers: Any, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray] | None:
    """Return (W, b) of a chain of Linear layers only."""
    plain = ("Linear", "Identity", "Flatten", "Unflatten")
    if layers is None or len(shape) != 1 or any(type(m).__name__ not in plain for m in layers):
        return None
    weight, bias = np.eye(shape[0]), np.zeros(shape[0])
    for layer in layers:
        if type(layer).__name__ == "Linear":
            matrix = layer.weight.detach().double().cpu().numpy()
            weight, bias = matrix @ weight, matrix @ bias
            if layer.bias is not None:
                bias = bias + layer.bias.detach().double().cpu().numpy()
    return weight, bias


def _probe(adapter: Adapter, latent_dim: Any) -> None:
    """Call the generator on a few latents: shape, kind, dependence on batch mates and on chance."""
    import torch

    count = 4
    rows = None
    if adapter.cond is not None:
        rows = torch.arange(count, device=adapter.device) % len(adapter.cond)
    z = torch.randn((count, adapter.latent_dim), generator=torch.Generator().manual_seed(0))
    z = z.to(adapter.device, adapter.dtype)
    try:
        whole = adapter.raw(z, rows)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        how = "as inferred from the first layer" if latent_dim is None else "as given"
        raise ValueError(
            f"generator failed on latents of shape {(count, *adapter.latent_shape)}, {how}, dtype "
            f"{adapter.dtype}: {str(error).splitlines()[0]}; pass latent_dim=k or (k, 1, 1), and "
            "forward= where it is not generator(z) or generator(z, cond)"
        ) from error
    if not isinstance(whole, torch.Tensor) or whole.ndim < 1 or len(whole) != count:
        found = tuple(whole.shape) if isinstance(whole, torch.Tensor) else type(whole).__name__
        raise TypeError(
            f"generator must return a tensor ({count}, ...) for {count} latents, got {found}"
        )
    if whole.dtype != adapter.dtype:
        raise TypeError(
            f"generator must return {adapter.dtype} for {adapter.dtype} latents, got {whole.dtype}"
        )
    adapter.output_shape = tuple(whole.shape[1:])
    part = adapter.raw(z[:2], None if rows is None else rows[:2])
    again = adapter.raw(z, rows)
    scale = whole.abs().nan_to_num().max().clamp(min=1e-6)
    for other, mine, what in ((again, whole, "chance"), (part, whole[:2], "its batch mates")):
        gap = (other - mine).abs().nan_to_num().max() / scale
        if gap > 1e-3:
            raise ValueError(
                f"what generator returns for a latent must depend on that latent only, but it "
                f"depends on {what} (by {gap.item():.2g} of its size): {_BATCH_REMEDY}"
            )
    if adapter.chain is not None:
        straightened = adapter.chain(z.reshape(count, *adapter.latent_shape)).reshape(count, -1)
        gap = (straightened - whole.reshape(count, -1)).abs().nan_to_num().max() / scale
        if gap > 1e-5:
            adapter.chain = adapter.layers = adapter.affine = None
