"""The tests of each environment in :mod:`tests.versions.cells`, from an sdist that is installed there.

    python -m tests.versions                     all of them, and docs/versions.md
    python -m tests.versions py313-newest ...    these; the other rows of the table stay as they are

An environment stays in ``.venv-versions/NAME``; --fresh makes it anew. Where an interpreter or a wheel cannot be had,
the row says so.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.versions.cells import CELLS
from tests.versions.environment import Row, sdist, tried

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "versions.md"
_START, _END = "<!-- table: python -m tests.versions -->", "<!-- end of the table -->"
_HEAD = """\
| environment | Python | torch | SpikingJelly | NumPy | ONNX Runtime | installed, MB | outcome |
|---|---|---|---|---|---|---|---|
"""


def lines(rows: dict[str, Row]) -> str:
    """The table."""
    return _HEAD + "".join(rows[cell.name].line() + "\n" for cell in CELLS if cell.name in rows)


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
    known = given.folder / "rows.json"
    given.folder.mkdir(exist_ok=True)
    rows = {name: Row(**row) for name, row in json.loads(known.read_text()).items()} if known.exists() else {}
    wanted = [cell for cell in CELLS if cell.name in given.names or not given.names]
    with tempfile.TemporaryDirectory() as folder:
        source = sdist(ROOT, Path(folder))
        for cell in wanted:
            rows[cell.name] = tried(cell, ROOT, given.folder, source, given.fresh)
            known.write_text(json.dumps({name: vars(row) for name, row in rows.items()}, indent=1))
            print(rows[cell.name].line(), flush=True)
    before, _, rest = PAGE.read_text().partition(_START)
    PAGE.write_text(f"{before}{_START}\n\n{lines(rows)}\n{_END}{rest.partition(_END)[2]}")
    return int(any(not rows[cell.name].passed for cell in wanted))


if __name__ == "__main__":
    sys.exit(main())
