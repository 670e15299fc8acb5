"""A sweep on the CPU: one trial at a time, through all latent dimensions, in compiled kernels."""
