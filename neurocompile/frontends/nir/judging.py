"""Everything in a .nir file, with all that is wrong with it, whether or not the file can be put together."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from neurocompile.errors import BadInput, NeurocompileError, Problem, UnsupportedModel, UsageError
from neurocompile.frontends.base import Judged, Settings
from neurocompile.frontends.nir.choosing import choose
from neurocompile.frontends.nir.dialects import Dialect
from neurocompile.frontends.nir.hdf5 import Raw, read_nir
from neurocompile.frontends.nir.lowering import neuron_alone, surveyed
from neurocompile.frontends.nir.model import check_settings
from neurocompile.frontends.nir.network import Network, network_of, parts_of
from neurocompile.frontends.nir.nodes import Cell
from neurocompile.ir.ops import Neuron

__all__ = ["judge"]

_STEPS = 8
"""So many steps of noise tell readings apart, where T is not known."""


def judge(path: Path, settings: Settings) -> Judged:
    """Look at a file.

    Raises:
        BadInput: for what is no NIR graph, or damaged HDF5.
        UsageError: for options that are none of NIR's.
    """
    check_settings(settings)
    raw, where = read_nir(path), str(path)
    nodes = dict(_named(raw, ""))
    problems: list[Problem] = []
    try:
        network = network_of(raw, where)
        whole = True
    except (BadInput, UnsupportedModel) as error:
        problems += error.problems
        network, whole = Network(parts_of(raw, where), {}, {}, (), raw.metadata), False
    try:
        chosen = choose(network, settings, settings.timesteps or _STEPS, where, run=whole)
    except (UnsupportedModel, UsageError) as error:
        if isinstance(error, UsageError) and settings.said:
            raise
        return Judged(nodes, problems=(*problems, *error.problems))
    problems += chosen.problems
    if not whole:
        alone = _alone(network, chosen.dialect, problems)
        return Judged(nodes, alone=alone, problems=tuple(problems), notes=chosen.notes)
    graph, more = surveyed(network, chosen.dialect, settings.carries or "real", settings.readout)
    return Judged(nodes, graph, problems=(*problems, *more), notes=(*network.notes, *chosen.notes))


def _named(raw: Raw, prefix: str) -> Iterator[tuple[str, str]]:
    for name, each in raw.nodes.items():
        if each.kind == "NIRGraph":
            yield from _named(each, f"{prefix}{name}.")
        else:
            yield prefix + name, each.kind


def _alone(network: Network, dialect: Dialect, problems: list[Problem]) -> dict[str, tuple[Neuron, tuple[int, ...]]]:
    found = {}
    for name, cell in network.nodes.items():
        if isinstance(cell, Cell):
            try:
                op = neuron_alone(cell, dialect, name)
            except NeurocompileError as error:
                problems += error.problems
                continue
            if op is not None:
                found[name] = op, cell.shape
    return found
