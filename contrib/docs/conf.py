"""Sphinx's settings for the documentation site: `make docs` builds `docs/` with them, into `build/docs`.

Nothing is loaded from another host: the theme brings its style sheets and scripts along, and uses the system's fonts.
"""

from __future__ import annotations

project = "hauberk"
author = "The hauberk maintainers"
copyright = "The hauberk maintainers"  # noqa: A001 - Sphinx's name

extensions = ["myst_parser"]
root_doc = "index"
source_suffix = {".md": "markdown"}
nitpicky = True

myst_heading_anchors = 3

html_theme = "furo"
html_title = "hauberk"
html_show_sphinx = False
html_show_copyright = False
html_copy_source = False
html_extra_path = ["../../docs/audit-entry.schema.json"]
html_theme_options = {"navigation_with_keys": False}
