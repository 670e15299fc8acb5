"""fastgen.goof.study: range coverage as the theory has it, and what the studies report."""

from __future__ import annotations

import json

import numpy as np
import pytest
from oracles import study as naive

from fastgen.goof import nearest, pca_floor, study_table
from fastgen.goof.study import (
    goof_against_size,
    goof_against_subsampling,
    goof_of_unions,
    study_figure,
    subsample,
)
from fastgen.linear import LinearGAN

torch = pytest.importorskip("torch")
nn = torch.nn

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.usefixtures("one_torch_thread"),
]
RNG = np.random.default_rng(0)
X = RNG.standard_normal((60, 9))
# four blobs, unequal in number
BLOBS = np.repeat(6 * RNG.standard_normal((4, 9)), (10, 20, 30, 40), axis=0)
BLOBS = BLOBS + 0.5 * RNG.standard_normal(BLOBS.shape)
PCA = LinearGAN(3, "unsupervised")
QUICK = {"pool_size": 300, "n_starts": 4, "n_planted": 16}


def fit_network(rows, random_state):
    """An untrained network with the last layer fitted: enough of a range to be searched."""
    torch.manual_seed(random_state)
    net = nn.Sequential(nn.Linear(2, 12), nn.Tanh(), nn.Linear(12, rows[0].size)).double()
    hidden = net[:2](torch.randn(len(rows), 2, dtype=torch.float64)).detach()
    design = torch.cat([hidden, torch.ones(len(rows), 1)], 1)
    found = torch.linalg.lstsq(design, torch.from_numpy(rows.reshape(len(rows), -1))).solution
    net[2].weight.data, net[2].bias.data = found[:-1].T.contiguous(), found[-1]
    return net


@pytest.mark.parametrize("method", ["random", "kmeans"])
@pytest.mark.parametrize("m", [1, 7, 100])
def test_subsample_stands_for_all_rows(method, m):
    found = subsample(BLOBS, m, method, random_state=1)
    position, squared = naive.nearest_chosen(BLOBS, found.index)
    np.testing.assert_array_equal(found.assignment, position)
    np.testing.assert_allclose(found.squared_distance, squared, rtol=1e-12)
    assert len(set(found.index.tolist())) == m
    assert (np.diff(found.index) > 0).all()
    assert found.inertia == pytest.approx(sum(squared))
    assert found.bound(0.5) == pytest.approx(2 * sum(squared) / 100 + 0.5)
    again = subsample(BLOBS.reshape(100, 3, 3), m, method, random_state=1)
    np.testing.assert_array_equal(found.index, again.index)


def test_kmeans_rows_stand_nearer_than_random_ones():
    inertia = {
        method: [subsample(BLOBS, 4, method, random_state=seed).inertia for seed in range(10)]
        for method in ("random", "kmeans")
    }
    assert np.median(inertia["kmeans"]) < np.median(inertia["random"]) / 2
    # the row nearest to the centre: twice the variance within blobs at most
    assert min(inertia["kmeans"]) < 2 * 100 * 9 * 0.5**2


def test_subsample_of_repeated_rows_has_distinct_indices():
    rows = np.repeat([[0.0, 0.0], [1.0, 1.0]], 5, axis=0)
    found = subsample(rows, 4, "kmeans", random_state=0)
    assert len(set(found.index.tolist())) == 4
    assert found.inertia == 0


@pytest.mark.parametrize(
    ("rows", "m", "method", "error", "match"),
    [
        (X, 0, "random", ValueError, "m must be at least 1"),
        (X, 61, "random", ValueError, "m must be at most the 60 rows of X, got 61"),
        (X, 2.5, "kmeans", TypeError, "m must be an integer"),
        (X, 2, "kmean", ValueError, "did you mean 'kmeans'"),
        (
            X[0],
            2,
            "random",
            ValueError,
            r"X must have shape \(n, ...\) with at least one row, got \(9,\)",
        ),
        (X[:0], 1, "random", ValueError, r"with at least one row, got \(0, 9\)"),
        (np.full((3, 2), np.nan), 1, "random", ValueError, "X must be finite"),
        (np.full((3, 2), "a"), 1, "random", TypeError, "numeric"),
    ],
)
def test_subsample_refuses(rows, m, method, error, match):
    with pytest.raises(error, match=match):
        subsample(rows, m, method)


def test_bound_refuses_what_is_no_distance():
    with pytest.raises(ValueError, match="error must be finite and at least 0, got -1"):
        subsample(X, 2).bound(-1.0)


def test_linear_models_reach_the_pca_floor_of_their_training_rows():
    found = goof_against_size(PCA, X, [4, 5, 20, 60], X_val=BLOBS, n_trials=2, random_state=3)
    assert dict(found.mse.sizes) == {"size": 4, "trial": 2, "set": 2}
    train = found.mse.sel(set="train").values
    assert (train[0] < 1e-20).all()  # k + 1 points lie in an affine range of rank k
    assert (train[1] > 1e-6).all()
    whole = naive.pca_tail(X, 3)
    assert whole == pytest.approx(pca_floor(X, 3), rel=1e-10)
    np.testing.assert_allclose(train[3] * 9, whole, rtol=1e-10)
    np.testing.assert_allclose(found.rms.sel(set="train").values[3] ** 2, whole, rtol=1e-10)
    assert (found.planted_mse < 1e-20).all()
    assert (found.recovered == 1).all()


def test_no_affine_generator_of_the_rank_is_below_the_pca_floor():
    rng = np.random.default_rng(1)
    floor = pca_floor(X, 3) / 9
    for _ in range(5):
        weight, mean = rng.standard_normal((9, 3)), rng.standard_normal(9)

        def fit(rows, random_state, weight=weight, mean=mean):
            gan = LinearGAN(3, "unsupervised").fit(rows)
            gan.components_, gan.mean_ = weight.T, mean
            return gan

        found = goof_against_size(fit, X, [60], random_state=0, n_planted=4)
        assert float(found.mse.squeeze()) > floor


def test_figures_against_size_are_those_of_the_fit():
    found = goof_against_size(PCA, X, [15], X_val=BLOBS, random_state=3)
    # all data but the rows trained on are as near as the fit says
    seen = []

    def fit(rows, random_state):
        seen.append(rows)
        return LinearGAN(3, "unsupervised").fit(rows)

    again = goof_against_size(fit, X, [15], X_val=BLOBS, random_state=3)
    fitted = fit(seen[0], 0)
    for name, targets in (("train", seen[0]), ("validation", BLOBS)):
        squared = naive.affine_distances(fitted, targets)
        for figure, value in zip(
            ("mse", "median", "rms", "relative"), naive.figures(squared, targets), strict=True
        ):
            for result in (found, again):
                assert float(result[figure].sel(set=name).squeeze()) == pytest.approx(value)
    low, high = found["median"].squeeze().values
    assert float(found.gap.squeeze()) == pytest.approx((high - low) / high)


def test_memorisation_falls_and_the_gap_closes_as_training_sets_grow():
    many = np.random.default_rng(5).standard_normal((800, 20))
    model = LinearGAN(8, "unsupervised")
    found = goof_against_size(
        model, many[:400], [9, 20, 80, 400], X_val=many[400:], n_trials=3, random_state=0,
        n_planted=4,
    )  # fmt: skip
    mean = found.mean("trial")
    assert (np.diff(mean.mse.sel(set="train").values) > 0).all()
    assert (np.diff(mean.mse.sel(set="validation").values) < 0).all()
    assert (np.diff(mean.gap.values) < 0).all()
    assert mean.gap.values[0] > 0.99
    assert abs(mean.gap.values[-1]) < 0.2


def test_training_rows_are_distinct_and_nested_within_a_trial():
    seen = []

    def fit(rows, random_state):
        seen.append((random_state, {tuple(row) for row in rows}))
        return LinearGAN(2, "unsupervised").fit(rows)

    goof_against_size(fit, X, [10, 5], n_trials=2, n_planted=2, random_state=0)
    (a, small), (b, large), (_, other), _ = seen
    assert (len(small), len(large)) == (5, 10)
    assert small < large
    assert small != other
    assert a != b


@pytest.mark.parametrize("method", ["random", "kmeans"])
@pytest.mark.parametrize("model", [PCA, fit_network], ids=["linear", "network"])
def test_subsampling_obeys_its_bound(method, model):
    found = goof_against_subsampling(
        model, BLOBS, [3, 12, 30], methods=[method], random_state=0, max_iter=3, **QUICK
    )
    assert (found.mse.sel(set="all") <= found.bound * (1 + 1e-9)).all()
    assert (np.diff(found.mean_inertia.squeeze().values) < 0).all()
    expected = 2 * found.mean_inertia + 2 * found.error**2 / 9
    np.testing.assert_allclose(found.bound, expected, rtol=1e-12)


def test_all_rows_are_searched_from_the_latents_of_their_representatives(monkeypatch):
    calls = []

    def recording(generator, targets, **options):
        found = nearest(generator, targets, **options)
        calls.append((targets, options["init"], found.z))
        return found

    monkeypatch.setattr(study_table, "nearest", recording)
    goof_against_subsampling(
        fit_network, X, [7], methods=["kmeans"], random_state=0, max_iter=3, **QUICK
    )
    (subset, first, latents), (targets, starts, _) = calls
    assert first is None
    assert [len(subset), len(targets)] == [7, 60]
    index = [int(np.flatnonzero((X == row).all(axis=1))[0]) for row in subset]
    np.testing.assert_array_equal(starts, latents[naive.nearest_chosen(X, index)[0]])


def test_kmeans_bounds_are_below_random_ones():
    found = goof_against_subsampling(PCA, BLOBS, [4], n_trials=5, random_state=0, n_planted=2)
    middle = found.bound.median("trial").squeeze()
    assert middle.sel(selection="kmeans") < middle.sel(selection="random")


def test_a_union_is_the_minimum_over_its_members():
    labels = np.repeat(np.arange(4), (10, 20, 30, 40))
    seen = []

    def fit(rows, random_state):
        seen.append(LinearGAN(1, "unsupervised").fit(rows))
        return seen[-1]

    found = goof_of_unions({4: fit}, BLOBS, groups=labels, random_state=0, X_val=X)
    assert [len(seen), found.attrs["study"]] == [4, "unions"]
    for name, targets in (("train", BLOBS), ("validation", X)):
        members = np.array([naive.affine_distances(member, targets) for member in seen])
        value = members.min(axis=0).mean() / 9
        assert float(found.mse.sel(set=name).squeeze()) == pytest.approx(value, rel=1e-9)
        if name == "train":
            own = members[labels, np.arange(100)].mean() / 9
            assert float(found.bound.squeeze()) == pytest.approx(own, rel=1e-9)
    weighted = sum(
        share / 100 * pca_floor(BLOBS[labels == member], 1)
        for member, share in enumerate((10, 20, 30, 40))
    )
    assert float(found.bound.squeeze()) * 9 == pytest.approx(weighted, rel=1e-9)


@pytest.mark.parametrize("groups", ["kmeans", "random"])
def test_unions_of_linear_and_trained_members(groups):
    models = {1: LinearGAN(2, "unsupervised"), 2: fit_network, 4: LinearGAN(1, "unsupervised")}
    found = goof_of_unions(models, BLOBS, groups=groups, random_state=0, max_iter=5, **QUICK)
    train = found.mse.sel(set="train")
    assert (train <= found.bound * (1 + 1e-12)).all()
    one = pca_floor(BLOBS, 2) / 9
    assert float(train.sel(n_members=1).squeeze()) == pytest.approx(one, rel=1e-9)
    counts = found.n_parameters.squeeze().values
    np.testing.assert_array_equal(counts, [27, 2 * (3 * 12 + 13 * 9), 4 * 18])
    other = goof_of_unions(
        {2: lambda rows, seed: torch.tanh}, BLOBS, random_state=0, latent_dim=9, max_iter=2, **QUICK
    )
    assert np.isnan(other.n_parameters).all()  # a function's parameters cannot be counted
    if groups == "kmeans":
        assert float(train.sel(n_members=4).squeeze()) < one / 10


def test_images_keep_their_shape_and_options_are_kept():
    images = BLOBS.reshape(100, 1, 3, 3)
    shapes = []

    def fit(rows, random_state):
        shapes.append(rows.shape)
        net = nn.Sequential(*fit_network(rows, random_state), nn.Unflatten(1, (1, 3, 3)))
        return net.train()

    found = goof_against_size(fit, images, [40], random_state=0, max_iter=45, **QUICK)
    assert shapes == [(40, 1, 3, 3)]
    options = json.loads(found.attrs["options"])
    assert options == {"max_iter": 45, "pool_size": 300, "n_starts": 4}
    assert found.attrs["n_pixels"] == 9
    assert found.attrs["random_state"] == 0
    assert float(found.recovered.squeeze()) > 0.9  # all but the odd local minimum
    assert float(found.planted_mse.squeeze()) < 1e-3 * float(found.mse.squeeze())


def test_results_repeat_and_survive_interruption(tmp_path):
    calls = []

    def fit(rows, random_state):
        calls.append(len(rows))
        if len(calls) == interrupt_at:
            raise KeyboardInterrupt
        return LinearGAN(2, "pseudo_supervised", random_state=random_state).fit(rows)

    arguments = (fit, X, [5, 10, 20])
    options = {"n_trials": 2, "X_val": BLOBS, "random_state": 7, "n_planted": 4}
    interrupt_at = 0
    whole = goof_against_size(*arguments, **options)
    estimator = LinearGAN(2, "pseudo_supervised")
    assert whole.identical(goof_against_size(estimator, X, [20, 5, 10], **options))
    calls.clear()
    interrupt_at = 4
    with pytest.warns(RuntimeWarning, match="interrupted after 3 of 6 generators; pass the result"):
        part = goof_against_size(*arguments, **options)
    assert np.isnan(part.mse).sum() == 6
    assert np.isnan(part.gap).sum() == 3
    part.to_netcdf(tmp_path / "part.nc", engine="scipy")
    interrupt_at, calls[:] = 0, []
    xarray = pytest.importorskip("xarray")
    with xarray.open_dataset(tmp_path / "part.nc", engine="scipy") as stored:
        rest = goof_against_size(*arguments, resume=stored, **options)
    assert calls == [5, 10, 20]
    assert rest.identical(whole)
    with pytest.raises(ValueError, match="earlier call with the same arguments"):
        goof_against_size(fit, X, [5, 10], resume=part, **options)
    with pytest.raises(ValueError, match="earlier call with the same arguments"):
        goof_against_size(*arguments, resume=part, **{**options, "random_state": 8})
    with pytest.raises(ValueError, match="integer random_state"):
        goof_against_size(*arguments, resume=part, **{**options, "random_state": None})


def test_an_interrupted_search_is_no_result():
    def slow(rows, random_state):
        state = {"calls": 0}

        def generator(z):
            state["calls"] += 1
            if state["calls"] > 20:
                raise KeyboardInterrupt
            return torch.tanh(z).repeat(1, 3)

        return generator

    with pytest.warns(RuntimeWarning, match="interrupted after 0 of 1 generators"):
        found = goof_against_size(slow, X, [5], latent_dim=3, random_state=0)
    assert np.isnan(found.mse).all()


def test_progress_is_on_standard_error(capsys):
    goof_against_size(PCA, X, [5], n_planted=2, progress=True)
    told = capsys.readouterr()
    assert "1/1" in told.err
    assert not told.out
    goof_against_size(PCA, X, [5], n_planted=2)
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"sizes": [61]}, ValueError, "sizes must be at most the 60 rows of X, got 61"),
        ({"sizes": [0]}, ValueError, "sizes must be positive integers, got 0"),
        ({"X": X[0]}, ValueError, r"X must have shape \(n, ...\)"),
        ({"X": np.where(X > 2, np.nan, X)}, ValueError, "X must be finite"),
        ({"X_val": X[:, :3]}, ValueError, r"X_val must have rows of the shape of X, \(9,\)"),
        ({"X_val": np.full((3, 9), np.inf)}, ValueError, "X_val must be finite"),
        ({"n_trials": 0}, ValueError, "n_trials must be at least 1"),
        ({"n_planted": 0}, ValueError, "n_planted must be at least 1"),
        ({"init": X}, TypeError, "init is no option of a study"),
        ({"cond": X}, TypeError, "cond is no option of a study"),
        ({"model": 3}, TypeError, "a model must be an estimator such as LinearGAN"),
    ],
)
def test_studies_refuse(change, error, match):
    arguments = {"model": PCA, "X": X, "sizes": [5], **change}
    for study in (goof_against_size, goof_against_subsampling):
        with pytest.raises(error, match=match):
            study(**arguments)


@pytest.mark.parametrize(
    ("models", "groups", "error", "match"),
    [
        ([PCA], "kmeans", TypeError, "models must map numbers of members to models"),
        ({}, "kmeans", TypeError, "models must map"),
        ({0: PCA}, "kmeans", ValueError, "models must be positive integers, got 0"),
        ({2: PCA}, "kmens", ValueError, "did you mean 'kmeans'"),
        ({2: PCA}, np.zeros(5), ValueError, r"groups must have a label per row of X, \(60,\)"),
        ({3: PCA}, np.arange(60) % 2, ValueError, "1 or 2 members, as groups has 2 labels"),
        ({40: PCA}, "random", ValueError, "each of 40 members needs at least 2 rows"),
        ({70: PCA}, "kmeans", ValueError, "each of 70 members needs at least 2 rows"),
        ({59: PCA}, "kmeans", ValueError, "but one has 1; take fewer members"),
    ],
)
def test_unions_refuse(models, groups, error, match):
    with pytest.raises(error, match=match):
        goof_of_unions(models, X, groups=groups)


def test_figures():
    sized = goof_against_size(PCA, X, [4, 20, 60], X_val=BLOBS, n_trials=2, n_planted=2)
    figure = study_figure(sized)
    left, right = figure.axes
    labels = [text.get_text() for text in figure.legends[0].get_texts()]
    assert labels[:2] == ["train", "validation"]
    # 31 orders of magnitude would hide all else
    assert labels[2] == f"planted floor: {float(sized.planted_mse.max()):.1g}"
    assert left.get_ylim()[0] > 1e-6
    train = next(line for line in left.lines if line.get_label() == "train")
    expected = sized.mse.sel(set="train").median("trial").values[1:]  # the first is rounding
    np.testing.assert_allclose(train.get_ydata(), expected, rtol=1e-12)
    np.testing.assert_array_equal(right.lines[0].get_ydata(), sized.gap.median("trial").values)
    chosen = goof_against_subsampling(PCA, BLOBS, [4, 10], n_planted=2)
    figure = study_figure(chosen, width=3.0)
    assert figure.get_figwidth() == 3
    labels = {text.get_text() for text in figure.legends[0].get_texts()}
    assert {"random: subset", "kmeans: all", "kmeans: bound"} <= labels
    chosen["planted_mse"] += float(chosen.mse.sel(set="all").min()) / 2
    (axes,) = study_figure(chosen).axes
    floors = [line for line in axes.lines if line.get_color() == "#009E73"]
    for line, name in zip(floors, ("random", "kmeans"), strict=True):
        expected = chosen.planted_mse.sel(selection=name).squeeze().values
        np.testing.assert_array_equal(line.get_ydata(), expected)
    figure = study_figure(chosen, metric="relative")
    assert len(figure.legends[0].get_texts()) == 4  # neither bound nor floor
    united = goof_of_unions({1: PCA, 2: PCA}, BLOBS, n_planted=2)
    (axes,) = study_figure(united).axes
    assert axes.get_xlabel() == "members of the union"
    with pytest.raises(ValueError, match="metric must be one of"):
        study_figure(united, metric="fid")
    with pytest.raises(TypeError, match=r"result of a function of fastgen\.goof\.study"):
        study_figure(X)
    with pytest.raises(ValueError, match="width must be finite"):
        study_figure(united, width=0)
