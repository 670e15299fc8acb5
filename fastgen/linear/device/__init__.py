"""A sweep on a CUDA device: each step works on whole batches of trials and latent dimensions."""
