"""Networks held in evaluation mode while they are called, and given back as they were."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn


@dataclasses.dataclass
class _Held:
    """What a module or a parameter was before the first call that holds it."""

    part: Any
    was: bool
    count: int = 0


# By identity, which the entries keep alive. Threads may share a network, or parts of one: none
# gives back what another one still calls.
_held: dict[int, _Held] = {}
_lock = threading.Lock()


@contextlib.contextmanager
def evaluation_mode(modules: Sequence[nn.Module]) -> Iterator[None]:
    """Hold networks in evaluation mode with frozen weights, and restore what was.

    Inside, gradients are off. Calls may overlap, in one thread or in several: the last one to end
    restores what the first one found.

    Parameters
    ----------
    modules : sequence of nn.Module
    """
    import torch

    parts = [part for module in modules for part in module.modules()]
    weights = [weight for module in modules for weight in module.parameters()]
    with _lock:
        for part in parts:
            _take(part, part.training)
        for weight in weights:
            _take(weight, weight.requires_grad)
    try:
        for module in modules:
            module.eval()
        for weight in weights:
            weight.requires_grad_(False)
        with torch.inference_mode(False), torch.no_grad():
            yield
    finally:
        with _lock:
            for part in filter(_given_back, parts):
                part.training = _held.pop(id(part)).was
            for weight in filter(_given_back, weights):
                weight.requires_grad_(_held.pop(id(weight)).was)


def _take(part: Any, state: bool) -> None:
    _held.setdefault(id(part), _Held(part, state)).count += 1


def _given_back(part: Any) -> bool:
    """Let go of a part; return whether no other call holds it."""
    held = _held[id(part)]
    held.count -= 1
    return held.count == 0
