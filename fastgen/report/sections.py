"""What a page shows: every function takes arrays or results and returns one section."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .page import Section, Table, text

if TYPE_CHECKING:
    from ..goof import GoofScore, OverfitTest
    from ..metrics import NeighborPass, WaMResult
    from ..metrics.extrapolation import ExtrapolatedFID
    from ..modes import ModeReport

# Inches: what a phone shows without scaling.
WIDTH = 4.0
_BETTER = {"lower": "lower is better", "higher": "higher is better", None: "-"}

# Images (n, channels, height, width) in [0, 1] of the rows asked for.
Take = Callable[[np.ndarray], np.ndarray]


def metrics(told: Mapping[str, Mapping[str, Any]], titles: Mapping[str, str]) -> Section:
    """Show all figures in a table.

    Parameters
    ----------
    told : mapping
        By name of the metric: "value", "floor", "interval", "better", "verdict" and "n".
    titles : mapping of str to str
        Names that a reader knows, by name of the metric.
    """
    section = Section(
        "All figures",
        "A figure means something beside its floor, which is what two samples of one and the same "
        "law of these sizes would give, and within its interval (95 %).",
        "No single figure tells good from bad: figures of distance do not see memorization, and "
        "those of memorization do not see quality.",
    )
    rows = [
        [
            titles.get(name, name),
            text(found.get("value")),
            text(found.get("floor")),
            text(found.get("interval")),
            _BETTER.get(found.get("better"), "-"),
            found.get("verdict") or "-",
        ]
        for name, found in told.items()
    ]
    columns = ["figure", "value", "floor", "interval", "direction", "in words"]
    section.tables.append(Table(columns, rows))
    return section


def samples(
    real: Take,
    generated: Take,
    n_real: int,
    n_generated: int,
    rng: np.random.Generator,
    n_shown: int = 24,
) -> Section:
    """Show images of both sets, drawn at random."""
    section = Section(
        "Samples",
        "Images drawn at random from both sets, the same number of each, none chosen by hand.",
        "So few images show gross faults only.",
    )
    for title, take, n in (("Real", real, n_real), ("Generated", generated, n_generated)):
        rows = rng.permutation(n)[:n_shown]
        section.add_strip(title, take(rows))
    return section


def neighbors(
    found: NeighborPass, take_real: Take, take_generated: Take, n_shown: int = 12
) -> Section:
    """Show images by their nearest neighbors: the closest, the uncovered and the least realistic.

    Parameters
    ----------
    found : NeighborPass
        What the pass over the features of both sets found.
    take_real, take_generated : callable
        Return the images of rows.
    n_shown : int
        Images, or pairs of images, of each kind.
    """
    k = found.n_neighbors
    section = Section(
        "Nearest neighbors",
        "Distances are those of the features. A generated image that is nearly its nearest real "
        "one may be a copy. A real image is uncovered if no generated one is as near as its "
        f"{k} nearest real ones: such images belong to what the generator leaves out.",
        "Near copies are a sign of memorization only where a holdout has fewer of them; no known "
        "figure isolates memorization.",
    )
    nearest = np.sqrt(found.generated_real.squared_distance[:, 0])
    rows = np.argsort(nearest, kind="stable")[:n_shown]
    section.add_strip(
        "Generated images that are closest to real ones, each beside its nearest real image",
        take_generated(rows),
        [f"distance {text(float(nearest[i]))}" for i in rows],
        beside=take_real(found.generated_real.index[rows, 0]),
    )
    radius = np.sqrt(found.real_real.squared_distance[:, k - 1])
    reach = np.sqrt(found.real_generated.squared_distance[:, 0])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(radius > 0, reach / radius, np.where(reach > 0, np.inf, 0.0))
    uncovered = int((reach > radius).sum())
    rows = np.argsort(-ratio, kind="stable")[: min(n_shown, uncovered)]
    section.lines.append(f"{uncovered} of {len(reach)} real images are uncovered.")
    if len(rows):
        section.add_strip(
            "Real images that are farthest from being covered",
            take_real(rows),
            [f"{text(float(ratio[i]))} times" for i in rows],
        )
    rows = np.argsort(found.realism, kind="stable")[:n_shown]
    section.add_strip(
        "Least realistic generated images",
        take_generated(rows),
        [f"realism {text(float(found.realism[i]))}" for i in rows],
    )
    return section


def components(
    found: WaMResult, real: np.ndarray, generated: np.ndarray, rng: np.random.Generator
) -> Section:
    """Show the mixture components between which WaM moves mass."""
    from sklearn.decomposition import PCA

    from ..plotting.components import component_figure

    section = Section(
        "Where the distance comes from",
        "WaM fits a Gaussian mixture to each set of features and moves the mass of one onto the "
        "other. Ellipses are components, one standard deviation wide, in the two principal "
        "directions of the real features; lines lead to where their mass goes. The bars say "
        "what each component of the real data adds to the squared distance.",
        "Two directions hide what happens in all others.",
    )
    plane = PCA(2, svd_solver="randomized", random_state=0).fit(real)
    axes = plane.components_

    def seen(mixture: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        covariances = axes @ mixture.covariances_ @ axes.T
        return plane.transform(mixture.means_), covariances, mixture.weights_

    shown = [rows[rng.permutation(len(rows))[:1000]] for rows in (real, generated)]
    first, second = (plane.transform(rows) for rows in shown)
    figure = component_figure(
        (first, second), (seen(found.gmm_x), seen(found.gmm_y)), found.plan, width=WIDTH
    )
    section.add_figure(figure, "Components of both mixtures in two principal directions.")
    section.add_figure(
        found.plot(),
        "The transport plan, and what each component of the real data adds to the distance.",
    )
    return section


def extrapolation(found: ExtrapolatedFID) -> Section:
    """Show the FID against the number of samples."""
    section = Section(
        "FID against the number of samples",
        "The FID of few samples is too large, by an amount that falls like one over their number. "
        f"The line leads to what infinitely many would give: {text(float(found.value))}.",
        "The law is a straight line only where the samples are many times the features.",
    )
    section.add_figure(found.plot(width=WIDTH), "FID against one over the number of samples.")
    return section


def recovery(
    score: GoofScore,
    images: Callable[[np.ndarray], np.ndarray] | None,
    test: OverfitTest | None,
    n_shown: int = 8,
) -> Section:
    """Show what a generator can produce of the real data.

    Parameters
    ----------
    score : GoofScore
    images : callable or None
        Takes outputs of the generator to images in [0, 1]; None if they are no images.
    test : OverfitTest or None
        The test of training against held-out data.
    n_shown : int
        Images of each kind.
    """
    told = score.to_dict()
    section = Section(
        "What the generator can produce (GOoF)",
        f"For each of {told['n']} real images the nearest output of the generator is searched over "
        "its latents. The floor is the same search on images that the generator made, whose true "
        "distance is 0: what it leaves is error of the search.",
        "Every distance is an upper bound: a longer search may find less.",
    )
    floor = told["planted"]
    rows = [
        [label, text(told[name]), text(floor.get(name))]
        for label, name in (
            ("GOoF (root mean square distance)", "goof"),
            ("mean squared distance per pixel", "mse"),
            ("median squared distance per pixel", "median"),
        )
    ]
    section.tables.append(Table(["figure", "data", "planted floor"], rows))
    section.lines.append(
        f"The search recovered {floor['recovered']:.0%} of {floor['n']} planted images."
    )
    if images is not None:
        order = np.argsort(score.nearest.mse, kind="stable")
        for title, chosen in (
            ("Best recovered, each beside the nearest output", order[:n_shown]),
            ("Worst recovered, each beside the nearest output", order[::-1][:n_shown]),
        ):
            section.add_strip(
                title,
                images(score.targets[chosen]),
                [f"MSE {text(float(score.nearest.mse[i]))}" for i in chosen],
                beside=images(score.nearest.reconstruction[chosen]),
            )
    if test is not None:
        section.add_figure(test.plot(width=WIDTH), "Errors of training and of held-out images.")
        section.lines.append(
            "Training images are "
            + ("nearer" if test.gap > 0 else "not nearer")
            + f" than held-out ones: the medians differ by {test.gap:+.1%} of the held-out one "
            f"(permutation p {text(test.permutation_pvalue)}). A positive gap with a small p is a "
            "sign of overfitting."
        )
    return section


def modes(found: ModeReport, names: list[str]) -> Section:
    """Show which labelled classes the generated samples cover."""
    section = Section(
        "Modes",
        "Each generated sample counts for the class whose mean is nearest in the features; it is "
        "good within twice the root mean square distance of that class's real samples to their "
        "mean.",
        "Classes that overlap in these features are told apart badly.",
    )
    section.lines.append(
        f"{found.filled} of {found.n_modes} classes are filled; total variation "
        f"{text(found.total_variation)} of 1; {found.low_quality:.1%} of the samples are far from "
        "all classes."
    )
    rows = [
        [name, text(float(weight)), text(float(share))]
        for name, weight, share in zip(names, found.weights, found.shares, strict=True)
    ]
    section.tables.append(Table(["class", "share of real", "share of generated"], rows))
    section.add_figure(found.plot(), "Samples among the modes, and shares of the modes.")
    return section
