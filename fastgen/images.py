"""Folders of images, read in batches."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import numpy as np

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


class ImageFolder:
    """Images of a folder and of all folders in it, in the order of their paths.

    Parameters
    ----------
    folder : path
    resize : int, optional
        Resize every image to this many pixels a side (bicubic, averaging where it shrinks).
    rgb : bool, default False
        Convert every image to three channels.

    Raises
    ------
    ValueError
        If there are no images.
    """

    def __init__(
        self, folder: str | os.PathLike, *, resize: int | None = None, rgb: bool = False
    ) -> None:
        self.folder, self.resize, self.rgb = pathlib.Path(folder), resize, rgb
        self.paths = sorted(
            path
            for path in self.folder.rglob("*")
            if path.suffix.lower() in SUFFIXES and path.is_file()
        )
        if not self.paths:
            raise ValueError(
                f"{os.fspath(folder)!r} must hold images ({', '.join(SUFFIXES)}), got none; name "
                "another folder"
            )

    def __len__(self) -> int:
        return len(self.paths)

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Yield arrays (b, channels, height, width) with values in [0, 1], b at most ``size``."""
        first = self._read(self.paths[0])
        for start in range(0, len(self.paths), size):
            part = self.paths[start : start + size]
            batch = np.empty((len(part), *first.shape))
            for row, path in zip(batch, part, strict=True):
                image = self._read(path)
                if image.shape != first.shape:
                    raise ValueError(
                        f"images must have one size and number of channels: {self.paths[0]} is "
                        f"{_size(first)}, {path} is {_size(image)}; resize them all (resize=, on "
                        "the command line --resize) or convert them to one mode"
                    )
                row[:] = image
            yield batch

    def _read(self, path: pathlib.Path) -> np.ndarray:
        from PIL import Image

        try:
            with Image.open(path) as image:
                if image.mode.startswith("I") or image.mode == "F":
                    raise ValueError(f"mode {image.mode}; save it with 8 bits a channel")
                gray = image.mode in ("1", "L", "LA") and not self.rgb
                image = image.convert("L" if gray else "RGB")
                if self.resize is not None:
                    image = image.resize((self.resize, self.resize), Image.Resampling.BICUBIC)
                pixels = np.asarray(image, dtype=np.float64) / 255
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise ValueError(
                f"image {path} cannot be read: {error}; remove it or save it again"
            ) from error
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _size(image: np.ndarray) -> str:
    channels, height, width = image.shape
    return f"{width}x{height} with {channels} channel{'s' if channels > 1 else ''}"
