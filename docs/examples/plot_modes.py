"""
Which modes are covered?
========================

Samples that leave out a part of a ring, as generators do, and the report that says so.
"""

import numpy as np

from fastgen.modes import BourgainEmbedding, LatentMixture, mode_report, ring

data = ring(8, random_state=0)
kept = data.X[np.arange(len(data.X)) < 0.7 * len(data.X)]
report = mode_report(kept, data.centers, data.scale, reference=data.X, random_state=0)
print(report)
figure = report.plot()

# %%
# BourGAN's remedy: embed the data so that distances are kept, and take latents from a mixture
# around the embedded points, so that the latent space has the modes of the data.

embedding = BourgainEmbedding(random_state=0).fit(data.X[::5])
latents = LatentMixture(embedding)
print(latents.sample(1000, random_state=0).shape)
