"""Faults on purpose, and what ``validate`` says: ``python -m tests.faults --seed 0 --json``."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")  # networks this small gain nothing from more

from tests.faults.run import Found, Pool, chosen, progress, run, without

_COLUMNS = ("cases", "located", "named", "misnamed", "unknown", "extra")
_FAULTY = 5


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--networks", type=int, default=5, help="for each kind of fault, beside the digits")
    parser.add_argument("--healthy", type=int, default=300, help="networks without a fault")
    parser.add_argument("--kinds", default="", help="some kinds only, by name, place or fault, with commas")
    parser.add_argument("--no-digits", action="store_true")
    parser.add_argument("--skip-lava", action="store_true")
    parser.add_argument("--skip-rtl", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    try:
        kinds = chosen([name for name in options.kinds.split(",") if name])
    except ValueError as error:
        parser.error(str(error))
    started = time.perf_counter()
    pool = Pool(options.seed, not options.no_digits)
    found = run(pool, kinds, options.networks, options.healthy, without(options.skip_lava, options.skip_rtl), progress)
    print(json.dumps(found.as_json(), indent=1) if options.json else table(found))
    progress(f"{time.perf_counter() - started:.0f} s")
    sys.exit(0 if found.is_fine else _FAULTY)


def table(found: Found) -> str:
    """For a person."""
    width = max((len(name) for name in found.kinds), default=4)
    lines = [f"{'kind':{width}} " + " ".join(f"{column:>8}" for column in _COLUMNS)]
    for name, counts in found.kinds.items():
        lines.append(f"{name:{width}} " + " ".join(f"{counts[column]:8}" for column in _COLUMNS))
    lines.append(f"{'all':{width}} " + " ".join(f"{found.total(column):8}" for column in _COLUMNS))
    lines.append(f"healthy networks: {found.healthy}, false alarms: {found.false_alarms}")
    lines += [f"left out: {name} ({why})" for name, why in found.left_out.items()]
    for failure in found.failures:
        where = ", ".join(str(failure[key]) for key in ("kind", "base") if key in failure)
        lines.append(f"{failure['what']}: {where}")
        lines += [f"    {key}: {failure[key]}" for key in ("names", "first", "causes", "reproduce") if key in failure]
    return "\n".join(lines)


if __name__ == "__main__":
    main()
