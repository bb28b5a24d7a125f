"""How many cores networks take here, and for others.

``python -m benchmarks.yardsticks [NAME ...] [--json] [--write docs/mapping.md]``. NxTF's networks on Loihi and Lava's
on Loihi 2 are held against what was published. Small networks are counted by nengo-loihi itself, in an environment that
has it (``make peers-mapping`` makes one): a quarter of an hour. Weights have 8 bits on both sides.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from benchmarks.yardsticks.networks import LOIHI2, NXTF, SMALL, Network, neurons

ENVIRONMENT = Path(".venv-peers-nengo")
_CHECKOUT = Path(__file__).parents[2]
TIME_LIMIT_S = 1800
_BEGIN, _END = "<!-- table: python -m benchmarks.yardsticks -->", "<!-- end of the yardsticks -->"
_PLACE = re.compile(r"\w+: LoihiBlock\(.*?\): ")
"""Where in its own structures a refusal of nengo-loihi arose."""
_ALL = (*NXTF, *LOIHI2, *SMALL)


def row(network: Network, environment: Path) -> dict[str, Any]:
    """One network, by both sides."""
    from benchmarks.yardsticks.ours import counted

    found: dict[str, Any] = {
        "name": network.name,
        "what": network.what,
        "neurons": neurons(network),
        "target": "loihi2" if network in LOIHI2 else "loihi",
    }
    if network.neurons not in (None, found["neurons"]):
        raise ValueError(f"{network.name} has {found['neurons']} neurons here, and {network.neurons} for others")
    published = {
        "by": network.source,
        "cores": network.theirs,
        "at_most": network.at_most,
        "by_layer": network.by_layer,
    }
    theirs = nengo_loihi(network, environment) if network in SMALL else published
    return {**found, "ours": counted(network, found["target"]), "theirs": theirs}


def nengo_loihi(network: Network, environment: Path) -> dict[str, Any]:
    """What nengo-loihi takes, or why that is not known."""
    python = environment.absolute() / "bin" / "python"
    if not python.exists():
        return {"by": "nengo-loihi", "refused": f"no {environment}: make peers-mapping"}
    command = [str(python), "-m", "benchmarks.yardsticks.nengo_side", network.name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False, cwd=_CHECKOUT)
    except subprocess.TimeoutExpired:
        return {"by": "nengo-loihi", "refused": f"not done after {TIME_LIMIT_S} s"}
    if done.returncode:
        return {"by": "nengo-loihi", "refused": (done.stderr.strip().splitlines() or ["killed"])[-1]}
    found: dict[str, Any] = json.loads(done.stdout)
    return {**found, "by": f"nengo-loihi {found['version']}"}


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown; layer by layer where others tell it."""
    heads = (
        "network",
        "neurons",
        "others",
        "theirs",
        "ours",
        "packed",
        "theirs, layer by layer",
        "ours, layer by layer",
        "ours is bound by (cores)",
    )
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for found in rows:
        theirs, ours = found["theirs"], found["ours"]
        cores = f"{theirs['cores']:,}" if "cores" in theirs else f"refused: {_PLACE.sub('', theirs['refused'])}"
        bound = ", ".join(f"{name} {count:,}" for name, count in ours["bound"].items())
        too_large = f"; too large: {', '.join(ours['too_large'])}" if ours["too_large"] else ""
        cells = (
            f"{found['name']}: {found['what']}",
            f"{found['neurons']:,}",
            theirs["by"],
            f"<= {cores}" if theirs.get("at_most") else cores,
            f"{ours['cores']:,}",
            f"{ours['packed']:,}",
            *(_listed(each["by_layer"]) if theirs.get("by_layer") else "" for each in (theirs, ours)),
            bound + too_large,
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _listed(numbers: Sequence[int]) -> str:
    return "+".join(map(str, numbers))


@click.command(help=__doc__)
@click.argument("names", nargs=-1)
@click.option("--environment", type=click.Path(path_type=Path), default=ENVIRONMENT, help="That has nengo-loihi.")
@click.option("--write", type=click.Path(path_type=Path), help="Put the table into this file, between its marks.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def main(names: tuple[str, ...], environment: Path, write: Path | None, as_json: bool) -> None:
    """Run it."""
    known = {network.name: network for network in _ALL}
    if unknown := sorted(set(names) - set(known)):
        raise click.UsageError(f"no such network: {', '.join(unknown)}; there are {', '.join(known)}")
    rows = []
    for network in _ALL:
        if not names or network.name in names:
            rows.append(row(network, environment))
            if not as_json:
                print(table(rows[-1:]).splitlines()[-1], flush=True)
    if write:
        text = write.read_text()
        before, rest = text.split(_BEGIN)
        write.write_text(f"{before}{_BEGIN}\n\n{table(rows)}\n\n{_END}{rest.split(_END, 1)[1]}")
    if as_json:
        print(json.dumps({"rows": rows}, indent=1))


if __name__ == "__main__":
    main()
