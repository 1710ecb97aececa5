"""Settings of Sphinx for the site: ``make docs``.

The sources are the project's folder, so that pages may link to README.md and to files of the code.
"""

from gdbstub import __version__

project = "kvm-gdbstub"
author = "the authors of kvm-gdbstub"
release = version = __version__
root_doc = "docs/index"
include_patterns = ["*.md", "changelog.d/README.md", "docs/**.md"]
exclude_patterns = [".venv", "build"]

extensions = ["myst_parser"]
#: Anchors of headings are as GitHub makes them.
myst_heading_anchors = 4
nitpicky = True
#: Most blocks are sessions, which are nobody's language.
highlight_language = "text"

html_theme = "furo"
html_static_path = ["site"]
html_css_files = ["site.css"]
html_title = f"kvm-gdbstub {__version__}"
html_copy_source = False
html_show_sphinx = False
html_show_copyright = False
#: Else ``--script`` in a sentence would have a dash.
smartquotes = False
