"""Links of README and docs: every file and every heading that one names is there."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb")])
LINK = re.compile(r"\]\(([^()\s]+)\)|<(?:a href|img src)=\"([^\"]+)\"")
MADE = ("gallery/loihi.html", "gallery/disagrees.html", "gallery/nc1.html")
"""What the site has beside its pages (docs/gallery.py)."""


def _prose(page: Path) -> str:
    """What is no code of a page, or of a notebook."""
    text = page.read_text()
    if page.suffix == ".ipynb":
        return "\n".join(
            "".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown"
        )
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return "\n".join(re.sub(r"`[^`]*`", "`code`", line) for line in text.splitlines() if not line.startswith("    "))


def _links(page: Path) -> Iterator[str]:
    for found in LINK.finditer(_prose(page)):
        yield found[1] or found[2]


def _anchors(page: Path) -> set[str]:
    """Its headings, as GitHub and the site name them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)
    heads = re.findall(r"^#+ (.*)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    missing = []
    for link in _links(page):
        if link.startswith(("https://", "http://", "mailto:")) or link in MADE:
            continue
        name, _, anchor = link.partition("#")
        file = page.parent / name if name else page
        if not file.exists() or (anchor and anchor not in _anchors(file)):
            missing.append(link)
    assert not missing


def test_links_are_found() -> None:
    assert set(_links(DOCS / "own-chip.md")) == {
        "targets.md#a-chip-of-your-own-one-file",
        "targets.md#a-chip-of-sana-fes",
        "targets.md#a-chip-with-code-of-its-own-a-package",
    }
    assert "notebooks/my-chip-disagrees.ipynb" in set(_links(DOCS / "validate.md"))
    assert "my-chip-disagrees.ipynb" in set(_links(DOCS / "notebooks" / "tutorial.ipynb"))
    assert "a-class-of-your-own" in _anchors(DOCS / "neurons.md")


def test_every_page_is_in_the_site_s_navigation() -> None:
    index = (DOCS / "index.md").read_text()
    named = {name for tree in re.findall(r"```\{toctree\}(.*?)```", index, re.DOTALL) for name in tree.split("\n")}
    pages = {str(page.relative_to(DOCS).with_suffix("")) for page in PAGES if page.is_relative_to(DOCS)}
    assert pages - {"index"} == {name for name in named if name and not name.startswith(":")}


def test_pictures_are_small() -> None:
    sizes = {path.name: path.stat().st_size for path in (DOCS / "images").iterdir()}
    assert sum(sizes.values()) < 400_000
    assert sizes["report.png"] < 150_000
