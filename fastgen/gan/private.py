"""Layers of an ensemble in which members differ, computed for all members at once.

Samples of the members lie one after the other: the first axis of every tensor is K blocks of equal
length, block k of member k. Layers that members share see one ordinary batch.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call, vmap
from torch.nn import functional
from torch.nn.utils import parametrize

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_CONVOLUTIONS: dict[type, Any] = {
    nn.Conv1d: functional.conv1d,
    nn.Conv2d: functional.conv2d,
    nn.Conv3d: functional.conv3d,
    nn.ConvTranspose1d: functional.conv_transpose1d,
    nn.ConvTranspose2d: functional.conv_transpose2d,
    nn.ConvTranspose3d: functional.conv_transpose3d,
}
# Grouped transposed convolutions with so few outputs take twice the time of a matrix product on a
# CPU: 16 to 1 channels at 16 x 16 positions, 8 members.
_FEW = 4


def layers(module: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Yield the layers of a network by name: the outermost modules that own tensors.

    Parameters
    ----------
    module : nn.Module
    prefix : str, default ""
        Put before the names.
    """
    owned = [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    if owned or parametrize.is_parametrized(module):
        yield prefix, module
        return
    for name, child in module.named_children():
        yield from layers(child, f"{prefix}.{name}" if prefix else name)


class PrivateLayer(nn.Module):
    """A layer some of whose tensors every member has for itself.

    Parameters
    ----------
    members : sequence of nn.Module
        The layer of every member.
    private : collection of str
        Names of its private parameters.
    statistics : bool
        Whether its buffers are private: for batch norm, whether every member normalizes its own
        samples.
    """

    def __init__(
        self, members: list[nn.Module], private: Collection[str], statistics: bool
    ) -> None:
        super().__init__()
        self.layer = members[0]
        self.n_members = len(members)
        self.private = frozenset(private)
        self.statistics = statistics
        with torch.no_grad():
            for name, first in list(self.layer.named_parameters()):
                if name in self.private:
                    stacked = torch.stack([m.get_parameter(name) for m in members])
                    _put(self.layer, name, nn.Parameter(stacked, first.requires_grad))
            for name, _ in list(self.layer.named_buffers()):
                if statistics:
                    _put(self.layer, name, torch.stack([m.get_buffer(name) for m in members]))

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the outputs (K B, ...) of inputs (K B, ...)."""
        layer = self.layer
        if type(layer) is nn.Linear:
            return self._linear(layer, *inputs)
        if type(layer) in _CONVOLUTIONS:
            return self._convolution(layer, *inputs)
        if isinstance(layer, NORMS) and type(layer) in NORMS and layer.momentum is not None:
            return self._norm(layer, *inputs)
        return self._any(*inputs)

    def _linear(self, layer: nn.Linear, x: Tensor) -> Tensor:
        weight, bias = layer.weight, layer.bias
        if "weight" not in self.private:
            return self._shift(functional.linear(x, weight), bias, -1)
        rows = x.reshape(self.n_members, -1, x.shape[-1])
        weight = weight.transpose(1, 2)
        if bias is None:
            out = torch.bmm(rows, weight)
        else:
            out = torch.baddbmm(bias[:, None] if "bias" in self.private else bias, rows, weight)
        return out.reshape(*x.shape[:-1], -1)

    def _convolution(self, layer: Any, x: Tensor) -> Tensor:
        weight, count = layer.weight, self.n_members
        call = _CONVOLUTIONS[type(layer)]
        options = {name: getattr(layer, name) for name in ("stride", "padding", "dilation")}
        if layer.transposed:
            options["output_padding"] = layer.output_padding
        elif layer.padding_mode != "zeros":
            pads = layer._reversed_padding_repeated_twice
            x = functional.pad(x, pads, mode=layer.padding_mode)
            options["padding"] = 0
        if "weight" not in self.private:
            out = call(x, weight, groups=layer.groups, **options)
        elif _one_position(x, layer):
            rows = x.reshape(count, -1, x.shape[1])
            out = torch.bmm(rows, weight.flatten(2)).reshape(len(x), *weight.shape[2:])
        elif _few_channels(x, layer):
            out = self._by_columns(layer, x)
        else:
            out = call(
                _side_by_side(x, count),
                weight.flatten(0, 1),
                groups=count * layer.groups,
                **options,
            )
            out = _one_after_the_other(out, count)
        return self._shift(out, layer.bias, 1)

    def _by_columns(self, layer: Any, x: Tensor) -> Tensor:
        """Compute a transposed convolution as a matrix product whose columns are added up."""
        count, positions = self.n_members, x.shape[2:].numel()
        channels, size = x.shape[1], layer.kernel_size
        rows = x.reshape(count, -1, channels, positions).transpose(1, 2).flatten(2)
        columns = torch.bmm(layer.weight.flatten(2).transpose(1, 2), rows)
        columns = columns.unflatten(2, (-1, positions)).transpose(1, 2).flatten(0, 1)
        shape = tuple(
            (n - 1) * stride - 2 * pad + k + extra
            for n, stride, pad, k, extra in zip(
                x.shape[2:], layer.stride, layer.padding, size, layer.output_padding, strict=True
            )
        )
        return functional.fold(columns, shape, size, padding=layer.padding, stride=layer.stride)

    def _shift(self, x: Tensor, bias: Tensor | None, axis: int) -> Tensor:
        """Add a bias along an axis."""
        return x if bias is None else x + self._along(bias, "bias", x, axis)

    def _along(self, tensor: Tensor, name: str, x: Tensor, axis: int) -> Tensor:
        """Return a vector, or one for every member, ready to be broadcast along an axis of x."""
        if name in self.private:
            tensor = tensor.repeat_interleave(len(x) // self.n_members, 0)
        if axis == 1:
            tensor = tensor[(..., *[None] * (x.ndim - 2))]
        elif name in self.private:
            tensor = tensor.reshape(len(x), *[1] * (x.ndim - 2), -1)
        return tensor

    def _norm(self, layer: Any, x: Tensor) -> Tensor:
        train = layer.training or layer.running_mean is None
        if layer.training and layer.num_batches_tracked is not None:
            layer.num_batches_tracked.add_(1)
        mean, variance = layer.running_mean, layer.running_var
        options = (None, None, train, layer.momentum, layer.eps)
        if not self.statistics:
            out = functional.batch_norm(x, mean, variance, *options)
        else:
            if mean is not None:
                mean, variance = mean.view(-1), variance.view(-1)
            side = _side_by_side(x, self.n_members)
            out = functional.batch_norm(side, mean, variance, *options)
            out = _one_after_the_other(out, self.n_members)
        if layer.weight is None:
            return out
        return self._shift(out * self._along(layer.weight, "weight", out, 1), layer.bias, 1)

    def _any(self, *inputs: Tensor) -> Tensor:
        """Call a layer of any other kind."""
        split = [x.reshape(self.n_members, -1, *x.shape[1:]) for x in inputs]
        tensors = {**dict(self.layer.named_parameters()), **dict(self.layer.named_buffers())}
        own = {
            name
            for name, _ in self.layer.named_buffers()
            if self.statistics
        } | self.private  # fmt: skip
        plain = getattr(nn, type(self.layer).__name__, None) is type(self.layer)
        if plain and not any(True for _ in self.layer.buffers()):
            dims = {name: 0 if name in own else None for name in tensors}
            call = vmap(
                lambda state, *x: functional_call(self.layer, state, x),
                in_dims=(dims, *[0] * len(split)),
                randomness="different",
            )
            return call(tensors, *split).flatten(0, 1)
        # buffers are changed in place, and some layers branch on values: one member after the other
        outs = []
        for k in range(self.n_members):
            state = {name: t[k] if name in own else t for name, t in tensors.items()}
            outs.append(functional_call(self.layer, state, tuple(x[k] for x in split)))
        return torch.cat(outs)

    def extra_repr(self) -> str:
        """Return what is private, for the text of the network."""
        names = ", ".join(sorted(self.private)) or "nothing"
        return f"n_members={self.n_members}, private: {names}" + (
            ", statistics" if self.statistics and any(True for _ in self.layer.buffers()) else ""
        )


def _put(module: nn.Module, name: str, tensor: Tensor) -> None:
    """Replace a parameter or buffer of another shape."""
    path, _, last = name.rpartition(".")
    owner = module.get_submodule(path)
    table: dict[str, Any] = owner._parameters if last in owner._parameters else owner._buffers
    table[last] = tensor


def _one_position(x: Tensor, layer: Any) -> bool:
    """Whether a transposed convolution sees one position and neither crops nor extends."""
    return (
        layer.transposed
        and layer.groups == 1
        and x.shape[2:].numel() == 1
        and not any(layer.padding)
        and not any(layer.output_padding)
        and all(d == 1 for d in layer.dilation)
    )


def _few_channels(x: Tensor, layer: Any) -> bool:
    """Whether the columns of a transposed convolution are cheaper than a grouped one."""
    return (
        isinstance(layer, nn.ConvTranspose2d)
        and layer.groups == 1
        and layer.out_channels <= _FEW
        and x.device.type == "cpu"
        and all(d == 1 for d in layer.dilation)
    )


def _side_by_side(x: Tensor, count: int) -> Tensor:
    """Return (B, K C, ...) of (K B, C, ...)."""
    return x.unflatten(0, (count, -1)).transpose(0, 1).flatten(1, 2)


def _one_after_the_other(x: Tensor, count: int) -> Tensor:
    """Return (K B, C, ...) of (B, K C, ...)."""
    return x.unflatten(1, (count, -1)).transpose(0, 1).flatten(0, 1)
