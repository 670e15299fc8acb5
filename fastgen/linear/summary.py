"""What a sweep shows, in numbers: where the error peaks, how high, and where it is lowest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..plotting.curves import Curve, curves

if TYPE_CHECKING:
    import xarray

# A peak rises, and a dip falls, by this factor against the curve on both sides of it.
PROMINENCE = 1.1
_TIE = 1e-9


def summarize(dataset: xarray.Dataset) -> list[dict[str, Any]]:
    """Peak, plateau and dips of the test error of every problem of a sweep.

    Everything is read off the median of ``w2`` over the finished trials.

    Parameters
    ----------
    dataset : xarray.Dataset
        Result of `fastgen.linear.sweep`, with dimensions (problem, n_supervised, latent_dim,
        trial). NaN, an unfinished trial, is ignored.

    Returns
    -------
    list of dict
        One for each problem and number of pairs; "unsupervised", which uses no pairs, once with
        ``n_supervised`` None. Errors are in squared units of the data, latent dimensions are int:

        - ``problem``, ``n_supervised``, ``n_trials`` (finished trials);
        - ``peak_latent_dim``, ``peak``: the highest interior local maximum, None without one;
        - ``plateau_latent_dim``, ``plateau``: the largest latent dimension and the error there;
        - ``height``: ``peak / plateau``, None without a peak;
        - ``dip_latent_dim``, ``dip``: the minimum after the peak, or of all without a peak; the
          smallest latent dimension of those that tie;
        - ``first_dip_latent_dim``, ``first_dip``: the minimum before the peak, None without one.

    Raises
    ------
    TypeError
        If ``dataset`` is not an xarray.Dataset.
    ValueError
        If ``dataset`` is not a sweep or holds no finished trial.

    Notes
    -----
    A local maximum counts as a peak if its topographic prominence on a logarithmic scale is at
    least a factor 1.1: the curve falls to 1/1.1 of it or lower on either side before it rises above
    it or ends. The ends of the curve are no peaks, and neither is the ripple of a median over a few
    dozen trials. A first dip must lie as far below the curve's beginning.

    Examples
    --------
    >>> from fastgen.linear import SpikedGaussian, sweep
    >>> from fastgen.linear.summary import summarize
    >>> result = sweep(SpikedGaussian(dim=16, true_dim=5), latent_dims=range(1, 31), n_samples=10,
    ...                n_trials=20, random_state=0)
    >>> [(row["problem"], row["peak_latent_dim"]) for row in summarize(result)]
    [('unsupervised', None), ('pseudo_supervised', 10)]
    """
    return [_row(curve) for curve in curves(dataset, "w2")]


def _row(curve: Curve) -> dict[str, Any]:
    ks, median = curve.latent_dims, curve.quantile(0.5)
    peak = _peak(median)
    dip = _lowest(median) if peak is None else peak + _lowest(median[peak:])
    first = None
    if peak is not None:
        first = _lowest(median[:peak])
        if median[first] * PROMINENCE > median[0]:
            first = None

    def at(index: int | None) -> tuple[int | None, float | None]:
        return (None, None) if index is None else (int(ks[index]), float(median[index]))

    row: dict[str, Any] = {
        "problem": curve.problem,
        "n_supervised": curve.n_supervised,
        "n_trials": int((~np.isnan(curve.values)).any(axis=0).sum()),
    }
    row["peak_latent_dim"], row["peak"] = at(peak)
    row["plateau_latent_dim"], row["plateau"] = at(len(ks) - 1)
    row["height"] = None if peak is None else _ratio(row["peak"], row["plateau"])
    row["dip_latent_dim"], row["dip"] = at(dip)
    row["first_dip_latent_dim"], row["first_dip"] = at(first)
    return row


def _ratio(peak: float, plateau: float) -> float | None:
    return peak / plateau if plateau > 0 else None


def _peak(median: np.ndarray) -> int | None:
    top = median.max()
    if not top > 0:
        return None
    logs = np.log(np.maximum(median, 1e-12 * top))
    found = [i for i in _tops(logs) if _prominence(logs, i) >= np.log(PROMINENCE)]
    return max(found, key=lambda i: median[i]) if found else None


# scipy.signal has these too, and takes a tenth of the time of a whole sweep to import.
def _tops(values: np.ndarray) -> list[int]:
    """Middles of runs of equal values that are higher than what stands on both sides."""
    starts = np.flatnonzero(np.diff(values, prepend=np.nan) != 0)
    ends = np.append(starts[1:], len(values)) - 1
    return [
        int((first + last) // 2)
        for first, last in zip(starts[1:-1], ends[1:-1], strict=True)
        if values[first] > max(values[first - 1], values[last + 1])
    ]


def _prominence(values: np.ndarray, top: int) -> float:
    """Return how far one must descend from a top on the way to any that is higher."""
    valleys = []
    for side in (values[top::-1], values[top:]):
        higher = np.flatnonzero(side > values[top])
        valleys.append(side[: higher[0] if higher.size else len(side)].min())
    return float(values[top] - max(valleys))


def _lowest(median: np.ndarray) -> int:
    """Index of the minimum, the first of those equal up to rounding."""
    return int(np.flatnonzero(median <= median.min() + _TIE * np.abs(median).max())[0])


_COLUMNS = {
    "problem": "problem",
    "n_supervised": "n_s",
    "peak_latent_dim": "peak at k",
    "peak": "peak",
    "plateau": "plateau",
    "height": "peak/plateau",
    "first_dip_latent_dim": "1st dip at k",
    "first_dip": "1st dip",
    "dip_latent_dim": "dip at k",
    "dip": "dip",
}


def format_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Text table of the rows of `summarize`.

    Parameters
    ----------
    rows : sequence of mapping
        What `summarize` returns.

    Returns
    -------
    str
        A head and one line per row, without a newline at the end. The dip after the peak, or the
        minimum of a curve without one, is "dip"; what does not exist is "-".

    Examples
    --------
    >>> from fastgen.linear.summary import format_table
    >>> print(format_table([{"problem": "ridge", "n_supervised": 20, "peak_latent_dim": None,
    ...                      "plateau": 34.139, "dip_latent_dim": 49, "dip": 27.08}]))
    problem  n_s  peak at k  peak  plateau  peak/plateau  1st dip at k  1st dip  dip at k    dip
    ridge     20          -     -    34.14             -             -        -        49  27.08
    """
    table = [list(_COLUMNS.values())]
    table += [[_cell(row.get(name)) for name in _COLUMNS] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for cells in table:
        first, *others = zip(cells, widths, strict=True)
        lines.append("  ".join([first[0].ljust(first[1]), *(c.rjust(w) for c, w in others)]))
    return "\n".join(lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
