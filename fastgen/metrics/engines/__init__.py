"""Distances of Gaussians where the arrays live: on the host, on a device, for torch."""
