"""Every network of the zoo, from PyTorch to the chips: sizes, costs, exactness, time and memory.

``python -m benchmarks.zoo [NAME ...] [--json] [--size paper|small] [--seed S] [--samples N] [--write docs/zoo.md]``;
each network is measured in a process of its own, so that its memory is its own. Networks are untrained, with batch
norms set so that layers fire (:func:`neurocompile.models.zoo.synthetic`).
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import click
import numpy as np

__all__ = ["measure"]

CHIPS = ("loihi", "anp-i", "async28")
TIME_LIMIT_S = 1800


def measure(name: str, seed: int = 0, samples: int = 2) -> dict[str, Any]:
    """One row, measured in this process.

    Args:
        name: of :data:`neurocompile.models.zoo.ZOO`.
        seed: of weights and inputs.
        samples: how many inputs are run.
    """
    import torch

    from neurocompile.compiler import Options, compile_graph
    from neurocompile.data import arrange_inputs
    from neurocompile.frontends.pytorch import TorchModel
    from neurocompile.frontends.pytorch.model import separate
    from neurocompile.mapping import needs_of
    from neurocompile.models.zoo import ZOO, synthetic
    from neurocompile.simulation import host_regions, run_program, summary
    from neurocompile.simulator.counts import stored_synapses
    from neurocompile.validation import validate_program

    network = ZOO[name]
    torch.set_num_threads(1)
    module, inputs = synthetic(network, seed, samples)
    example = [separate(x, network.layout, network.timesteps) for x in inputs]
    lead = 1 if network.layout == "N" else 2
    shapes = {str(k): tuple(x.shape[lead:]) for k, x in enumerate(inputs)}
    before_mb, start, worked = _peak_mb(), time.perf_counter(), time.process_time()
    model = TorchModel.from_module(module, shapes, network.timesteps, network.layout)
    model.example = dict(zip(model.input_shapes, example, strict=True))
    program = compile_graph(model.graph, "generic", network.timesteps, Options(), example=model.example)
    program.files()
    export_s, export_cpu_s = time.perf_counter() - start, time.process_time() - worked
    memory_mb = _peak_mb()
    data = arrange_inputs(model.example, program.input_shapes, program.timesteps, "the samples")
    lowering, quantization = validate_program(program, data, model).stages[:2]
    result = run_program(program, data)
    costs = {chip: summary(result, chip) for chip in CHIPS}
    summed = costs[CHIPS[0]]
    each = summed["per_sample"]
    hosts = host_regions(program)
    host_macs = sum(region["macs"] for region in hosts)
    crossing = sum(region["from_chip"] + region["to_chip"] for region in hosts)
    on_chip = each["sops"] + each["macs"]
    row = {
        "name": name,
        "paper": network.paper,
        "size": network.size,
        "source": network.source,
        "timesteps": network.timesteps,
        "synthetic": True,
        "neurons": needs_of(program.integer).neurons,
        "synapses": stored_synapses(program.integer),
        "weights": needs_of(program.integer).weights,
        "sops": each["sops"],
        "macs": each["macs"],
        "firing_rate": summed["firing_rate"],
        "host_regions": len(hosts),
        "host_macs": host_macs,
        "crossing_numbers": crossing,
        "on_chip_fraction": on_chip / (on_chip + host_macs),
        "energy_pj": {chip: costs[chip]["per_sample"]["energy_pj"] for chip in CHIPS},
        "energy_is_lower_bound": {chip: costs[chip]["energy_is_lower_bound"] for chip in CHIPS},
        "spikes_compared": lowering.comparison.compared,
        "spikes_differing": lowering.comparison.mismatches,
        "ties": lowering.comparison.ties,
        "output_error": lowering.output_error,
        "spikes_differing_int8": quantization.comparison.mismatches,
        "export_s": export_s,
        "export_cpu_s": export_cpu_s,
        "memory_mb": memory_mb,
        "memory_before_mb": before_mb,
        **_engine_against_reference(program, data),
        **_on_loihi(model, network.timesteps),
    }
    return row


def _engine_against_reference(program: Any, data: Any) -> dict[str, Any]:
    """Every spike and membrane of one sample, from both simulators."""
    from neurocompile.execution import Executor

    one = data.part(0, 1).inputs
    fast, slow = (Executor(program, reference=r).run(one, membranes=True) for r in (False, True))
    names = list(slow.spikes)
    compared = sum(slow.spikes[name].size + slow.membranes[name].size for name in names)
    differing = sum(
        int((fast.spikes[name] != slow.spikes[name]).sum()) + int((fast.membranes[name] != slow.membranes[name]).sum())
        for name in names
    )
    return {"integers_compared": compared, "integers_differing": differing}


def _on_loihi(model: Any, timesteps: int) -> dict[str, Any]:
    """The cores that it takes; or why it takes none."""
    from neurocompile.cli.cores import cores_of
    from neurocompile.compiler import Options, compile_graph
    from neurocompile.errors import NeurocompileError

    try:
        program = compile_graph(model.graph, "loihi", timesteps, Options(), example=model.example, check=False)
        mapping = cores_of(program)
        assert mapping is not None
        return {"loihi_cores": len(mapping.cores), "loihi_chips": mapping.chips, "loihi_reason": ""}
    except NeurocompileError as error:
        problem = error.problems[0]
        return {"loihi_cores": None, "loihi_chips": None, "loihi_reason": f"{problem.where}: {problem.what}"}


def _peak_mb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


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
    from neurocompile.models.zoo import ZOO

    chosen = names or tuple(name for name, network in ZOO.items() if size in (None, network.size))
    unknown = [name for name in chosen if name not in ZOO]
    if unknown:
        raise click.UsageError(f"no such network: {', '.join(unknown)}")
    rows = []
    for name in chosen:
        row = measure(name, seed, samples) if here else apart(name, seed, samples)
        rows.append(row)
        if not as_json:
            print("  ".join(_cells(row)), flush=True)
    if write is not None:
        write.write_text(markdown(rows, seed, samples))
    if as_json:
        print(json.dumps({"seed": seed, "samples": samples, "networks": rows}, indent=1, default=_plain))


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else str(value)


if __name__ == "__main__":
    main()
