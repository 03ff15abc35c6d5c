"""Settings of the book; it is built from the root of the repository.

``sphinx-build -W --keep-going -c derivations . build/book`` needs no network. Derivations,
notebooks, README and records stay where they are, so that their links to one another hold on a
code host and in the book alike; what only the book needs is in ``derivations/_sphinx``.
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "derivations" / "_sphinx")]

import ddnmf_np  # noqa: E402 -- this tree's, not an installed copy

project = "ddnmf_np"
author = "The ddnmf_np developers"
copyright = author
release = version = ddnmf_np.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "api_pages",
    "ledger_page",
    "mathml",
    "playground_page",
    "reachable",
    "results_gallery",
    "source_links",
]

# -- what is in it ----------------------------------------------------------------------------

root_doc = "derivations/index"
include_patterns = [
    "*.md",
    "derivations/**.md",
    "derivations/api/*.rst",
    "notebooks/*.ipynb",
]
exclude_patterns = [".*", "build", "data", "dist", "runs"]  # not even looked through
exclude_patterns += ["paper.md"]  # for a journal, whose tools read its citations
source_suffix = {".md": "myst-nb", ".ipynb": "myst-nb", ".rst": "restructuredtext"}
# A book of today shows the notebooks that are there, be it none.
suppress_warnings = ["toc.empty_glob"]

# -- Markdown and notebooks -------------------------------------------------------------------

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # notebooks are executed by a test of their own and shown as committed
html_math_renderer = "mathml"

# -- docstrings -------------------------------------------------------------------------------

default_role = "py:obj"  # `name` in a docstring is a link where there is such a name
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_custom_sections = [("Attributes", "params_style")]  # takes "W, dW : ndarray" for two
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # else "xp=np" shows where the builder keeps NumPy
autodoc_typehints = "none"  # the docstrings say more: shapes, ranges, defaults
autodoc_default_options = {
    "members": True,
    "show-inheritance": True,
    "ignore-module-all": True,  # an object is described where it is defined, not where it is shown
}
# Needed by single modules, and heavy, or of use with a GPU alone.
autodoc_mock_imports = ["cupy", "jax", "keras", "numba", "nvmath", "tensorflow", "torch"]

# -- looks ------------------------------------------------------------------------------------

html_theme = "furo"
html_title = "ddnmf_np"
html_static_path = ["_static"]
html_extra_path = ["_extra"]  # index.html, which leads to the root document
html_css_files = ["book.css"]
html_copy_source = False
html_show_sphinx = False
html_domain_indices = True
pygments_style = "a11y-light"
pygments_dark_style = "monokai"
