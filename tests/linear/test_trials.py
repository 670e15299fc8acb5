"""Who runs the trials of a sweep, and what is kept of them."""

import weakref

import numpy as np

from fastgen.linear import trials


def test_results_handed_out_are_let_go(monkeypatch):
    monkeypatch.setattr(
        trials, "_run_block", lambda plan, block, home: [(int(i), np.ones(10)) for i in block]
    )
    blocks = [np.array([i]) for i in range(8)]
    handed, seen = trials._threads(None, blocks, 2), []
    for ((_, rows),) in handed:
        seen.append(weakref.ref(rows))
        del rows
    assert len(seen) == 8
    assert sum(each() is not None for each in seen) == 0
