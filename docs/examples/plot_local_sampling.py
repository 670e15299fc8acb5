"""
Local sampling with a diffusion model
=====================================

Boomerang: an image is noised to some level and denoised again, which gives images like it. How far
they are is predicted by laws, so that a strength can be asked for as a distance. The model here is
exact and needs no network: the denoiser of a finite set of digits.
"""

import numpy as np
from sklearn.datasets import load_digits

from fastgen.diffusion import ExactSet, calibrate, local_sample

digits = (load_digits().data / 8 - 1)[:500].reshape(-1, 1, 8, 8).astype(np.float32)
model = ExactSet(digits).denoiser()
curve = calibrate(model, digits[:40], random_state=0)
figure = curve.plot()

# %%
# Ask for a root mean square distance per pixel.

found = local_sample(model, digits[:4], rms=0.3, calibration=curve, n_samples=2, random_state=0)
print(found)
