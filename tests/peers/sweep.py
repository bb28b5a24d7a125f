"""Every configuration of the libraries that are installed: ``python -m tests.peers.sweep --json``."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tempfile
from collections import Counter
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from neurocompile.errors import NeurocompileError
from tests.peers.check import TOLERANCE, Case, compare

LIBRARIES = ("snntorch", "norse")


def found(case: Case) -> dict[str, Any]:
    """What came of a configuration."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            tally = compare(case, case.model(), Path(folder))
        except NeurocompileError as error:
            return {"outcome": "refused", "message": str(error)}
        except Exception as error:
            return {"outcome": "error", "message": f"{type(error).__name__}: {error}"}
    outcome = "passed" if tally.passed else "differs"
    numbers = {"spikes": tally.spikes, "differing": tally.differing, "outputs": tally.outputs, "error": tally.error}
    return {"outcome": outcome, **numbers, "missing": tally.missing}


def sweep(library: str, only: str = "") -> dict[str, Any]:
    """The counts of one library."""
    cases = [c for n, c in importlib.import_module(f"tests.peers.{library}_nets").CASES.items() if only in n]
    results = {case.name: found(case) for case in cases}
    outcomes = Counter(result["outcome"] for result in results.values())
    compared = [result for result in results.values() if "spikes" in result]
    return {
        "configurations": len(results),
        "passed": outcomes["passed"],
        "spikes": sum(result["spikes"] for result in compared),
        "differing": sum(result["differing"] for result in compared),
        "outputs": sum(result["outputs"] for result in compared),
        "error": max((result["error"] for result in compared), default=0.0),
        "differs": {n: r for n, r in results.items() if r["outcome"] == "differs"},
        "refused": {n: r["message"] for n, r in results.items() if r["outcome"] == "refused"},
        "errors": {n: r["message"] for n, r in results.items() if r["outcome"] == "error"},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--only", default="", help="configurations with this in their names")
    options = parser.parse_args()
    report = {library: sweep(library, options.only) for library in LIBRARIES if find_spec(library)}
    if options.json:
        print(json.dumps(report, indent=1))
    for library, counts in report.items() if not options.json else ():
        print(
            f"{library}: {counts['configurations']} configurations, {counts['passed']} passed, "
            f"{counts['spikes']:,} spikes compared, {counts['differing']:,} differing, "
            f"largest error {counts['error']:.1e} (limit {TOLERANCE:.0e})"
        )
        for kind in ("refused", "errors", "differs"):
            print(f"  {kind}: {len(counts[kind])}")
            for name, what in counts[kind].items():
                print(f"    {name}: {what}")
    if not report:
        sys.exit(f"none of {', '.join(LIBRARIES)} is installed")
    sys.exit(any(counts["passed"] < counts["configurations"] for counts in report.values()))


if __name__ == "__main__":
    main()
