"""Put another address of the kit wherever its address stands: make url URL=https://github.com/OWNER/NAME.

The address is [project.urls] in pyproject.toml. The notebooks' badges open Colab, which reads from GitHub alone.
"""

import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BADGE = re.compile(r"(?<=colab\.research\.google\.com/github/)[^/]+/[^/]+(?=/)")
PLACES = ("pyproject.toml", "CITATION.cff", "README.md", "docs/installing.md", "notebooks/*.ipynb")


def main(new: str) -> None:
    """Raises SystemExit if `new` is no address."""
    if not re.fullmatch(r"(https|file)://[\w./~-]+", new):
        sys.exit(f"{new!r} is no address; give the repository's, as in make url URL=https://github.com/OWNER/NAME.")
    old = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
    for path in (path for place in PLACES for path in sorted(ROOT.glob(place))):
        text = path.read_text(encoding="utf-8").replace(old, new)
        if new.startswith("https://github.com/"):
            text = BADGE.sub(new.removeprefix("https://github.com/"), text)
        path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/").removesuffix(".git") if len(sys.argv) == 2 else "")
