"""The tests of each environment in :mod:`tests.versions.cells`, from an sdist that is installed there.

    python -m tests.versions                     all of them, and docs/versions.md
    python -m tests.versions py313-newest ...    these; the other rows of the table stay as they are

An environment stays in ``.venv-versions/NAME``; --fresh makes it anew. Where an interpreter or a wheel cannot be had,
the row says so.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.versions.cells import CELLS
from tests.versions.environment import sdist, tried

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "versions.md"
_START, _END = "<!-- table: python -m tests.versions -->", "<!-- end of the table -->"
_HEAD = """\
| environment | Python | torch | SpikingJelly | NumPy | ONNX Runtime | installed, MB | outcome |
|---|---|---|---|---|---|---|---|
"""


def written(page: str) -> dict[str, str]:
    """The rows that a page has, by the environment's name."""
    table = page.partition(_START)[2].partition(_END)[0].strip().splitlines()
    return {row.split("|")[1].strip(): row for row in table[2:]}


def with_table(page: str, rows: dict[str, str]) -> str:
    """The page with these rows, in the order of the cells."""
    before, _, rest = page.partition(_START)
    table = _HEAD + "".join(f"{rows[cell.name]}\n" for cell in CELLS if cell.name in rows)
    return f"{before}{_START}\n\n{table}\n{_END}{rest.partition(_END)[2]}"


def main() -> int:
    """Run the environments that were asked for; 1 if a test failed in one."""
    parser = argparse.ArgumentParser(prog="python -m tests.versions", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(cell.name for cell in CELLS))
    parser.add_argument("--fresh", action="store_true", help="make the environments anew")
    parser.add_argument("--folder", type=Path, default=ROOT / ".venv-versions", help="where they are")
    given = parser.parse_args()
    unknown = set(given.names) - {cell.name for cell in CELLS}
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    given.folder.mkdir(exist_ok=True)
    wanted = [cell for cell in CELLS if cell.name in given.names or not given.names]
    passed = True
    with tempfile.TemporaryDirectory() as folder:
        source = sdist(ROOT, Path(folder))
        for cell in wanted:
            row = tried(cell, ROOT, given.folder, source, given.fresh)
            print(row.line(), flush=True)
            page = PAGE.read_text()
            PAGE.write_text(with_table(page, written(page) | {cell.name: row.line()}))
            passed &= row.passed
    return int(not passed)


if __name__ == "__main__":
    sys.exit(main())
