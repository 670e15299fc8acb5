"""FID of infinitely many samples: what it removes, what its interval covers, what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
from samples import normal

from fastgen.metrics import fd_infinity, fid, frechet_distance


def test_is_the_regression():
    X, Y = normal(160, 4), normal(90, 4, seed=1, shift=0.5)
    found = fd_infinity(X, Y, random_state=0)
    rng = np.random.default_rng(0)
    orders = [rng.permutation(len(rows)) for rows in (X, Y)]
    wanted = []
    for count in (1, 2, 4, 8):
        eighths = [np.array_split(order, 8) for order in orders]
        parts = [
            [np.concatenate(part[k : k + 8 // count]) for k in range(0, 8, 8 // count)]
            for part in eighths
        ]
        values = [fid(X[a], Y[b]) for a, b in zip(*parts, strict=True)]
        wanted.append(np.mean(values))
    np.testing.assert_allclose(found.means, wanted, rtol=1e-9)
    slope, value = np.polyfit([1, 2, 4, 8], wanted, 1)
    assert found.value == pytest.approx(value, rel=1e-9)
    assert found.slope == pytest.approx(slope, rel=1e-9)
    assert found.fid == pytest.approx(fid(X, Y), rel=1e-9)
    assert found.standard_error == pytest.approx(np.std(values, ddof=1) / np.sqrt(8), rel=1e-9)


@pytest.mark.parametrize("shift", [0.0, 0.4])
def test_removes_the_bias_and_covers(shift):
    scales = np.array([2.0, 1, 1, 0.5])
    truth = frechet_distance(
        np.zeros(4), np.eye(4), np.full(4, shift), np.eye(4) if shift == 0 else np.diag(scales**2)
    )
    found = []
    for s in range(40):
        rng = np.random.default_rng(s)
        X, Y = rng.standard_normal((2, 400, 4))
        Y = shift + Y * (scales if shift else 1)
        found.append(fd_infinity(X, Y, random_state=s))
    values = np.array([one.value for one in found])
    raw = np.mean([one.fid for one in found]) - truth
    assert abs(values.mean() - truth) < max(0.3 * raw, 3 * values.std() / np.sqrt(len(found)))
    assert np.mean([one.interval[0] <= truth <= one.interval[1] for one in found]) >= 0.85


def test_planted_truths():
    real, fresh = normal(1000, 5), normal(1000, 5, seed=1)
    same = fd_infinity(real, fresh, random_state=0)
    assert same.interval[0] < 0 < same.interval[1]
    for wrong in (
        np.repeat(fresh[:1], 1000, axis=0),
        fresh + normal(1000, 5, seed=2),
        fresh[fresh[:, 0] > 0],
    ):
        found = fd_infinity(real, wrong, random_state=0)
        assert found.interval[0] > same.interval[1]
    copied = fd_infinity(real, real, random_state=0)
    assert copied.value < same.interval[1]  # copies are not seen


def test_few_samples_have_fewer_sizes():
    X, Y = normal(100, 20), normal(90, 20, seed=1)
    found = fd_infinity(X, Y, random_state=0)
    np.testing.assert_allclose(found.shares, [1, 0.5, 0.25])
    for n in (41, 5):
        with pytest.raises(ValueError, match="at least 42 samples, twice more than the d=20"):
            fd_infinity(X[:n], Y)
    with pytest.raises(ValueError, match="same number of columns"):
        fd_infinity(X, Y[:, :3])


def test_result(tmp_path):
    from fastgen.plotting import save_figure

    found = fd_infinity(normal(100, 2), normal(90, 2, seed=1), random_state=0)
    assert found.to_dict()["means"] == found.means.tolist()
    assert "ExtrapolatedFID(value=" in repr(found)
    assert found.fid_interval[0] < found.fid < found.fid_interval[1]
    save_figure(found.plot(), tmp_path / "fid.png")
