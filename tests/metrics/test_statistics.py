"""Streaming statistics: the same in any batches, files of other tools, damage refused."""

from __future__ import annotations

import pickle
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fastgen._files import read_npz
from fastgen.metrics.fid_wam import fid
from fastgen.metrics.statistics import FeatureStatistics


def samples(n=60, d=4, *, offset=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((n, d)) @ rng.standard_normal((d, d)) + offset


def streamed(X, *cuts):
    found = FeatureStatistics()
    for part in np.split(X, cuts):
        found.update(part)
    return found


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 59), unique=True, max_size=8), st.integers(1, 59))
def test_batches_and_merges_in_any_order_agree_with_numpy(cuts, middle):
    X = samples()
    found = streamed(X, *sorted(cuts))
    merged = streamed(X[middle:]).merge(FeatureStatistics()).merge(streamed(X[:middle]))
    for one in (found, merged, FeatureStatistics().merge(found)):
        assert one.n_samples == 60
        np.testing.assert_allclose(one.mean, X.mean(0), rtol=1e-12, atol=1e-13)
        np.testing.assert_allclose(one.covariance, np.cov(X.T), rtol=1e-11, atol=1e-12)


def test_a_large_mean_costs_no_digits():
    X = samples(5000, 3)
    far = np.round(X * 2**20) / 2**20 + 2.0**26  # exact in float64
    found = streamed(far, 10, 1000, 3000)
    # the means themselves are rounded to the spacing of numbers there
    np.testing.assert_allclose(found.covariance, np.cov(far.T), atol=2 * np.spacing(2.0**26))
    # raw second moments, as other metrics keep them, have no digit left
    raw = (far.T @ far - len(far) * np.outer(far.mean(0), far.mean(0))) / (len(far) - 1)
    assert np.abs(raw - np.cov(far.T)).max() > 1e-3


def test_merging_leaves_the_other_as_it_is():
    X = samples()
    first, second = streamed(X[:20]), streamed(X[20:])
    kept = second.mean.copy(), second.covariance.copy()
    copy = FeatureStatistics().merge(second).update(X[:3])
    first.merge(second)
    first.update(X[:3])
    np.testing.assert_array_equal(second.mean, kept[0])
    np.testing.assert_array_equal(second.covariance, kept[1])
    assert copy.n_samples == 43


def test_other_libraries_and_dtypes():
    X = samples().astype(np.float32)
    expected = streamed(X).covariance
    for batch in (torch.from_numpy(X), torch.from_numpy(X).requires_grad_(), X.tolist()):
        np.testing.assert_array_equal(FeatureStatistics().update(batch).covariance, expected)
    assert expected.dtype == np.float64
    images = np.random.default_rng(0).integers(0, 256, (9, 4), dtype=np.uint8)
    np.testing.assert_allclose(FeatureStatistics().update(images).covariance, np.cov(images.T))


def test_file_is_that_of_other_tools(tmp_path):
    X = samples()
    path = tmp_path / "stats.npz"
    streamed(X, 7).save(path)
    with np.load(path) as file:  # as pytorch-fid reads it
        np.testing.assert_allclose(file["mu"], X.mean(0), rtol=1e-12)
        np.testing.assert_allclose(file["sigma"], np.cov(X, rowvar=False), rtol=1e-12)
        assert file["n"] == 60
    assert [p.name for p in tmp_path.iterdir()] == ["stats.npz"]
    loaded = FeatureStatistics.load(path)
    assert loaded.n_samples == 60
    loaded.merge(streamed(X + 1))
    both = np.concatenate((X, X + 1))
    np.testing.assert_allclose(loaded.covariance, np.cov(both.T), rtol=1e-11)
    again = pickle.loads(pickle.dumps(loaded))
    np.testing.assert_array_equal(again.covariance, loaded.covariance)


def test_file_of_another_tool(tmp_path):
    X = samples()
    path = tmp_path / "other.npz"
    np.savez_compressed(path, mu=X.mean(0), sigma=np.cov(X, rowvar=False))  # as pytorch-fid writes
    loaded = FeatureStatistics.load(path)
    assert loaded.n_samples is None
    assert fid(loaded, X) == pytest.approx(0, abs=1e-12)
    loaded.save(tmp_path / "copy.npz")
    with np.load(tmp_path / "copy.npz") as file:
        assert sorted(file.files) == ["mu", "sigma"]
    for call in (
        lambda: loaded.update(X),
        lambda: loaded.merge(streamed(X)),
        lambda: streamed(X).merge(loaded),
    ):
        with pytest.raises(ValueError, match="without the number of samples"):
            call()


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "stats.npz"
    streamed(samples()).save(path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match="at least 2 samples, got 1"):
        streamed(samples(1)).save(path)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        streamed(samples()).save(tmp_path / "none" / "stats.npz")
    with pytest.raises(ValueError, match=r"must end in \.npz"):
        streamed(samples()).save(tmp_path / "stats.pt")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["stats.npz"]


def test_raw_moments_of_a_constant_feature_are_taken(tmp_path):
    """Sums of squares less the square of the mean leave its variance a little below zero."""
    X = np.random.default_rng(0).standard_normal((500, 6))
    X[:, 5] = 0.1
    mu = X.mean(0)
    raw = X.T @ X / 500 - np.outer(mu, mu)
    assert raw.diagonal().min() < 0
    np.savez(tmp_path / "raw.npz", mu=mu, sigma=raw)
    found = FeatureStatistics.load(tmp_path / "raw.npz")
    exact = FeatureStatistics.from_moments(500, mu, np.cov(X.T, ddof=0) * 499)
    assert 0 <= fid(found, exact) < 1e-12


def sigma(**changes):
    found = {"mu": np.zeros(3), "sigma": np.eye(3), **changes}
    return {name: value for name, value in found.items() if value is not None}


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        (sigma(mu=None), "must hold the arrays mu and sigma, got sigma"),
        (sigma(mu=np.zeros(2)), r"mu \(d,\) and sigma \(d, d\), got \(2,\) and \(3, 3\)"),
        (sigma(mu=np.zeros((1, 3))), "got"),
        (sigma(mu=np.zeros(0), sigma=np.zeros((0, 0))), r"got \(0,\)"),
        (sigma(mu=np.array([0, np.nan, 0])), r"mu of .* must be finite, got nan at \[1\]"),
        (sigma(sigma=np.full((3, 3), np.inf)), "sigma of .* must be finite"),
        (sigma(sigma=np.triu(np.ones((3, 3)))), "sigma of .* must be symmetric"),
        (sigma(sigma=-np.eye(3)), "must be a covariance, got a variance -1"),
        (sigma(n=np.array([3, 4])), "number of samples above 1"),
        (sigma(n=np.array(1)), "number of samples above 1"),
        (sigma(n=np.array(2.5)), "number of samples above 1"),
    ],
)
def test_bad_moments_are_refused(tmp_path, arrays, match):
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match=match):
        FeatureStatistics.load(path)


def test_damaged_files_are_refused(tmp_path):
    path = tmp_path / "stats.npz"
    streamed(samples(500, 40)).save(path)
    whole = path.read_bytes()
    for damaged in (b"", b"PK", whole[: len(whole) // 2], b"x" + whole[1:]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"stats\.npz is (not a \.npz file|damaged)"):
            FeatureStatistics.load(path)
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF  # inside an array: the checksum notices
    path.write_bytes(flipped)
    with pytest.raises(ValueError, match="damaged"):
        FeatureStatistics.load(path)
    np.savez(path, mu=np.array([{}], dtype=object), sigma=np.eye(1))
    with pytest.raises(ValueError, match="never loaded because they can run code"):
        FeatureStatistics.load(path)
    with pytest.raises(FileNotFoundError):
        read_npz(tmp_path / "none.npz")


@pytest.mark.parametrize(
    ("batch", "error", "match"),
    [
        (np.zeros(4), ValueError, "two-dimensional"),
        (np.zeros((0, 4)), ValueError, "at least 1 rows"),
        (np.zeros((3, 5)), ValueError, "batch must have 4 features .* got 5"),
        (np.array([[0, 1, 2, np.nan]]), ValueError, "must be finite, got nan"),
        (np.array([["a", "b"]]), TypeError, "numeric"),
        (np.array([[1e200, 0, 0, 0], [0, 0, 0, 0]]), ValueError, "squares that float64 can hold"),
    ],
)
def test_a_bad_batch_changes_nothing(batch, error, match):
    found = streamed(samples())
    before = found.n_samples, found.mean, found.covariance
    with pytest.raises(error, match=match):
        found.update(batch)
    assert found.n_samples == before[0]
    np.testing.assert_array_equal(found.mean, before[1])
    np.testing.assert_array_equal(found.covariance, before[2])


def test_nothing_to_report():
    empty = FeatureStatistics()
    assert repr(empty) == "FeatureStatistics(n_samples=0, n_features=None)"
    with pytest.raises(ValueError, match="a mean needs at least 1 sample, got 0"):
        empty.mean  # noqa: B018
    with pytest.raises(ValueError, match="a covariance needs at least 2 samples, got 1"):
        empty.update([[1.0]]).covariance  # noqa: B018
    with pytest.raises(TypeError, match="must be a FeatureStatistics, got ndarray"):
        empty.merge(np.eye(2))


def test_a_member_that_is_no_array_is_refused(tmp_path):
    path = tmp_path / "odd.npz"
    np.savez(path, mu=np.zeros(2), sigma=np.eye(2))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("notes.txt", "text")
    with pytest.raises(ValueError, match=r"odd.npz must hold arrays only, got 'notes.txt'"):
        read_npz(path)
