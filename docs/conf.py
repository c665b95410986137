"""How Sphinx builds the documentation: `make docs`."""

import re
import sys
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))  # for tools/

from tools import draw_acts, draw_conformance, draw_states  # noqa: E402

project = "unotify"
author = "The unotify authors"
project_copyright = "The unotify authors"
release = metadata.version("unotify")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["_build", "_generated", "perform-*.md"]
myst_enable_extensions = ["attrs_inline", "colon_fence"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = "unotify"

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

draw_states.write(HERE / "_generated")
draw_acts.write(HERE / "_generated")
draw_conformance.write(HERE / "_generated")


def anchor_facts(app, docname, source):
    """Give each fact an anchor, so that kernel-facts.html#n8 works."""
    if docname == "kernel-facts":
        source[0] = re.sub(r"^- \*\*([A-Z]\d+a?)\*\*", _anchored, source[0], flags=re.MULTILINE)


def _anchored(match):
    return f"- [**{match[1]}**]{{#{match[1].lower()}}}"


def setup(app):
    app.connect("source-read", anchor_facts)
