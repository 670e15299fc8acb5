"""The transform of mixture normalization and its gradient, posteriors held constant."""

from __future__ import annotations

import torch

from .._dispatch import mixture_norm as dispatch
from ._mixture_fit import Components, compiled


def normalize(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    nu: torch.Tensor,
    components: Components,
    counts: torch.Tensor | None,
    eps: float,
) -> torch.Tensor:
    """Mixture normalization of ``x`` (B, C, P), then ``weight`` and ``bias`` (C,).

    With ``counts``, means and variances are functions of ``x``: the batch's, weighted by
    ``nu / counts``. Without, ``components`` are constants.
    """
    if compiled(x):
        return _Normalize.apply(x, weight, bias, nu, *components, counts, eps)
    return torch_normalize(x, weight, bias, nu, components, counts, eps)


def torch_normalize(x, weight, bias, nu, components, counts, eps) -> torch.Tensor:
    """Compute the same in torch operations: any device, differentiable any number of times."""
    weights, means, variances = components
    out = torch.zeros_like(x)
    for k in range(len(weights)):
        if weights[k] == 0:
            continue
        posterior = nu[:, k, None]
        mean, variance = means[k].to(x), variances[k].to(x)
        if counts is not None:
            share = posterior / counts[k].to(x)
            mean = mean + (share * (x - mean[:, None])).sum((0, 2))
            variance = (share * (x - mean[:, None]).square()).sum((0, 2))
        scale = (weights[k].to(x) * (variance + eps)).rsqrt()
        out = out + posterior * (x - mean[:, None]) * scale[:, None]
    if weight is not None:
        out = out * weight[:, None] + bias[:, None]
    return out


class _Normalize(torch.autograd.Function):
    """The same from kernels, for contiguous float32 and float64 on the CPU."""

    @staticmethod
    def forward(ctx, x, weight, bias, nu, weights, means, variances, counts, eps):
        ctx.save_for_backward(x, weight, bias, nu, weights, means, variances, counts)
        ctx.eps = eps
        gain, shift = _affine(x, weight, bias)
        scales = _inverse_roots(weights, variances, eps) * gain
        out = torch.empty_like(x)
        arrays = (t.numpy() for t in (x.detach(), nu, means, scales, shift, out))
        dispatch.transform(*arrays, torch.get_num_threads())
        return out

    @staticmethod
    def backward(ctx, gradient):
        x, weight, bias, nu, weights, means, variances, counts = ctx.saved_tensors
        components = Components(weights, means, variances)
        if torch.is_grad_enabled():  # create_graph: the gradient is to be differentiated
            inputs = [t for t, need in zip((x, weight, bias), ctx.needs_input_grad) if need]  # noqa: B905
            out = torch_normalize(x, weight, bias, nu, components, counts, ctx.eps)
            found = iter(torch.autograd.grad(out, inputs, gradient, create_graph=True))
            wanted = [next(found) if need else None for need in ctx.needs_input_grad[:3]]
            return (*wanted, *[None] * 6)
        threads = torch.get_num_threads()
        gradient = gradient.contiguous()
        sums = dispatch.gradient_sums(
            *(t.numpy() for t in (x.detach(), gradient, nu, means)), threads
        )
        plain, moments = torch.from_numpy(sums)  # (K, C): sums of nu g and of nu g (x - m)
        roots = _inverse_roots(weights, variances, ctx.eps)
        gain, _ = _affine(x, weight, bias)
        scales = roots * gain
        offsets, slopes = torch.zeros_like(scales), torch.zeros_like(scales)
        if counts is not None:
            shares = scales / torch.where(counts == 0, 1, counts)[:, None]
            offsets, slopes = shares * plain, shares * moments / (variances + ctx.eps)
        wanted = [None, None, None]
        if ctx.needs_input_grad[0]:
            wanted[0] = torch.empty_like(x)
            arrays = (x.detach(), gradient, nu, means, scales, offsets, slopes, wanted[0])
            dispatch.input_gradient(*(t.numpy() for t in arrays), threads)
        if ctx.needs_input_grad[1]:
            wanted[1] = (roots * moments).sum(0).to(weight.dtype)
        if ctx.needs_input_grad[2]:
            wanted[2] = plain.sum(0).to(bias.dtype)
        return (*wanted, *[None] * 6)


def _inverse_roots(weights, variances, eps) -> torch.Tensor:
    """1 / sqrt(lambda_k (v_kc + eps)), zero for a component of weight 0."""
    inverse = (weights[:, None] * (variances + eps)).rsqrt()
    return torch.where(weights[:, None] == 0, 0, inverse)


def _affine(x, weight, bias) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias in float64, 1 and 0 where there are none."""
    if weight is None:
        ones = torch.ones(x.shape[1], dtype=torch.float64)
        return ones, 0 * ones
    return weight.detach().double(), bias.detach().double()
