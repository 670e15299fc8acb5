"""
Double descent of a linear GAN
==============================

A linear generator ``G z`` is fitted to a hundred handwritten digits for every size k of its latent
space. Unsupervised, it is PCA: its distance to the population falls and then stays flat, because an
interpolating generator does not change any more. Pseudo-supervised, each digit is paired with a
fabricated latent, and the error descends, peaks where k passes the number of pairs, and descends
again.
"""

from sklearn.datasets import load_digits

from fastgen.linear import format_table, summarize, sweep
from fastgen.plotting import sweep_figure

result = sweep(
    load_digits().data,
    latent_dims=range(1, 201),
    n_samples=60,
    problems=("unsupervised", "pseudo_supervised", "ridge"),
    n_trials=10,
    random_state=0,
    progress=False,
)
figure = sweep_figure(result)

# %%
# The table says where the peak and the dips are.

print(format_table(summarize(result)))

# %%
# Theory knows the gain of a pseudo-supervised generator exactly: the squared norm of the generator
# over the total variance. It is infinite where k is within one of the number of pairs.

from fastgen.linear import theory

for k in (20, 59, 100, 200):
    print(k, theory.expected_gain(60, k))
