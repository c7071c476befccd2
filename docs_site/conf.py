"""Configuration of Sphinx."""

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

import soundscene
from docs_site import math_as_mathml
from docs_site.api import without_page

project = "soundscene"
author = "The maintainers of soundscene"
copyright = "The maintainers of soundscene, Apache-2.0"
version = release = soundscene.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", math_as_mathml.__name__]
root_doc = "index"
exclude_patterns = ["files"]
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!soundscene\.).*"),  # what is not ours; the inventories of others are on the network
    *((r"py:.*", rf"{re.escape(module)}(\.\w+)*") for module in without_page()),
    (r"py:.*", r"soundscene\..*\.[A-Z]"),  # variables of types
]

myst_heading_anchors = 4
myst_fence_as_directive = ["math"]  # ```math is what repositories show as an equation
suppress_warnings: list[str] = []
highlight_language = "text"
smartquotes = False  # -- is the start of an option
default_role = "py:obj"
maximum_signature_line_length = 88
add_module_names = False

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True

html_theme = "pydata_sphinx_theme"
html_title = f"soundscene {version}"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sourcelink = False
html_copy_source = False
html_theme_options = {
    "collapse_navigation": True,
    "navigation_depth": 3,
    "show_prev_next": False,
    "header_links_before_dropdown": 8,
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"decisions/*": [], "index": []}  # a list of 110 pages on each of 110 pages takes a third of the build
html_math_renderer = "mathml"


def _skip(app: Sphinx, what: str, name: str, thing: Any, skip: bool, options: Any) -> bool | None:
    """Leave out the methods that scikit-learn makes for the routing of metadata: their texts link to its own site."""
    return True if re.fullmatch(r"set_\w+_request", name) else None


def _escape_types(app: Sphinx, what: str, name: str, thing: Any, options: Any, lines: list[str]) -> None:
    r"""Escape what would be markup in the fields of attributes: stars of shapes, and underscores at the end of names."""
    for number, line in enumerate(lines):
        if line.lstrip().startswith((":type:", ":vartype ")):
            lines[number] = line.replace("*", r"\*")
        lines[number] = re.sub(r"^(\s*:(?:ivar|vartype) \w+)_:", r"\1\\_:", lines[number])


def _dash(app: Sphinx, tree: nodes.document) -> None:
    """Put a dash between the name of a parameter and its text, where Sphinx counts on smart quotes."""
    for text in list(tree.findall(nodes.Text)):
        if text.startswith(" -- "):
            text.parent.replace(text, nodes.Text(f" \u2013 {text[4:]}"))


def _short_recipes(app: Sphinx, what: str, name: str, thing: Any, options: Any, signature: str | None, returns: str | None):
    """Leave out the values of the sections in the signature of a recipe; the page of the keys has them."""
    if signature is None or "Recipe(" not in signature:
        return None
    return re.sub(r"(\w+Recipe)\((?:[^()]|\([^()]*\))*\)", r"\1()", signature), returns


def setup(app: Sphinx) -> None:
    """Connect what the configuration adds.

    Args:
        app: Sphinx.
    """
    app.connect("autodoc-skip-member", _skip)
    app.connect("doctree-read", _dash)
    app.connect("autodoc-process-signature", _short_recipes)
    app.connect("autodoc-process-docstring", _escape_types, priority=900)  # after napoleon
