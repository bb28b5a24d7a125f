"""What becomes a host region: the calls of what a host computes (:mod:`.operations.hostcalls`), once they are terms.

A region is exported as ONNX from float64 (from float32, where ONNX Runtime lacks an operation in float64), with the
batch first and time second. Where each step is computed from the same step alone it is a region of one step.
"""

# mypy: disable-error-code="no-any-return,no-untyped-call"
from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import nn

from neurocompile.frontends.pytorch.exporting import Held, exported, macs
from neurocompile.frontends.pytorch.onhost import OnHost, batch_first
from neurocompile.frontends.pytorch.operations.hostcalls import HostCall, TorchCall
from neurocompile.frontends.pytorch.places import place_of
from neurocompile.frontends.pytorch.summing import Recurrence
from neurocompile.frontends.pytorch.terms import NotAlike, Term
from neurocompile.frontends.pytorch.values import FIX_HOST, is_time
from neurocompile.frontends.pytorch.vocabulary import OPERATIONS
from neurocompile.ir.host import HostRead, HostRegion
from neurocompile.ir.ops import Array, Input, Integrator, Neuron, Output

__all__ = ["emit_region"]


def emit_region(emission: Any, term: Term) -> str:
    """The region of a uniform term that a host computes."""
    low = emission.low
    call: TorchCall
    if term.kind == "func":
        call = _of_function(term)
        kind, carries, module = term.data[0], "real", low.module_classes.get(term.place.module, "")
        if module.startswith("torch.nn."):
            kind = module.rsplit(".", 1)[-1]
        whole = False
    elif isinstance(term.data, Recurrence):
        call, kind, carries, whole = _of_recurrence(term), term.data.kind, "real", False
        module = low.module_classes.get(term.place.module, "")
        if module and term.place.module not in low.layer_modules:
            kind = module.rsplit(".", 1)[-1]
    else:
        host: HostCall = term.data
        call, kind, carries, whole = host.function, host.kind, host.carries, host.whole
    stem = (
        emission._stem(term, kind)
        if term.kind == "func" or not isinstance(call.function, nn.Module)
        else term.place.module
    )
    name = emission._fresh("output.layer" if stem == "output" else stem or kind)
    emission._names[term.uid] = name
    # What is fed back reads it before it is whole.
    shape = tuple(int(n) for n in term.shape)
    emission.hosts[name] = HostRegion(name, kind, (), shape, True, carries, b"", per_step=True)  # type: ignore[arg-type]
    reads = tuple(_read(emission, arg, name) for arg in term.args)
    timed = any(read.timed for read in reads) and (not whole or any(is_time(n) for n in call.result_axes))
    per_step = timed and not whole
    if per_step and not all(read.timed for read in reads):
        raise NotAlike(f"{kind} reads what all steps give together, in every step", term, FIX_HOST)
    if per_step:
        firsts = [batch_first(x, a, call.steps) for x, a in zip(call.examples, call.axes)]
        examples = [x[:, 0] if any("T" in n for n in a) else x for x, a in zip(firsts, call.axes)]
        call = call.stepped()
    else:
        examples = [batch_first(x, a, call.steps) for x, a in zip(call.examples, call.axes)]
    region = HostRegion(
        name=name,
        kind=kind,
        reads=reads,
        shape=shape,
        timed=timed,
        carries=carries,  # type: ignore[arg-type]
        model=b"",
        per_step=per_step,
    )
    if isinstance(call.function, OnHost):  # it was exported when the model was saved
        known = call.function.region
        region = replace(region, model=known.model, precision=known.precision, macs=known.macs)
    else:
        work = macs(call, examples) * (low.timesteps if per_step else 1)
        region = replace(exported(place_of(term.place.module, term.place.line), region, call, examples), macs=work)
    emission.hosts[name] = region
    if term.kind == "host" and not isinstance(term.data, Recurrence):
        emission.regions[term.data.key] = name
        emission.region_axes[name] = (term.data.axes, term.data.result_axes)
    return name


def _of_function(term: Term) -> TorchCall:
    """An element-wise function as a call."""
    name, numbers = term.data
    numbers_drawn = torch.Generator().manual_seed(0)
    examples = [torch.rand((3, *a.shape), generator=numbers_drawn, dtype=torch.float64) for a in term.args]
    held = [Held(k) for k in range(len(term.args))]
    arguments: tuple[Any, ...] = (*held, *numbers)
    if name == "clamp":
        bounds = iter(held[1:])
        arguments = (held[0], *(next(bounds) if has else None for has in numbers))
    run = OPERATIONS[name].run
    axes = [("N", *("F",) * len(a.shape)) for a in term.args]
    call = TorchCall(run, (arguments, {}), axes, examples, 1)
    call.result_axes = axes[0]
    return call


class _Summed:
    """A sum of products of tensors."""

    def __init__(self, summands: tuple[tuple[tuple[int, ...], Array], ...]) -> None:
        self.summands = [(places, torch.from_numpy(np.array(value, np.float64))) for places, value in summands]

    def __call__(self, *tensors: torch.Tensor) -> torch.Tensor:
        total = torch.zeros_like(tensors[0])
        for places, value in self.summands:
            product = value.to(tensors[0].dtype).expand(tensors[0].shape[1:])
            for place in places:
                product = product * tensors[place]
            total = total + product
        return total


def _of_recurrence(term: Term) -> TorchCall:
    """A recurrence as a call for one step."""
    drawn = torch.Generator().manual_seed(0)
    examples = [torch.rand((3, *a.shape), generator=drawn, dtype=torch.float64) for a in term.args]
    axes = [("N", *("F",) * len(a.shape)) for a in term.args]
    call = TorchCall(
        _Summed(term.data.summands), (tuple(Held(k) for k in range(len(term.args))), {}), axes, examples, 1
    )
    call.result_axes = axes[0]
    return call


def _read(emission: Any, term: Term, reader: str) -> HostRead:
    """What a region reads, as an Output of the chip where it comes from there."""
    low = emission.low
    if term.uniform and len(emission._times(term)) <= 1:
        node = emission.emit(term)
        timed = not term.static
        if node in emission.hosts:
            region = emission.hosts[node]
            if region.shape == term.shape and region.timed == timed:
                return HostRead(node, "host", region.shape, timed)
            emission.feed(node)
        if isinstance(emission.nodes[node].op, Input) and node not in emission.hosts:
            return HostRead(node, "input", term.shape, timed)
        source = _membrane(emission, node, reader)
        how: Any = "sequence" if timed else "last"
        return HostRead(emission._add(f"{reader}.reads", Output(how), source), "chip", term.shape, timed)
    if term.kind in ("func", "host"):
        node = emission.emit(term)
        return HostRead(node, "host", term.shape, emission.hosts[node].timed)
    readings, constant, shape = emission.reading(term)
    op, current, read = emission._as_read(readings, constant, shape)
    source = emission.emit(current)
    source = emission._add(f"{reader}.membrane", op, source) if op is not None else _membrane(emission, source, reader)
    weights = None
    if isinstance(read, tuple):
        read, weights = read
    assert low is not None
    return HostRead(emission._add(f"{reader}.reads", Output(read, weights=weights), source), "chip", shape, False)


def _membrane(emission: Any, node: str, reader: str) -> str:
    op = emission.nodes[node].op
    if isinstance(op, Integrator) or (isinstance(op, Neuron) and np.all(op.amplitude == 1)):
        return node
    return emission._add(f"{reader}.membrane", Integrator(), node)
