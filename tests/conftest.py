"""Fixtures that several test files use."""

from __future__ import annotations

import pytest


@pytest.fixture
def one_torch_thread():
    """Hold torch at one thread: small tensors are slower on more, and sums then repeat exactly."""
    torch = pytest.importorskip("torch")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
