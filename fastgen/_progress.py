"""Progress of long calls: what the argument ``progress`` means, answered in one place."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

from ._dispatch import compiling

# A bar that nobody asked for appears after so many seconds.
_DELAY = 2.0


class Report:
    """What `reporter` yields: called as work is finished, from any thread; silent by itself."""

    def __init__(
        self,
        update: Callable[[int], Any] = lambda count: None,
        note: Callable[[str], Any] = lambda text: None,
    ) -> None:
        self._update = update
        self.note = note

    def __call__(self, count: int = 1) -> None:
        """Count pieces of work as done."""
        self._update(count)


@contextlib.contextmanager
def reporter(
    progress: bool | Callable[..., Any] | None,
    *,
    unit: str,
    total: int | None = None,
    done: int = 0,
    title: str | None = None,
    silent: bool = False,
) -> Iterator[Report]:
    """Yield ``report(count=1)``, to be called as work is finished, from any thread.

    ``report.note(text)`` writes numbers of the moment behind the bar, if there is one.

    Parameters
    ----------
    progress : bool, callable or None
        True draws a bar on standard error, False draws none. None draws one if standard error is a
        terminal and the work takes more than two seconds. A callable is called with the amount
        done and ``total``, or with the amount alone where no total is known.
    unit : str
        Name of one piece of work, such as "trial".
    total : int, optional
        Amount of work in all, where it is known.
    done : int, default 0
        Amount already done when the work begins, as on a resume.
    title : str, optional
        Written before the bar.
    silent : bool, default False
        None draws no bar: for estimators, which are silent unless told otherwise.
    """
    if progress is False or (progress is None and silent):
        yield Report()
        return
    if callable(progress):
        yield _counting(progress, total, done)
        return
    from tqdm import tqdm

    with tqdm(
        total=total,
        initial=done,
        unit=unit,
        desc=title,
        file=sys.stderr,
        disable=None if progress is None else False,
        delay=_DELAY if progress is None else 0,
    ) as bar:
        yield _after_compilation(bar)


def _after_compilation(bar: Any) -> Report:
    """Report to a bar whose clock stands still while kernels are compiled."""
    lock = threading.Lock()
    before = compiling.seconds()

    def update(count: int) -> None:
        nonlocal before
        with lock:
            now = compiling.seconds()
            if now > before and hasattr(bar, "start_t"):  # a bar that is not drawn has no clock
                bar.start_t = min(bar.start_t + now - before, bar._time())
                before = now
        bar.update(count)

    return Report(update, lambda text: bar.set_postfix_str(text, refresh=False))


def _counting(progress: Callable[..., Any], total: int | None, done: int) -> Report:
    lock = threading.Lock()
    finished = done

    def update(count: int) -> None:
        nonlocal finished
        with lock:
            finished += count
            progress(finished) if total is None else progress(finished, total)

    return Report(update)
