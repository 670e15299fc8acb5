"""Every check of the house finds an offence that is planted in a small tree, and no other."""

from __future__ import annotations

import textwrap

import pytest
from house import checks, docstrings

GOOD = {
    "_arrays.py": "def to_host(x):\n    return x.detach() if hasattr(x, 'detach') else x\n",
    "_warnings.py": "import warnings\ndef warn(m):\n    warnings.warn(m, stacklevel=3)\n",
    "_progress.py": "def reporter():\n    from tqdm import tqdm\n    return tqdm\n",
    "_files.py": "import numpy as np\ndef read_npy(path):\n    return np.load(path)\n",
    "__init__.py": "",
    "neighbors.py": "from ._arrays import to_host\n",
    "linear/__init__.py": '_HOMES = {"sweep": "sweep"}\n__all__ = ["sweep"]\n',
    "linear/sweep.py": '''
        """Sweeps."""
        from .. import neighbors
        from ._store import load
        def sweep(ks, *, n_trials=100, data=None):
            """Sweep.

            Parameters
            ----------
            ks : list of int
                Latent dimensions.
            n_trials : int, default 100
                How often each cell is drawn.
            data : array, optional
                Rows.

            Returns
            -------
            list

            Raises
            ------
            ValueError
                If there is nothing to sweep.

            Examples
            --------
            >>> sweep([1])
            [1]
            """
            if not ks:
                raise ValueError("ks")
            return ks
    ''',
    "linear/_store.py": "from .. import _files\ndef load():\n    return _files\n",
    "goof/__init__.py": "",
    "goof/search.py": "from ..linear import sweep\n",
}


def tree(folder, **changes):
    """Write the good tree with ``changes``, whose names have __ for / and no suffix."""
    files = GOOD | {name.replace("__", "/", 1) + ".py": text for name, text in changes.items()}
    for name, text in files.items():
        path = folder / "fastgen" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text))
    return checks.Tree(folder / "fastgen")


ON_TREES = [
    (checks.circular_imports, {"linear___store": "from . import sweep\n"}),
    (checks.circular_imports, {"linear___store": "def f():\n    from .sweep import sweep\n"}),
    (
        checks.circular_imports,
        {
            "linear___store": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n"
            "    from fastgen.linear.sweep import sweep\n"
        },
    ),
    (checks.circular_imports, {"linear___store": "from ..linear import sweep\n"}),
    (
        checks.circular_imports,
        {
            "linear__models": "from ..metrics import a\n",
            "metrics__a": "",
            "metrics__b": "from .. import linear\n",
        },
    ),
    (checks.upward_imports, {"neighbors": "from .linear.sweep import sweep\n"}),
    (checks.upward_imports, {"neighbors": "def f():\n    from .linear import sweep\n"}),
    (checks.upward_imports, {"attic__old": ""}),
    (checks.private_imports, {"goof__search": "from ..linear import _store\n"}),
    (checks.private_imports, {"goof__search": "from ..linear._store import load\n"}),
    (checks.private_imports, {"goof__search": "from ..linear.sweep import _cell\n"}),
    (
        checks.private_homes,
        {"linear____init__": '_HOMES = {"load": "_store"}\n__all__ = ["load"]\n'},
    ),
    (checks.private_homes, {"linear____init__": "from ._store import load\n__all__ = ['load']\n"}),
    (checks.private_homes, {"linear____init__": "__all__ = ['nothing']\n"}),
    (checks.array_questions, {"goof__search": "def f(x):\n    return hasattr(x, 'detach')\n"}),
    (checks.array_questions, {"goof__search": "def f(x):\n    return x.is_cuda\n"}),
    (checks.array_questions, {"goof__search": "def f(x):\n    return type(x).__module__\n"}),
    (
        checks.array_questions,
        {"goof__search": "def f(x):\n    return getattr(x, 'requires_grad', False)\n"},
    ),
    (
        checks.array_questions,
        {"goof__search": "def f(x):\n    return hasattr(x, '__cuda_array_interface__')\n"},
    ),
    (
        checks.array_questions,
        {"goof__search": "def f(x):\n    return f'{x}', type(x).__module__ == 'torch'\n"},
    ),
    (checks.counted_frames, {"goof__search": "import warnings\nwarnings.warn('', stacklevel=2)\n"}),
    (checks.progress_bars, {"goof__search": "def f():\n    import tqdm.auto\n"}),
    (checks.progress_bars, {"goof__search": "from tqdm import tqdm\n"}),
    (checks.loaded_files, {"goof__search": "import numpy as np\nx = np.load('x.npy')\n"}),
]


@pytest.mark.parametrize("check", sorted({check for check, _ in ON_TREES}, key=str))
def test_a_good_tree_passes(check, tmp_path):
    assert check(tree(tmp_path)) == []


def test_the_name_of_a_class_is_no_question_about_arrays(tmp_path):
    text = "def f(x):\n    return f'{type(x).__module__}.{type(x).__qualname__}'\n"
    assert checks.array_questions(tree(tmp_path, goof__search=text)) == []


@pytest.mark.parametrize(("check", "changes"), ON_TREES)
def test_a_planted_offence_is_found(check, changes, tmp_path):
    assert len(check(tree(tmp_path, **changes))) >= 1


def test_long_files_count_no_docstrings(tmp_path):
    path = tmp_path / "x.py"
    path.write_text('"""A\n' + "b\n" * 600 + '"""\n' + "x = 1\n" * 499)
    assert checks.long_files(tmp_path) == []
    other = tmp_path / "y.py"
    other.write_text(path.read_text() + "x = 1\n")
    assert len(checks.long_files(tmp_path)) == 1


@pytest.mark.parametrize(
    "source",
    ["def normalise(x): ...", "def f(centre_rows): ...", "colour = 1", "class Minimiser: ..."],
)
def test_british_names_are_found(source, tmp_path):
    (tmp_path / "x.py").write_text(source + "\nraised = exercise = size = otherwise = 1\n")
    assert len(checks.british_names(tmp_path)) == 1


def kernels(tmp_path, oracle):
    for name, source in (("cpu/em.py", "def pack(): ..."), ("oracles/em.py", oracle)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text('"""Em."""\n' + source)
    return tmp_path / "cpu", tmp_path / "oracles"


def test_kernels_without_oracle(tmp_path):
    folders = kernels(tmp_path, "def unpack(): ...")
    assert len(checks.kernels_without_oracle(*folders, {}, {})) == 1
    assert checks.kernels_without_oracle(*folders, {"em.pack": "unpack"}, {}) == []
    assert checks.kernels_without_oracle(*folders, {}, {"em": "why"}) == []
    assert checks.kernels_without_oracle(*folders, {}, {"em.pack": "why"}) == []
    # an exception that nothing needs any more
    assert len(checks.kernels_without_oracle(*folders, {}, {"em.pack": "", "em.gone": ""})) == 1


def test_oracles_are_plain_and_have_one_meaning_each(tmp_path):
    folder = kernels(tmp_path, "import itertools\nimport numpy\ndef pack(): ...")[1]
    assert checks.oracle_offences(folder) == []
    (folder / "goof.py").write_text('"""Goof."""\ndef f():\n    from scipy.optimize import nnls\n')
    assert len(checks.oracle_offences(folder)) == 1
    (folder / "goof.py").write_text('"""Goof."""\ndef pack(): ...\n')
    assert len(checks.oracle_offences(folder)) == 1
    (folder / "goof.py").write_text("def other(): ...\n")
    assert len(checks.oracle_offences(folder)) == 1


SWEEP = GOOD["linear/sweep.py"]
ON_DOCSTRINGS = [
    (docstrings.defaults, "default 100", "default 50"),
    (docstrings.defaults, "int, default 100", "int"),
    (docstrings.defaults, "array, optional", "array"),
    (docstrings.defaults, "list of int", "list of int, default 3"),
    (docstrings.parameters, "n_trials : int", "trials : int"),
    (docstrings.parameters, "n_trials=100, data", "n_trials=100, seed=0, data"),
    (docstrings.sections, "Parameters", "Arguments"),
    (docstrings.sections, "Returns", "Gives"),
    (docstrings.sections, "Raises", "Errors"),
    (docstrings.sections, ">>> sweep", "$ sweep"),
    (docstrings.genitives, "Latent dimensions.", "Of the latent space."),
    (docstrings.roles, "nothing to sweep.", "nothing to :func:`sweep`."),
]


@pytest.mark.parametrize(("check", "right", "wrong"), ON_DOCSTRINGS)
def test_a_bad_docstring_is_found(check, right, wrong, tmp_path):
    assert check(tree(tmp_path / "good")) == []
    assert right in SWEEP
    found = check(tree(tmp_path / "bad", linear__sweep=SWEEP.replace(right, wrong)))
    assert found
    assert all("sweep" in line for line in found)


@pytest.mark.parametrize(
    ("documented", "default"),
    [
        ("int, default 20 000", "20_000"),
        ("int, default 2097152", "2**21"),
        ('{"full", "diag"}', '"full"'),
        ("dtype, default float64", "np.float64"),
        ("None, int or Generator", "None"),
        ("float, default 1e-3", "0.001"),
    ],
)
def test_defaults_may_be_written_as_people_write_them(documented, default, tmp_path):
    changed = SWEEP.replace("int, default 100", documented).replace(
        "n_trials=100", f"n_trials={default}"
    )
    assert docstrings.defaults(tree(tmp_path, linear__sweep=changed)) == []
