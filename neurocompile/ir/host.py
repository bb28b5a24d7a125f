"""What no chip runs: regions of a network that a host computes, between the spikes of one part and the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from math import prod
from typing import Any, Literal, get_args

from neurocompile.ir.ops import Read

__all__ = ["HostRead", "HostRegion", "host_from_plain", "host_to_plain"]


@dataclass(frozen=True)
class HostRead:
    """One thing that a region reads: an Output of the graph ("chip"), another region ("host"), or the user's "input".

    ``shape`` leaves out batch and time; ``timed`` says whether the region gets every step ``[N, T, *shape]`` or, where
    time was taken out or never was, ``[N, *shape]``.
    """

    source: str
    kind: Literal["chip", "host", "input"]
    shape: tuple[int, ...]
    timed: bool


@dataclass(frozen=True)
class HostRegion:
    """A function of numbers, as ONNX, with one result of ``shape`` (without batch and time).

    An Input of the region's name, if the graph has one, is fed with the result; ``output`` names the output of the
    network that the result is, if it is one, and ``read`` says how its steps are read. ``model`` takes and gives arrays
    with the batch first, time second (where ``timed``), both in ``precision``. ``per_step``: each step is computed
    from the same step alone, so that steps are given as samples; only such a region may stand in a loop.

    ``macs`` are the multiplications (with additions) of matrices and convolutions, for one sample and all its steps;
    ``numbers`` how many it gives.
    """

    name: str
    kind: str
    reads: tuple[HostRead, ...]
    shape: tuple[int, ...]
    timed: bool
    carries: Literal["real", "spikes"]
    model: bytes
    precision: Literal["float64", "float32"] = "float64"
    per_step: bool = False
    macs: int = 0
    output: str = ""
    read: Read = "mean"

    def numbers(self, timesteps: int) -> int:
        """How many numbers a sample's result has."""
        return prod(self.shape) * (timesteps if self.timed else 1)

    def numbers_read(self, timesteps: int) -> int:
        """How many numbers of a sample it reads."""
        return sum(prod(read.shape) * (timesteps if read.timed else 1) for read in self.reads)


def host_to_plain(region: HostRegion) -> dict[str, Any]:
    """Everything but its ONNX, as what JSON has."""
    plain = {f.name: getattr(region, f.name) for f in fields(region) if f.name not in ("model", "reads")}
    reads = [{**vars(read), "shape": list(read.shape)} for read in region.reads]
    return {**plain, "shape": list(region.shape), "reads": reads}


def host_from_plain(plain: Mapping[str, Any], model: bytes) -> HostRegion:
    """A region from what :func:`host_to_plain` made, and its ONNX.

    Raises:
        ValueError: for what no region has; a file may hold anything.
    """
    reads = tuple(HostRead(**{**read, "shape": tuple(read["shape"])}) for read in plain["reads"])
    region = HostRegion(**{**plain, "shape": tuple(plain["shape"]), "reads": reads, "model": model})
    fits = {
        "name": all(type(name) is str for name in (region.name, region.kind, region.output)),
        "reads": bool(reads) and all(type(read.source) is str and type(read.timed) is bool for read in reads),
        "kind": all(read.kind in ("chip", "host", "input") for read in reads),
        "shape": all(type(n) is int and n > 0 for shape in (region.shape, *(r.shape for r in reads)) for n in shape),
        "timed": type(region.timed) is bool and type(region.per_step) is bool,
        "per_step": not region.per_step or (region.timed and all(read.timed for read in reads)),
        "carries": region.carries in ("real", "spikes"),
        "precision": region.precision in ("float64", "float32"),
        "macs": type(region.macs) is int and region.macs >= 0,
        "read": region.read in get_args(Read) and region.read != "weighted",
    }
    wrong = [name for name, right in fits.items() if not right]
    if wrong:
        raise ValueError(f"the host region {region.name!r} has no such {', '.join(wrong)}")
    return region
