"""The documentation as a site, built as `make docs` builds it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"


@pytest.mark.slow
def test_it_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx")
    pytest.importorskip("myst_nb")
    pytest.importorskip("furo")
    build = [sys.executable, "-m", "sphinx", "-q", "-W", "-b", "html", DOCS, tmp_path]
    built = subprocess.run(build, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    pages = [page.relative_to(DOCS).with_suffix(".html") for page in (*DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb"))]
    assert not [page for page in pages if not (tmp_path / page).exists()]
    assert {page.name for page in (tmp_path / "gallery").iterdir()} == {"loihi.html", "disagrees.html", "nc1.html"}
    assert "reset-soft" in (tmp_path / "notebooks" / "my-chip-disagrees.html").read_text()
    assert "<iframe" in (tmp_path / "notebooks" / "tutorial.html").read_text()
    assert "neurocompile.reports.validation.Stage" in (tmp_path / "api.html").read_text()
