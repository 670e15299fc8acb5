"""Generators named on the command line: the user's code, and weights that cannot run any."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import importlib.util
import os
import pathlib
import sys
import traceback
from collections.abc import Iterator
from types import ModuleType
from typing import Any

from . import outputs


def load(spec: str, weights: str | None) -> Any:
    """Call a factory and fill in weights.

    Parameters
    ----------
    spec : str
        ``module:factory``, imported from the current folder or the path of Python, or
        ``file.py:factory``. Its code is run: it is the user's.
    weights : str or None
        File of the network's tensors; see ``fastgen.networks.read_weights``.

    Returns
    -------
    object
        What the factory returned, an nn.Module if there are weights.

    Raises
    ------
    ValueError, ImportError, OSError
        Naming the module, factory or file.
    """
    name, _, attribute = spec.rpartition(":")
    if not name or not attribute:
        raise ValueError(f"GENERATOR must be module:factory or file.py:factory, got {spec!r}")
    with _from_its_folder(name):
        factory = _factory(_imported(name), name, attribute)
        try:
            generator = factory()
        except Exception as error:  # whatever the user's code raises
            raise ValueError(f"{spec} failed: {_told(error)}") from error
    if weights is not None:
        _fill(generator, weights, spec)
    return generator


@contextlib.contextmanager
def _from_its_folder(name: str) -> Iterator[None]:
    """Import first from the folder of a file, or the current one, as running it would."""
    folder = os.path.dirname(os.path.abspath(name)) if name.endswith(".py") else os.getcwd()
    sys.path.insert(0, folder)
    try:
        yield
    finally:
        sys.path.remove(folder)


def _imported(name: str) -> ModuleType:
    path = pathlib.Path(name)
    try:
        if path.suffix != ".py":
            return importlib.import_module(name)
        if not path.is_file():
            raise FileNotFoundError(f"GENERATOR {name!r}: no such file")
        # a name that hides no other module; dataclasses look themselves up under it
        spec = importlib.util.spec_from_file_location(f"fastgen_generator_{path.stem}", path)
        if spec is None or spec.loader is None:
            raise ImportError(f"{name} is not a file of Python")
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module
        spec.loader.exec_module(module)
        return module
    except FileNotFoundError:
        raise
    except ModuleNotFoundError as error:
        if error.name == "torch":
            raise ImportError(
                f'{name} cannot be imported: it needs torch: pip install "fastgen-core[torch]"'
            ) from error
        raise ImportError(
            f"{name} cannot be imported: {error}; name a module of the current folder or of "
            "Python's path, or a file: path/to/file.py:factory"
        ) from error
    except Exception as error:  # whatever the user's code raises
        raise ImportError(f"{name} cannot be imported: {_told(error)}") from error


def _told(error: Exception) -> str:
    """Return an error of the user's code and where it was raised."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__}: {error} ({os.path.basename(place.filename)}:{place.lineno})"


def _factory(module: ModuleType, name: str, attribute: str) -> Any:
    factory = getattr(module, attribute, None)
    if callable(factory):
        return factory
    if factory is not None:
        raise ValueError(
            f"{name}:{attribute} must be a function that returns a generator, or a class, got "
            f"{type(factory).__name__}"
        )
    near = difflib.get_close_matches(attribute, dir(module), n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    raise ValueError(f"{name} has no {attribute!r}{hint}")


def _fill(generator: Any, path: str, spec: str) -> None:
    """Load weights into a network."""
    from .. import _arrays
    from ..networks.weights import WEIGHTS, load_weights, split_key

    torch = _arrays.require_torch("--weights")
    if not isinstance(generator, torch.nn.Module):
        raise ValueError(
            f"--weights needs a network, but {spec} returned {type(generator).__name__}; leave "
            "--weights out, or load them in the factory"
        )
    if pathlib.Path(split_key(path)[0]).suffix.lower() not in WEIGHTS:
        raise ValueError(f"--weights must end in {', '.join(WEIGHTS)}, got {path!r}")
    with outputs.warnings_in_a_line():
        load_weights(generator, path, what=f"what {spec} returned")
