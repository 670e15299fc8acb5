"""How the documentation is built: ``python -m sphinx -W --keep-going docs docs/_build``."""

from __future__ import annotations

import importlib
import pathlib
import sys

HERE = pathlib.Path(__file__).parent
sys.path.insert(0, str(HERE))  # for gallery_figures

import fastgen  # noqa: E402

project = "fastgen"
author = "The fastgen developers"
copyright = f"2026, {author}"
version = release = fastgen.__version__

extensions = [
    "myst_parser",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx.ext.viewcode",
    "sphinx_gallery.gen_gallery",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "examples"]
default_role = "py:obj"
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

templates_path = ["_templates"]
autosummary_generate = True
autodoc_typehints = "none"
# scikit-learn makes these, with references to its own pages
autodoc_default_options = {
    "exclude-members": "set_fit_request, set_score_request, set_transform_request, "
    "set_inverse_transform_request, set_predict_request, set_partial_fit_request"
}
numpydoc_show_class_members = False
numpydoc_class_members_toctree = False
numpydoc_xref_param_type = False

html_theme = "pydata_sphinx_theme"
html_title = "fastgen"
html_show_sourcelink = False
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False}

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "image_scrapers": ("gallery_figures.scrape",),
    "reset_modules": (),
    "abort_on_example_error": True,
    "download_all_examples": False,
    "show_memory": False,
    "show_signature": False,
    "backreferences_dir": "gallery/backreferences",
    "doc_module": ("fastgen",),
}

# Packages of the interface, each with a page that lists all its public names.
PACKAGES = {
    "linear": "Theory of linear generators",
    "goof": "Distance to a generator's range",
    "metrics": "Distances between distributions",
    "mixture": "Mixture models",
    "modes": "Coverage of modes",
    "networks": "Layers and networks",
    "gan": "Training of GANs",
    "diffusion": "Diffusion models",
    "report": "Pages",
    "plotting": "Figures",
}


def _write_api() -> None:
    """Write a page for each package from its ``__all__``: what is public is listed once."""
    folder = HERE / "api"
    folder.mkdir(exist_ok=True)
    for name, title in PACKAGES.items():
        module = importlib.import_module(f"fastgen.{name}")
        shown, modules = [], []
        for public in sorted(module.__all__):
            found = getattr(module, public)
            (modules if isinstance(found, type(sys)) else shown).append((public, found))
        lines = [title, "=" * len(title), "", f".. automodule:: fastgen.{name}", ""]
        lines += [f".. currentmodule:: fastgen.{name}", ""]
        lines += [".. autosummary::", "   :toctree: generated", "   :nosignatures:", ""]
        lines += [f"   {public}" for public, _ in shown]
        for public, found in modules:
            inner = sorted(getattr(found, "__all__", ()))
            lines += ["", f".. currentmodule:: fastgen.{name}.{public}", ""]
            head = f"``fastgen.{name}.{public}``"
            lines += [head, "-" * len(head), ""]
            lines += [f".. automodule:: fastgen.{name}.{public}", ""]
            if inner:
                lines += [".. autosummary::", "   :toctree: generated", "   :nosignatures:", ""]
                lines += [f"   {each}" for each in inner]
        text = "\n".join(lines) + "\n"
        path = folder / f"{name}.rst"
        if not path.is_file() or path.read_text() != text:
            path.write_text(text)


_write_api()  # before Sphinx looks for pages
