"""mkdocs hook: pages outside docs/ join the site, and those that no menu names get a place."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
#: Pages of the repository beside docs/; they keep their paths in the site.
OUTSIDE = (
    "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md", "benchmarks/README.md",
)  # fmt: skip
#: The menu that takes pages of docs/ which mkdocs.yml does not name.
_REST = "Guides"
_MARK = re.compile(r"^<!-- not run: (.+?) -->$", re.M)
_LINK = re.compile(r"(\]\()(?!\w+:|#|/)([^)#\s]+)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add pages that the menu does not name: decisions under theirs, others under `_REST`."""
    named = set(_targets(config.nav))
    for section in config.nav or []:
        for title, entries in section.items():
            if title == _REST:
                entries += sorted(
                    p.name for p in (ROOT / "docs").glob("*.md") if p.name not in named
                )
            if title == "Decisions":
                pages = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))
                entries += [f"decisions/{page.name}" for page in pages]
    return config


def _targets(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    parts = nav.values() if isinstance(nav, dict) else nav or []
    return [target for part in parts for target in _targets(part)]


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of `OUTSIDE` and the licence."""
    for name in (*OUTSIDE, "LICENSE"):
        files.append(File.generated(config, name, abs_src_path=str(ROOT / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point links, which are written for the repository, to where things are in the site.

    Marks of blocks that the tests leave out become visible.
    """
    here = page.file.src_uri
    source = here if here in OUTSIDE else f"docs/{here}"

    def moved(match: re.Match[str]) -> str:
        target = posixpath.normpath(posixpath.join(posixpath.dirname(source), match[2]))
        if (ROOT / target).is_dir():
            target = f"{target}/README.md"
        target = "docs/index.md" if target == "README.md" else target
        inside = target.removeprefix("docs/")
        return match[1] + posixpath.relpath(inside, posixpath.dirname(here) or ".")

    shown = _MARK.sub(r'<p class="not-run">Not run by the tests: \1.</p>\n', markdown)
    return _LINK.sub(moved, shown)
