"""Random integer graphs in ONNX Runtime, held against the NumPy reference.

``python -m tests.backends.onnx.sweep [--networks N] [--seed S] [--json]``: exits with 1 if anything differs. Every
graph runs as a step and as a Scan, in integers and in float32; each fourth is also checked, converted, and given to
the reference evaluator of the onnx package.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from neurocompile.backends.onnx.build import built_scan
from neurocompile.backends.onnx.models import Told
from tests.backends.onnx.against import OPSETS, Compared, compare, evaluated, in_opset, of_drawn, rerun
from tests.random_networks.choices import HIGH, LOW
from tests.random_networks.engine import random_integer_network

__all__ = ["Sweep", "reread", "sweep"]


@dataclass
class Sweep:
    """What a sweep met."""

    compared: Compared = field(default_factory=Compared)
    calibrated: int = 0
    checked: int = 0
    evaluated: int = 0
    converted: Counter[int] = field(default_factory=Counter)
    cases: Counter[str] = field(default_factory=Counter)

    def as_json(self) -> dict[str, Any]:
        c = self.compared
        return {
            "networks": c.programs,
            **{f"{kind}_compared": c.compared[kind] for kind in ("spikes", "membranes", "potentials", "outputs")},
            "mismatches": c.mismatches,
            "firing_rate": float(np.mean(c.fired)) if c.fired else None,
            "networks_with_every_layer_calibrated": self.calibrated,
            "checked_in_full": self.checked,
            "reference_evaluator": self.evaluated,
            "converted_to_opset": {str(opset): count for opset, count in sorted(self.converted.items())},
            "wrong": c.wrong,
            "cases": dict(sorted(self.cases.items())),
        }


def sweep(networks: int, seed: int, log: Callable[[Sweep], None] = lambda found: None, every: int = 4) -> Sweep:
    """So many networks, each ``every``-th of them reread."""
    found = Sweep()
    for number in range(networks):
        drawn = random_integer_network(random.Random(seed * 1_000_003 + number), 600, 100_000)
        program, inputs = of_drawn(drawn)
        before, wrong = len(found.compared.fired), len(found.compared.wrong)
        compare(program, inputs, found.compared, known=drawn.known)
        found.calibrated += all(LOW < rate < HIGH for rate in found.compared.fired[before:])
        found.cases.update(drawn.cases)
        if number % every == 0:
            reread(program, inputs, found)
        for line in found.compared.wrong[wrong:]:
            print(f"network {number}: {line}", file=sys.stderr)
        log(found)
    return found


def reread(program: Any, inputs: Any, found: Sweep) -> None:
    """A scan in the checker, in other opsets, and in another implementation of ONNX."""
    built = built_scan(program, "int", Told(membranes=True))
    onnx.checker.check_model(built.model, full_check=True)
    found.checked += 1
    wanted = rerun(built.model, inputs)
    others = {f"opset {opset}": in_opset(built, opset) for opset in OPSETS}
    told = {name: rerun(model, inputs) for name, model in others.items()}
    found.converted.update(OPSETS)
    if (other := evaluated(program, built, inputs)) is not None:
        told["reference evaluator"] = other
        found.evaluated += 1
    for name, values in told.items():
        differs = [o.name for o, a, b in zip(built.model.graph.output, wanted, values) if not np.array_equal(a, b)]
        if differs:
            found.compared.differing[name] += len(differs)
            found.compared.wrong.append(f"{name}: {', '.join(differs)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--networks", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    started = time.perf_counter()

    def log(found: Sweep) -> None:
        print(f"{found.compared.programs} of {options.networks}", file=sys.stderr, end="\r")

    body = {"seed": options.seed, **sweep(options.networks, options.seed, log).as_json()}
    body["seconds"] = round(time.perf_counter() - started, 1)
    if options.json:
        print(json.dumps(body, indent=1))
    else:
        for name, value in body.items():
            print(f"{name}: {value}")
    sys.exit(1 if body["mismatches"] else 0)


if __name__ == "__main__":
    main()
