"""Files of other frameworks against these frameworks: ``python -m benchmarks.nir [--json] [--write docs/nir.md]``.

With ``--readers`` the other way round: files that are written here, read by other frameworks.

Each framework writes its networks in an environment that has it (``make peers-nir`` makes them), and runs them in
float64. Here every file is read in its dialect, compiled, and run by ``simulate --real``; it is read once more as NIR's
text says. What differs is counted in positions: neurons times steps.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import click
import numpy as np

import neurocompile
from neurocompile.errors import NeurocompileError
from neurocompile.frontends import load_model
from neurocompile.frontends.nir.dialects import DIALECTS
from neurocompile.frontends.nir.hdf5 import read_nir
from neurocompile.frontends.nir.network import network_of
from neurocompile.frontends.nir.running import Runner
from neurocompile.ir.ops import Array

FRAMEWORKS = {
    "snntorch": "", "norse": "", "spikingjelly": "", "sinabs": "-sinabs", "rockpool": "-rockpool", "spyx": "-spyx",
}  # fmt: skip
"""With what the folder of its environment ends."""
_STEP = {"snntorch": 1e-4, "norse": 1e-6, "spikingjelly": 1e-4, "sinabs": 1.0, "rockpool": 1e-3, "spyx": 1.0}
_BEGIN, _END = "<!-- table: python -m benchmarks.nir{} -->", "<!-- end of the table -->"


@dataclass
class Row:
    """One network: positions of its last layer, spikes of the framework, and how many differ in each reading."""

    framework: str
    name: str
    dialect: str
    positions: int = 0
    spikes: int = 0
    differing: int | None = None
    simulated: int | None = None
    text: int | None = None
    why: str = ""


def compare(told: dict[str, str], folder: Path) -> Row:
    """One file, read in its dialect, compiled, and read as the text says, against what the framework fired."""
    row = Row(told["framework"], told["name"], told["dialect"], why=told.get("failed", ""))
    if row.why:
        return row
    file = folder / f"{row.name}.nir"
    with np.load(file.with_suffix(".npz")) as held:
        x, fired = held["x"], held["spikes"]
    row.positions, row.spikes = fired.size, int(fired.sum())
    row.differing = _read(file, x, fired, dialect=row.dialect)
    row.text = _read(file, x, fired, dialect="text", dt=_STEP[row.framework])
    try:
        row.simulated = _simulated(file, x, fired, row.dialect)
    except NeurocompileError as error:
        row.why = error.problems[0].what
    return row


def _read(file: Path, x: Array, fired: Array, dialect: str, **parts: float) -> int | None:
    """The file itself, step by step: also what no program does yet is read."""
    try:
        network = network_of(read_nir(file), str(file))
        reading = replace(DIALECTS[dialect], **parts)
        runner = Runner(network.past_recurrence() if reading.after else network, reading)
    except NeurocompileError:
        return None
    ((name, shape),) = network.inputs.items()
    (given,) = runner.run({name: x.reshape(*x.shape[:2], *shape)}, x.shape[1]).outputs.values()
    return int((given != fired.reshape(given.shape)).sum())


def _simulated(file: Path, x: Array, fired: Array, dialect: str) -> int:
    ((_, shape),) = load_model(file, timesteps=x.shape[1], dialect=dialect).input_shapes.items()
    given = x.reshape(*x.shape[:2], *shape)
    program = neurocompile.compile(file, timesteps=x.shape[1], dialect=dialect, calibrate=given, readout="sequence")
    (found,) = (neurocompile.simulate(program, given, real=True).outputs or {}).values()
    return int((np.asarray(found).reshape(fired.shape) != fired).sum())


def rows(environments: str, frameworks: Sequence[str] = tuple(FRAMEWORKS)) -> list[Row]:
    """Every configuration of every framework that has an environment."""
    found = []
    with tempfile.TemporaryDirectory() as scratch:
        for framework in frameworks:
            folder, python = Path(scratch) / framework, python_of(environments, framework)
            if not python.exists():
                found.append(Row(framework, "", "", why=f"not tried: there is no {python}"))
                continue
            writers = Path(__file__).with_name("writers.py")
            ran = subprocess.run([python, writers, framework, folder], capture_output=True, text=True)
            if ran.returncode:
                last = (ran.stderr.strip().splitlines() or ["it failed"])[-1]
                found.append(Row(framework, "", "", why=f"not tried: {last}"))
                continue
            found += [compare(json.loads(line), folder) for line in ran.stdout.splitlines() if line.startswith("{")]
    return found


def python_of(environments: str, framework: str) -> Path:
    """The Python of a framework's environment."""
    return Path(environments + FRAMEWORKS[framework]) / "bin" / "python"


def table(found: list[Row]) -> str:
    """The rows in Markdown."""
    lines = [
        "| framework | network | dialect | spikes | positions | differ | `simulate --real` | read as the text says |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in found:
        simulated = row.why if row.simulated is None else f"{row.simulated:,}"
        counts = [f"{n:,}" if n is not None else "refused" for n in (row.differing, row.text)]
        lines.append(
            f"| {row.framework} | {row.name} | {row.dialect} | {row.spikes:,} | {row.positions:,} | {counts[0]} | "
            f"{simulated} | {counts[1]} |"
        )
    return "\n".join(lines)


@click.command(help=__doc__)
@click.option("--environments", default=".venv-peers", show_default=True, help="What their folders begin with.")
@click.option("--only", multiple=True, type=click.Choice(list(FRAMEWORKS)), help="This framework alone.")
@click.option("--readers", is_flag=True, help="Files that are written here, read by SpikingJelly, snnTorch and Norse.")
@click.option("--write", type=click.Path(path_type=Path), help="Put the table into this file, between its marks.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(environments: str, only: Sequence[str], readers: bool, write: Path | None, as_json: bool) -> None:
    """Run it."""
    if only and (write or readers):
        raise click.UsageError("--only is for a look at one framework: leave out --write and --readers")
    pythons = [python_of(environments, name) for name in FRAMEWORKS]
    if not (pythons[0].exists() if readers else any(python.exists() for python in pythons)):
        raise click.UsageError(f"no environment with other frameworks at {environments}*: make peers-nir makes them")
    if readers:
        from benchmarks.nir.others import readers_table, reads

        read = reads(pythons[0])
        wrong, lines, found = sum(each.unexplained for each in read), readers_table(read), [asdict(r) for r in read]
    else:
        held = rows(environments, only or tuple(FRAMEWORKS))
        wrong = sum((row.differing or 0) + (row.simulated or 0) for row in held)
        lines, found = table(held), [asdict(row) for row in held]
    if write:
        text, begin = write.read_text(), _BEGIN.format(" --readers" if readers else "")
        before, rest = text.split(begin)
        write.write_text(f"{before}{begin}\n\n{lines}\n\n{_END}{rest.split(_END, 1)[1]}")
    print(json.dumps({"differing": wrong, "rows": found}, indent=1) if as_json else lines)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
