"""Solvers and oracle against problems whose answer is known direction by direction."""

from __future__ import annotations

import closed_forms
import numpy as np
import pytest
from oracles import linear as naive

from fastgen.linear.host.trial import Trial
from fastgen.linear.options import METRICS, Options
from fastgen.linear.problems import PROBLEMS


@pytest.mark.parametrize("n", [1, 2, 7, 31, 33])
@pytest.mark.parametrize("name", PROBLEMS)
def test_aligned_problems(name, n):
    case = closed_forms.aligned(n, seed=n)
    extra = {"ridge": (0.1,), "reduced_rank": (3,), "penalized": (1e4,)}.get(name, ())
    starts = np.random.default_rng(n).standard_normal((n, n))
    options = Options(rank=3, weight=1e4, tol=0.0)
    trial = Trial(case.factor, case.x, case.z, options, starts)
    ks = np.arange(1, n + 1)
    found = PROBLEMS[name].host(trial, ks, n)
    truth = case.factor.T @ case.factor
    for i, k in enumerate(ks):
        exact = getattr(case, name)(int(k), *extra)
        scale = case.mu.sum() + (case.s**2).sum()
        # an iterate is as good as its objective is flat
        digits = 1e-6 if name == "penalized" else 1e-10
        for metric, value in zip(METRICS, found[: len(METRICS), i], strict=True):
            assert value == pytest.approx(exact[metric], rel=digits, abs=1e-2 * digits * scale)
        if name in naive.CLOSED:
            oracle = naive.cell(name, case.x, case.z[:k], n, truth, 0.1, 3)
            for metric in METRICS:
                assert oracle[metric] == pytest.approx(exact[metric], rel=1e-10, abs=1e-12 * scale)
