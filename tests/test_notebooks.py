"""The notebooks of the docs, run from top to bottom; they are stored without what they print."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

FOLDER = Path(__file__).parents[1] / "docs" / "notebooks"
NOTEBOOKS = sorted(path.name for path in FOLDER.glob("*.ipynb"))
SECONDS = 600


def read(name: str) -> Any:
    nbformat = pytest.importorskip("nbformat")
    notebook = nbformat.read(FOLDER / name, as_version=4)
    nbformat.validate(notebook)
    return notebook


def run(name: str) -> tuple[str, str]:
    """What a notebook prints and shows, as text and as HTML."""
    notebook, client = read(name), pytest.importorskip("nbclient")
    client.NotebookClient(notebook, timeout=SECONDS, kernel_name="python3").execute(cwd=str(FOLDER))
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    data = [output.get("data", {}) for output in outputs]
    plain = "".join(output.get("text", "") for output in outputs) + "".join(each.get("text/plain", "") for each in data)
    return plain, "".join(each.get("text/html", "") for each in data)


def test_there_are_some() -> None:
    assert NOTEBOOKS == ["my-chip-disagrees.ipynb", "tutorial.ipynb"]


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_they_are_stored_without_outputs(name: str) -> None:
    cells = [cell for cell in read(name).cells if cell.cell_type == "code"]
    assert cells
    assert not [cell for cell in cells if cell.outputs or cell.execution_count]
    assert (FOLDER / name).stat().st_size < 20_000


def test_the_tutorial() -> None:
    plain, html = run("tutorial.ipynb")
    assert "of the digits held out" in plain
    assert "proved: lowering, quantization" in html
    assert "<iframe" in html
    assert "program.json" in plain


def test_my_chip_disagrees() -> None:
    plain, html = run("my-chip-disagrees.ipynb")
    assert "neuron2: ('reset-soft',)" in plain
    assert "threshold-shifted: threshold +" in plain
    assert "the threshold is taken away where the membrane should be reset" in html
    assert plain.count("<Figure") == 2
