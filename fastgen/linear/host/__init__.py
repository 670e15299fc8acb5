"""Trials of a sweep on the CPU: each goes through all latent dimensions, sharing factorizations."""
