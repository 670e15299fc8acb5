"""Solvers of the search for nearest points: a file each, and the one list of them.

A solver takes ``(objective, z, rows, *, max_iter)``, with latents z (P, k) and the target of each
in rows (P,), and returns an ``Outcome``. To add one: its file, its line here, and in ``race.plan``
what goes before it, if that is not the usual race.
"""

from __future__ import annotations

from collections.abc import Callable

from . import adam, gncg, lbfgs, lm
from .pairs import Outcome

SOLVERS: dict[str, Callable[..., Outcome]] = {
    "lm": lm.solve,
    "gncg": gncg.solve,
    "lbfgs": lbfgs.solve,
    "adam": adam.solve,
}
METHODS = ("auto", *SOLVERS)
