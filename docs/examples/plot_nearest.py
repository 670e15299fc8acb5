"""
What can a generator produce?
=============================

GOoF is the distance from data to the nearest points that a generator can produce, whatever the
latent. For linear generators it is exact; for networks it is the best of many searches, and beside
it stands the floor: what the same search makes of images that the generator produced itself, whose
true distance is zero.
"""

import numpy as np
import torch
from sklearn.datasets import load_digits

from fastgen.goof import overfit_test, score
from fastgen.linear import LinearGAN

digits = load_digits().data / 16
train, held_out = digits[:200], digits[200:400]
linear = LinearGAN(10, "unsupervised").fit(train)
print(score(linear, held_out, random_state=0).summary())

# %%
# A network: here one with random weights, which produces no digits.

torch.manual_seed(0)
network = torch.nn.Sequential(torch.nn.Linear(10, 64), torch.nn.SiLU(), torch.nn.Linear(64, 64))
found = score(
    network,
    held_out[:24].astype(np.float32),
    n_planted=24,
    pool_size=2000,
    random_state=0,
    progress=False,
)
figure = found.plot(n_images=6)

# %%
# Is the generator nearer to what it was trained on than to held-out data? A positive gap with a
# small p says so. Here the ten components were fitted to two hundred digits.

test = overfit_test(linear, train, held_out, random_state=0)
print(f"gap {test.gap:+.3f}, permutation p {test.permutation_pvalue:.3g}")
second = test.plot()
