"""The transform of mixture normalization and its gradient.

In training posteriors are constants of the gradient, as the paper leaves open; in evaluation, where
components are given, the gradient is that of all that is computed.
"""

from __future__ import annotations

from typing import Any

import torch

from .._dispatch import mixture_norm as dispatch
from ._mixture_fit import Components, compiled, torch_posteriors
from ._mixture_plain import batched


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


def torch_normalize(
    x: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    nu: torch.Tensor,
    components: Components,
    counts: torch.Tensor | None,
    eps: float,
) -> torch.Tensor:
    """Compute the same in torch operations: any device, differentiable any number of times."""
    weights, means, variances = components
    if counts is None and len(weights) > 1 and x.requires_grad:
        nu = torch_posteriors(x, Components(*(c.to(x) for c in components)), eps)
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
        out = out * weight[:, None]
    return out if bias is None else out + bias[:, None]


class _Normalize(torch.autograd.Function):
    """The same from kernels, for contiguous float32 and float64 on the CPU."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor | None,
        bias: torch.Tensor | None,
        nu: torch.Tensor,
        weights: torch.Tensor,
        means: torch.Tensor,
        variances: torch.Tensor,
        counts: torch.Tensor | None,
        eps: float,
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight, bias, nu, weights, means, variances, counts)
        ctx.eps = eps
        gain, shift = _affine(x, weight, bias)
        scales = _inverse_roots(weights, variances, eps) * gain
        out = torch.empty_like(x)
        rows, posteriors = x.detach().numpy(), nu.numpy()
        coefficients = means.numpy(), scales.numpy(), shift.numpy()
        dispatch.transform(rows, posteriors, *coefficients, out.numpy(), torch.get_num_threads())
        return out

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight, bias, nu, weights, means, variances, counts = ctx.saved_tensors
        components = Components(weights, means, variances)
        graph = torch.is_grad_enabled()
        if graph or batched(gradient):  # to be differentiated, or many gradients at a time
            inputs = [t for t, need in zip((x, weight, bias), ctx.needs_input_grad) if need]  # noqa: B905
            with torch.enable_grad():
                out = torch_normalize(x, weight, bias, nu, components, counts, ctx.eps)
            found = iter(torch.autograd.grad(out, inputs, gradient, create_graph=graph))
            each = [next(found) if need else None for need in ctx.needs_input_grad[:3]]
            return (*each, *[None] * 6)
        threads = torch.get_num_threads()
        gradient = gradient.contiguous()
        rows, slope, posteriors = x.detach().numpy(), gradient.numpy(), nu.numpy()
        sums = dispatch.gradient_sums(rows, slope, posteriors, means.numpy(), threads)
        plain, moments = torch.from_numpy(sums)  # (K, C): sums of nu g and of nu g (x - m)
        roots = _inverse_roots(weights, variances, ctx.eps)
        gain, _ = _affine(x, weight, bias)
        scales = roots * gain
        offsets, slopes = torch.zeros_like(scales), torch.zeros_like(scales)
        if counts is not None:
            shares = scales / torch.where(counts == 0, 1, counts)[:, None]
            offsets, slopes = shares * plain, shares * moments / (variances + ctx.eps)
        wanted: list[Any] = [None, None, None]
        if ctx.needs_input_grad[0]:
            wanted[0] = torch.empty_like(x)
            dispatch.input_gradient(
                rows, slope, posteriors, means.numpy(), scales.numpy(), offsets.numpy(),
                slopes.numpy(), wanted[0].numpy(), threads,
            )  # fmt: skip
            if counts is None and len(weights) > 1:
                _add_through_posteriors(wanted[0], x.detach(), gradient, nu, components, gain, ctx)
        if ctx.needs_input_grad[1]:
            wanted[1] = (roots * moments).sum(0).to(weight.dtype)
        if ctx.needs_input_grad[2]:
            wanted[2] = plain.sum(0).to(bias.dtype)
        return (*wanted, *[None] * 6)


def _add_through_posteriors(
    out: torch.Tensor,
    x: torch.Tensor,
    gradient: torch.Tensor,
    nu: torch.Tensor,
    components: Components,
    gain: torch.Tensor,
    ctx: Any,
) -> None:
    """Add the part of the gradient that passes through posteriors of given components.

    With h_k what component k contributes to the gradient's direction, it is the sum over k of
    nu_k (h_k - sum_j nu_j h_j) times the derivative of the log density of k.
    """
    weights, means, variances = components
    scales = (_inverse_roots(weights, variances, ctx.eps) * gain).to(x.dtype)
    precisions = (1 / (variances + ctx.eps)).to(x.dtype)
    means = means.to(x.dtype)
    sums = [
        ((x - mean[:, None]) * gradient * scale[:, None]).sum(1)
        for mean, scale in zip(means, scales, strict=True)
    ]
    parts, nu = torch.stack(sums, 1), nu[:, : len(weights)]
    parts = nu * (parts - (nu * parts).sum(1, keepdim=True))
    for k, (mean, precision) in enumerate(zip(means, precisions, strict=True)):
        out -= parts[:, k, None] * (x - mean[:, None]) * precision[:, None]


def _inverse_roots(weights: torch.Tensor, variances: torch.Tensor, eps: float) -> torch.Tensor:
    """1 / sqrt(lambda_k (v_kc + eps)), zero for a component of weight 0."""
    inverse = (weights[:, None] * (variances + eps)).rsqrt()
    return torch.where(weights[:, None] == 0, 0, inverse)


def _affine(
    x: torch.Tensor, weight: torch.Tensor | None, bias: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Weight and bias in float64, 1 and 0 where there are none."""
    ones = torch.ones(x.shape[1], dtype=torch.float64)
    return (
        ones if weight is None else weight.detach().double(),
        0 * ones if bias is None else bias.detach().double(),
    )
