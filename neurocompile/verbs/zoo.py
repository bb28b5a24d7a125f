"""``neurocompile zoo``: the papers' networks, or one of them as a model file, or what it takes and costs."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Literal

from neurocompile.errors import Problem, UsageError
from neurocompile.files import check_output
from neurocompile.reports.zoo import NetworkReport, Written, ZooReport
from neurocompile.typed import Count, Range, Typed
from neurocompile.verbs.networks import Network, networks

__all__ = ["ZooRequest", "described", "zoo"]


@dataclass(frozen=True, kw_only=True)
class ZooRequest(Typed):
    """Which networks, and what of them.

    Attributes:
        name: of one network; None: all of them.
        out: with a name: write it as a model file.
        size: list only these.
        seed: of its weights and of its example.
        samples: how many examples it brings.
        measure: with a name: what it takes and costs (seconds to minutes).
        overwrite: replace the model file.
    """

    name: str | None = None
    out: Path | None = None
    size: Literal["paper", "small"] | None = None
    seed: Annotated[int, Range(0)] = 0
    samples: Count = 8
    measure: bool = False
    overwrite: bool = False


def zoo(request: ZooRequest) -> ZooReport:
    """List the papers' networks, or make one of them.

    A network made here is synthetic: untrained, with batch norms set so that its layers fire at 10 to 15 %.

    Raises:
        UsageError: for a network that there is none of, a file that exists, or what takes a name and has none.
    """
    known, name, out = networks(), request.name, request.out
    if name is not None and name not in known:
        near = [each for each in known if name.split("-")[0] in each] or list(known)
        raise UsageError(Problem("there is no such network", "NAME", name, ", ".join(near), "see neurocompile zoo"))
    if name is None and out is not None:
        fix = "name it: neurocompile zoo NAME"
        raise UsageError(Problem("a model file holds one network", "-o", str(out), fix=fix))
    if out is not None:
        check_output(out, "-o", overwrite=request.overwrite)
    if name is None and request.measure:
        raise UsageError(
            Problem("all of them take an hour", "--measure", fix="name one: neurocompile zoo NAME --measure")
        )
    if name is None:
        return ZooReport(tuple(described(each) for each in known.values() if request.size in (None, each.size)))
    about = described(known[name])
    if out is not None:
        return ZooReport((about,), _written(known[name], out, request.seed, request.samples))
    if request.measure:
        about = replace(about, measured=known[name].measure(request.seed))
    return ZooReport((about,))


def described(network: Network) -> NetworkReport:
    """What is known of a network without building it."""
    import torch

    lead = 1 if network.layout == "N" else 2
    inputs = network.samples(1, torch.Generator().manual_seed(0))
    return NetworkReport(
        name=network.name,
        paper=network.paper,
        size=network.size,
        timesteps=network.timesteps,
        layout=network.layout,
        inputs=tuple(tuple(x.shape[lead:]) for x in inputs),
        source=network.source,
    )


def _written(network: Network, out: Path, seed: int, samples: int) -> Written:
    from neurocompile.frontends.pytorch import save

    module, inputs = network.synthetic(seed, samples)
    save(module, out, inputs, layout=network.layout, timesteps=network.timesteps if network.layout == "N" else None)
    return Written(out, sum(p.numel() for p in module.parameters()), network.firing_rates(module, inputs))
