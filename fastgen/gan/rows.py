"""Real samples of a run: checked once, taken by rows."""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import _arrays

_FINGERPRINT_BYTES = 2**26


class Rows:
    """Real samples, checked: their values when asked for, labels and weights."""

    def __init__(self, data: Any, labels: Any, weights: Any) -> None:
        self.data = data.detach() if isinstance(data, Tensor) else np.asanyarray(data)
        self.n_rows = len(self.data) if self.data.ndim else 0
        if self.n_rows == 0 or self.data.ndim < 2:
            raise ValueError(
                f"data must be samples (n, ...), at least one, got shape {tuple(self.data.shape)}"
            )
        self.shape = tuple(self.data.shape[1:])
        dtype = self.data.dtype
        kind = dtype.name if isinstance(dtype, np.dtype) else str(dtype).removeprefix("torch.")
        if not kind.startswith(("float", "bfloat", "uint", "int")):
            raise TypeError(f"data must be numbers, got dtype {dtype}")
        self.bytes_ = kind == "uint8"
        self.labels = None
        if labels is not None:
            self.labels = _arrays.to_tensor(labels, "labels").long()
            if self.labels.shape != (self.n_rows,) or int(self.labels.min()) < 0:
                raise ValueError(
                    f"labels must be {self.n_rows} integers from 0, one for each row of data, got "
                    f"shape {tuple(self.labels.shape)}"
                )
        self.weights = None if weights is None else np.asarray(weights, dtype=np.float64)
        if self.weights is not None and (
            self.weights.shape != (self.n_rows,)
            or not np.isfinite(self.weights).all()
            or self.weights.min() < 0
            or self.weights.sum() == 0
        ):
            raise ValueError(
                f"weights must be {self.n_rows} finite numbers from 0, one for each row of data, "
                "not all 0"
            )

    def take(self, rows: Tensor, dtype: torch.dtype, device: torch.device) -> Tensor:
        """Return samples of some rows."""
        if isinstance(self.data, Tensor):
            found = self.data[rows.to(self.data.device)]
        else:
            found = _arrays.to_tensor(self.data[rows.numpy()])
        found = found.to(device=device, dtype=dtype, non_blocking=True)
        return found / 127.5 - 1 if self.bytes_ else found

    def fingerprint(self) -> dict[str, Any]:
        """Return what tells these data from others: shape, and a checksum of (some of) them."""
        array = self.data.cpu().numpy() if isinstance(self.data, Tensor) else self.data
        stride = max(1, math.ceil(array.nbytes / _FINGERPRINT_BYTES))
        found: dict[str, Any] = {
            "shape": list(array.shape),
            "checksum": zlib.crc32(np.ascontiguousarray(array[::stride]).tobytes()),
        }
        for name in ("labels", "weights"):
            part = getattr(self, name)
            if part is not None:
                found[name] = zlib.crc32(np.asarray(part).tobytes())
        return found
