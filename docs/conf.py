"""The documentation as a site: `make docs`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

project = "neurocompile"
copyright = "the neurocompile developers"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "index"
html_theme = "furo"
html_title = "neurocompile"
html_static_path: list[str] = []
html_copy_source = False
highlight_language = "none"  # of indented blocks, which are what a terminal shows

myst_heading_anchors = 3  # named as on GitHub

# Notebooks are stored without outputs, and run for the site.
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_timeout = 300
nb_execution_raise_on_error = True
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
autodoc_default_options = {"members": True, "show-inheritance": False, "undoc-members": False}
napoleon_use_ivar = True


def setup(app: Any) -> None:
    """The pages of the gallery lie beside the site's own."""
    from gallery import write

    app.connect("builder-inited", lambda app: write(Path(app.outdir) / "gallery"))
