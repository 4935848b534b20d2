"""How `make site` builds the pages: Sphinx reads the Markdown files and the notebooks with their stored outputs."""

import shutil
from pathlib import Path

from docutils.nodes import SkipNode
from latex2mathml.converter import convert

CONTENTS = {  # of the site, part by part
    "Results": ["RESULTS", "results/REPLACED"],
    "Notebooks": ["notebooks/*"],
    "Guides": ["docs/*"],
    "The paper and its rivals": ["data/paper/README", "data/paper/RELATED"],
    "Models": ["data/FAMILIES", "data/r3-*/*", "data/near_enough/*"],
    "Costs and clusters": ["benchmarks/README", "cluster/README"],
}

project = "The R3 kit"
copyright = "the R3 kit's authors, Apache-2.0"
root_doc = "README"
include_patterns = ["README.md"] + [
    f"{name}.{end}" for names in CONTENTS.values() for name in names for end in ("md", "ipynb")
]
exclude_patterns = [".venv", "build", "runs", "course"]
extensions = ["myst_nb"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3
nb_execution_mode, nb_render_markdown_format = "off", "gfm"
html_theme = "sphinx_book_theme"
html_theme_options = {"navbar_persistent": []}  # the search is in the sidebar already
html_title = project
html_static_path, html_css_files = ["static"], ["site.css"]
highlight_language = "none"  # of blocks that name no language; the notebooks name theirs
html_math_renderer = "mathml"  # MathJax would be fetched from the network


def add_contents(app, name, text):
    """The README has no table of contents of its own: on GitHub it needs none."""
    if name == root_doc:
        for part, pages in CONTENTS.items():
            text[0] += "\n".join(["\n```{toctree}", ":hidden:", ":glob:", f":caption: {part}", "", *pages, "```\n"])


def write_math(self, node):
    source = node.astext().replace("{aligned}", "{split}")  # the name that the converter knows
    self.body.append(convert(source, display="inline" if node.tagname == "math" else "block"))
    raise SkipNode


def copy_start(app, error):
    """The start page under the name that a browser asks for."""
    if not error:
        shutil.copy(Path(app.outdir) / "README.html", Path(app.outdir) / "index.html")


def setup(app):
    app.add_html_math_renderer("mathml", (write_math, None), (write_math, None))
    app.connect("source-read", add_contents)
    app.connect("build-finished", copy_start)
