"""How long a search goes on: the words a user chooses from, and what they stand for."""

from __future__ import annotations

from typing import NamedTuple


class Effort(NamedTuple):
    """What an effort stands for.

    Attributes
    ----------
    n_starts : int
        Starts of a target, where the user does not say.
    rounds : tuple of int
        Rounds of restarts, counted from the first, after each of which the solver ends what was
        found. Those of a smaller effort are the first ones of a greater: what it finds is found
        again.
    """

    n_starts: int
    rounds: tuple[int, ...]


EFFORTS = {
    "quick": Effort(8, (2,)),
    "standard": Effort(8, (2, 8)),
    "thorough": Effort(16, (2, 8, 32)),
}
