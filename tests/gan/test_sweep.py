"""Sweeps over latent sizes, and agreement with the linear problems."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fastgen import gan, networks
from fastgen.gan.draws import latent_prior, source
from fastgen.gan.objectives import NonSaturating, Quadratic
from fastgen.gan.rows import Rows
from fastgen.gan.run import Run

pytestmark = [
    pytest.mark.usefixtures("one_torch_thread"),
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
]

DATA = np.random.default_rng(0).standard_normal((40, 2)).astype(np.float32)


def call(**change):
    options = {
        "generator": lambda k: networks.MLPGenerator(k, 2, widths=(6,)),
        "discriminator": lambda: networks.MLPDiscriminator(2, widths=(6,)),
        "latent_dims": [1, 3],
        "fractions": [0, 0.5],
        "steps": 6,
        "every": 2,
        "n_trials": 2,
        "threshold": 1.0,
        "batch_size": 8,
        "progress": False,
    }
    return gan.sweep(DATA, **{**options, **change})


def test_a_sweep_resumes_and_is_labelled(tmp_path):
    whole = call()
    assert whole.distance.dims == ("fraction", "latent_dim", "trial", "step")
    assert whole.step.values.tolist() == [2, 4, 6]
    assert np.isfinite(whole.distance).all()
    first = call(n_trials=2, latent_dims=[1], store=tmp_path / "store")
    assert first.distance.equals(whole.distance.sel(latent_dim=[1]))
    seen = []
    second = call(store=tmp_path / "store", progress=lambda done, total: seen.append((done, total)))
    assert second.distance.equals(whole.distance)
    assert seen[-1] == (8, 8)
    reached = whole.steps_to_threshold
    hit = (whole.distance <= 1.0).any("step")
    assert (np.isfinite(reached) == hit).all()
    with pytest.raises(ValueError, match="was made with another steps"):
        call(store=tmp_path / "store", steps=8)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "x").write_text("mine")
    with pytest.raises(ValueError, match="holds something else"):
        call(store=tmp_path / "other")


def test_the_control_starts_from_the_same_weights():
    seen = {}

    def generator(k):
        net = networks.MLPGenerator(k, 2, widths=(6,))
        seen.setdefault(k, []).append(net.layers[0].weight.detach().clone())
        return net

    call(generator=generator, n_trials=1)
    for weights in seen.values():
        torch.testing.assert_close(weights[0], weights[1], rtol=0, atol=0)


def test_goof_is_reported():
    found = call(latent_dims=[2], fractions=[0], n_trials=1, goof=3)
    assert found.goof_train.shape == (1, 1, 1)
    assert (found.goof_test >= 0).all()


def test_wrong_arguments_are_named():
    for change, message in (
        ({"fractions": [2]}, "fractions must be from 0 to 1"),
        ({"holdout": 1.5}, "holdout must be a share between 0 and 1"),
        ({"holdout": 0.01}, "at least two samples on both sides"),
        ({"out": "x"}, "out is no option of a sweep"),
    ):
        with pytest.raises(ValueError, match=message):
            call(**change)


def test_energy_distance_of_points_on_a_line():
    x, y = np.array([[0.0], [1.0], [3.0]]), np.array([[2.0], [2.0]])
    between = np.mean([[2, 2], [1, 1], [1, 1]])
    assert gan.energy_distance(x, y) == pytest.approx(2 * between - 2.0 - 0.0)


def test_linear_networks_with_the_quadratic_objective_are_the_penalized_problem():
    """P3: pairs in the first term, the distance of the Gaussians in the second."""
    from fastgen.linear import LinearGAN

    n, d, k, n_pairs, weight = 24, 4, 3, 6, 2.0
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, d)) * [2.0, 1.5, 1.0, 0.5]
    pairs = gan.PseudoSupervision(n_pairs / n, weight=weight * d)
    options = {"objective": "quadratic", "prior": "whitened", "batch_size": n, "pairs": pairs}

    def network(start):
        net = networks.MLPGenerator(k, d, widths=(), bias=False).double()
        net.load_state_dict({"layers.0.weight": torch.as_tensor(start)})
        return net

    run = Run(
        network(np.eye(d, k)), None, Rows(X, None, None), objective=Quadratic(), terms=(),
        pairs=pairs, batch_size=n, discriminator_steps=1, prior="whitened",
        precision="float32", seed=0,
    )  # fmt: skip
    chosen = run.paired[0].numpy()
    Z = run.pair_latents[run.paired[0]].numpy()
    order = np.concatenate([chosen, np.setdiff1d(np.arange(n), chosen)])
    best = np.inf
    for seed in range(6):
        linear = LinearGAN(
            k, "penalized", n_supervised=n_pairs, weight=weight, center=False, tol=1e-13,
            max_iter=5000, random_state=seed,
        ).fit(X[order], Z=Z)  # fmt: skip
        value = objective(linear.components_.T, X, X[chosen], Z, weight)
        if value < best:
            best, gamma = value, linear.components_.T
    starts = {"near": gamma + 0.2 * rng.standard_normal(gamma.shape), "far": np.eye(d, k)}
    for name, start in starts.items():
        net = network(start)
        found = gan.fit(
            net, None, X, steps=500, lr=0.03, lr_schedule=500 * n, betas=(0.9, 0.999),
            progress=False, log_every=500, **options,
        )  # fmt: skip
        mine = net.layers[0].weight.detach().numpy()
        value = objective(mine, X, X[chosen], Z, weight)
        # the loss of the loop is the objective itself, and where it ends alternation stands still
        assert found.history[-1]["generator"] == pytest.approx(value, rel=1e-4)
        np.testing.assert_allclose(alternated(mine, X, X[chosen], Z, weight), mine, atol=5e-3)
        if name == "near":
            assert value == pytest.approx(best, rel=1e-5)
            np.testing.assert_allclose(mine, gamma, atol=5e-3)
        else:
            assert value >= best * (1 - 1e-9)


def alternated(gamma, X, Xs, Z, weight):
    """One step of the alternation of the notes: polar factor, then least squares."""
    values, vectors = np.linalg.eigh(X.T @ X / len(X))
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    u, _, vt = np.linalg.svd(root @ gamma, full_matrices=False)
    a = weight / len(Xs)
    return (a * Xs.T @ Z + root @ u @ vt) @ np.linalg.inv(a * Z.T @ Z + np.eye(Z.shape[1]))


def objective(gamma, X, Xs, Z, weight):
    """P3 as it is written."""
    S = X.T @ X / len(X)
    values, vectors = np.linalg.eigh(S)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    overlap = np.linalg.norm(root @ gamma, "nuc")
    distance = np.trace(S) + (gamma**2).sum() - 2 * overlap
    return weight / len(Xs) * ((Xs - Z @ gamma.T) ** 2).sum() + distance


def test_whitened_latents_make_moments_exact():
    z = latent_prior("whitened", 3, torch.float64)(24, source(0, 1))
    gamma = torch.randn(4, 3, dtype=torch.float64)
    made = z @ gamma.T
    torch.testing.assert_close(made.T @ made / 24, gamma @ gamma.T)
    assert NonSaturating().uses_discriminator
