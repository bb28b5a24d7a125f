"""Every case by name."""

from __future__ import annotations

from tests.networks import WANTED
from tests.recorded import models as m
from tests.recorded.case import Case, Step

__all__ = ["CASES"]

CASES: dict[str, Case] = {}


def case(name: str, *steps: Step, quick: bool = False) -> None:
    """Keep a case."""
    assert name not in CASES, f"two cases are called {name}"
    CASES[name] = Case(name, steps, quick)


# -- what needs no network ---------------------------------------------------------------------------------------------

VERBS = ("export", "simulate", "validate", "inspect", "targets", "zoo", "demo")
TARGETS = ("anp-i", "arith45", "arith45-int8", "async28", "generic", "loihi", "loihi-sanafe", "loihi2", "nc1", "odin",
           "truenorth")  # fmt: skip

case("help", "", "--help", "--version", *(f"{verb} --help" for verb in VERBS), quick=True)
case("targets", "targets", "targets --json", *(f"targets {t}{j}" for t in TARGETS for j in ("", " --json")),
     quick=True)  # fmt: skip
case("demo-data", "demo --write-data d.npz", "demo --write-data d.npz --json", quick=True)
case("demo", "demo --json")
case("demo-plain", "demo --target anp-i --target loihi --bits 4", "demo --target truenorth --bits 6 --json")

# -- a small network ---------------------------------------------------------------------------------------------------

for target in ("generic", "anp-i", "async28", "loihi", "loihi2", "nc1", "odin", "truenorth"):
    case(
        f"small-{target}",
        m.small(),
        m.arrays("x.npz", 12, 5, 4, labels=3),
        f"export m.pt --target {target} -o out --json",
        f"export m.pt --target {target} -o out --overwrite",
        "inspect out --json",
        "inspect out",
        f"inspect m.pt --target {target} --json",
        f"inspect m.pt --target {target}",
        "simulate out --data x.npz --json --spikes fired.npz",
        "simulate out --data x.npz",
        "simulate out --data x.npz --real --json",
        "simulate out --data x.npz --stream --json",
        "validate out --reference m.pt --data x.npz --json --backend-samples 2",
        "validate out --recorded fired.npz --data x.npz --backend-samples 0",
        quick=True,
    )

# -- random networks ---------------------------------------------------------------------------------------------------

for seed, wanted in enumerate(WANTED):
    case(
        f"random-{wanted.replace(' ', '-')}",
        *m.random_model(seed, wanted),
        "export m.pt -o out --json",
        "simulate out --data x.npz --json",
    )
