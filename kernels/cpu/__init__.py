"""Numba kernels.

Their machine code is cached on disk. Numba renews a cached function when its own file changes, not
when a file does that it calls into; so the sources are hashed here, and when any of them changed
the cache of this folder is emptied.
"""

from __future__ import annotations

import hashlib
from pathlib import Path


def _renew_cache(folder: Path) -> None:
    digest = hashlib.sha256()
    for source in sorted(folder.glob("*.py")):
        digest.update(source.read_bytes())
    cache = folder / "__pycache__"
    stamp = cache / "sources.sha256"
    try:
        if stamp.is_file() and stamp.read_text() == digest.hexdigest():
            return
        for stale in cache.glob("*.nb[ic]"):
            stale.unlink(missing_ok=True)
        cache.mkdir(exist_ok=True)
        stamp.write_text(digest.hexdigest())
    except OSError:
        # an installation that cannot be written has no cache in this folder either
        return


_renew_cache(Path(__file__).parent)
