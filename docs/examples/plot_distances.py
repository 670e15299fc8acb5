"""
FID and WaM, each with its floor
================================

The Frechet distance (FID) compares two sets of features as if both were Gaussian; WaM compares
Gaussian mixtures, which see several modes. Both are large for two finite samples of one and the
same law: that is their floor, and a distance means something only above it.
"""

import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA

from fastgen.metrics import fid, wam

digits = load_digits()
features = PCA(8).fit_transform(digits.data / 16)
order = np.random.default_rng(0).permutation(len(features))
real, other = features[order[::2]], features[order[1::2]]

# %%
# Two halves of one set: the distances are about their floors.

same = wam(real, other, n_components=4, random_state=0)
print(same)

# %%
# The other half without its threes and eights: two modes are missing, and both distances leave
# their floors.

labels = digits.target[order[1::2]]
dropped = other[(labels != 3) & (labels != 8)]
missing = wam(real, dropped, n_components=4, random_state=0)
print(missing)
print(f"FID {fid(real, dropped):.3f}")
figure = missing.plot()
