"""FID, WaM, KID and CMMD as torchmetrics classes: update, compute, reset, synced across processes.

Needs torchmetrics: ``pip install "fastgen-core[torchmetrics]"``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from .. import _arrays, _validate
from .features import ModuleFeatures
from .fid_wam import fid, wam
from .kernel_distances import cmmd, kid
from .statistics import FeatureStatistics

try:
    from torchmetrics import Metric
    from torchmetrics.utilities.data import dim_zero_cat
    from torchmetrics.utilities.exceptions import TorchMetricsUserError
except ImportError as error:
    raise ImportError(
        'fastgen.metrics.torchmetrics needs torchmetrics: pip install "fastgen-core[torchmetrics]"'
    ) from error

__all__ = ["CMMD", "FID", "KID", "WaM"]


class _Network(ModuleFeatures):
    """An extractor whose ``forward`` torchmetrics' FeatureShare may put a cache in place of."""

    def __repr__(self) -> str:
        return f"ModuleFeatures({self.module!r})"

    def __call__(self, images: Any) -> np.ndarray:
        return self.forward(images)

    def forward(self, images: Any) -> np.ndarray:
        """Return features (n, d) of images."""
        return super().__call__(images)


class _TwoSets(Metric):
    """What all metrics share: the extractor, the checks, real features that may stay."""

    is_differentiable = False
    higher_is_better = False
    full_state_update = False
    _real: Any  # the state of the real features, as it is kept

    def __init__(
        self, feature: Callable[[Any], Any] | None, reset_real_features: bool, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        self.feature = _Network(feature) if isinstance(feature, torch.nn.Module) else feature
        self.reset_real_features = reset_real_features
        if feature is not None:  # where torchmetrics' FeatureShare looks for it
            self.feature_network = "feature"

    def _extract(self, batch: Any) -> torch.Tensor:
        """Features (n, d) of a batch in float64, on the device of the metric."""
        found = batch if self.feature is None else self.feature(batch)
        found = _arrays.to_tensor(found).detach().to(self.device, torch.float64)
        if found.ndim != 2 or not len(found):
            raise ValueError(
                "features must have shape (n, d), n at least 1, got "
                f"{tuple(found.shape)}; pass feature=, an extractor, to the metric for images"
            )
        if not torch.isfinite(found).all():
            raise ValueError("features must be finite, got NaN or infinity; drop such samples")
        return found

    def forward(self, *args: Any, **kwargs: Any) -> None:
        """Call ``update``: one batch is of one set, and has no distance yet."""
        if self._is_synced:
            raise TorchMetricsUserError(
                "the metric must not be synced when forward is called, got a synced one; call "
                "unsync first"
            )
        self.update(*args, **kwargs)

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Plot a value, or several, as every class of torchmetrics does.

        Parameters
        ----------
        val : tensor or sequence of tensors, optional
            What ``compute`` returned; by default it is called.
        ax : matplotlib.axes.Axes, optional

        Returns
        -------
        figure and axes
        """
        return self._plot(val, ax)

    def reset(self) -> None:
        """Forget the samples; the real ones only with ``reset_real_features``."""
        if self.reset_real_features:
            super().reset()
            return
        kept = self._real
        super().reset()
        self._real = kept


class FID(_TwoSets):
    """Squared Frechet distance of real and generated features, from running moments.

    Moments are added about their means (Chan's rule) in float64, on the device and across
    processes, so that a large mean costs no digits. The result is that of `fastgen.metrics.fid`.

    Parameters
    ----------
    n_features : int
        Dimension d of the features.
    feature : callable, optional
        From images to features (n, d), such as `fastgen.metrics.features.inception_v3`; without it
        ``update`` takes features. A network is wrapped in `ModuleFeatures`, and so evaluated on
        its own device, without dropout.
    reset_real_features : bool, default True
        False keeps the moments of the real features in ``reset``.
    **kwargs
        Further arguments of `torchmetrics.Metric`.

    Examples
    --------
    >>> import torch
    >>> from fastgen.metrics.torchmetrics import FID
    >>> metric = FID(n_features=1)
    >>> metric.update(torch.tensor([[0.0], [2.0]]), real=True)
    >>> metric.update(torch.tensor([[3.0], [7.0]]), real=False)
    >>> metric.compute().round(decimals=9)
    tensor(18., dtype=torch.float64)
    """

    def __init__(
        self,
        n_features: int,
        feature: Callable[[Any], Any] | None = None,
        *,
        reset_real_features: bool = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(feature, reset_real_features, **kwargs)
        self.n_features = _validate.integer(n_features, "n_features")
        empty = torch.zeros(1 + n_features + n_features**2, dtype=torch.float64)
        self.add_state("real_moments", empty, dist_reduce_fx=_merged)
        self.add_state("fake_moments", empty.clone(), dist_reduce_fx=_merged)

    real_moments: torch.Tensor
    fake_moments: torch.Tensor

    @property
    def _real(self) -> torch.Tensor:
        return self.real_moments

    @_real.setter
    def _real(self, value: torch.Tensor) -> None:
        self.real_moments = value

    def update(self, imgs: Any, real: bool) -> None:
        """Add a batch.

        Parameters
        ----------
        imgs : array or tensor
            What ``feature`` takes, as it is: images are neither rescaled nor cast for a callable,
            and for a network uint8 is divided by 255 (`ModuleFeatures`). Without ``feature`` the
            features (n, d) themselves.
        real : bool
            Whether the samples are real or generated.

        Raises
        ------
        ValueError
            If the features are not finite of shape (n, n_features).
        """
        rows = self._extract(imgs)
        if rows.shape[1] != self.n_features:
            raise ValueError(
                f"features must have n_features={self.n_features} columns, got {rows.shape[1]}"
            )
        mean = rows.mean(dim=0)
        centered = rows - mean
        packed = torch.cat((rows.new_tensor([len(rows)]), mean, (centered.T @ centered).flatten()))
        name = "real_moments" if real else "fake_moments"
        setattr(self, name, _merged(torch.stack((getattr(self, name), packed))))

    def compute(self) -> torch.Tensor:
        """Return the FID.

        Returns
        -------
        Tensor ()
            Float64, in squared units of the features.

        Raises
        ------
        ValueError
            With fewer than two real or generated samples.
        """
        sets = [self._statistics(state) for state in (self.real_moments, self.fake_moments)]
        return torch.tensor(fid(*sets), dtype=torch.float64, device=self.device)

    def _statistics(self, state: torch.Tensor) -> FeatureStatistics:
        d, packed = self.n_features, state.cpu().numpy()
        mean, scatter = packed[1 : 1 + d], packed[1 + d :].reshape(d, d)
        return FeatureStatistics.from_moments(int(packed[0]), mean, scatter)


def _merged(states: torch.Tensor) -> torch.Tensor:
    """Moments of all samples, from states of parts of them.

    A state (1 + d + d^2) is the number of samples, their mean, and the sum of squares about it.
    """
    d = (math.isqrt(4 * states.shape[1] - 3) - 1) // 2
    n = states[:, 0]
    total = n.sum()
    share = n / total.clamp(min=1)
    means = states[:, 1 : 1 + d]
    mean = share @ means
    gaps = (means - mean) * n.sqrt()[:, None]
    scatter = states[:, 1 + d :].sum(dim=0) + (gaps.T @ gaps).flatten()
    return torch.cat((total[None], mean, scatter))


class _KeptSets(_TwoSets):
    """Keeps all features, and gathers those of all processes for ``compute``.

    A subclass names the function of two sets, the attribute of its result that is the value, and
    the options that differ from the function's own.
    """

    _function: Callable[..., Any]
    _value = "value"
    _usual: Mapping[str, Any] = MappingProxyType({"random_state": 0})

    def __init__(
        self,
        feature: Callable[[Any], Any] | None = None,
        *,
        reset_real_features: bool = True,
        options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(feature, reset_real_features, **kwargs)
        self.options = {**self._usual, **(options or {})}
        self.result_: Any = None
        self.add_state("real_features", [], dist_reduce_fx="cat")
        self.add_state("fake_features", [], dist_reduce_fx="cat")

    real_features: list[torch.Tensor]
    fake_features: list[torch.Tensor]

    @property
    def _real(self) -> list[torch.Tensor]:
        return list(self.real_features)

    @_real.setter
    def _real(self, value: list[torch.Tensor]) -> None:
        self.real_features = value

    def update(self, imgs: Any, real: bool) -> None:
        """Add a batch; parameters and errors are those of `FID.update`, for any d."""
        (self.real_features if real else self.fake_features).append(self._extract(imgs))

    def _sets(self) -> list[np.ndarray]:
        sets = []
        for state, name in ((self.real_features, "real"), (self.fake_features, "generated")):
            if isinstance(state, list) and not state:
                raise ValueError(f"no {name} samples; call update with real={name == 'real'} first")
            sets.append(dim_zero_cat(state).cpu().numpy())
        return sets

    def compute(self) -> torch.Tensor:
        """Return the value; the rest is in ``result_``.

        Returns
        -------
        Tensor ()
            Float64.

        Raises
        ------
        ValueError
            Without real or generated samples, or as the function of this name.
        """
        self.result_ = self._function(*self._sets(), **self.options)
        value = getattr(self.result_, self._value)
        return torch.tensor(value, dtype=torch.float64, device=self.device)


class WaM(_KeptSets):
    """Squared Wasserstein-type distance between Gaussian mixtures of real and generated features.

    All features are kept until ``compute``, which gathers those of all processes and runs
    `fastgen.metrics.wam` on them in each. Its result does not depend on the order of the samples
    but through the fits' random starts.

    Parameters
    ----------
    feature : callable, optional
        As for `FID`.
    reset_real_features : bool, default True
        False keeps the real features in ``reset``.
    options : dict, optional
        Arguments of `fastgen.metrics.wam`; ``random_state`` is 0 if not given, so that all
        processes agree.
    **kwargs
        Further arguments of `torchmetrics.Metric`.

    Attributes
    ----------
    result_ : WaMResult
        What the last ``compute`` found: floor, plan, contributions.

    Examples
    --------
    >>> import torch
    >>> from fastgen.metrics.torchmetrics import WaM
    >>> metric = WaM(options={"n_components": 2, "debias": False})
    >>> real = torch.arange(40.0)[:, None] % 20
    >>> metric.update(real, real=True)
    >>> metric.update(real, real=False)
    >>> metric.compute()
    tensor(0., dtype=torch.float64)
    """

    _function = staticmethod(wam)
    _value = "wam2"


class KID(_KeptSets):
    """Kernel inception distance from all pairs: the value of `fastgen.metrics.kid`.

    Sums over pairs of samples do not merge: all features are kept until ``compute``, which gathers
    those of all processes.

    Parameters
    ----------
    feature : callable, optional
        As for `FID`.
    reset_real_features : bool, default True
        False keeps the real features in ``reset``.
    options : dict, optional
        Arguments of `fastgen.metrics.kid`; ``random_state`` is 0 if not given.
    **kwargs
        Further arguments of `torchmetrics.Metric`.

    Attributes
    ----------
    result_ : KernelDistance
        What the last ``compute`` found: standard error and noise.

    Examples
    --------
    >>> import torch
    >>> from fastgen.metrics.torchmetrics import KID
    >>> metric = KID()
    >>> metric.update(torch.zeros(3, 2), real=True)
    >>> metric.update(torch.tensor([[2.0, 2.0]] * 3), real=False)
    >>> metric.compute()
    tensor(124., dtype=torch.float64)
    """

    _function = staticmethod(kid)


class CMMD(_KeptSets):
    """Squared MMD of a Gaussian kernel: the value of `fastgen.metrics.cmmd`.

    All features are kept until ``compute``, as by `KID`.

    Parameters
    ----------
    feature : callable, optional
        As for `FID`.
    reset_real_features : bool, default True
        False keeps the real features in ``reset``.
    options : dict, optional
        Arguments of `fastgen.metrics.cmmd`.
    **kwargs
        Further arguments of `torchmetrics.Metric`.

    Attributes
    ----------
    result_ : KernelDistance
        What the last ``compute`` found: standard error and noise.

    Examples
    --------
    >>> import torch
    >>> from fastgen.metrics.torchmetrics import CMMD
    >>> metric = CMMD(options={"sigma": 1.0})
    >>> metric.update(torch.zeros(3, 2), real=True)
    >>> metric.update(torch.tensor([[9.0, 9.0]] * 3), real=False)
    >>> metric.compute()
    tensor(2., dtype=torch.float64)
    """

    _function = staticmethod(cmmd)
    _usual: Mapping[str, Any] = MappingProxyType({})


# Metrics whose sums do not merge, and what is to be called instead.
_REFUSED = {
    **dict.fromkeys(("Precision", "Recall", "Density", "Coverage", "Manifold"), "manifold"),
    **dict.fromkeys(("Memorization", "AuthPct", "Authenticity", "CT"), "memorization"),
    "SlicedWasserstein": "sliced_wasserstein",
    "MIND": "sliced_wasserstein",
    "FLD": "fld",
}


def __getattr__(name: str) -> Any:
    if name in _REFUSED:
        raise AttributeError(
            f"there is no torchmetrics class {name}: it needs the neighbors or the order of all "
            "samples, of which no state of parts can be merged; gather the features of all "
            f"processes and call fastgen.metrics.{_REFUSED[name]}, or fastgen.metrics.evaluate"
        )
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
