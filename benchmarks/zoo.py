"""Every network of the zoo, from PyTorch to the chips: sizes, costs, exactness, time and memory.

``python -m benchmarks.zoo [NAME ...] [--json] [--size paper|small] [--seed S] [--samples N] [--write docs/zoo.md]``;
each network is measured in a process of its own, so that its memory is its own. Networks are untrained, with batch
norms set so that layers fire (:meth:`neurocompile.models.zoo.Network.synthetic`).
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import click
import numpy as np

from neurocompile.models.measurement import CHIPS
from neurocompile.models.zoo import ZOO
from neurocompile.reports import plain
from neurocompile.verbs.zoo import described

__all__ = ["COLUMNS", "apart", "markdown", "row"]

TIME_LIMIT_S = 1800


def row(name: str, seed: int, samples: int) -> dict[str, Any]:
    """A network, measured in this process."""
    found: dict[str, Any] = plain(replace(described(ZOO[name]), measured=ZOO[name].measure(seed, samples)))
    return found


def apart(name: str, seed: int, samples: int) -> dict[str, Any]:
    """The same in a process of its own; a row with its ``error`` if it fails."""
    command = [sys.executable, "-m", "benchmarks.zoo", name, "--here", "--json", "--seed", str(seed)]
    try:
        done = subprocess.run(
            [*command, "--samples", str(samples)], capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return {"name": name, "error": f"not done after {TIME_LIMIT_S} s"}
    if done.returncode:
        return {"name": name, "error": (done.stderr.strip().splitlines() or ["killed"])[-1]}
    found: dict[str, Any] = json.loads(done.stdout)["networks"][0]
    return found


def _cells(row: dict[str, Any]) -> list[str]:
    if "error" in row:
        return [row["name"], f"failed: {row['error']}"]
    energies = [_energy(row, chip) for chip in CHIPS]
    cores = "-" if row["loihi_cores"] is None else f"{row['loihi_cores']:,} ({row['loihi_chips']} chips)"
    exact = f"{row['spikes_compared']:,} / {row['spikes_differing']} / {row['ties']}"
    return [
        row["name"],
        str(row["timesteps"]),
        *(f"{row[name]:,}" for name in ("neurons", "synapses")),
        *(f"{row[name] / 1e6:,.2f} M" for name in ("macs", "sops")),
        f"{row['firing_rate']:.1%}",
        f"{row['on_chip_fraction']:.2%}",
        cores,
        *energies,
        exact,
        f"{row['integers_compared']:,} / {row['integers_differing']}",
        f"{row['export_cpu_s']:.1f} s",
        f"{row['memory_mb']:,} MB",
    ]


def _energy(row: dict[str, Any], chip: str) -> str:
    energy = row["energy_pj"][chip]
    if energy is None:
        return "-"
    return f"{'>= ' if row['energy_is_lower_bound'][chip] else ''}{energy / 1e6:.3g} uJ"


COLUMNS = (
    "network", "T", "neurons", "synapses", "MACs", "SOPs", "firing", "on chip", "Loihi cores",
    *(f"energy, {chip}" for chip in CHIPS),
    "spikes compared / differing / ties", "integers compared / differing", "export", "memory",
)  # fmt: skip


_INTRODUCTION = """# The zoo

What `make zoo` measured (`python -m benchmarks.zoo`, seed {seed}, {samples} made-up inputs each): every network of
the papers at its paper's size, and a small one of each that trains on a laptop. **All are synthetic**: untrained,
with batch norms set so that every layer fires at 10 to 15 % (neurons that fire at most once are left as they are).
`neurocompile zoo` lists them, `neurocompile zoo NAME -o model.pt` makes one.

MACs, SOPs and energy are for one inference. *On chip* is the share of all operations (SOPs and MACs) that is not
the host's. Energies are counts times published constants, `>=` where some counts have no price. *Spikes compared*:
PyTorch in float64 against the lowered graph. *Integers compared*: every spike and membrane of one input, compiled
engine against NumPy reference. *Export* is the processor time of lowering, folding, quantizing with proofs, and
packing; *memory* the peak of the process that did it, torch included.
"""


def markdown(rows: list[dict[str, Any]], seed: int, samples: int) -> str:
    """The content of docs/zoo.md."""
    lines = [_INTRODUCTION.format(seed=seed, samples=samples)]
    for title, size in (("At the papers' sizes", "paper"), ("Small", "small")):
        chosen = [row for row in rows if row.get("size", "paper") == size]
        if not chosen:
            continue
        lines += [f"## {title}", "", f"| {' | '.join(COLUMNS)} |", f"|{'---|' * len(COLUMNS)}"]
        lines += [f"| {' | '.join(_cells(row))} |" for row in chosen]
        lines.append("")
        refused = [row for row in chosen if row.get("loihi_reason")]
        if refused:
            lines += ["Not on Loihi (1), as it stands:", ""]
            lines += [f"- {row['name']}: {row['loihi_reason']}" for row in refused]
            lines.append("")
        lines += ["Sizes from:", ""]
        lines += [f"- {row['name']}: {row['source']}" for row in chosen if "source" in row]
        lines.append("")
    if left := [name for name in ZOO if name not in {row["name"] for row in rows}]:
        lines += [f"Not measured in this run: {', '.join(left)}.", ""]
    return "\n".join(lines)


@click.command()
@click.argument("names", nargs=-1)
@click.option("--json", "as_json", is_flag=True)
@click.option("--here", is_flag=True, hidden=True, help="Measure in this process.")
@click.option("--size", type=click.Choice(["paper", "small"]), help="Only these.")
@click.option("--seed", default=0, show_default=True)
@click.option("--samples", default=2, show_default=True)
@click.option("--write", type=click.Path(path_type=Path), help="A markdown file to write.")
def main(
    names: tuple[str, ...], as_json: bool, here: bool, size: str | None, seed: int, samples: int, write: Path | None
) -> None:
    """Measure networks of the zoo (default: all)."""
    chosen = names or tuple(name for name, network in ZOO.items() if size in (None, network.size))
    unknown = [name for name in chosen if name not in ZOO]
    if unknown:
        raise click.UsageError(f"no such network: {', '.join(unknown)}")
    rows = []
    for name in chosen:
        rows.append((row if here else apart)(name, seed, samples))
        if not as_json:
            print("  ".join(_cells(rows[-1])), flush=True)
    if write is not None:
        write.write_text(markdown(rows, seed, samples))
    if as_json:
        print(json.dumps({"seed": seed, "samples": samples, "networks": rows}, indent=1, default=_plain))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)


if __name__ == "__main__":
    main()
