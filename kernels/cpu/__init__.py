"""Numba kernels; see ``compilation`` for how they are compiled and kept."""
