"""Random graphs through every executor: ``python -m tests.fuzz.graphs --count N --seed S --executors a,b --json``."""

from __future__ import annotations

import json
import sys
import warnings
from pathlib import Path

import click

from tests.fuzz.graphs.cases import SOURCES
from tests.fuzz.graphs.executors import EXECUTORS, FAST
from tests.fuzz.graphs.fuzzing import Fuzzer, Settings


def _names(given: str, known: tuple[str, ...], what: str) -> tuple[str, ...]:
    names = tuple(name for name in given.split(",") if name)
    if unknown := [name for name in names if name not in known]:
        raise click.UsageError(f"there is no {what} {', '.join(unknown)}; there are {', '.join(known)}")
    return names


@click.command(help=__doc__)
@click.option("--count", default=1000, show_default=True, help="So many graphs in all, with those of --state.")
@click.option("--seed", default=0, show_default=True)
@click.option("--executors", default=",".join(FAST), show_default=True, help=f"Of {', '.join(EXECUTORS)}; or all.")
@click.option("--sources", default=",".join(SOURCES), show_default=True, help="What graphs are made of.")
@click.option("--hours", type=float, help="Stop after so long.")
@click.option("--state", type=click.Path(file_okay=False, path_type=Path), help="Go on where this folder stopped.")
@click.option(
    "--found", type=click.Path(file_okay=False, path_type=Path), help="Where what disagrees is written, small."
)
@click.option("--watched", default=4, show_default=True, help="Trace lines in one of so many graphs; 0: in none.")
@click.option("--json", "as_json", is_flag=True)
def main(
    count: int, seed: int, executors: str, sources: str, hours: float | None, state: Path | None, found: Path | None,
    watched: int, as_json: bool,
) -> None:  # fmt: skip
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    names = tuple(EXECUTORS) if executors == "all" else _names(executors, tuple(EXECUTORS), "executor")
    settings = Settings(seed, names, _names(sources, tuple(SOURCES), "source"), watched, found or state, state)
    fuzzer = Fuzzer(settings)
    fuzzer.run(count, hours)
    body = fuzzer.as_json()
    if as_json:
        click.echo(json.dumps(body))
    else:
        for name, value in body.items():
            lines = [f"{key}: {each}" for key, each in value.items()] if isinstance(value, dict) else value
            click.echo("\n  ".join([f"{name}:", *map(str, lines)]) if isinstance(lines, list) else f"{name}: {lines}")
    sys.exit(bool(body["disagreements"]))


if __name__ == "__main__":
    main()
