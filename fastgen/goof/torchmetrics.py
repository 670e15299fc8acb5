"""GOoF as a torchmetrics class: update with images, compute, reset, synchronised over processes.

Needs torchmetrics: ``pip install "fastgen-core[torchmetrics]"``.
"""

from __future__ import annotations

from typing import Any

from .. import _validate
from .scores import PlantedResult, planted
from .search import nearest, without_advice

try:
    import torch
    from torchmetrics import Metric
    from torchmetrics.utilities.data import dim_zero_cat
except ImportError as error:
    raise ImportError(
        'fastgen.goof.torchmetrics needs torchmetrics: pip install "fastgen-core[torchmetrics]"'
    ) from error

__all__ = ["GOoF"]

AGGREGATES = ("mse", "median", "rms", "mean")


class GOoF(Metric):
    """Distance from images to a generator's range, with the floor that planted targets show.

    ``update`` searches its batch at once, so that every process searches its own images; what is
    kept and synchronised is one number per image. The pool is generated anew in every batch:
    batches of some hundred images make its cost small.

    Parameters
    ----------
    generator : nn.Module, callable, LinearGAN, or a list of them
        As for `fastgen.goof.nearest`. It is not registered as a part of the metric: its weights are
        in no ``state_dict`` of the metric's and are not moved with it.
    aggregate : {"mse", "median", "rms", "mean"}, default "mse"
        What ``compute`` returns: mean or median squared distance per pixel, or root mean squared or
        mean distance in units of the images.
    n_planted : int, default 64
        Targets that the generator makes itself, searched by ``compute`` for the floor.
    options : dict, optional
        Arguments of `fastgen.goof.nearest`; ``random_state``, an integer, is 0 if not given.
    **kwargs
        Further arguments of `torchmetrics.Metric`.

    Attributes
    ----------
    planted_ : PlantedResult or None
        The floor of the last ``compute``, with the weights that the generator had then.
    floor_ : float or None
        The aggregate of the planted targets: error of the search alone. Where it is not far below
        what ``compute`` returns, that measures the search.

    Examples
    --------
    >>> import torch
    >>> from fastgen.goof.torchmetrics import GOoF
    >>> generator = torch.nn.Linear(1, 2, bias=False)
    >>> generator.weight.data[:] = torch.tensor([[1.0], [0.0]])
    >>> metric = GOoF(generator)
    >>> metric.update(torch.tensor([[3.0, 4.0], [5.0, 0.0]]))
    >>> metric.compute()
    tensor(4., dtype=torch.float64)
    >>> metric.floor_ < 1e-12
    True
    """

    is_differentiable = False
    higher_is_better = False
    full_state_update = False

    squared_distance: Any  # a list of tensors, one tensor after synchronisation
    n_pixels: torch.Tensor

    def __init__(
        self,
        generator: Any,
        aggregate: str = "mse",
        *,
        n_planted: int = 64,
        options: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.aggregate = _validate.one_of(aggregate, "aggregate", AGGREGATES)
        self.n_planted = _validate.integer(n_planted, "n_planted")
        self.options = {"random_state": 0, "progress": False, **(options or {})}
        _validate.integer(self.options["random_state"], "random_state", minimum=0)
        for name in ("cond", "resume"):
            if name in self.options:
                raise ValueError(f"options must hold for every batch, got {name}, which is of one")
        if self.options.get("init") is not None and not callable(self.options["init"]):
            raise ValueError("init must be an encoder or None: an array belongs to one batch")
        # in a list, or torch would make it a submodule
        self._generator = [generator]
        self.planted_: PlantedResult | None = None
        self.add_state("squared_distance", [], dist_reduce_fx="cat")
        self.add_state("n_pixels", torch.zeros((), dtype=torch.int64), dist_reduce_fx="max")
        # of what a process without images sends to the others
        self.set_dtype(torch.float64)

    @property
    def generator(self) -> Any:
        """The generator, as it was given."""
        return self._generator[0]

    def update(self, images: Any) -> None:
        """Search the nearest points of a batch.

        Parameters
        ----------
        images : array or tensor (n, ...)
            In the units that the generator returns.

        Raises
        ------
        ValueError
            For what `fastgen.goof.nearest` refuses; the batch is not counted then.
        KeyboardInterrupt
            If the search was interrupted; the batch is not counted.
        """
        with without_advice():
            found = nearest(self.generator, images, **self.options)
        if found.interrupted.any():
            raise KeyboardInterrupt
        squared = torch.from_numpy(found.squared_distance)
        self.squared_distance.append(squared.to(self.device))
        self.n_pixels = torch.full_like(self.n_pixels, found.reconstruction[0].size)

    def forward(self, images: Any) -> None:
        """Call ``update``; the value of a batch would need a floor of its own."""
        self.update(images)

    def compute(self) -> torch.Tensor:
        """Return the aggregate over all images of all processes, a float64 scalar.

        Raises
        ------
        ValueError
            Without images.
        """
        if isinstance(self.squared_distance, list) and not self.squared_distance:
            raise ValueError("no images; call update first")
        squared = dim_zero_cat(self.squared_distance)
        self.planted_ = planted(self.generator, self.n_planted, **self.options)
        return self._aggregate(squared, int(self.n_pixels))

    @property
    def floor_(self) -> float | None:
        """The aggregate of the planted targets of the last ``compute``."""
        if self.planted_ is None:
            return None
        found = self.planted_.nearest
        squared = torch.from_numpy(found.squared_distance)
        return float(self._aggregate(squared, found.reconstruction[0].size))

    def _aggregate(self, squared: torch.Tensor, n_pixels: int) -> torch.Tensor:
        if self.aggregate == "mse":
            return squared.mean() / n_pixels
        if self.aggregate == "median":
            return squared.quantile(0.5) / n_pixels
        return squared.mean().sqrt() if self.aggregate == "rms" else squared.sqrt().mean()

    def reset(self) -> None:
        """Forget the images and the floor."""
        super().reset()
        self.planted_ = None
