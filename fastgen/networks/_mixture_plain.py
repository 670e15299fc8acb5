"""Mixture normalization in evaluation, from plain torch operations that others can read off.

Tracing, export, compilation, scripting, functional transforms and forward derivatives see
operations of torch only: not the compiled kernels, and no decision that depends on values.

Annotations are not postponed here, for ``torch.jit.script`` reads them.
"""

import torch
from torch import fx, nn
from torch.autograd import forward_ad


def evaluate(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    weights: torch.Tensor,
    means: torch.Tensor,
    variances: torch.Tensor,
    n_components: int,
    eps: float,
) -> torch.Tensor:
    """Normalize ``x`` (N, C, ...) by given components, ``weights`` (K,), ``means`` (K, C)."""
    dtype = torch.float64 if x.dtype == torch.float64 else torch.float32
    wide = x.to(dtype)
    shape = [1, means.size(1)] + [1] * (x.dim() - 2)
    weights, means, variances = weights.to(dtype), means.to(dtype), variances.to(dtype) + eps
    parts = []
    logs = []
    for k in range(n_components):
        centered = wide - means[k].reshape(shape)
        variance = variances[k].reshape(shape)
        squares = (centered * centered / variance).sum(1, keepdim=True)
        logs.append(weights[k].log() - 0.5 * (variances[k].log().sum() + squares))
        # a component of weight 0 has posterior 0 everywhere
        share = torch.where(weights[k] == 0, torch.ones_like(weights[k]), weights[k])
        parts.append(centered * (share * variance).rsqrt())
    nu = torch.cat(logs, 1).softmax(1)
    if n_components == 1:
        nu = torch.ones_like(nu)  # NaN in a channel stays there
    out = torch.zeros_like(wide)
    for k in range(n_components):
        out = out + nu[:, k : k + 1] * parts[k]
    if weight is not None:
        out = out * weight.to(dtype).reshape(shape)
    if bias is not None:
        out = out + bias.to(dtype).reshape(shape)
    return out.to(x.dtype)


evaluate_as_one_node = evaluate
fx.wrap("evaluate_as_one_node")


class Evaluation(nn.Module):
    """The layer in evaluation as ``torch.jit.script`` takes it."""

    running_weights: torch.Tensor
    running_means: torch.Tensor
    running_vars: torch.Tensor

    def __init__(
        self,
        affine: tuple[nn.Parameter | None, nn.Parameter | None],
        running: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        eps: float,
    ) -> None:
        super().__init__()
        self.weight, self.bias = affine
        names = ("running_weights", "running_means", "running_vars")
        for name, value in zip(names, running, strict=True):
            self.register_buffer(name, value)
        self.n_components = len(running[0])
        self.eps = eps

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Normalize a batch by the running components."""
        return evaluate(
            input,
            self.weight,
            self.bias,
            self.running_weights,
            self.running_means,
            self.running_vars,
            self.n_components,
            self.eps,
        )


def reader(x: torch.Tensor) -> str | None:
    """Name who reads operations off instead of running them, None for a plain call."""
    if torch.jit.is_tracing():
        return "torch.jit.trace"
    if torch.compiler.is_compiling():
        return "torch.export" if torch.compiler.is_exporting() else "torch.compile"
    if isinstance(x, fx.Proxy):
        return "torch.fx"
    if torch._C._functorch.peek_interpreter_stack() is not None:
        return "torch.func"
    if type(x) not in (torch.Tensor, nn.Parameter):
        return "a subclass of torch.Tensor"
    if x.device.type == "meta":
        return "the meta device"
    return "forward derivatives" if has_tangent(x) else None


def has_tangent(x: torch.Tensor) -> bool:
    """Whether ``x`` carries a forward derivative."""
    return forward_ad._current_level >= 0 and forward_ad.unpack_dual(x).tangent is not None


def batched(x: torch.Tensor) -> bool:
    """Whether ``x`` stands for many tensors, as gradients do in ``is_grads_batched``."""
    return torch._C._functorch.is_functorch_wrapped_tensor(
        x
    ) or torch._C._functorch.is_legacy_batchedtensor(x)
