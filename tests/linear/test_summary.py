"""Peaks, plateaus and dips of curves whose answer is known."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray
from hypothesis import given
from hypothesis import strategies as st
from scipy.signal import find_peaks

from fastgen.linear import SpikedGaussian, summary, sweep
from fastgen.linear.summary import format_table, summarize


def dataset(curves, n_supervised=(4,), ks=None, n_trials=3):
    """Sweep-like dataset whose median over trials is exactly ``curves[problem]`` (n_s, k)."""
    values = np.stack([np.broadcast_to(c, (len(n_supervised), len(c))) for c in curves.values()])
    ks = np.arange(1, values.shape[-1] + 1) if ks is None else ks
    spread = np.linspace(-0.01, 0.01, n_trials)
    values = values[..., None] * (1 + spread)
    return xarray.Dataset(
        {"w2": (("problem", "n_supervised", "latent_dim", "trial"), values)},
        coords={
            "problem": list(curves),
            "n_supervised": list(n_supervised),
            "latent_dim": ks,
            "trial": range(n_trials),
        },
    )


def only(curve, **options):
    (row,) = summarize(dataset({"pseudo_supervised": np.asarray(curve, dtype=float)}, **options))
    return row


def test_single_peak_after_a_descent():
    row = only([50, 40, 30, 90, 35, 20, 25])
    assert (row["peak_latent_dim"], row["peak"]) == (4, 90)
    assert (row["plateau_latent_dim"], row["plateau"]) == (7, 25)
    assert row["height"] == pytest.approx(90 / 25)
    assert (row["first_dip_latent_dim"], row["first_dip"]) == (3, 30)
    assert (row["dip_latent_dim"], row["dip"]) == (6, 20)


def test_peak_lower_than_the_beginning_is_found():
    row = only([500, 20, 40, 60, 30, 10, 10])
    assert (row["peak_latent_dim"], row["peak"]) == (4, 60)
    assert (row["first_dip_latent_dim"], row["dip_latent_dim"]) == (2, 6)


def test_of_two_peaks_the_highest_counts():
    row = only([50, 20, 60, 10, 80, 30])
    assert row["peak_latent_dim"] == 5
    assert (row["first_dip_latent_dim"], row["first_dip"]) == (4, 10)


def test_peak_without_a_dip_before_it():
    row = only([10, 40, 90, 30, 12])
    assert row["peak_latent_dim"] == 3
    assert row["first_dip_latent_dim"] is None
    assert row["first_dip"] is None


def test_flat_top_gives_a_peak_in_its_middle():
    assert only([10, 50, 50, 50, 12])["peak_latent_dim"] == 3


@pytest.mark.parametrize(
    ("curve", "dip"),
    [
        ([7, 7, 7, 7], 1),
        ([9, 5, 3, 2], 4),
        ([2, 3, 5, 9], 1),
        ([9, 5, 3, 3, 3], 3),
        ([9, 5, 3 * (1 + 1e-13), 3], 3),
        ([9, 5, 3.2, 3.25, 3.2, 3.25], 3),
        ([0, 0, 0], 1),
        ([4], 1),
    ],
)
def test_flat_monotone_and_rippled_curves_have_no_peak(curve, dip):
    row = only(curve)
    assert row["peak_latent_dim"] is row["peak"] is row["height"] is None
    assert row["first_dip_latent_dim"] is None
    assert row["dip_latent_dim"] == dip
    assert row["plateau"] == curve[-1]


def test_prominence_is_a_factor():
    assert only([10, 10.9, 10, 10])["peak"] is None
    assert only([10, 11.1, 10, 10])["peak"] == pytest.approx(11.1)
    assert only(np.multiply(1e-6, [10, 11.1, 10, 10]))["peak_latent_dim"] == 2


def test_unfinished_trials_are_ignored():
    data = dataset({"pseudo_supervised": np.array([5.0, 2, 9, 3, 1])}, n_trials=5)
    expected = summarize(data.isel(trial=[0, 2, 4]))
    data["w2"][..., [1, 3]] = np.nan
    assert summarize(data) == expected
    assert expected[0]["n_trials"] == 3


def test_nothing_finished():
    data = dataset({"ridge": np.array([5.0, 2, 9])})
    data["w2"][:] = np.nan
    with pytest.raises(ValueError, match="no finished trial of 'ridge'"):
        summarize(data)


def test_unsupervised_once_and_every_number_of_pairs():
    flat = np.array([[5.0, 4, 3, 3], [5.0, 4, 3, 3]])
    peaked = np.array([[5.0, 9, 3, 3], [5.0, 4, 9, 2]])
    data = dataset({"unsupervised": flat[0], "ridge": flat[0]}, n_supervised=(2, 3))
    data["w2"][1] = peaked[..., None]
    rows = summarize(data)
    assert [(r["problem"], r["n_supervised"], r["peak_latent_dim"]) for r in rows] == [
        ("unsupervised", None, None),
        ("ridge", 2, 2),
        ("ridge", 3, 3),
    ]
    json.dumps(rows, allow_nan=False)


def test_selected_and_reordered_datasets():
    data = dataset({"ridge": np.array([5.0, 2, 9, 3, 1])}, n_supervised=(2, 3))
    row = summarize(data.sel(problem="ridge", n_supervised=3))[0]
    turned = data.isel(latent_dim=[4, 0, 3, 1, 2]).transpose("trial", "latent_dim", ...)
    assert row == summarize(turned)[1]
    assert row["n_supervised"] == 3


def test_what_is_not_a_sweep():
    with pytest.raises(TypeError, match=r"must be the xarray\.Dataset .* got dict"):
        summarize({})
    with pytest.raises(ValueError, match="lacks w2, problem"):
        summarize(xarray.Dataset())


def test_table():
    rows = summarize(
        dataset({"unsupervised": np.array([5.0, 4, 3]), "ridge": np.array([1.0, 1234.5, 1])})
    )
    head, *lines = format_table(rows).splitlines()
    assert len({len(line) for line in (head, *lines)}) == 1
    assert lines[0].split()[:4] == ["unsupervised", "-", "-", "-"]
    assert lines[1].split()[:4] == ["ridge", "4", "2", "1234"]


def test_sweep_of_the_default_model():
    rows = summarize(
        sweep(
            SpikedGaussian(dim=24, true_dim=8),
            latent_dims=range(1, 61),
            n_samples=14,
            n_supervised=[7, 14],
            n_trials=40,
            random_state=0,
        )
    )
    assert [row["peak_latent_dim"] for row in rows] == [None, 7, 14]
    assert all(row["height"] > 5 for row in rows[1:])
    assert all(row["dip_latent_dim"] > row["peak_latent_dim"] for row in rows[1:])


@given(st.lists(st.integers(0, 6), min_size=1, max_size=30))
def test_peaks_are_those_of_scipy(heights):
    values = np.array(heights, dtype=float)
    tops, told = find_peaks(values, prominence=0)
    assert summary._tops(values) == tops.tolist()
    found = [summary._prominence(values, top) for top in tops]
    np.testing.assert_allclose(found, told["prominences"])
