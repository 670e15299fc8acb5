"""Jacobians of straight networks by carrying k tangents through each layer, without autograd.

A network that is a chain of linear layers and elementwise functions has a tangent network that is
linear: the same layers without biases, each elementwise function replaced by a product with its
derivative at the primal values. The tangents of a sample are k neighbours in the batch, so a layer
is one large matrix product, and up to the first elementwise function they are the same for all
samples.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor, nn

_SHAPES = ("Flatten", "Unflatten", "Identity", "Dropout", "Dropout1d", "Dropout2d", "PixelShuffle")
_LINEAR = (
    "Linear",
    *(f"{kind}{n}d" for kind in ("Conv", "ConvTranspose") for n in (1, 2, 3)),
    *(f"AvgPool{n}d" for n in (1, 2, 3)),
    "UpsamplingNearest2d",
    "ZeroPad2d",
    "ReflectionPad2d",
)
_NORMS = ("BatchNorm1d", "BatchNorm2d", "BatchNorm3d")
_ELEMENTWISE = (
    "ReLU", "LeakyReLU", "Tanh", "Sigmoid", "ELU", "SELU", "SiLU", "GELU", "Softplus", "Hardtanh",
)  # fmt: skip


class Chain:
    """Tangents of a straight network.

    Parameters
    ----------
    layers : sequence of nn.Module
        Applied one after the other, each of a kind of which `straight` says that it is known.
    """

    def __init__(self, layers: Sequence[nn.Module]) -> None:
        self.layers = list(layers)

    def __call__(self, z: Tensor) -> Tensor:
        """Apply the layers to latents (B, *shape)."""
        for layer in self.layers:
            z = layer(z)
        return z

    def jacobian(self, z: Tensor) -> tuple[Tensor, Tensor]:
        """Return outputs (B, d) and transposed Jacobians (B, k, d) at latents (B, *shape)."""
        import torch

        batch, shape = z.shape[0], tuple(z.shape[1:])
        k = math.prod(shape)
        tangents = torch.eye(k, dtype=z.dtype, device=z.device).reshape(k, *shape)
        values, shared = z, True
        for layer in self.layers:
            kind = type(layer).__name__
            if kind in _ELEMENTWISE:
                argument = values.clone() if getattr(layer, "inplace", False) else values
                found = torch.func.jvp(layer, (argument,), (torch.ones_like(values),))
                values, slope = found[0], found[1]
                rows = tangents.reshape(1 if shared else batch, k, *slope.shape[1:])
                # in place once the tangents are ours: the largest array is passed over once
                rows = rows * slope[:, None] if shared else rows.mul_(slope[:, None])
                tangents, shared = rows.reshape(batch * k, *slope.shape[1:]), False
                continue
            values = layer(values)
            tangents = _without_bias(layer, tangents)
        rows = tangents.reshape(1 if shared else batch, k, -1).expand(batch, k, -1)
        return values.reshape(batch, -1), rows


def _without_bias(layer: Any, tangents: Tensor) -> Tensor:
    """Apply the linear part of a layer."""
    import torch

    kind = type(layer).__name__
    if kind in _NORMS:
        scale = (layer.running_var + layer.eps).rsqrt()
        if layer.weight is not None:
            scale = scale * layer.weight
        return tangents * scale.reshape(1, -1, *[1] * (tangents.ndim - 2))
    if kind == "Linear":
        return tangents @ layer.weight.T
    if getattr(layer, "bias", None) is None:
        return layer(tangents)
    state = {"bias": torch.zeros_like(layer.bias)}
    return torch.func.functional_call(layer, state, (tangents,))


def _known(layer: Any) -> bool:
    """Say whether a layer, in evaluation mode, has a tangent rule here."""
    import torch

    kind = type(layer).__name__
    if type(layer) is not getattr(torch.nn, kind, None):
        return False
    if kind in _NORMS:
        return bool(layer.running_var is not None)
    if kind in ("Flatten", "Unflatten"):
        first = (
            layer.start_dim == 1 and layer.end_dim == -1 if kind == "Flatten" else layer.dim == 1
        )
        return bool(first)
    return kind in _SHAPES + _LINEAR + _ELEMENTWISE


def _altered(module: nn.Module) -> bool:
    """Say whether hooks or parametrizations stand between a module's code and what it does."""
    return any(
        part._forward_hooks or part._forward_pre_hooks or hasattr(part, "parametrizations")
        for part in module.modules()
    )


def straight(module: Any) -> list[nn.Module] | None:
    """Return the layers of a network that is a chain of known ones, or None if it is not.

    A ``Sequential`` of them, nested or not, is one; of other modules the recorded graph of
    ``torch.fx`` is read.
    """
    import torch
    import torch.fx

    if not isinstance(module, torch.nn.Module) or _altered(module):
        return None
    if type(module) is torch.nn.Sequential:
        layers: list[nn.Module] = []
        for part in module:
            found = straight(part)
            if found is None:
                return None
            layers += found
        return layers
    if _known(module):
        return [module]
    if not any(True for _ in module.children()):
        return None
    try:
        graph = torch.fx.symbolic_trace(module).graph
    except Exception:  # a forward of the user's met a proxy: it may raise anything
        return None
    return _read(module, list(graph.nodes))


def _read(module: nn.Module, nodes: list) -> list[nn.Module] | None:
    """Return the layers of a recorded graph in which every node feeds the next one only."""
    import torch

    functions: dict[Any, Callable] = {
        torch.relu: torch.nn.ReLU,
        torch.nn.functional.relu: torch.nn.ReLU,
        torch.tanh: torch.nn.Tanh,
        torch.sigmoid: torch.nn.Sigmoid,
        "relu": torch.nn.ReLU,
        "tanh": torch.nn.Tanh,
        "sigmoid": torch.nn.Sigmoid,
    }
    if len(nodes) < 3 or nodes[0].op != "placeholder" or nodes[-1].op != "output":
        return None
    found: list[nn.Module] = []
    previous = nodes[0]
    for node in nodes[1:-1]:
        if node.all_input_nodes != [previous]:
            return None
        if node.op == "call_module":
            layers = straight(module.get_submodule(node.target))
        elif node.op in ("call_function", "call_method") and node.target in functions:
            plain = len(node.args) == 1 and not set(node.kwargs) - {"inplace", "input"}
            layers = [functions[node.target]()] if plain else None
        elif node.op == "call_method" and node.target in ("view", "reshape", "flatten"):
            layers = _reshaping(node)
        else:
            layers = None
        if layers is None:
            return None
        found += layers
        previous = node
    return found if nodes[-1].all_input_nodes == [previous] else None


def _reshaping(node: Any) -> list[nn.Module] | None:
    """Return ``view(-1, ...)``, ``reshape(-1, ...)`` or ``flatten(1)`` as a layer."""
    import torch

    sizes = node.args[1:]
    if node.kwargs or not sizes or not all(isinstance(size, int) for size in sizes):
        return None
    if node.target == "flatten":
        return [torch.nn.Flatten()] if sizes == (1,) else None
    if sizes[0] != -1 or min(sizes[1:], default=0) < 1:
        return None
    return [torch.nn.Flatten(), torch.nn.Unflatten(1, sizes[1:])]
