"""A line a case: python -m tests.idioms [NAME ...]. The exit status counts what a case does not allow, up to 99."""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path

from tests.idioms.outcomes import CASES, outcome


def main(names: list[str]) -> int:
    warnings.simplefilter("ignore")
    if unknown := [name for name in names if name not in CASES]:
        print(f"no such case: {', '.join(unknown)}", file=sys.stderr)
        return 99
    seen: Counter[str] = Counter()
    faults = 0
    for name in names or CASES:
        with tempfile.TemporaryDirectory() as folder:
            became, why, allowed = outcome(CASES[name], Path(folder))
        seen[became] += 1
        faults += not allowed
        print(f"{'  ' if allowed else '!!'} {name:42} {became}{': ' + why[:300] if why else ''}", flush=True)
    print(", ".join(f"{count} {became}" for became, count in seen.most_common()) + f"; {faults} faults")
    return min(faults, 99)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
