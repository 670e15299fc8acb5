"""Chooses the kernel: the only package that imports from ``fastgen.kernels``.

One module for each subject. Its functions take what the packages have, arrays that are checked
already, and choose by size, dtype and device which kernel or library routine serves them; where a
threshold decides, the benchmark that it was measured with is named beside it. ``threads`` holds
BLAS at one thread while our own threads are at work.

Imports of kernels are inside the functions: ``import fastgen`` loads no Numba and compiles nothing.
"""
