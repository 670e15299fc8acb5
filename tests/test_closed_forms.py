"""Solvers and oracle against problems whose answer is known direction by direction."""

from __future__ import annotations

import closed_forms
import naive
import numpy as np
import pytest

from fastgen.linear.problems import METRICS, Options, Trial
from fastgen.linear.sweep import PROBLEMS


@pytest.mark.parametrize("n", [1, 2, 7, 31, 33])
@pytest.mark.parametrize("name", PROBLEMS)
def test_aligned_problems(name, n):
    case = closed_forms.aligned(n, seed=n)
    extra = {"ridge": (0.1,), "reduced_rank": (3,)}.get(name, ())
    trial = Trial(case.factor, case.x, case.z, Options(0.1, 3, np.dtype("float64")))
    ks = np.arange(1, n + 1)
    found = PROBLEMS[name](trial, ks, n)
    truth = case.factor.T @ case.factor
    for i, k in enumerate(ks):
        exact = getattr(case, name)(int(k), *extra)
        oracle = naive.cell(name, case.x, case.z[:k], n, truth, 0.1, 3)
        for metric, value in zip(METRICS, found[:, i], strict=True):
            scale = 1e-12 * (case.mu.sum() + (case.s**2).sum())
            assert value == pytest.approx(exact[metric], rel=1e-10, abs=scale)
            assert oracle[metric] == pytest.approx(exact[metric], rel=1e-10, abs=scale)
