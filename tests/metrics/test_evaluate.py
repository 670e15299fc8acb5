"""`evaluate`: which metric sees which planted failure, what it reports, refuses and leaves out."""

from __future__ import annotations

import json

import numpy as np
import pytest
from samples import modes, normal

from fastgen import metrics
from fastgen.metrics import evaluate, scores

N = 240


def planted():
    """A real set of three modes, a holdout, and generated sets that fail in one way each."""
    rng = np.random.default_rng(9)
    real, holdout, fresh = modes(3 * N, d=4, apart=6.0)[rng.permutation(3 * N)].reshape(3, N, 4)
    return real, holdout, {
        "fresh": fresh,
        "identical": real,
        "collapsed": np.repeat(fresh[:1], N, axis=0) + 1e-6 * rng.standard_normal((N, 4)),
        "copies": real[rng.integers(N, size=N)] + 1e-3 * rng.standard_normal((N, 4)),
        "dropped": fresh[fresh[:, 0] < 3],
        "noisy": fresh + 3 * rng.standard_normal((N, 4)),
    }  # fmt: skip


# What the verdict of each metric must hold, or must not where it begins with "not".
SEEN = {
    "fresh": {
        **dict.fromkeys(("fid", "wam", "kid", "cmmd", "sliced_w2"), "no difference"),
        **dict.fromkeys(("precision", "recall", "coverage", "authenticity"), "as new samples"),
        "near_copies": "no more", "copying_z": "as the holdout", "vendi": "as varied",
    },
    "identical": {
        "authenticity": "copies", "copying_z": "copies", "near_copies": "copies: 100 %",
        "fld": "laws differ", "fld_gap": "overfit", "precision": "as new", "recall": "as new",
    },
    "collapsed": {
        **dict.fromkeys(("fid", "wam", "kid", "cmmd", "sliced_w2", "fld"), "laws differ"),
        "recall": "not generated", "coverage": "not covered", "vendi": "less varied",
    },
    "copies": {
        "authenticity": "copies", "copying_z": "copies", "near_copies": "copies",
        "fld": "laws differ", "fld_gap": "overfit",
        "fid": "not laws differ", "kid": "not laws differ", "precision": "as new",
    },
    "dropped": {
        **dict.fromkeys(("fid", "wam", "kid", "cmmd", "sliced_w2", "fld"), "laws differ"),
        "recall": "not generated", "coverage": "not covered", "precision": "as new",
        "authenticity": "not copies",
    },
    "noisy": {
        **dict.fromkeys(("fid", "cmmd", "sliced_w2", "fld"), "laws differ"),
        "precision": "unlike the data", "density": "sparse", "copying_z": "farther",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def found():
    real, holdout, sets = planted()
    return {name: evaluate(real, rows, holdout, progress=False) for name, rows in sets.items()}


@pytest.mark.parametrize("failure", SEEN)
def test_planted_truths(found, failure):
    for name, words in SEEN[failure].items():
        score = found[failure].metrics[name]
        absent = words.startswith("not ") and name not in ("recall", "coverage")
        assert (words.removeprefix("not ") in score.verdict) != absent, (name, score)


def test_scores_are_those_of_the_functions(found):
    real, holdout, sets = planted()
    noisy, told = sets["noisy"], found["noisy"].metrics
    single = {
        "fid": metrics.fid(real, noisy),
        "kid": metrics.kid(real, noisy).value,
        "cmmd": metrics.cmmd(real, noisy, sigma="median").value,
        "vendi": metrics.vendi(noisy).value,
        **{
            name: getattr(metrics.manifold(real, noisy), name)
            for name in ("precision", "recall", "density", "coverage")
        },
        **{
            name: getattr(metrics.memorization(real, noisy, holdout, random_state=0), name)
            for name in ("authenticity", "copying_z", "near_copies")
        },
    }
    for name, value in single.items():
        assert told[name].value == pytest.approx(value, rel=1e-9), name
    alone = evaluate(real, noisy, holdout, metrics=["sliced_w2", "fld"], progress=False)
    assert list(alone.metrics) == ["sliced_w2", "fld"]
    for name in alone.metrics:  # what is asked for besides changes no number
        assert alone.metrics[name] == told[name]


def test_floors_are_what_new_samples_score(found):
    fresh = found["fresh"].metrics
    for name in ("precision", "recall", "density", "coverage", "authenticity"):
        assert fresh[name].value == pytest.approx(fresh[name].floor, abs=0.12), name
    assert scores._expected_coverage(10**6, 10**6, 5) == pytest.approx(1 - 2**-5, rel=1e-4)


def test_report_is_plain_and_readable(found):
    one = found["noisy"]
    told = json.loads(json.dumps(one.to_dict(), allow_nan=False))
    assert (told["n_real"], told["n_generated"], told["n_holdout"]) == (N, N, N)
    assert told["features"] == "as given"
    for score in told["metrics"].values():
        assert set(score) == {"value", "floor", "interval", "better", "verdict", "n"}
        assert score["better"] in ("lower", "higher", None)
    assert "fastgen" in told["versions"]
    assert not any("/" in text for text in told["versions"].values())
    table = str(one).splitlines()
    assert table[0].split()[:3] == ["metric", "value", "floor"]
    assert len(table) >= len(one.metrics) + 2
    assert all(name in str(one) for name in one.metrics)
    assert "240 real, 240 generated, 240 held out" in str(one)
    assert "<td>fid</td>" in one._repr_html_()
    data = one.to_xarray()
    assert float(data.value.sel(metric="fid")) == one.metrics["fid"].value
    assert one.parts["manifold"].precision == one.metrics["precision"].value
    assert one.plot().axes
    assert "fid=" in repr(one)


def test_what_cannot_be_computed_is_said():
    few = evaluate(normal(5, 8), normal(5, 8, seed=1), progress=False)
    assert "needs more than n_neighbors=5 samples" in few.skipped["precision"]
    assert "needs a holdout" in few.skipped["fld"]
    assert "10 samples per feature" in few.skipped["wam"]
    assert "twice more than the d=8 features" in few.skipped["fid_infinity"]
    assert "not computed: fld: needs a holdout" in str(few)
    assert few.metrics["fid"].interval is None
    assert few.metrics["fid"].floor is not None
    equal = np.ones((30, 2))
    found = evaluate(equal, equal, equal + 1, progress=False)
    assert "more than half of the real samples are equal" in found.skipped["cmmd"]
    zeros = evaluate(np.zeros((30, 2)), np.zeros((30, 2)), metrics=["vendi"], progress=False)
    assert "rows with a direction" in zeros.skipped["vendi"]


def test_an_overlapping_holdout_is_said():
    real = normal(30, 3)
    held = np.concatenate([normal(20, 3, seed=1), real[:4]])
    with pytest.warns(UserWarning, match="4 of 24 samples of holdout are exact duplicates") as seen:
        found = evaluate(real, normal(30, 3, seed=2), held, metrics=["kid"], progress=False)
    assert len(seen) == 1
    assert seen[0].filename == __file__
    assert "4 of 24" in str(found)
    assert found.to_dict()["notes"] == found.notes


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"real": np.zeros((3, 2))}, ValueError, "real must have at least 4 samples, got 3"),
        ({"generated": np.zeros((0, 2))}, ValueError, "generated must have shape"),
        ({"generated": np.zeros((9, 3))}, ValueError, "same features, got 2 of real and 3"),
        ({"holdout": np.full((9, 2), np.nan)}, ValueError, "holdout must be finite"),
        ({"metrics": ["fidd"]}, ValueError, "did you mean 'fid'"),
        ({"metrics": []}, ValueError, "metrics must hold at least one"),
        ({"n_neighbors": 0}, ValueError, "n_neighbors"),
        ({"features": "pixel"}, ValueError, "did you mean 'pixels'"),
        ({"features": 5}, TypeError, "features must be one of"),
        ({"batch_size": 0}, ValueError, "batch_size"),
        ({"real": "nothing.png"}, ValueError, "no such file or folder exists"),
        ({"real": ["a", "b"]}, TypeError, "real must be an array of numbers, a folder"),
        ({"resize": 4}, ValueError, "resize is for images"),
    ],
)
def test_bad_input_is_named(changes, error, match):
    rng = np.random.default_rng(0)
    sets = {"real": rng.standard_normal((9, 2)), "generated": rng.standard_normal((9, 2))}
    with pytest.raises(error, match=match):
        evaluate(**{**sets, **changes}, progress=False)
