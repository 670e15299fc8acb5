"""What belongs to the whole process is, after every public call, as it was before.

The calls are the examples of the docstrings: each public name has one that runs.
"""

import doctest
import importlib
import inspect
import os
import pkgutil
import random
import signal
import threading
import warnings

import numpy as np
import pytest
from sklearn.base import clone

import fastgen

PACKAGES = ["linear", "mixture", "metrics", "modes", "networks", "goof", "gan", "diffusion"]
# Networks start from torch's random state, as modules of torch do, and scikit-learn's habit is that
# ``random_state=None`` draws from NumPy's: examples that say so may move these.
DRAWS = {
    "torch random state": ("manual_seed", "nn.", "networks"),
    "NumPy random state": ("LinearGAN(", "GaussianMixture("),
}
SIGNALS = (signal.SIGINT, signal.SIGTERM)


def public():
    """Return (name, object) of every public function and class with examples."""
    found = {}
    for package in PACKAGES:
        module = importlib.import_module(f"fastgen.{package}")
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isroutine(value) or inspect.isclass(value):
                found[f"{package}.{name}"] = value
    for name in ("neighbors", "images"):
        module = importlib.import_module(f"fastgen.{name}")
        for key, value in vars(module).items():
            own = getattr(value, "__module__", None) == module.__name__
            if own and callable(value) and not key.startswith("_"):
                found[f"{name}.{key}"] = value
    return found


def state():
    """Return everything that is watched, by name."""
    import matplotlib
    import torch

    from fastgen._dispatch import threads

    numpy_state = np.random.get_state()  # noqa: NPY002
    return {
        "torch random state": torch.random.get_rng_state().numpy().tobytes(),
        "torch flags": (
            torch.is_grad_enabled(),
            torch.get_default_dtype(),
            torch.get_float32_matmul_precision(),
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch.is_inference_mode_enabled(),
            torch.is_autocast_enabled("cpu"),
            torch.backends.mkldnn.enabled,
        ),
        "NumPy random state": (numpy_state[1].tobytes(), numpy_state[2:]),
        "Python's random state": random.getstate(),
        "floating-point errors": np.geterr(),
        "print options": str(np.get_printoptions()),
        "warning filters": [str(each) for each in warnings.filters],
        "matplotlib's settings": dict(matplotlib.rcParams),
        "BLAS threads": sorted(
            (pool["filepath"], pool["num_threads"])
            for pool in threads.thread_pools().info()
            if pool["user_api"] == "blas"
        ),
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "signal handlers": [signal.getsignal(each) for each in SIGNALS],
        "threads": sorted(each.name for each in threading.enumerate()),
    }


def run(name, value):
    """Run the examples of a docstring; nothing of their output is looked at here."""
    finder = doctest.DocTestFinder(recurse=False)
    flags = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    module = inspect.getmodule(value)
    for test in finder.find(value, name, module=module, globs={}):
        runner = doctest.DocTestRunner(verbose=False, optionflags=flags)
        runner.run(test, out=lambda text: None)
    return runner


def sources(value):
    return "\n".join(
        example.source
        for test in doctest.DocTestFinder(recurse=False).find(value, "x", globs={})
        for example in test.examples
    )


PUBLIC = public()


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_global_state_is_as_it_was(name, monkeypatch, tmp_path):
    pytest.importorskip("torch")
    monkeypatch.chdir(tmp_path)
    value = PUBLIC[name]
    source = sources(value)
    if not source:
        pytest.skip("no example: covered where it is used")
    # what libraries do when they are imported for the first time is theirs
    for _ in range(2):
        before = state()
        run(name, value)
        after = state()
        changed = [
            key
            for key in before
            if before[key] != after[key] and not any(x in source for x in DRAWS.get(key, ()))
        ]
        if not changed:
            return
    assert not changed, {key: (before[key], after[key]) for key in changed}


def test_every_package_is_looked_at():
    packages = {each.name for each in pkgutil.iter_modules(fastgen.__path__) if each.ispkg}
    assert packages - set(PACKAGES) - {"kernels"} == {"_dispatch", "cli", "plotting", "report"}
    assert len(PUBLIC) > 100


def test_only_estimators_without_a_seed_draw_from_numpys_random_state():
    from fastgen.linear import LinearGAN
    from fastgen.metrics import wam
    from fastgen.mixture import GaussianMixture, NonparametricMixture

    def moved(work):
        work()  # what libraries do when they are imported for the first time is theirs
        before = state()
        work()
        after = state()
        return [key for key in before if before[key] != after[key]]

    X = np.random.default_rng(0).standard_normal((60, 2))
    mine = np.random.get_state()  # noqa: NPY002
    try:
        assert moved(lambda: wam(X, X + 1, n_components=1, debias=False)) == []
        assert moved(lambda: NonparametricMixture(2, max_iter=3, tol=1.0).fit(X)) == []
        for estimator in (GaussianMixture(2, max_iter=500), LinearGAN(2)):
            seeded = clone(estimator).set_params(random_state=0)
            assert moved(lambda seeded=seeded: seeded.fit(X)) == []
            fit = clone(estimator).fit
            assert moved(lambda fit=fit: fit(X)) == ["NumPy random state"]
            assert "global random state" in " ".join(type(estimator).__doc__.split())
    finally:
        np.random.set_state(mine)  # noqa: NPY002


def planted():
    pass


def test_a_change_would_be_seen():
    planted.__doc__ = ">>> import numpy as np\n>>> _ = np.seterr(under='call')\n"
    before = state()
    with np.errstate():
        run("planted", planted)
        after = state()
    assert [key for key in before if before[key] != after[key]] == ["floating-point errors"]
