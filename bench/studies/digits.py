"""Digits of scikit-learn, a denoiser of them and a judge: what the studies of diffusion share."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.spatial.distance import cdist
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "peers"))
from report import environment_lines, publish

from fastgen.diffusion import DDPM, FitResult, Pairing, alphas_cumprod, fit
from fastgen.networks import MLPDenoiser

__all__ = [
    "CLIP",
    "SCHEDULE",
    "Digits",
    "denoiser_of",
    "digits",
    "energy_distance",
    "environment_lines",
    "mean_and_error",
    "publish",
]

SCHEDULE = alphas_cumprod("cosine", 200)
CLIP = (-1.2, 1.2)


class Digits(NamedTuple):
    """Digits in [-1, 1], three quarters to train on, and an SVC that names them."""

    train: np.ndarray
    test: np.ndarray
    train_labels: np.ndarray
    test_labels: np.ndarray
    judge: Any


def digits(seed: int) -> Digits:
    data = load_digits()
    x = (data.data / 8 - 1).astype(np.float32)
    train, test, y_train, y_test = train_test_split(
        x, data.target, test_size=0.25, random_state=seed, stratify=data.target
    )
    judge = SVC(gamma="scale").fit(train, y_train)
    return Digits(train, test, y_train, y_test, judge)


def denoiser_of(
    data: Any,
    seed: int,
    steps: int,
    rule: Pairing | None = None,
    width: int = 256,
    **options: Any,
) -> FitResult:
    """Train on ``data.train``; the error is measured on ``data.test``."""
    torch.manual_seed(seed)
    return fit(
        MLPDenoiser(data.train.shape[1:], width=width), data.train,
        steps=steps, objective=DDPM(SCHEDULE),
        pairing=rule, held_out=data.test,
        log_every=max(1, steps // 5), random_state=seed, progress=False, **options,
    )  # fmt: skip


def energy_distance(x: np.ndarray, y: np.ndarray) -> float:
    """Szekely's, with the distance of a point to itself counted: 0 for equal sets."""
    return float(2 * cdist(x, y).mean() - cdist(x, x).mean() - cdist(y, y).mean())


def mean_and_error(values: Any, digits: int = 3) -> str:
    """Mean over seeds, and its standard error."""
    values = np.asarray(values, dtype=float)
    error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else 0.0
    return f"{values.mean():.{digits}f} ± {error:.{digits}f}"
