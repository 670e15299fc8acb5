"""Cluster genes by expression in tissues with a nonparametric mixture; compare with usual methods.

    python bench/studies/expression.py mouse_cpm.csv [--plot FILE] [--out FILE]

The table has a gene per line: its name, then counts per million, two replicates of each tissue side
by side. The steps follow Lozano, Atallah and Levine, arXiv:2209.11705; the logarithm log2(CPM + 1),
held-out selection and starts by short runs of npMSL itself are ours, and no figure or table of the
paper is claimed to be reproduced.
"""

from __future__ import annotations

import argparse
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from fastgen.cli.tables import read
from fastgen.mixture import NonparametricMixture, select_components
from fastgen.plotting.style import save_figure

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "peers"))
from report import environment_lines, write

RESULTS = Path(__file__).resolve().parents[1] / "results" / "expression.md"
SEED = 240
SURE = 0.8


def select(rows: np.ndarray, blocks: np.ndarray, options: argparse.Namespace) -> list[str]:
    """Return the lines of the table of held-out scores on a sample of genes."""
    rng = np.random.default_rng(SEED)
    some = rows[rng.permutation(len(rows))[: options.selection_genes]]
    found = select_components(
        some,
        options.candidates,
        n_splits=3,
        random_state=SEED,
        n_jobs=2,
        blocks=blocks,
        max_iter=options.max_iter,
    )
    error = found.score.std("fold", ddof=1) / np.sqrt(found.sizes["fold"])
    return [
        f"Held-out mean log density (nats per gene) on {len(some)} genes, three folds; the largest "
        f"is at {found.attrs['best']} of the candidates:",
        "",
        "| components | mean | standard error |",
        "|---|---|---|",
        *(
            f"| {k} | {float(found.score.sel(n_components=k).mean()):.4f} | "
            f"{float(error.sel(n_components=k)):.4f} |"
            for k in found.n_components.values
        ),
        "",
    ]


def labels_of_others(rows: np.ndarray, n_components: int) -> dict[str, tuple[np.ndarray, float]]:
    """Labels and seconds of the methods that are compared with."""
    contestants = {
        "k-means": KMeans(n_components, n_init=10, random_state=SEED),
        "Gaussian mixture, full": GaussianMixture(n_components, random_state=SEED, max_iter=500),
        "Gaussian mixture, diagonal": GaussianMixture(
            n_components, covariance_type="diag", random_state=SEED, max_iter=500
        ),
    }
    found = {}
    for name, method in contestants.items():
        started = time.perf_counter()
        found[name] = method.fit_predict(rows), time.perf_counter() - started
    return found


def picture(fit: NonparametricMixture, rows: np.ndarray, tissues: list[str]):
    """Draw quartiles of each cluster over tissues, of genes that surely belong to it."""
    from matplotlib.figure import Figure

    sure = fit.posteriors_.max(axis=1) > SURE
    count = len(fit.weights_)
    columns = 6
    lines = -(-count // columns)
    figure = Figure(figsize=(9, 1.6 * lines + 0.3), layout="constrained")
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True).ravel()
    order = fit.weights_.argsort()[::-1]
    means = np.array([rows[:, fit.blocks_ == block].mean(axis=1) for block in range(len(tissues))])
    for axes, number in zip(panels, order, strict=False):
        members = means[:, sure & (fit.labels_ == number)]
        axes.set_title(f"{number}: {members.shape[1]} genes", fontsize=7)
        if members.shape[1]:
            low, middle, high = np.percentile(members, [25, 50, 75], axis=1)
            axes.fill_between(range(len(tissues)), low, high, color="#0072B2", alpha=0.25)
            axes.plot(middle, color="#0072B2", linewidth=1.2)
        axes.set_xticks(range(len(tissues)), tissues, fontsize=6, rotation=45)
        axes.tick_params(labelsize=6)
    for axes in panels[count:]:
        axes.set_visible(False)
    figure.supylabel("log2(CPM + 1), quartiles of the genes", fontsize=8)
    return figure


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("table", help="CSV file of counts per million")
    parser.add_argument("--components", type=int, default=17)
    parser.add_argument("--candidates", type=int, nargs="+", default=[5, 8, 11, 14, 17, 20])
    parser.add_argument("--selection-genes", type=int, default=2000)
    parser.add_argument("--starts", type=int, default=20, help="short runs of 5 iterations")
    parser.add_argument("--max-iter", type=int, default=250)
    parser.add_argument("--plot", default="expression.png", help="picture of the clusters")
    parser.add_argument("--densities", help="picture of the densities")
    parser.add_argument("--out", type=Path, default=RESULTS, help="Markdown file")
    options = parser.parse_args()
    table = read(options.table)
    rows = np.log2(table.rows + 1)
    n_tissues = rows.shape[1] // 2
    blocks = np.repeat(np.arange(n_tissues), 2)
    tissues = [name.split("SRR")[0] for name in table.columns[::2]]
    with warnings.catch_warnings():
        # what did not converge is in the report
        warnings.simplefilter("ignore", ConvergenceWarning)
        started = time.perf_counter()
        selection = select(rows, blocks, options)
        selected = time.perf_counter() - started
        started = time.perf_counter()
        fit = NonparametricMixture(
            options.components,
            blocks=blocks,
            max_iter=options.max_iter,
            n_init=options.starts,
            small_em_iter=5,
            n_jobs=2,
            random_state=SEED,
        ).fit(rows)
        seconds = time.perf_counter() - started
        others = labels_of_others(rows, options.components)
    save_figure(picture(fit, rows, tissues), options.plot)
    if options.densities:
        save_figure(fit.plot(), options.densities)
    sure = (fit.posteriors_.max(axis=1) > SURE).mean()
    steps = np.diff(fit.objective_)
    lines = [
        "# Genes in clusters: a nonparametric mixture on mouse tissues",
        "",
        f"- Command: `python bench/studies/expression.py {Path(options.table).name}`.",
        *environment_lines(),
        "",
        f"{rows.shape[0]} genes x {rows.shape[1]} samples, log2(CPM + 1), tissues "
        f"{', '.join(tissues)} as blocks. The logarithm, the selection and the starts are ours.",
        "",
        *selection,
        f"Selection took {selected:.0f} s. npMSL with {options.components} components, h "
        f"{fit.bandwidth_[0, 0]:.4f}, {options.starts} starts of 5 iterations, then the best: "
        f"{seconds:.0f} s, {fit.n_iter_} iterations, "
        f"{'converged' if fit.converged_ else 'stopped by max_iter'}, objective "
        f"{fit.objective_[-1]:.2f}, smallest step {steps.min():.2g}. {sure:.1%} of the genes have "
        f"a posterior above {SURE}.",
        "",
        f"Sizes: {', '.join(map(str, sorted(np.bincount(fit.labels_), reverse=True)))}.",
        "",
        "| other method | ARI with npMSL | seconds |",
        "|---|---|---|",
        *(
            f"| {name} | {adjusted_rand_score(fit.labels_, found):.3f} | {spent:.1f} |"
            for name, (found, spent) in others.items()
        ),
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    write(options.out, text)


if __name__ == "__main__":
    main()
