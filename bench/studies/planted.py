"""Which metric sees which planted failure: writes docs/metrics.md.

The real law is known, so that new samples of it are a perfect generator: ten Gaussian modes in 16
dimensions. Each failure is planted in such samples. Run from anywhere, a minute:

    python bench/studies/planted.py [--quick] [--out FILE]
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from fastgen._version import __version__
from fastgen.metrics import Evaluation, evaluate

DOCS = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
MODES, DIM, APART = 10, 16, 5.0
# Verdicts that find nothing.
NOTHING = (
    "no difference seen", "as new samples", "as the holdout", "no more than new samples",
    "as varied as the data", "no overfitting seen",
)  # fmt: skip

TEXT = """\
# The metrics, and what each of them sees

`fastgen.metrics.evaluate(real, generated, holdout)`, on the command line
`fastgen evaluate REAL GENERATED --holdout HELDOUT`, computes all of these from one extraction of
features and one exact pass over all pairs of samples. Each figure stands beside its **floor**, what
new samples of the real law would score (a ceiling where higher is better), and a 95 % interval.

| metric | question | better | floor | interval |
|---|---|---|---|---|
| `fid` | squared Frechet distance of Gaussians with the sets' moments (Heusel et al. 2017) | lower | halves of the real set, scaled by 1 / n | spread of disjoint parts |
| `fid_infinity` | FID of infinitely many samples, by regression on 1 / n (Chong and Forsyth 2020) | lower | 0 | spread of disjoint parts |
| `wam` | distance of Gaussian mixtures (Luzi et al. 2023) | lower | halves | none |
| `kid` | unbiased squared MMD, cubic kernel, all pairs (Binkowski et al. 2018) | lower | 0 | jackknife |
| `cmmd` | unbiased squared MMD, Gaussian kernel of median width (Jayasumana et al. 2024) | lower | 0 | jackknife |
| `sliced_w2` | mean squared W2 over 1000 directions; MIND is 3 d times it (Berthet et al. 2026) | lower | halves | spread of disjoint parts |
| `precision` | generated samples in the ball of a real one (Kynkaanniemi et al. 2019) | higher | halves | Wilson |
| `recall` | real samples in the ball of a generated one | higher | halves | Wilson |
| `density` | real balls that hold a generated sample, over k (Naeem et al. 2020) | higher | 1 | normal |
| `coverage` | real samples whose ball holds a generated one | higher | the law's, by n, m and k | Wilson |
| `authenticity` | generated samples farther from their nearest real one than that is from its own (Alaa et al. 2022) | higher | halves | Wilson |
| `copying_z` | C_T: are generated samples closer to the training set than held-out ones? (Meehan et al. 2020) | near 0 | 0 | normal |
| `near_copies` | samples three times closer to one training sample than to all others | lower | the holdout's | Wilson |
| `mifid` | FID with a penalty for small angles to the training set (Bai et al. 2021) | lower | as `fid` | none |
| `vendi` | effective number of different samples (Friedman and Dieng 2023), beside that of the real set | higher | the real set's | delta method |
| `fld` | likelihood of the holdout under Gaussians at the generated samples (Jiralerspong et al. 2023) | lower | 0 | over the holdout |
| `fld_gap` | is the training set likelier than the holdout? | near its floor | the gap of real samples | over both sets |

## Planted truths

The real law is a mixture of ten Gaussian modes in 16 dimensions; {n} training samples, {n} held
out, {m} generated. **Bold** where the verdict finds a failure. Written by
`bench/studies/planted.py` with fastgen {version}.

{table}

- *new samples*: a perfect generator; every bold figure in its column is a false alarm. There are
  {count} figures with intervals of 95 %, so that one of them now and then is.
- *training set*: the training samples themselves. *copies*: a random draw of them with a jitter of
  0.001. *collapsed*: one new sample, again and again. *dropped*: one mode of ten is missing.
  *noise*: new samples plus noise of 0.7 of the modes' width. *shrunk*: new samples pulled to the
  centers of their modes, to 0.6 of the width, as truncation does.

## How to read it

- Distances (`fid` to `sliced_w2`) do not see copies: a generator that repeats its training set is
  as good as perfect for them, or better. Only the memorization figures, FLD and its gap do.
- `precision` and `density` rise where samples shrink to the centers of modes. `recall`, the distances
  and `vendi` say what that costs; `coverage` does not, and FLD, which fits a width to each sample,
  even falls.
- `copying_z`, `authenticity` and `mifid` also answer to samples that shrink to the centers of modes:
  they lie closer to training samples than new ones do, and are no copies. `near_copies` and
  `fld_gap` do not.
- `vendi` looks at the generated set alone: noise is diverse, and copies of a diverse set are.
- No figure isolates memorization: each also answers to fidelity, and what the features do not see,
  none of them sees. A verdict "no difference seen" is one for these features and this many samples.
"""  # noqa: E501


def modes(n: int, rng: np.random.Generator, *, width: float = 1.0, count: int = MODES):
    """Samples of the law, and the centers of their modes."""
    centers = APART * np.eye(MODES, DIM)
    chosen = centers[rng.integers(count, size=n)]
    return chosen + width * rng.standard_normal((n, DIM)), chosen


def failures(train: np.ndarray, m: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(1)
    new, centers = modes(m, rng)
    return {
        "new samples": new,
        "training set": train[:m],
        "copies": train[rng.integers(len(train), size=m)] + 1e-3 * rng.standard_normal((m, DIM)),
        "collapsed": np.repeat(new[:1], m, axis=0) + 1e-6 * rng.standard_normal((m, DIM)),
        "dropped": modes(m, rng, count=MODES - 1)[0],
        "noise": new + 0.7 * rng.standard_normal((m, DIM)),
        "shrunk": centers + 0.6 * (new - centers),
    }


def cell(found: Evaluation, name: str) -> str:
    if name not in found.metrics:
        return "not finite" if "finite" in found.skipped.get(name, "infinite") else "-"
    score = found.metrics[name]
    shown = f"{score.value:.3g}"
    return shown if score.verdict in NOTHING else f"**{shown}**"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small, printed only")
    parser.add_argument("--out", type=Path, default=DOCS)
    arguments = parser.parse_args()
    n = 400 if arguments.quick else 2000
    rng = np.random.default_rng(0)
    train, held = modes(n, rng)[0], modes(n, rng)[0]
    sets = failures(train, n)
    found = {name: evaluate(train, rows, held, progress=False) for name, rows in sets.items()}
    perfect = found["new samples"]
    head = ["metric", "floor", *sets]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for name, score in perfect.metrics.items():
        floor = "-" if score.floor is None else f"{score.floor:.3g}"
        cells = [cell(one, name) for one in found.values()]
        lines.append(f"| `{name}` | {floor} | {' | '.join(cells)} |")
    text = TEXT.format(
        n=n, m=n, version=__version__, table="\n".join(lines), count=len(perfect.metrics)
    )
    print("\n".join(lines))
    if not arguments.quick:
        arguments.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
