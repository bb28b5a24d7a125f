"""What is written here, read by other frameworks: networks, who reads them alike, and why somebody does not."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.nir.written import CASES

READERS = ("SpikingJelly", "snnTorch", "Norse")
_SUMS = "r has to be 1, which it reads as a leak of 0.9"
_FROM_IT_ON = "it has no >=: a tie fires a step later"
WHY: Mapping[tuple[str, str], str] = {
    **{(case.name, "snnTorch"): _SUMS for case in CASES if "IF" in case.name and "LIF" not in case.name},
    ("IF that fires from its threshold on", "Norse"): _FROM_IT_ON,
    ("IF that fires above its threshold", "SpikingJelly"): "it fires at its threshold",
    ("LIF, r = tau / dt", "Norse"): "it takes r for 1",
    ("LIF, a tau for each neuron", "SpikingJelly"): "one tau a layer",
    ("LIF, a tau for each neuron", "snnTorch"): "all thresholds are divided by the r dt / tau of one neuron",
    ("LIF, reset to -0.2", "SpikingJelly"): "v_leak has to be v_reset",
    ("LIF, reset to -0.2", "snnTorch"): "it resets to 0",
    ("LIF, reset to -0.2", "Norse"): "it resets to 0",
    ("recurrent LIF", "snnTorch"): "its importer fails at cycles, also in files of its own",
}
"""Of what differs: the file so changed differs from what was written in as many positions."""


@dataclass
class Read:
    """A network that was written: its spikes, its positions, and what became of it in each reader."""

    name: str
    spikes: int
    positions: int
    differing: dict[str, int] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)

    def cell(self, reader: str) -> str:
        """In words."""
        why = WHY.get((self.name, reader), "")
        if reader in self.refused:
            return f"refused: {why or self.refused[reader]}"
        if reader not in self.differing:
            return "not tried"
        count = f"{self.differing[reader]:,} of {self.positions:,}"
        return f"{count}: {why}" if self.differing[reader] and why else count

    @property
    def unexplained(self) -> int:
        """What differs, nobody knows why."""
        return sum(count for reader, count in self.differing.items() if (self.name, reader) not in WHY)


def reads(python: Path) -> list[Read]:
    """Every network, written here and read in the environment of the others.

    Raises:
        CalledProcessError: if nothing can be read there at all.
    """
    with tempfile.TemporaryDirectory() as scratch:
        found = {}
        for number, case in enumerate(CASES):
            found[f"{number:02}"] = Read(case.name, *case.write(Path(scratch), f"{number:02}"))
        script = Path(__file__).with_name("readers.py")
        ran = subprocess.run([python, script, scratch], capture_output=True, text=True, check=True)
    for line in ran.stdout.splitlines():
        if line.startswith("{"):
            told = json.loads(line)
            kept = "differing" if "differing" in told else "refused"
            getattr(found[told["name"]], kept)[told["reader"]] = told[kept]
    return list(found.values())


def readers_table(found: list[Read]) -> str:
    """The rows in Markdown."""
    lines = [f"| network | spikes | {' | '.join(READERS)} |", "|---|---|---|---|---|"]
    lines += [f"| {r.name} | {r.spikes:,} | {' | '.join(r.cell(reader) for reader in READERS)} |" for r in found]
    return "\n".join(lines)
