"""How long ``neurocompile --help`` takes, beside an interpreter that does nothing and beside importing torch.

``python -m benchmarks.startup [--runs N] [--json]``
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time

import click

_COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "neurocompile --help": ["-m", "neurocompile", "--help"],
    "neurocompile targets": ["-m", "neurocompile", "targets"],
    "python -c 'import torch'": ["-c", "import torch"],
}


@click.command()
@click.option("--runs", default=9, show_default=True, help="Of each command, in turn.")
@click.option("--seed", default=0, help="Nothing here is random; for the common form of benchmarks.")
@click.option("--json", "as_json", is_flag=True)
def main(runs: int, seed: int, as_json: bool) -> None:
    """Time whole processes, interleaved."""
    seconds: dict[str, list[float]] = {name: [] for name in _COMMANDS}
    for _ in range(runs + 1):
        for name, arguments in _COMMANDS.items():
            start = time.perf_counter()
            subprocess.run(
                [sys.executable, *arguments], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            seconds[name].append(time.perf_counter() - start)
    rows = {
        name: {"median_s": statistics.median(times[1:]), "min_s": min(times[1:]), "max_s": max(times[1:])}
        for name, times in seconds.items()
    }
    if as_json:
        print(json.dumps({"seed": seed, "runs": runs, "rows": rows}, indent=1))
        return
    print(f"{'command':28} {'median':>8} {'min':>8} {'max':>8}   (seconds, {runs} runs after one warm-up)")
    for name, row in rows.items():
        print(f"{name:28} {row['median_s']:8.3f} {row['min_s']:8.3f} {row['max_s']:8.3f}")


if __name__ == "__main__":
    main()
