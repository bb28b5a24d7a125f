"""Samples cut into shards whose borders depend on the program and the samples alone, whoever works on them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from neurocompile.data import Data, Stored, reopened
from neurocompile.errors import BadInput, Problem, UsageError
from neurocompile.ir.ops import Array
from neurocompile.program import Program
from neurocompile.simulator.counts import stored_synapses
from neurocompile.typed import Count, Typed
from neurocompile.work import CACHE, Engine, Here, Kept, Pool, Store, engine_of, key_of

__all__ = [
    "Border", "WorkOptions", "borders", "check_workers", "held", "part_of", "part_sum", "program_sum", "source_of",
    "working",
]  # fmt: skip

Border = tuple[int, int]
"""The first sample of a shard, and the first of the next."""
Made = TypeVar("Made")

_MULTIPLE, _MOST = 128, 4096
"""Shards are made of whole turns of what runs them, and of so many samples at most."""
_SECONDS = 0.5
_POOLED = 8
"""From so many shards on, a pool is worth its start where nobody says who works."""


def borders(program: Program, samples: int, seconds_per_synapse: float) -> list[Border]:
    """Shards that take about half a second on one processor.

    Args:
        program: that is run.
        samples: how many there are.
        seconds_per_synapse: what a synapse takes in a step, roughly: it has to be the same everywhere, not right.
    """
    of_one = max(1, stored_synapses(program.integer)) * program.timesteps * seconds_per_synapse
    size = min(_MOST, max(1, round(_SECONDS / of_one / _MULTIPLE)) * _MULTIPLE)
    return [(start, min(start + size, samples)) for start in range(0, samples, size)]


@dataclass(frozen=True, kw_only=True)
class WorkOptions(Typed):
    """Who shares the work.

    Attributes:
        workers: how many processes; 1: this one alone; None: one for each processor, where there is much to do.
        scheduler: the address of a Dask cluster that does it instead.
        cache: a folder in which finished pieces are kept, and found by whoever runs the same again; None: the one that
            ``NEUROCOMPILE_CACHE`` names, if it does.
    """

    workers: Count | None = None
    scheduler: str | None = None
    cache: Path | None = None

    @property
    def shared(self) -> list[str]:
        """What was said that wants the work cut."""
        return [name for name in ("scheduler", "workers", "cache") if getattr(self, name) not in (None, 1)]


def check_workers(options: WorkOptions, why: str) -> None:
    """That nobody is asked to share what cannot be cut.

    Args:
        options: who shares it.
        why: it cannot be cut; "": it can.

    Raises:
        UsageError: with the reason.
    """
    if why and (said := ", ".join(f"--{name}" for name in options.shared)):
        raise UsageError(Problem(f"the samples cannot be cut into shards: {why}", said, fix=f"leave out {said}"))


@contextmanager
def working(options: WorkOptions, shards: int) -> Iterator[Engine | None]:
    """Who works on some shards, until the block ends; None: they are not worth being cut.

    Raises:
        UsageError, ToolFailed: as :func:`neurocompile.work.engine_of` does; for a cache that is no folder.
    """
    if not shards:
        yield None
        return
    folder = options.cache or (Path(os.environ[CACHE]) if os.environ.get(CACHE) else None)
    store = None if folder is None else Store(folder)
    few = options.scheduler is None and options.workers is None and shards < _POOLED
    engine: Engine = Here() if few else engine_of(options.scheduler, options.workers)
    if isinstance(engine, Pool):
        engine = Pool(min(engine.workers, shards))
    try:
        yield Kept(engine, store) if store is not None else None if isinstance(engine, Here) else engine
    finally:
        engine.close()


# -- what a shard is of ------------------------------------------------------------------------------------------------


def program_sum(program: Program) -> str:
    """The checksum of all that a program is."""
    return key_of(program.files())


def source_of(data: Data, border: Border, known: str = "") -> dict[str, Any]:
    """The samples of a shard, as a task is given them: where they are, or themselves.

    Args:
        data: all samples.
        border: of the shard.
        known: its checksum; "": only that of its first and its last sample is looked at where they are read again.
    """
    start, stop = border
    if isinstance(data, Stored):
        return {
            "folder": data.folder.resolve(),
            "opened": {"chosen": data.chosen, "shapes": data.shapes, "timesteps": data.timesteps},
            "samples": len(data),
            "known": known,
            "ends": _ends(data, border),
        }
    return {"arrays": {name: _frames(x[start:stop]) for name, x in data.inputs.items()}}


def part_of(source: Mapping[str, Any], border: Border, timesteps: int) -> Data:
    """The samples of a shard, where they are worked on.

    Raises:
        BadInput: if the files here are others than where the shard was cut.
    """
    if "arrays" in source:
        return Data({name: _in_time(x, timesteps) for name, x in source["arrays"].items()})
    what, fix = "a worker sees other data under this name", "put the same where every worker sees it"
    try:
        stored = held("data", str(source["folder"]), lambda: reopened(source["folder"], **source["opened"]))
    except BadInput as error:
        raise BadInput(Problem(what, str(source["folder"]), error.problems[0].what, fix=fix)) from error
    if len(stored) != source["samples"]:
        actual, limit = f"{len(stored):,} samples", f"{source['samples']:,}"
        raise BadInput(Problem(what, str(source["folder"]), actual, limit, fix))
    part = stored.part(*border)
    if source["known"] != part_sum(part) if source["known"] else source["ends"] != _ends(stored, border):
        actual = f"other values in samples {border[0]:,} to {border[1] - 1:,}"
        raise BadInput(Problem(what, str(source["folder"]), actual, fix=fix))
    return part


def part_sum(data: Data) -> str:
    """The checksum of some samples."""
    return key_of({name: _frames(x) for name, x in data.inputs.items()})


def _ends(data: Data, border: Border) -> str:
    """The checksum of the first and the last sample of a shard."""
    start, stop = border
    return key_of([part_sum(data.part(at, at + 1)) for at in (start, stop - 1)])


def _frames(x: Array) -> Array:
    """Samples without the repetition of a frame."""
    return x[:, :1] if x.strides[1] == 0 else x


def _in_time(x: Array, timesteps: int) -> Array:
    """Samples with the repetition of their only frame, if they have no more."""
    return x if x.shape[1] == timesteps else np.broadcast_to(x, (len(x), timesteps, *x.shape[2:]))


_here = threading.local()


def held(kind: str, name: str, make: Callable[[], Made]) -> Made:
    """What was made last of a kind, if it is called so; else it is made: shards of one program follow one another."""
    made: dict[str, tuple[str, Made]] = _here.__dict__.setdefault("made", {})
    if kind not in made or made[kind][0] != name:
        made.pop(kind, None)
        made[kind] = name, make()
    return made[kind][1]
