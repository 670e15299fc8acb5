"""How kernels are compiled, where their machine code is kept, and what a user hears of it.

Numba's cache is keyed by the source of one function, not of those that it calls; it fails where a
file is damaged and where no folder can be written. Here the key is a digest of every source of this
folder, what cannot be read is compiled again, and what cannot be written is compiled for this
process.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import hashlib
import sys
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba import njit
from numba.core import event
from numba.core.caching import FunctionCache, IndexDataCacheFile

# Seconds of compilation after which the user is told.
_PATIENCE = 2.0
_MESSAGE = "fastgen: compiling kernels, once for this installation ..."
DISPATCHERS: dict[str, Any] = {}


@functools.cache
def _digest() -> bytes:
    found = hashlib.sha256()
    for source in sorted(Path(__file__).parent.glob("*.py")):
        found.update(source.read_bytes())
    return found.digest()


class _Files(IndexDataCacheFile):
    """Cache files that notice damage: machine code is preceded by its checksum."""

    def _checksum(self, payload: bytes) -> bytes:
        return hashlib.sha256(self._source_stamp + payload).digest()

    def _save_data(self, name, data):
        payload = self._dump(data)
        with self._open_for_write(self._data_path(name)) as file:
            file.write(self._checksum(payload) + payload)

    def _load_data(self, name):
        import pickle

        content = Path(self._data_path(name)).read_bytes()
        if content[:32] != self._checksum(content[32:]):
            raise ValueError(f"{name} is damaged")
        return pickle.loads(content[32:])


class _Cache(FunctionCache):
    def __init__(self, function):
        super().__init__(function)
        self._cache_file = _Files(self._cache_path, self._impl.filename_base, _digest())

    def load_overload(self, sig, target_context):
        try:
            return super().load_overload(sig, target_context)
        except Exception:  # whatever unpickling damaged or foreign files raises
            return None

    def save_overload(self, sig, data):
        try:
            try:
                super().save_overload(sig, data)
            except OSError:
                raise
            except Exception:  # a damaged index is read before it is written
                self.flush()
                super().save_overload(sig, data)
        except OSError as error:
            self.disable()
            _warn_once(f"the compiled kernels cannot be kept in {self.cache_path} ({error})")


class _NoCache:
    """Where no folder can be written."""

    cache_path = None

    def load_overload(self, sig, target_context):
        return None

    def save_overload(self, sig, data):
        _warn_once("no folder for compiled kernels can be written")

    def enable(self):
        pass

    def disable(self):
        pass

    def flush(self):
        pass


@functools.cache
def _warned() -> list[str]:
    return []


def _warn_once(what: str) -> None:
    if not _warned():
        _warned().append(what)
        warnings.warn(
            f"{what}: kernels are compiled again in every process; set NUMBA_CACHE_DIR to a "
            "folder that can be written",
            RuntimeWarning,
            stacklevel=2,
        )


def kernel(function: Callable | None = None, **options: Any) -> Any:
    """Compile a function with Numba: without the interpreter lock, and kept on disk."""
    if function is None:
        return functools.partial(kernel, **options)
    dispatcher = njit(nogil=True, error_model="numpy", no_cfunc_wrapper=True, **options)(function)
    try:
        dispatcher._cache = _Cache(function)
    except (RuntimeError, OSError):  # Numba found no folder
        dispatcher._cache = _NoCache()
    DISPATCHERS[f"{function.__module__}.{function.__qualname__}"] = dispatcher
    return dispatcher


class _Clock(event.Listener):
    """Adds up the time of compilation and says once that it takes long.

    Garbage collections are put off meanwhile: the compiler's many small objects stay alive, and
    walking through them takes a sixth of its time.
    """

    def __init__(self) -> None:
        self._depth = threading.local()
        self._lock = threading.Lock()
        self._busy = 0
        self._since = 0.0
        self._total = 0.0
        self._timer: threading.Timer | None = None
        self._told = False
        self._collects = False

    def elapsed(self) -> float:
        """Seconds of this process in which some thread compiled a kernel."""
        with self._lock:
            return self._total + (time.monotonic() - self._since if self._busy else 0.0)

    def on_start(self, ev):
        depth = getattr(self._depth, "value", 0)
        if depth == 0 and not _is_ours(ev):
            return
        self._depth.value = depth + 1
        if depth:
            return
        with self._lock:
            self._busy += 1
            if self._busy == 1:
                self._since = time.monotonic()
                self._collects = gc.isenabled()
                gc.disable()
                if not self._told:
                    self._timer = threading.Timer(max(_PATIENCE - self._total, 0.0), self._tell)
                    self._timer.daemon = True
                    self._timer.start()

    def on_end(self, ev):
        depth = getattr(self._depth, "value", 0)
        if depth == 0:
            return
        self._depth.value = depth - 1
        if depth > 1:
            return
        with self._lock:
            self._busy -= 1
            if self._busy == 0:
                self._total += time.monotonic() - self._since
                if self._collects:
                    gc.enable()
                if self._timer is not None:
                    self._timer.cancel()

    def _tell(self) -> None:
        with self._lock:
            if self._told:
                return
            self._told = True
        with contextlib.suppress(OSError, ValueError, AttributeError):  # no standard error
            print(_MESSAGE, file=sys.stderr, flush=True)


def _is_ours(ev) -> bool:
    return ev.data["dispatcher"].py_func.__module__.startswith(__package__)


CLOCK = _Clock()
event.register("numba:compile", CLOCK)
