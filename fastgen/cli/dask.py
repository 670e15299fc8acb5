"""Where trials run: here, or on a Dask cluster."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def cluster(address: str | None) -> Iterator[None]:
    """Send joblib's work to the Dask scheduler at ``address``; to nowhere else if it is None.

    Parameters
    ----------
    address : str or None
        Such as ``tcp://host:8786``.

    Raises
    ------
    ImportError
        If ``distributed`` is not installed.
    OSError
        If no scheduler answers.
    """
    if address is None:
        yield
        return
    try:
        from distributed import Client
    except ImportError as error:
        raise ImportError(
            '--dask needs distributed: pip install "fastgen-core[distributed]"'
        ) from error
    import joblib

    try:
        client = Client(address, timeout="5s", set_as_default=True)
    except (OSError, ValueError) as error:
        raise OSError(f"--dask: no scheduler answers at {address!r}: {error}") from error
    with client, joblib.parallel_config("dask"):
        yield
