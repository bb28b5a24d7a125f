"""What writing a timeline takes, as JSON and in Perfetto's own format: bytes of the file, seconds, memory.

``python -m benchmarks.traces [--slices N] [--json-slices N] [--json]``; docs/timing.md holds what it printed. Slices
are made up: 200 tracks in turns, starts and lengths random. Each format is written in a process of its own, whose peak
of memory is the kernel's, Python and NumPy included.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import numpy as np

from neurocompile.simulator.timing.perfetto import write_perfetto
from neurocompile.simulator.timing.slices import Piece, Slices, Timeline, Tracks
from neurocompile.simulator.timing.timeline import as_chrome, as_trace

TRACKS = 200
_AT_ONCE = 50_000
_TICKS_PER_US = 1_000_000


def pieces(count: int, seed: int) -> Iterator[Piece]:
    """So many slices, piece by piece; times as on Loihi, in picoseconds."""
    random = np.random.default_rng(seed)
    yield Tracks("cores", {track: f"core {track}" for track in range(TRACKS)})
    clock = np.zeros(TRACKS, np.int64)
    for turn, first in enumerate(range(0, count, _AT_ONCE)):
        track = turn % TRACKS
        edges = clock[track] + np.cumsum(random.integers(1_000, 40_000, 2 * min(_AT_ONCE, count - first)))
        clock[track] = edges[-1]
        yield Slices("cores", track, f"kind {turn % 7}", edges[::2], edges[1::2])


def write(out: Path, count: int, seed: int) -> dict[str, Any]:
    """Write so many slices, by the name of the file as ``simulate --timeline`` does; says what it took."""
    timeline = Timeline(_TICKS_PER_US, pieces(count, seed))
    before, start = _peak_mb(), time.perf_counter()
    if out.suffix == ".json":
        out.write_bytes(json.dumps(as_trace(as_chrome(timeline), "microseconds")).encode())
    else:
        with open(out, "wb") as file:
            write_perfetto(file, timeline)
    seconds = time.perf_counter() - start
    found = {"format": out.suffix.removeprefix("."), "slices": count, "file_mb": out.stat().st_size / 1e6}
    return found | {"seconds": seconds, "peak_mb": _peak_mb(), "before_mb": before}


def _peak_mb() -> float:
    """Of this process's memory; without Linux's VmHWM what getrusage says, which has the parent's from before exec."""
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024 / 1e6
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


@click.command()
@click.option("--slices", default=10_000_000, show_default=True, help="In Perfetto's format.")
@click.option("--json-slices", default=1_000_000, show_default=True, help="As JSON, which is made in memory.")
@click.option("--out", type=click.Path(path_type=Path), help="Write --slices to this file alone, in this process.")
@click.option("--seed", default=0, show_default=True)
@click.option("--json", "as_json", is_flag=True)
def main(slices: int, json_slices: int, out: Path | None, seed: int, as_json: bool) -> None:
    """Write both, or one."""
    if out is not None:
        print(json.dumps(write(out, slices, seed)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, count in (("t.json", json_slices), ("t.pftrace", json_slices), ("t.pftrace", slices)):
            command = [
                "-m",
                "benchmarks.traces",
                "--slices",
                str(count),
                "--out",
                f"{folder}/{name}",
                "--seed",
                str(seed),
            ]
            ran = subprocess.run([sys.executable, *command], check=True, stdout=subprocess.PIPE)
            rows.append(json.loads(ran.stdout))
    if as_json:
        print(json.dumps({"seed": seed, "rows": rows}, indent=1))
        return
    print(f"{'format':8} {'slices':>11} {'file MB':>8} {'seconds':>8} {'peak MB':>8} {'before MB':>9}")
    for row in rows:
        print(
            f"{row['format']:8} {row['slices']:11,} {row['file_mb']:8.1f} {row['seconds']:8.2f}"
            f" {row['peak_mb']:8.1f} {row['before_mb']:9.1f}"
        )


if __name__ == "__main__":
    main()
