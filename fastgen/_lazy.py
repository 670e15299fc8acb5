"""Names of packages that load when first used, and what to install where a library is missing."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

# The extra of fastgen that brings an optional library.
_EXTRAS = {
    "torch": "torch",
    "safetensors": "torch",
    "torchvision": "torch",
    "torchmetrics": "torchmetrics",
    "cupy": "cuda13",
    "distributed": "distributed",
}


def attach(
    package: str,
    homes: Mapping[str, str],
    *,
    submodules: Iterable[str] = (),
    needs: Mapping[str, str] | None = None,
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """Return ``__getattr__`` and ``__dir__`` of a package.

    Parameters
    ----------
    package : str
        The package's ``__name__``.
    homes : mapping of str to str
        The module in which each public name is defined, relative to the package; those of other
        packages begin with dots.
    submodules : iterable of str, optional
        Modules of the package that are public themselves.
    needs : mapping of str to str, optional
        Optional library that a home or submodule cannot be imported without. Where it is missing
        ``dir()`` leaves the names out, so that ``help()`` and completion work.

    Returns
    -------
    getattr : callable
        Raises ImportError, with the command to install it, where an optional library is missing.
    dir : callable
    """
    public = set(submodules)
    required = needs or {}

    class Package(ModuleType):
        # The import system sets a module as an attribute of its package. Where the module is
        # named as the function in it, the function is what users mean: fastgen.linear.sweep.
        def __setattr__(self, name: str, value: Any) -> None:
            if isinstance(value, ModuleType) and homes.get(name) == name:
                value = getattr(value, name)
            super().__setattr__(name, value)

    sys.modules[package].__class__ = Package

    def load(name: str) -> Any:
        if name not in homes and name not in public:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        home = homes.get(name, name)
        try:
            module = importlib.import_module(home if home[0] == "." else f".{home}", package)
        except ModuleNotFoundError as error:
            if error.name not in _EXTRAS:
                raise
            library = required.get(home, error.name)
            raise ImportError(missing(f"{package}.{name}", library), name=library) from error
        return module if name in public else getattr(module, name)

    def names() -> list[str]:
        own = [name for name in vars(sys.modules[package]) if name[:2] == name[-2:] == "__"]
        usable = [
            name for name in (*homes, *public) if _is_there(required.get(homes.get(name, name)))
        ]
        return sorted({*own, *usable})

    return load, names


def missing(what: str, library: str) -> str:
    """Say how to install an optional library that ``what`` needs.

    Parameters
    ----------
    what, library : str

    Returns
    -------
    str

    Examples
    --------
    >>> from fastgen._lazy import missing
    >>> missing("fastgen goof", "torch")
    'fastgen goof needs torch: pip install "fastgen-core[torch]"'
    """
    extra = _EXTRAS.get(library)
    wanted = library if extra is None else f"fastgen-core[{extra}]"
    return f'{what} needs {library}: pip install "{wanted}"'


def _is_there(library: str | None) -> bool:
    if library is None or library in sys.modules:
        return True
    return importlib.util.find_spec(library) is not None
