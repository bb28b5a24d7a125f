"""One network: made, set so that it fires, saved, compiled, and compared spike for spike with PyTorch."""

from __future__ import annotations

import copy
import sys
import tempfile
import time
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, field
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils._pytree import tree_leaves

from benchmarks.published.repositories import Kind, Repository
from benchmarks.published.shims import install
from benchmarks.published.spikes import HIGHEST, LOWEST, Meter, Site, calibrate, in_float64

__all__ = ["Row", "trial"]

Inputs = tuple[torch.Tensor, ...]

RELATIVE = 1e-9
"""How far an output may be from that of the live network, in float64, as a share of the largest output."""

SEED = 0


@dataclass
class Row:
    """What came of one network.

    ``spikes`` are the chances to fire that were compared, ``differing`` those where program and live network differ;
    None if it was refused. ``unmatched`` layers of the program are those whose spikes the live network does not show.
    ``output_error`` is relative to the largest output. ``rates`` are spikes a neuron and step, by the path of the
    weights before the neurons.
    """

    name: str
    source: str
    commit: str
    lines: int
    shims: list[str]
    runs_float32: str = ""
    runs_float64: str = ""
    rates: dict[str, float] = field(default_factory=dict)
    spikes: int | None = None
    differing: int | None = None
    unmatched: list[str] = field(default_factory=list)
    output_error: float | None = None
    seconds: dict[str, float] = field(default_factory=dict)
    refusal: str = ""

    @property
    def calibrated(self) -> bool:
        """Whether every layer behind weights fires within bounds."""
        behind = {name: rate for name, rate in self.rates.items() if not name.startswith("input ")}
        return bool(behind) and all(LOWEST <= rate <= HIGHEST for rate in behind.values())

    @property
    def exact(self) -> bool:
        """Whether spikes were compared, all agree, and so does the output."""
        return bool(self.spikes) and not self.differing and (self.output_error or 0.0) <= RELATIVE

    def to_json(self) -> dict[str, Any]:
        """With what follows from the numbers."""
        return {**asdict(self), "calibrated": self.calibrated, "exact": self.exact}


def trial(repository: Repository, sources: Path, *, live_only: bool = False) -> Row:
    """Try one network. It changes what Python can import: one repository to a process.

    Args:
        repository: of the table.
        sources: the folder of the checked-out repositories, each ``OWNER+NAME``.
        live_only: stop before the compiler.
    """
    row = Row(repository.name, repository.source, repository.commit, len(repository.lines), list(repository.shims))
    try:
        with redirect_stdout(StringIO()):
            _try(repository, sources, row, live_only)
    except Exception as error:
        row.refusal = _first_line(error).replace(f"{sources}/", "")
    return row


def _try(repository: Repository, sources: Path, row: Row, live_only: bool) -> None:
    torch.set_num_threads(1)
    torch.manual_seed(SEED)
    install(repository.shims, sources)
    net = repository.build(sources / repository.folder)
    net = _with_lines(net, repository.lines)
    net.eval()
    for parameter in net.parameters():
        parameter.requires_grad_(False)
    example, fresh = (_inputs(repository, seed) for seed in (1, 2))
    row.runs_float32 = _runs(net, repository, example, torch.float32)
    if row.runs_float32 != "yes":
        raise RuntimeError(f"the author's network does not run: {row.runs_float32}")
    row.runs_float64 = _runs(net, repository, example, torch.float64)
    started = time.perf_counter()
    sizes = repository.samples, repository.steps
    row.rates = calibrate(net, lambda at_rest: _run(at_rest, repository, example), *sizes, SEED)
    row.seconds["calibrate"] = time.perf_counter() - started
    started = time.perf_counter()
    live = _live(net, repository, fresh)
    row.seconds["live"] = time.perf_counter() - started
    if not live_only:
        _compile(net, repository, example, fresh, live, row)


@dataclass(frozen=True)
class _Live:
    """What the network did in float64: outputs without time, every comparison, and what was drawn at random."""

    outputs: list[np.ndarray]
    sites: list[Site]
    draws: dict[str, list[torch.Tensor]]


def _compile(net: nn.Module, repository: Repository, example: Inputs, fresh: Inputs, live: _Live, row: Row) -> None:
    import neurocompile

    steps = {"timesteps": repository.steps} if repository.layout in ("N", "loop", "fold") else {}
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "network.pt"
        started = time.perf_counter()
        given = tuple(_arranged(x, repository.layout) for x in example)
        neurocompile.save(net, file, given, layout=repository.layout, **steps)  # type: ignore[arg-type]
        row.seconds["save"] = time.perf_counter() - started
        started = time.perf_counter()
        program = neurocompile.compile(file)
        row.seconds["compile"] = time.perf_counter() - started
    started = time.perf_counter()
    samples = [x[:, 0] if repository.layout == "N" else x for x in fresh]
    arrays = {name: x.double().numpy() for name, x in zip(program.input_shapes, samples)}
    arrays |= {name: _over_time(draws) for name, draws in live.draws.items()}
    result = neurocompile.simulate(program, arrays, real=True)
    row.seconds["simulate"] = time.perf_counter() - started
    row.spikes, row.differing, row.unmatched = _compared(result.spikes, live.sites, repository)
    row.output_error = _output_error(list(result.outputs.values()), live.outputs)


def _over_time(draws: list[torch.Tensor]) -> np.ndarray:
    """What was drawn once for a sample, or once a step, as a program is given it."""
    return draws[0].numpy() if len(draws) == 1 else torch.stack(draws, 1).numpy()


def _compared(found: dict[str, np.ndarray], sites: list[Site], repository: Repository) -> tuple[int, int, list[str]]:
    """Chances to fire that were compared, those that differ, and layers that the live network does not show."""
    candidates = [x for site in sites for x in site.candidates(repository.samples, repository.steps)]
    compared = differing = 0
    unmatched = []
    for name, spikes in found.items():
        fired = spikes != 0
        alike = [int((fired != x.reshape(fired.shape)).sum()) for x in candidates if x.size == fired.size]
        if not alike:
            unmatched.append(name)
            continue
        compared += fired.size
        differing += min(alike)
    return compared, differing, unmatched


def _output_error(found: list[np.ndarray], expected: list[np.ndarray]) -> float:
    if len(found) != len(expected):
        return float("inf")
    worst = 0.0
    for a, b in zip(found, expected, strict=True):
        if a.size != b.size:
            return float("inf")
        worst = max(worst, float(np.abs(a.ravel() - b.ravel()).max() / max(np.abs(b).max(), 1e-300)))
    return worst


def _with_lines(net: nn.Module, lines: tuple[str, ...]) -> nn.Module:
    """The network after what a user adds, which sees it as ``net`` and every module that was imported by its name."""
    names: dict[str, Any] = {name: module for name, module in sys.modules.items() if "." not in name}
    names |= {"net": net, "torch": torch, "neurocompile": import_module("neurocompile"), "__name__": "user"}
    exec("\n".join(lines), names)
    return names["net"]  # type: ignore[no-any-return]


def _inputs(repository: Repository, seed: int) -> Inputs:
    """Each ``[N, T, *shape]``; every step is the same where the network's forward makes the steps."""
    numbers = torch.Generator().manual_seed(seed)
    steps = 1 if repository.layout == "N" else repository.steps
    drawn = []
    for shape, kind in ((repository.shape, repository.inputs), *repository.also):
        x = _drawn(kind, (repository.samples, steps, *shape), numbers)
        drawn.append(x.expand(-1, repository.steps, *shape))
    return tuple(drawn)


def _drawn(kind: Kind, size: tuple[int, ...], numbers: torch.Generator) -> torch.Tensor:
    if isinstance(kind, int):
        return torch.randint(kind, size, generator=numbers)
    x = torch.randn(size, generator=numbers) if kind == "normal" else torch.rand(size, generator=numbers)
    return (x < 0.3).to(x.dtype) if kind == "events" else x


def _of(kind: torch.dtype, inputs: Inputs) -> Inputs:
    """The same in numbers of this kind; whole numbers stay what they are."""
    return tuple(x.to(kind) if x.is_floating_point() else x for x in inputs)


def _arranged(x: torch.Tensor, layout: str) -> torch.Tensor:
    """``[N, T, ...]`` as forward takes it; one step for layouts that take one."""
    if layout in ("N", "loop"):
        return x[:, 0].clone()
    if layout == "TN":
        return x.transpose(0, 1).contiguous()
    if layout == "N..T":
        return x.movedim(1, -1).contiguous()
    if layout == "NCT..":
        return x.transpose(1, 2).contiguous()
    if layout == "fold":
        return x.transpose(0, 1).flatten(0, 1).contiguous()
    return x.contiguous()


def _run(at_rest: nn.Module, repository: Repository, inputs: Inputs) -> list[torch.Tensor]:
    """What forward gives, tensor by tensor; of a network that takes one step a call, its steps stacked first."""
    torch.manual_seed(SEED)
    if repository.layout != "loop":
        return _tensors(at_rest(*(_arranged(x, repository.layout) for x in inputs)))
    steps = [_tensors(at_rest(*(x[:, t].clone() for x in inputs))) for t in range(repository.steps)]
    return [torch.stack(parts) for parts in zip(*steps, strict=True)]


def _tensors(returned: Any) -> list[torch.Tensor]:
    return [x for x in tree_leaves(returned) if isinstance(x, torch.Tensor)]


def _runs(net: nn.Module, repository: Repository, inputs: Inputs, kind: torch.dtype) -> str:
    """Whether the network runs as it is on numbers of this kind: "yes", or what it says."""
    try:
        with torch.no_grad():
            found = _run(copy.deepcopy(net).to(kind), repository, _of(kind, inputs))
    except Exception as error:
        return _first_line(error)
    return "yes" if all(bool(torch.isfinite(part).all()) for part in found) else "not finite"


def _live(net: nn.Module, repository: Repository, inputs: Inputs) -> _Live:
    """What the network does in float64."""
    at_rest = copy.deepcopy(net).double()
    with torch.no_grad(), in_float64(), Meter(at_rest, repository.samples, repository.steps) as meter:
        found = _run(at_rest, repository, _of(torch.float64, inputs))
    axis = repository.output_time
    if axis == "list":
        found, axis = [torch.stack(found)], 0
    outputs = [part if axis is None or axis >= part.ndim else part.mean(axis) for part in found]
    return _Live([part.numpy() for part in outputs], [*meter.sites, *meter.places], meter.draws)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0] if lines else ''}"
