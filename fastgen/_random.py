"""Seeds: what the argument ``random_state`` may be, answered in one place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from . import _validate


def seed_sequence(random_state: Any) -> np.random.SeedSequence:
    """Return the seed whose children the parts of a computation take.

    Parameters
    ----------
    random_state : int, numpy.random.Generator, SeedSequence, RandomState or None
        A generator is drawn from, so that two calls with it differ; a sequence is copied before its
        children are taken, so that two calls with it agree; None is entropy of the system.

    Returns
    -------
    numpy.random.SeedSequence

    Raises
    ------
    TypeError, ValueError
        If it is anything else, or negative.
    """
    if isinstance(random_state, np.random.SeedSequence):
        return np.random.SeedSequence(
            random_state.entropy,
            spawn_key=random_state.spawn_key,
            pool_size=random_state.pool_size,
        )
    if isinstance(random_state, np.random.Generator):
        return np.random.SeedSequence(random_state.integers(2**63, size=4).tolist())
    if isinstance(random_state, np.random.RandomState):
        return np.random.SeedSequence(random_state.randint(2**31, size=8).tolist())
    if random_state is None:
        return np.random.SeedSequence()
    return np.random.SeedSequence(_validate.integer(random_state, "random_state", minimum=0))


def generator(random_state: Any) -> np.random.Generator:
    """Return the generator that a computation draws from.

    Parameters
    ----------
    random_state : as for `seed_sequence`
        A generator is returned as it is and goes on from where it stands.

    Returns
    -------
    numpy.random.Generator

    Raises
    ------
    TypeError, ValueError
        As `seed_sequence`.
    """
    if isinstance(random_state, np.random.Generator):
        return random_state
    return np.random.default_rng(seed_sequence(random_state))


def to_text(entropy: int | Sequence[int] | None) -> str:
    """Write the entropy of a seed as text: it has 128 bits, more than JSON and netCDF carry."""
    return ",".join(map(str, entropy)) if isinstance(entropy, Sequence) else str(entropy)


def from_text(text: str) -> int | list[int]:
    """Read what `to_text` wrote."""
    parts = [int(part) for part in text.split(",")]
    return parts if len(parts) > 1 else parts[0]
