"""Products of reduced precision, and the lock that keeps searches of several threads apart."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

# The precision of float32 products and the levels of forward-mode derivatives belong to the
# process: one search changes them at a time.
_ONE_SEARCH = threading.RLock()


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Let one thread search at a time, and restore the precision of float32 products at the end."""
    import torch

    with _ONE_SEARCH:
        before = torch.get_float32_matmul_precision()
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)


@contextlib.contextmanager
def coarse_products(wanted: bool) -> Iterator[None]:
    """Let float32 matrix products round their factors to bfloat16, and restore what was.

    Called within `alone`: the setting belongs to the process.
    """
    if not wanted:
        yield
        return
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
