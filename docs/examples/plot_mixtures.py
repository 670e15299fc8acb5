"""
Mixtures, Gaussian and not
==========================

Gaussian mixtures follow scikit-learn's conventions. Where components are not Gaussian, the
nonparametric mixture estimates the density of each component in each block of coordinates.
"""

import numpy as np

from fastgen.mixture import GaussianMixture, NonparametricMixture

rng = np.random.default_rng(0)
skewed = rng.exponential(1.0, (300, 3))
mirrored = 6 - rng.exponential(1.0, (200, 3))
X = np.concatenate([skewed, mirrored])
gaussian = GaussianMixture(2, random_state=0).fit(X)
free = NonparametricMixture(2, random_state=0).fit(X)
print("shares:", np.sort(gaussian.weights_).round(3), np.sort(free.weights_).round(3))

# %%
# The densities of the components, per coordinate.

figure = free.plot()
