"""Augmentation, anonymization, enhancement: what they return, their controls, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from fastgen.diffusion import ExactSet, anonymize, augment, enhance, from_denoiser, laws

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning"),
    pytest.mark.usefixtures("one_torch_thread"),
]

X = np.random.default_rng(0).standard_normal((40, 6))
Y = np.arange(40) % 5


def gaussian():
    return from_denoiser(lambda y, s: y / (1 + s.reshape(-1, *[1] * (y.ndim - 1)) ** 2), span=None)


def test_copies_keep_their_labels_and_their_distance():
    found = augment(gaussian(), X, Y, n_copies=50, sigma=0.5, random_state=0)
    for part in (found.copies, found.control):
        np.testing.assert_array_equal(part.labels, Y[part.index])
        np.testing.assert_array_equal(part.index, np.repeat(np.arange(40), 50))
        gaps = part.samples - X[part.index]
        assert np.sqrt((gaps**2).mean()) == pytest.approx(part.rms, rel=0.02)
        assert part.label_kept is None
    law = np.sqrt(laws.gaussian_distance(1.0, 0.5))
    assert found.copies.rms == pytest.approx(law, rel=0.05)
    assert found.control.rms == found.copies.rms
    assert augment(gaussian(), X, Y, sigma=0.5, jitter=0.2).control.rms == 0.2
    told = json.loads(json.dumps(found.to_dict()))
    assert told["copies"] == {"samples": 2000, "rms": found.copies.rms, "label_kept": None}


def test_check_of_labels_filters_both():
    """Of a symmetric Gaussian the sign of the first entry is the label; much noise leaves half."""
    labels = (X[:, 0] > 0).astype(int)

    class Sign:
        def predict(self, rows):
            assert rows.ndim == 2
            return (rows[:, 0] > 0).astype(int)

    near, far = (
        augment(gaussian(), X.reshape(40, 2, 3), labels, n_copies=25, sigma=s, random_state=0,
                check=Sign())
        for s in (0.02, 50.0)
    )  # fmt: skip
    assert near.copies.label_kept > 0.95
    assert far.copies.label_kept == pytest.approx(0.5, abs=0.06)
    assert len(far.copies.samples) == round(far.copies.label_kept * 1000)
    assert ((far.copies.samples[:, 0, 0] > 0) == far.copies.labels).all()
    assert ((far.control.samples[:, 0, 0] > 0) == far.control.labels).all()
    called = augment(gaussian(), X, labels, sigma=0.02, check=lambda x: np.full(len(x), 7))
    assert len(called.copies.samples) == 0
    assert called.copies.label_kept == 0


def test_labels_reach_a_conditional_model():
    def model(y, sigma, class_labels=None):
        return torch.full_like(y, 0) + class_labels.reshape(-1, 1).to(y)

    found = augment(from_denoiser(model, span=None), X, Y, n_copies=3, sigma=1.0, steps=2,
                    model_kwargs={"class_labels": torch.as_tensor(Y)})  # fmt: skip
    np.testing.assert_allclose(found.copies.samples, np.repeat(Y, 3)[:, None] * np.ones((1, 6)))


def test_tensors_stay_tensors():
    x = torch.as_tensor(X, dtype=torch.float32)
    found = augment(gaussian(), x, Y, n_copies=2, sigma=0.1)
    assert found.copies.samples.shape == found.control.samples.shape == (80, 6)
    assert isinstance(found.control.samples, torch.Tensor)
    made = anonymize(gaussian(), x, sigma=0.1)
    assert isinstance(made.samples, torch.Tensor)
    images = torch.rand(2, 1, 4, 4)
    assert isinstance(enhance(gaussian(), images, 8, sigma=0.1, steps=2).images, torch.Tensor)


def test_similarity_falls_from_certain_to_chance():
    """Memorized points: without noise each finds itself, with much noise one of all of them."""
    model = ExactSet(X).denoiser()
    shares = []
    for sigma in (0.02, 2.0, 40.0):
        found = anonymize(model, X, sigma=sigma, steps=30, random_state=0)
        shares.append(found.identified.mean())
    assert shares[0] == 1 > shares[1] > shares[2]
    assert shares[2] < 0.15
    told = json.loads(json.dumps(found.to_dict()))
    assert told["chance"] == 1 / 40
    gaps = np.linalg.norm(X[:, None] - X, axis=2) + 100 * np.eye(40)
    np.testing.assert_allclose(found.apart, gaps.min(1), rtol=1e-6)
    np.testing.assert_allclose(found.distance, np.linalg.norm(found.samples - X, axis=1))
    np.testing.assert_allclose(found.rms, found.distance / 6**0.5, rtol=1e-6)


def test_features_say_what_is_hidden():
    """Points of a plane that a model keeps, and noise across it that it removes."""
    found = anonymize(ExactSet(X[:, :2]).denoiser(), X[:, :2], sigma=0.02, random_state=0,
                      features=lambda x: x[:, :1])  # fmt: skip
    assert found.identified.all()
    np.testing.assert_allclose(found.distance, abs(found.samples - X[:, :2])[:, 0])
    # local sampling of few points returns to them; jitter of the same length does not
    far = anonymize(ExactSet(X).denoiser(), X, sigma=1.0, random_state=0)
    assert 0 < far.control_identified.mean() <= 1


def checkerboards(n=30):
    low = np.sign(np.random.default_rng(0).standard_normal((n, 1, 4, 6)))
    return low.repeat(2, axis=2).repeat(2, axis=3), low


def test_enhancement_finds_what_the_model_knows():
    known, low = checkerboards()
    model = ExactSet(known).denoiser()
    vanilla = enhance(model, low, 8, sigma=0.7, random_state=0)
    assert ((vanilla.images.round() == known).mean((1, 2, 3)) == 1).mean() > 0.9
    assert vanilla.upsampled.shape == known.shape
    assert vanilla.consistency.mean() < vanilla.control_consistency.mean()
    np.testing.assert_allclose(enhance(model, known, 8, sigma=0.1, steps=3).upsampled, known)
    told = json.loads(json.dumps(vanilla.to_dict()))
    assert (told["passes"], told["height"], told["width"]) == (1, 8, 12)


def test_cascade_feeds_back():
    """Passes through a Gaussian shrink toward it, each by the same factor."""
    x = np.full((200, 1, 4, 4), 3.0)
    means = [
        enhance(gaussian(), x, 4, passes=k, sigma=0.5, eta=0, random_state=0).images.mean()
        for k in (1, 2, 3)
    ]
    assert means[0] < 3
    np.testing.assert_allclose(np.divide(means[1:], means[:-1]), means[0] / 3, rtol=0.03)
    # what leaves the range of the model comes back into it
    model = from_denoiser(lambda y, s: 3 * y / (1 + s.reshape(-1, 1, 1, 1) ** 2))
    assert enhance(model, x / 3, 4, passes=2, sigma=0.5, steps=3).images.shape == x.shape


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (lambda: augment(gaussian(), X, Y[:3], sigma=1.0), ValueError, "one label for each of 40"),
        (lambda: augment(gaussian(), X, Y, n_copies=0, sigma=1), ValueError, "n_copies must be"),
        (lambda: augment(gaussian(), X, Y, n_samples=3, sigma=1), TypeError, "takes n_copies"),
        (lambda: augment(gaussian(), X, Y), TypeError, "exactly one of t, ratio, sigma and rms"),
        (lambda: augment(gaussian(), X, Y, sigma=1, check=3), TypeError, "check must be a"),
        (
            lambda: augment(gaussian(), X, Y, sigma=1, check=lambda x: x),
            ValueError,
            r"check must return labels \(400,\)",
        ),
        (lambda: augment(gaussian(), X, Y, sigma=1, jitter=-1.0), ValueError, "jitter must be"),
        (lambda: anonymize(gaussian(), X[:1], sigma=1), ValueError, "two images at least"),
        (lambda: anonymize(gaussian(), X, sigma=1, n_samples=2), TypeError, "leave n_samples out"),
        (
            lambda: anonymize(gaussian(), X, sigma=1, features=lambda x: x[:3]),
            ValueError,
            r"array \(40, k\)",
        ),
        (lambda: enhance(gaussian(), X, 8, sigma=1), ValueError, "X must be images"),
        (
            lambda: enhance(gaussian(), np.zeros((1, 1, 4, 6)), 5, sigma=1),
            ValueError,
            "in proportion",
        ),
        (
            lambda: enhance(gaussian(), np.zeros((1, 1, 4, 4)), 2, sigma=1),
            ValueError,
            "at least the height 4",
        ),
        (
            lambda: enhance(gaussian(), np.zeros((1, 1, 4, 4)), 4, sigma=1, passes=0),
            ValueError,
            "passes must be at least 1",
        ),
        (
            lambda: enhance(gaussian(), np.zeros((1, 1, 4, 4)), 4, sigma=1, n_samples=2),
            TypeError,
            "leave n_samples out",
        ),
    ],
)
def test_refusals(call, kind, message):
    with pytest.raises(kind, match=message):
        call()
