"""One face for every generator: networks, callables, linear models.

The solvers see an ``Adapter``: flat latents (B, k) in, flat outputs (B, d) out, with derivatives.
What the user handed over is left as it was: evaluation mode and frozen weights hold inside
``fastgen._evaluation.evaluation_mode`` only. A linear model needs no torch: its map is read off by
``linear_map``.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from .. import _arrays, _validate
from .._evaluation import evaluation_mode
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
        What latents and outputs are of, and where they lie.
    chain : Chain or None
        Explicit tangents where the network is a chain of known layers.
    affine : tuple (W, b) of ndarray or None
        The map of a linear generator G(z) = W z + b, in float64.
    layers : list of nn.Module or None
        The layers of the chain, for the lower bounds.
    flat : bool
        Whether outputs change from latent to latent without a slope, as behind rounding.
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
        self.flat = False

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


def adapt(
    generator: Any,
    *,
    latent_dim: Any = None,
    forward: Callable | None = None,
    cond: Any = None,
    device: Any = None,
    double: bool = False,
) -> Adapter:
    """Return an adapter of a checked generator; call inside `evaluation_mode`.

    Raises
    ------
    TypeError
        If the generator is of no known kind or does not return a tensor.
    ValueError
        If the latent dimension cannot be inferred, or what is generated for a latent depends on the
        other latents of the batch or on chance.
    """
    _arrays.require_torch("a generator that is no linear model")
    import torch

    if is_linear_model(generator):
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
    if weights:
        dtype, home = weights[0].dtype, weights[0].device
    else:
        dtype, home = torch.float64 if double else torch.float32, torch.device("cpu")
    device = home if device is None else _device(device)
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


def members_of(generator: Any) -> list[Any]:
    """Return the members of a mixture, or the one generator in a list."""
    members = list(generator) if isinstance(generator, list | tuple) else [generator]
    if not members:
        raise ValueError("generator must hold at least one generator, got an empty list")
    return members


def is_linear_model(generator: Any) -> bool:
    """Whether a generator is an estimator with a linear decoder: LinearGAN, or PCA."""
    return hasattr(generator, "components_") and hasattr(generator, "inverse_transform")


def linear_map(model: Any, latent_dim: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Return W (d, k) and b (d,) of a fitted estimator that maps latents to ``W z + b``.

    Parameters
    ----------
    model : estimator
        With ``components_``, (d, k) or (k, d), ``mean_`` and ``inverse_transform``, which decides
        between the two and what else it does, as whitening.
    latent_dim : int, optional
        Checked, if given.

    Raises
    ------
    ValueError
        If the attributes do not fit each other or ``latent_dim``.
    """
    components = np.asarray(model.components_, dtype=np.float64)
    mean = np.asarray(getattr(model, "mean_", np.nan), dtype=np.float64)
    if components.ndim != 2 or mean.ndim != 1 or len(mean) not in components.shape:
        raise ValueError(
            "a linear model must have components_ of its latent_dim times its number of features "
            f"as LinearGAN and PCA have, got {components.shape} with mean_ of shape {mean.shape}"
        )
    k = min(components.shape) if len(mean) == max(components.shape) else max(components.shape)
    if latent_dim is not None and latent_dim not in (k, (k,), [k]):
        raise ValueError(f"latent_dim is {k} in components_, got {latent_dim}")
    bias = np.asarray(model.inverse_transform(np.zeros((1, k))), dtype=np.float64)[0]
    weight = (np.asarray(model.inverse_transform(np.eye(k)), dtype=np.float64) - bias).T
    # free of the rounding that adding and subtracting the mean leaves
    for exact in (components, components.T):
        if exact.shape == weight.shape and np.allclose(weight, exact, rtol=1e-6, atol=1e-9):
            return exact, bias
    return weight, bias


def _linear_model(model: Any, latent_dim: Any, forward: Any, cond: Any, device: Any) -> Adapter:
    """Return the adapter of a linear model, as one layer in float64."""
    import torch

    if forward is not None or cond is not None:
        raise ValueError("forward and cond are for networks; a linear model takes neither")
    weight, bias = linear_map(model, latent_dim)
    layer = torch.nn.Linear(weight.shape[1], len(weight), dtype=torch.float64).eval()
    layer.weight.data.copy_(torch.from_numpy(weight.copy()))
    layer.bias.data.copy_(torch.from_numpy(bias))
    layer.requires_grad_(False)
    device = torch.device("cpu") if device is None else _device(device)
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


def fingerprint(generator: Any, **options: Any) -> bytes:
    """Return bytes that tell generators apart: their kinds and all of their numbers.

    The numbers of networks are their weights and buffers, those of linear models their map, those
    of other callables what they make of a few latents, to four digits.

    Parameters
    ----------
    generator : nn.Module, callable, linear model, or a list of them
    **options
        Arguments of `adapt`.
    """
    digest = hashlib.sha256()
    for member in members_of(generator):
        digest.update(f"{type(member).__module__}.{type(member).__qualname__}".encode())
        for key, values in _numbers(member, options):
            digest.update(f"{key} {values.shape} {values.dtype}".encode())
            digest.update(np.ascontiguousarray(values).reshape(-1).view(np.uint8).data)
    return digest.digest()


def _numbers(member: Any, options: dict[str, Any]) -> list[tuple[str, np.ndarray]]:
    """Return what `fingerprint` tells a generator by."""
    if is_linear_model(member):
        return list(zip(("weight", "bias"), linear_map(member), strict=True))
    if hasattr(member, "state_dict"):
        return [(k, _arrays.to_numpy(value)) for k, value in sorted(member.state_dict().items())]
    with evaluation_mode(modules_of(member)):
        adapter = adapt(member, **options)
        outputs = _arrays.to_numpy(adapter.raw(*_few_latents(adapter, 4)))
    outputs = outputs.astype(np.float64)
    return [("outputs", np.round(outputs / max(np.abs(outputs).max(initial=0.0), 1e-300), 4))]


def _few_latents(adapter: Adapter, count: int) -> tuple[Tensor, Tensor | None]:
    """Return the same latents (count, k) at every call, and whose condition each takes."""
    import torch

    z = torch.randn((count, adapter.latent_dim), generator=torch.Generator().manual_seed(0))
    rows = None
    if adapter.cond is not None:
        rows = torch.arange(count, device=adapter.device) % len(adapter.cond)
    return z.to(adapter.device, adapter.dtype), rows


def check_device(device: Any) -> None:
    """Raise unless ``device``, which a closed form does not need, is None or can be used."""
    if device is not None:
        _arrays.require_torch("device=")
        _device(device)


def _device(device: Any) -> torch.device:
    """Return a device on which tensors can be made."""
    import torch

    try:
        found = torch.device(device)
        torch.empty(1, device=found)
    except (RuntimeError, AssertionError, NotImplementedError, TypeError) as error:
        told = str(error).splitlines()[0]
        raise ValueError(f"device {str(device)!r} cannot be used: {told}") from error
    if found.type == "meta":
        raise ValueError("device 'meta' cannot be used: its tensors hold no values")
    return found


def _latent_shape(call: Any, latent_dim: Any, cond: Any) -> tuple[int, ...]:
    """Return the shape of one latent: as given, as the network says, or of its first layer."""
    import torch

    remedy = "pass latent_dim=k, or latent_dim=(k, 1, 1) for latents with spatial axes"
    if isinstance(latent_dim, tuple | list):
        return tuple(_validate.integer(size, "latent_dim") for size in latent_dim)
    first: Any = None
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
    """Return conditions as a tensor with one row per target; integers become labels of int64."""
    import torch

    if cond is None:
        return None
    if not isinstance(cond, torch.Tensor):
        array = np.asarray(cond)
        if array.dtype.kind not in "fiub":
            raise TypeError(
                f"cond must hold labels or embeddings in numbers, got dtype {array.dtype}"
            )
        kinds = {"f": np.float64, "i": np.int64, "u": np.int64, "b": np.bool_}
        cond = torch.from_numpy(np.array(array, dtype=kinds[array.dtype.kind]))
    if cond.ndim < 1:
        raise ValueError(f"cond must have one row per row of X, got shape {tuple(cond.shape)}")
    if cond.is_floating_point():
        if not torch.isfinite(cond).all():
            raise ValueError("cond must be finite")
        return cond.to(device, dtype)
    # embeddings take no smaller integers
    return cond.to(device) if cond.dtype == torch.bool else cond.to(device, torch.int64)


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
    """Call the generator on a few latents and refuse what cannot be searched.

    Looked at are shape and kind of what it returns, whether a gradient reaches the latents, and
    whether a latent's output depends on batch mates or on chance.
    """
    import torch

    count = 4
    z, rows = _few_latents(adapter, count)
    try:
        whole = adapter.raw(z, rows)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise ValueError(_failure(error, adapter, latent_dim, count)) from error
    _check_kind(whole, count, adapter.dtype)
    adapter.output_shape = tuple(whole.shape[1:])
    slope = _slope(adapter, z, rows)
    if not slope.any():
        same = whole if rows is None else adapter.raw(z, torch.zeros_like(rows))
        adapter.flat = bool((same != same[:1]).any())
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


def _slope(adapter: Adapter, z: Tensor, rows: Tensor | None) -> Tensor:
    """Return the gradient (B, k) of a weighted sum of the outputs; raise where there is none."""
    import torch

    with torch.enable_grad():
        latents = z.clone().requires_grad_()
        found, told = None, ""
        try:
            outputs = adapter(latents, rows)
            if outputs.requires_grad:
                weights = torch.linspace(0.5, 1.5, adapter.output_dim, device=z.device)
                total = (outputs @ weights.to(outputs.dtype)).sum()
                (found,) = torch.autograd.grad(total, latents, allow_unused=True)
        except RuntimeError as error:
            told = f" ({str(error).splitlines()[0]})"
    if found is None:
        raise ValueError(
            f"no gradient of the generator reaches its latents{told}, and the search descends "
            "along it: take torch.no_grad, torch.inference_mode, .detach() and .numpy() out of it"
        )
    return found.nan_to_num()


def _failure(error: Exception, adapter: Adapter, latent_dim: Any, count: int) -> str:
    """Say how the generator failed on a few latents, and what may be wrong."""
    how = "as inferred from the first layer" if latent_dim is None else "as given"
    told = (str(error) or type(error).__name__).splitlines()[0]
    beside = ""
    if adapter.cond is not None:
        beside = f" and conditions of shape {tuple(adapter.cond.shape)}, dtype {adapter.cond.dtype}"
    return (
        f"generator failed on latents of shape {(count, *adapter.latent_shape)}, {how}, dtype "
        f"{adapter.dtype}{beside}: {told}; pass latent_dim=k or (k, 1, 1), and forward= where it "
        "is not generator(z) or generator(z, cond)"
    )


def _check_kind(whole: Any, count: int, dtype: torch.dtype) -> None:
    """Raise unless a generator returned a tensor with a row for each latent, of their dtype."""
    import torch

    remedy = ""
    if isinstance(whole, dict) and whole:
        remedy = f"; pick one: forward=lambda z: generator(z)[{next(iter(whole))!r}]"
    elif isinstance(whole, tuple | list):
        remedy = "; pick one: forward=lambda z: generator(z)[0]"
    elif any(isinstance(part, torch.Tensor) for part in getattr(whole, "__dict__", {}).values()):
        names = [n for n, part in vars(whole).items() if isinstance(part, torch.Tensor)]
        remedy = f"; pick one: forward=lambda z: generator(z).{names[0]}"
    elif isinstance(whole, np.ndarray):
        remedy = "; leave out .numpy(), which cuts off the gradient"
    if not isinstance(whole, torch.Tensor) or whole.ndim < 1 or len(whole) != count:
        found = tuple(whole.shape) if isinstance(whole, torch.Tensor) else type(whole).__name__
        raise TypeError(
            f"generator must return a tensor ({count}, ...) for {count} latents, got {found}"
            f"{remedy}"
        )
    if whole.dtype != dtype:
        raise TypeError(
            f"generator must return {dtype} for {dtype} latents, got {whole.dtype}; add "
            f".to(z.dtype), and no rounding: the search descends along its gradient"
        )
