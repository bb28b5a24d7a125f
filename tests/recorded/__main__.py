"""Record and compare: python -m tests.recorded OUT.json [--against BEFORE.json], or --compare A.json B.json.

On the same machine the same code gives the same recording. ``--given FOLDER`` makes models and data only once, so that
two versions of the code are given the same files even where the tests that draw them have changed. The exit status is 1
if anything differs.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from fnmatch import fnmatch
from pathlib import Path

from tests.recorded.compare import Recording, differences


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.recorded", description="What the command line does.")
    parser.add_argument("out", type=Path, nargs="?", metavar="OUT.json", help="where to write what was recorded")
    parser.add_argument("--against", type=Path, metavar="BEFORE.json", help="compare with what was recorded before")
    parser.add_argument("--compare", type=Path, nargs=2, metavar=("A.json", "B.json"), help="compare, record nothing")
    parser.add_argument("--only", metavar="PATTERN", help="cases with such a name, as in a shell: 'zoo-*'")
    parser.add_argument("--quick", action="store_true", help="the cases that say most in a minute")
    parser.add_argument("--given", type=Path, metavar="FOLDER", help="keep models and data there, and use them again")
    parser.add_argument("--jobs", type=int, default=2, help="cases at once")
    options = parser.parse_args()
    if (options.out is None) == (options.compare is None):
        parser.error("give OUT.json, or --compare A.json B.json")
    if options.compare:
        return _compare(*(json.loads(file.read_text()) for file in options.compare))
    os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")  # before NumPy and torch: sums always in one order
    from tests.recorded.cases import CASES
    from tests.recorded.run import record

    cases = [
        case for case in CASES.values() if (case.quick or not options.quick) and fnmatch(case.name, options.only or "*")
    ]
    started = time.perf_counter()
    recording = record(cases, options.jobs, options.given and options.given.resolve())
    options.out.write_text(json.dumps(recording, indent=1) + "\n")
    commands = sum(not each["step"].startswith("given ") for steps in recording.values() for each in steps)
    spent, passed = sum(os.times()[:4]), time.perf_counter() - started
    print(f"{len(recording)} cases, {commands} commands in {passed:.0f} s ({spent:.0f} s of the processors)")
    if not options.against:
        return 0
    before = json.loads(options.against.read_text())
    if options.quick or options.only:
        before = {name: before[name] for name in before if name in recording}
    return _compare(before, recording)


def _compare(before: Recording, after: Recording) -> int:
    count = 0
    for difference in differences(before, after):
        count += 1
        print(difference)
    print(f"{count} differences in {len(before.keys() | after.keys())} cases")
    return 1 if count else 0


if __name__ == "__main__":
    sys.exit(main())
