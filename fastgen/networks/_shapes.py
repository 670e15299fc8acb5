"""Sizes of images that the networks can make, checked by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .. import _validate

SMALLEST, LARGEST = 8, 64


def image_shape(value: Any) -> tuple[int, int, int]:
    """Return (channels, size, size), or raise naming ``image_shape``."""
    if isinstance(value, str) or not isinstance(value, Sequence) or len(value) != 3:
        raise ValueError(
            f"image_shape must be (channels, height, width), got {value!r}; for gray images of 28 "
            "pixels a side pass (1, 28, 28)"
        )
    channels, height, width = (_validate.integer(size, "image_shape") for size in value)
    if height != width:
        raise ValueError(
            f"image_shape must be of square images, got {height} x {width}; crop or resize them"
        )
    levels(height)
    return channels, height, width


def levels(size: int) -> tuple[int, int]:
    """Return base and n with ``size = base * 2**n``, base from 4 to 7."""
    base, count = size, 0
    while base % 2 == 0 and base > 7:
        base, count = base // 2, count + 1
    if not (SMALLEST <= size <= LARGEST and 4 <= base <= 7):
        raise ValueError(
            f"image_shape must have a size of 4, 5, 6 or 7 times a power of two, from "
            f"{SMALLEST} to {LARGEST} (such as 8, 16, 28, 32, 64), got {size}; resize them"
        )
    return base, count


def classes(value: Any) -> int | None:
    """Return the number of classes, or None of a network without labels."""
    return None if value is None else _validate.integer(value, "n_classes", minimum=2)
