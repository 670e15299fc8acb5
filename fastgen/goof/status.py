"""Why the search of a target ended: the one list of the words that results carry."""

from __future__ import annotations

import enum

import numpy as np


class Status(enum.IntEnum):
    """Why a search ended; its ``label`` is the word that a result carries."""

    MAX_ITER = 0
    LOCAL = 1
    EXACT = 2
    FAILED = 3
    INTERRUPTED = 4
    FLAT = 5
    AGREED = 6

    @property
    def label(self) -> str:
        """The word in ``NearestResult.status``."""
        return self.name.lower()


STATUS = tuple(status.label for status in Status)


def labels(codes: np.ndarray) -> np.ndarray:
    """Return the words (n,) of numbers (n,)."""
    return np.array(STATUS)[codes]


def codes(words: np.ndarray) -> np.ndarray:
    """Return the numbers (n,) of words (n,), as the members of a process group exchange them."""
    return np.array([STATUS.index(word) for word in words], dtype=np.int64)
