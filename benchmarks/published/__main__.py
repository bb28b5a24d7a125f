"""Published networks, from their repositories to spikes that agree.

``python -m benchmarks.published --sources FOLDER [NAME ...] [--json | --markdown] [--live]``. FOLDER holds the
repositories of the table (``--list``), each at its commit in ``OWNER+NAME/``, and SpikingJelly's former releases
(``spikingjelly-RELEASE/``, their wheels unpacked). Each network is tried in a process of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from benchmarks.published.repositories import REPOSITORIES
from benchmarks.published.trial import Row, trial

TIME_LIMIT_S = 900


def _apart(name: str, sources: Path, live: bool) -> Row:
    """One network in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.published", "--sources", str(sources), name, "--here"]
    repository = REPOSITORIES[name]
    row = Row(name, repository.source, repository.commit, len(repository.lines), list(repository.shims))
    try:
        done = subprocess.run(
            [*command, *(["--live"] if live else [])], capture_output=True, text=True, timeout=TIME_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        row.refusal = f"not done after {TIME_LIMIT_S} s"
        return row
    if done.returncode:
        row.refusal = (done.stderr.strip().splitlines() or ["killed"])[-1]
        return row
    found = json.loads(done.stdout.splitlines()[-1])
    return Row(**{key: value for key, value in found.items() if key not in ("calibrated", "exact")})


COLUMNS = ("network", "commit", "lines", "stand-ins", "rates", "spikes compared", "differing", "output")


def _cells(row: Row) -> list[str]:
    rates = f"{min(row.rates.values()):.0%} to {max(row.rates.values()):.0%}" if row.rates else "-"
    start = [f"{row.source}: {row.name}", row.commit[:7], str(row.lines), ", ".join(row.shims) or "-", rates]
    if row.refusal or row.spikes is None:
        return [*start, "-", "-", row.refusal or "runs in PyTorch"]
    output = "-" if row.output_error is None else f"{row.output_error:.0e}"
    without = f" ({len(row.unmatched)} layers more)" if row.unmatched else ""
    return [*start, f"{row.spikes:,}{without}", f"{row.differing:,}", output]


def _markdown(rows: list[Row]) -> str:
    lines = [COLUMNS, ["---"] * len(COLUMNS), *(_cells(row) for row in rows)]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def _text(row: Row) -> str:
    _, commit, lines, stand_ins, rates, spikes, differing, output = _cells(row)
    what = f"{spikes} spikes compared, {differing} differ, output off by {output}" if row.spikes is not None else output
    return f"{row.name} ({row.source} {commit}), lines {lines}, stand-ins {stand_ins}, rates {rates}: {what}"


@click.command()
@click.argument("names", nargs=-1)
@click.option("--sources", type=click.Path(file_okay=False, path_type=Path), help="Folder of the repositories.")
@click.option("--json", "as_json", is_flag=True, help="Every number, as JSON.")
@click.option("--markdown", is_flag=True, help="A table.")
@click.option("--live", is_flag=True, help="Only run and calibrate the networks in PyTorch.")
@click.option("--list", "listed", is_flag=True, help="List the repositories and their commits.")
@click.option("--here", is_flag=True, hidden=True, help="One network in this process.")
def main(
    names: tuple[str, ...], sources: Path | None, as_json: bool, markdown: bool, live: bool, listed: bool, here: bool
) -> None:
    """Try the networks of the repositories, or those named."""
    if unknown := [name for name in names if name not in REPOSITORIES]:
        raise click.UsageError(f"there is no {', '.join(unknown)}; there are {', '.join(REPOSITORIES)}")
    chosen = names or tuple(REPOSITORIES)
    if listed:
        for name in chosen:
            entry = REPOSITORIES[name]
            click.echo(f"{name}: https://github.com/{entry.source} at {entry.commit}, {', '.join(entry.files)}")
        return
    if sources is None:
        raise click.UsageError("--sources is missing")
    sources = sources.resolve()
    if here:
        found: dict[str, Any] = trial(REPOSITORIES[chosen[0]], sources, live_only=live).to_json()
        click.echo(json.dumps(found))
        return
    rows = []
    for name in chosen:
        rows.append(_apart(name, sources, live))
        click.echo(_text(rows[-1]), err=as_json or markdown)
    if as_json:
        click.echo(json.dumps([row.to_json() for row in rows], indent=1))
    if markdown:
        click.echo(_markdown(rows))


if __name__ == "__main__":
    main()
