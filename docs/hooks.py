"""Pages of the site that live outside docs/: README.md, CHANGELOG.md and examples/README.md."""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
OUTSIDE = {
    "README.md": "index.md",
    "CHANGELOG.md": "changelog.md",
    "examples/README.md": "examples.md",
}
LINK = re.compile(r"\]\(([^)#\s]+)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the outside pages, with their links changed to those of the site."""
    for source, page in OUTSIDE.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=LINK.sub(_site_link, text)))
    return files


def _site_link(found: re.Match[str]) -> str:
    target = found[1]
    return "](" + OUTSIDE.get(target, target.removeprefix("docs/"))
