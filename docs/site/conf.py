"""Sphinx's settings for the site; tools/build_site.py copies this file beside the pages."""

from __future__ import annotations

from typing import Any

from docutils import nodes
from docutils.utils.math import latex2mathml
from sphinx.application import Sphinx

project = "Small networks"
author = "The course's contributors"
copyright = author
html_title = project
language = "en"
extensions = ["myst_nb", "sphinx_copybutton"]

nb_execution_mode = "off"  # what the notebooks store is what the site shows
nb_merge_streams = True
# Tables of packages or sizes may be called from a page; nothing else of MyST that Jupyter lacks.
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_disable_syntax = ["myst_line_comment", "myst_block_break", "myst_role", "substitution"]
myst_heading_anchors = 3
smartquotes = False
exclude_patterns = ["_static"]
suppress_warnings = ["myst.header", "mystnb.unknown_mime_type"]

html_theme = "sphinx_book_theme"
html_static_path = ["_static"]
html_css_files = ["sliders.css", "site.css"]
html_js_files = [("site.js", {"loading_method": "defer"})]
html_favicon = "_static/icon.svg"
html_context = {"default_mode": "auto"}  # light or dark, as the visitor's system says
html_copy_source = False
html_show_sphinx = False
html_theme_options = {
    "home_page_in_toc": True,
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
    "show_toc_level": 2,
    "toc_title": "On this page",
    "use_download_button": False,
    "use_fullscreen_button": False,
}
copybutton_selector = "div.cell_input pre, div.highlight pre"
copybutton_exclude = ".linenos, .gp, .go"


def inline_math(self: Any, node: Any) -> None:
    """Write a formula as MathML, which browsers draw without a script and screen readers read."""
    self.body.append(latex2mathml.tex2mathml(node.astext()))
    raise nodes.SkipNode


def block_math(self: Any, node: Any) -> None:
    """Write a formula that stands alone."""
    made = latex2mathml.tex2mathml(node.astext(), as_block=True)
    self.body.append(f'<div class="math-block" tabindex="0">{made}</div>')
    raise nodes.SkipNode


def add_sliders(
    app: Sphinx, _page: str, _template: str, context: dict[str, Any], _tree: Any
) -> None:
    """Give the chart library, 0.9 MB, to the pages that have a slider, and to no others."""
    if 'class="course-slider"' in context.get("body", ""):
        app.add_js_file("sliders.js", loading_method="defer")


def setup(app: Sphinx) -> None:
    """Register what stands above."""
    app.add_html_math_renderer("mathml", (inline_math, None), (block_math, None))
    app.connect("html-page-context", add_sliders)


html_math_renderer = "mathml"
