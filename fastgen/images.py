"""Images of folders and of arrays, read by one set of rules whoever asks.

- Files are read in the order of their paths, from all folders in the folder; linked folders are
  followed once. Names that begin with a dot, such as ``.ipynb_checkpoints`` or ``._x.png``, and
  ``__MACOSX`` are left out.
- Values are in [0, 1]: 8 bits a channel over 255, gray images of 16 bits over 65535. Of color
  images of 16 bits a channel Pillow reads the upper 8. Images of 32 bits or of floats are refused.
- Transparent images are laid over white, as most viewers show them: colors that nobody sees do not
  count.
- The EXIF orientation is applied: pixels are as viewers show them.
- Images of modes 1, L, LA and 16-bit gray have one channel; palettes, CMYK and all others become
  RGB by Pillow's conversion, without color profiles.
- Files of several frames are refused, as nothing says which frame is meant; but of the pictures in
  an MPO file, which many cameras write as .jpg, the first is read.
"""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from . import _arrays, _warnings

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (
    ".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".webp", ".tif", ".tiff",
    ".ppm", ".pgm", ".pbm", ".pnm",
)  # fmt: skip
# Images that are not read: a folder that holds some is warned of.
_OTHERS = (
    ".gif", ".apng", ".avif", ".heic", ".heif", ".jp2", ".j2k", ".jxl", ".tga", ".ico", ".dds",
    ".exr", ".hdr", ".psd", ".svg", ".dcm", ".dng", ".cr2", ".nef", ".arw", ".raw",
)  # fmt: skip
_GRAY = ("1", "L", "LA", "La")
_CHANNELS = (1, 3, 4)
# Values of floats this far outside their range are rounding.
_SLACK = 1e-5
_LEAST_BRIGHT = 128
_WHITE = 255


class ImageFolder:
    """Images of a folder and of all folders in it, in the order of their paths.

    The rules are those of this module.

    Parameters
    ----------
    folder : path
    resize : int, optional
        Resize every image to this many pixels a side (bicubic, averaging where it shrinks).
    rgb : bool, default False
        Convert every image to three channels.

    Attributes
    ----------
    paths : list of pathlib.Path
    name : str
        The folder, as it was given.
    names : list of str
        Paths within the folder. Bytes that are no UTF-8 text are written as escapes.

    Raises
    ------
    ValueError
        If there are no images.
    OSError
        If a folder cannot be opened.

    Warns
    -----
    UserWarning
        If the folder also holds images of other types, which are left out.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from PIL import Image
    >>> from fastgen.images import ImageFolder
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for name in "ab":
    ...         Image.fromarray(np.full((8, 8), 51, dtype=np.uint8)).save(f"{folder}/{name}.png")
    ...     images = ImageFolder(folder)
    ...     print(images.names, next(images.batches(2)).shape)
    ['a.png', 'b.png'] (2, 1, 8, 8)
    """

    def __init__(
        self, folder: str | os.PathLike, *, resize: int | None = None, rgb: bool = False
    ) -> None:
        self.folder, self.resize, self.rgb = pathlib.Path(folder), resize, rgb
        self.name = os.fspath(folder)
        files = sorted(_files(self.folder))
        self.paths = [path for path in files if path.suffix.lower() in SUFFIXES]
        others = [path for path in files if path.suffix.lower() in _OTHERS]
        if not self.paths:
            beside = f"{len(others)} images of other types" if others else "none"
            raise ValueError(
                f"{os.fspath(folder)!r} must hold images ({', '.join(SUFFIXES)}), got {beside}; "
                "name another folder" + (", or convert them" if others else "")
            )
        if others:
            kinds = sorted({path.suffix.lower() for path in others})
            _warnings.warn(
                f"{os.fspath(folder)!r} holds {len(others)} images of types that are not read "
                f"({', '.join(kinds)}) beside the {len(self.paths)} that are; convert them, or "
                "move them elsewhere"
            )

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def names(self) -> list[str]:
        """Paths within the folder, as text that can be written to any file."""
        inside = (path.relative_to(self.folder).as_posix() for path in self.paths)
        return [os.fsencode(name).decode("utf-8", "backslashreplace") for name in inside]

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Yield the images in batches.

        Parameters
        ----------
        size : int
            Images in a batch; the last one may have fewer.

        Yields
        ------
        ndarray (b, channels, height, width)
            Values in [0, 1].

        Raises
        ------
        ValueError
            If an image cannot be read, or differs from the first in size or channels.
        """
        first = self._read(self.paths[0])
        for start in range(0, len(self.paths), size):
            part = self.paths[start : start + size]
            batch = np.empty((len(part), *first.shape))
            for row, path in zip(batch, part, strict=True):
                image = self._read(path)
                if image.shape != first.shape:
                    raise ValueError(
                        f"images must have one size and number of channels: {self.paths[0]} is "
                        f"{_size(first)}, {path} is {_size(image)}; {_remedy(first, image)}"
                    )
                row[:] = image
            yield batch

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the images of the given numbers, (b, channels, height, width) in [0, 1].

        Images of several sizes or numbers of channels are refused as `batches` refuses them.
        """
        paths = [self.paths[row] for row in rows]
        images = [self._read(path) for path in paths]
        for path, image in zip(paths, images, strict=True):
            if image.shape != images[0].shape:
                raise ValueError(
                    f"images must have one size and number of channels: {paths[0]} is "
                    f"{_size(images[0])}, {path} is {_size(image)}; {_remedy(images[0], image)}"
                )
        return np.stack(images) if images else np.empty((0, 1, 1, 1))

    def _read(self, path: pathlib.Path) -> np.ndarray:
        from PIL import Image, ImageOps

        try:
            with Image.open(path) as image:
                frames = getattr(image, "n_frames", 1)
                if frames > 1 and image.format != "MPO":
                    raise ValueError(
                        f"it holds {frames} frames, and nothing says which is meant; save each as "
                        "a file of its own"
                    )
                return _pixels(ImageOps.exif_transpose(image), self.resize, self.rgb)
        except Exception as error:  # readers of damaged files raise nearly every kind there is
            told = str(error) or type(error).__name__
            raise ValueError(
                f"image {path} cannot be read: {told}; remove it or save it again"
            ) from error


class ImageArray:
    """Images of an array, as `ImageFolder` gives those of a folder.

    The order of the axes and the range of the values are recognized where there is one reading,
    and asked for where there are several.

    Parameters
    ----------
    array : array (n, height, width), (n, channels, height, width) or (n, height, width, channels)
        NumPy, CuPy or torch; 1, 3 or 4 channels, of which the fourth is opacity: such images are
        laid over white.
    layout : {"channels_first", "channels_last"}, optional
        The order of the axes.
    span : (float, float), optional
        The values of black and white. Unless it is given, values are taken to be in 0..255 (uint8;
        other integers and whole floats that end there; floats that reach beyond 128), 0..65535
        (uint16 that reaches beyond 255), 0..1 or -1..1.
    resize : int, optional
        As for `ImageFolder`.
    rgb : bool, default False
        As for `ImageFolder`.
    name : str, default "images"
        What the images are called in messages.

    Raises
    ------
    TypeError
        If the array holds no numbers.
    ValueError
        If there is no reading of the axes or values, or more than one: the message says which
        argument decides.

    Examples
    --------
    >>> import numpy as np
    >>> from fastgen.images import ImageArray
    >>> images = ImageArray(np.full((5, 8, 8, 3), 255, dtype=np.uint8))
    >>> batch = next(images.batches(5))
    >>> batch.shape, float(batch.max())
    ((5, 3, 8, 8), 1.0)
    """

    def __init__(
        self,
        array: Any,
        *,
        layout: str | None = None,
        span: tuple[float, float] | None = None,
        resize: int | None = None,
        rgb: bool = False,
        name: str = "images",
    ) -> None:
        found, self.name = _arrays.to_numpy(array, name), name
        if found.dtype.kind not in "fiub":
            raise TypeError(f"{name} must hold numbers, got dtype {found.dtype}")
        self._images = _channels_last(found, layout, name)
        if not len(self._images):
            raise ValueError(f"{name} must hold at least one image, got shape {found.shape}")
        self.span = _span(self._images, name) if span is None else _checked(span, name)
        self.resize, self.rgb = resize, rgb

    def __len__(self) -> int:
        return len(self._images)

    def batches(self, size: int) -> Iterator[np.ndarray]:
        """Yield the images in batches.

        Parameters
        ----------
        size : int
            Images in a batch; the last one may have fewer.

        Yields
        ------
        ndarray (b, channels, height, width)
            Values in [0, 1].
        """
        for start in range(0, len(self._images), size):
            yield np.stack([self._read(image) for image in self._images[start : start + size]])

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the images of the given numbers, (b, channels, height, width) in [0, 1]."""
        images = [self._read(self._images[row]) for row in rows]
        return np.stack(images) if images else np.empty((0, 1, 1, 1))

    def _read(self, image: np.ndarray) -> np.ndarray:
        from PIL import Image

        if image.dtype == np.uint8 and self.span == (0, _WHITE):  # to the last bit as from a file
            picture = Image.fromarray(image[..., 0] if image.shape[-1] == 1 else image)
            return _pixels(picture, self.resize, self.rgb)
        low, high = self.span
        values = (image.astype(np.float64) - low) / (high - low)
        if values.shape[-1] == 4:
            values = values[..., :3] * values[..., 3:] + (1 - values[..., 3:])
        channels = values.transpose(2, 0, 1)
        if self.resize is not None:
            channels = np.stack([_resized(channel, self.resize) for channel in channels])
        channels = channels.clip(0, 1)
        return np.repeat(channels, 3, axis=0) if self.rgb and len(channels) == 1 else channels


def _files(top: pathlib.Path) -> list[pathlib.Path]:
    """Files of a folder and the folders in it, none twice; those that are linked come last."""
    found: list[pathlib.Path] = []
    folders: list[pathlib.Path] = [top]
    linked: list[pathlib.Path] = []
    seen: set[tuple[int, int]] = set()
    while folders or linked:
        folder = folders.pop() if folders else linked.pop(0)
        place = os.stat(folder)
        if (place.st_dev, place.st_ino) in seen:
            continue
        seen.add((place.st_dev, place.st_ino))
        with os.scandir(folder) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                if entry.name.startswith(".") or entry.name == "__MACOSX":
                    continue
                path = folder / entry.name
                if not entry.is_dir():
                    found.append(path)
                elif entry.is_symlink():
                    linked.append(path)
                else:
                    folders.append(path)
    return found


def _pixels(image: Image, resize: int | None, rgb: bool) -> np.ndarray:
    """Return an image of Pillow as an array (channels, height, width) in [0, 1]."""
    from PIL import Image as pillow

    if image.mode.startswith("I;16"):
        gray = np.asarray(image, dtype=np.float64) / 65535
        gray = gray if resize is None else _resized(gray, resize).clip(0, 1)
        return np.stack([gray] * (3 if rgb else 1))
    if image.mode in ("I", "F"):
        raise ValueError(f"mode {image.mode}; save it with 8 or 16 bits a channel")
    wanted = "L" if image.mode in _GRAY and not rgb else "RGB"
    if image.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = pillow.new("RGBA", image.size, (_WHITE,) * 4)
        image = pillow.alpha_composite(white, image)
    image = image.convert(wanted)
    if resize is not None:
        image = image.resize((resize, resize), pillow.Resampling.BICUBIC)
    pixels = np.asarray(image, dtype=np.float64) / _WHITE
    return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _resized(channel: np.ndarray, side: int) -> np.ndarray:
    from PIL import Image

    image = Image.fromarray(channel.astype(np.float32))
    return np.asarray(image.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float64)


def _size(image: np.ndarray) -> str:
    channels, height, width = image.shape
    return f"{width}x{height} with {channels} channel{'s' if channels > 1 else ''}"


def _remedy(first: np.ndarray, other: np.ndarray) -> str:
    """Say which arguments make two images alike."""
    found = []
    if first.shape[1:] != other.shape[1:]:
        found.append("resize them all (resize=, on the command line --resize)")
    if first.shape[0] != other.shape[0]:
        found.append("convert them all to three channels (rgb=True, on the command line --rgb)")
    return " and ".join(found)


def _channels_last(array: np.ndarray, layout: str | None, name: str) -> np.ndarray:
    """Return images (n, height, width, channels)."""
    if layout not in (None, "channels_first", "channels_last"):
        raise ValueError(f"layout must be 'channels_first' or 'channels_last', got {layout!r}")
    shape = array.shape
    if array.ndim == 3:
        if layout is None and shape[2] in (3, 4) and min(shape[:2]) >= 16:
            raise ValueError(
                f"{name} of shape {shape} may be one color image or many gray ones; give one image "
                "a first axis, images[None], or gray images a last one, images[..., None]"
            )
        return array[..., None]
    if array.ndim != 4:
        raise ValueError(
            f"{name} must have shape (n, height, width), (n, channels, height, width) or "
            f"(n, height, width, channels), got {shape}"
        )
    readings = {
        "channels_first": shape[1] in _CHANNELS,
        "channels_last": shape[3] in _CHANNELS,
    }
    if layout is None:
        possible = [reading for reading, holds in readings.items() if holds]
        if len(possible) != 1:
            why = "may have its channels in axis 1 or 3" if possible else "has no axis of channels"
            raise ValueError(
                f"{name} of shape {shape} {why} (1, 3 or 4 in axis 1 or 3); pass "
                "layout='channels_first' or 'channels_last', or flatten what is no image to "
                "(n, features)"
            )
        layout = possible[0]
    if not readings[layout]:
        raise ValueError(
            f"{name} must have 1, 3 or 4 channels in axis {1 if layout == 'channels_first' else 3} "
            f"for layout={layout!r}, got shape {shape}"
        )
    return array.transpose(0, 2, 3, 1) if layout == "channels_first" else array


def _span(images: np.ndarray, name: str) -> tuple[float, float]:
    """Return the values of black and white, where the values leave no doubt."""
    if images.dtype == np.uint8:
        return 0, _WHITE
    if images.dtype == bool:
        return 0, 1
    low, high = float(images.min()), float(images.max())
    if not (np.isfinite(low) and np.isfinite(high)):
        raise ValueError(f"{name} must be finite, got values from {low:g} to {high:g}")
    if images.dtype == np.uint16 and high > _WHITE:
        return 0, 65535
    if images.dtype.kind == "f":
        if low >= -_SLACK and high <= 1 + _SLACK:
            return 0, 1
        if low >= -1 - _SLACK and high <= 1 + _SLACK:
            return -1, 1
        inside = low >= -_SLACK and high <= _WHITE * (1 + _SLACK)
        if inside and (high >= _LEAST_BRIGHT or (images == np.rint(images)).all()):
            return 0, _WHITE
    elif images.dtype != np.uint16 and 0 <= low and high <= _WHITE:
        return (0, _WHITE) if high > 1 else (0, 1)
    raise ValueError(
        f"{name} of dtype {images.dtype} with values from {low:g} to {high:g} may be in several "
        "ranges; pass span=(black, white), such as (0, 1), (-1, 1), (0, 255) or (0, 65535), or "
        "scale them to [0, 1]"
    )


def _checked(span: tuple[float, float], name: str) -> tuple[float, float]:
    low, high = (float(value) for value in span)
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        raise ValueError(f"span of {name} must be two finite numbers that rise, got {span}")
    return low, high
