"""Integers held against the reals that they stand for, as far as rounding can explain what differs.

Up to the first step in which a sample's spikes differ, each membrane times its unit is the real membrane, but for a
share of what the layer reaches; and a spike may differ only where the real membrane is as near to its threshold.
Nothing that was proved not to overflow does.
"""

from __future__ import annotations

import numpy as np

from neurocompile.ir import Graph, interpret
from neurocompile.ir.ops import Input, Neuron
from neurocompile.ir.trace import Trace
from neurocompile.program import Program
from tests.fuzz.graphs.alike import margins_of
from tests.fuzz.graphs.cases import Case
from tests.simulator.engine_sweep import Compared

__all__ = ["SHARE", "faithful", "form"]

SHARE = {8: 0.3, 12: 0.04, 16: 0.006}
"""By bits of weight: how far a membrane may be off, as a share of what its layer reaches; fewer bits say nothing."""
FAR = 100
"""A threshold so many times what the membranes of a layer reach is out of reach."""


def faithful(case: Case, found: Trace) -> Compared:
    """A program's integers against its folded graph, on inputs that the program has exactly."""
    program = case.program
    assert program is not None
    done = Compared()
    done.values["overflows"] += 1
    if found.overflows and not _may_overflow(program):
        done.where.append(f"faithful: {found.overflows} overflows where none can be")
    if found.overflows and _may_saturate(program):
        return done  # a membrane at the end of its register is no longer the real one
    bits = int(program.settings.get("bits", 0))
    share = max((part for at, part in SHARE.items() if at <= bits), key=lambda part: -part, default=None)
    if share is None or program.real.hosts or program.settings.get("encode") == "host" or _lost(program):
        return done
    share = min(share * _of_wide_inputs(program), SHARE[8])  # gross errors show all the same
    inputs = {name: program.integers_of(name, x)[0] * program.inputs[name].unit for name, x in case.inputs.items()}
    known = interpret(program.real, inputs, case.timesteps, membranes=True)
    for node in program.real.of(Neuron):
        if not isinstance(node.op, Neuron) or node.name not in found.membranes:
            continue
        _layer(done, program, node.name, node.op, known, found, share)
    return done


def _may_overflow(program: Program) -> bool:
    """Whether it was told; more spikes than a neuron has in a step are counted there, too."""
    several = any(node.op.max_spikes > 1 for node in program.integer.of(Neuron) if isinstance(node.op, Neuron))
    return several or _may_saturate(program)


def _may_saturate(program: Program) -> bool:
    return any("may saturate" in note for note in program.notes)


def _lost(program: Program) -> bool:
    """Whether the log says that some weights could not be kept as the width promises."""
    words = ("PRECISION LOST", "clipped", "made coarser")
    return any(word in note for note in program.notes for word in words)


def _of_wide_inputs(program: Program) -> float:
    """Beside spikes, numbers of more than 8 bits have weights that much smaller, in the same steps."""
    highs = [abs(node.op.high) for node in program.integer.of(Input) if isinstance(node.op, Input)]
    return max(1.0, max(highs, default=0) / 255)


def _layer(done: Compared, program: Program, name: str, op: Neuron, known: Trace, found: Trace, share: float) -> None:
    h, ours = known.membranes[name], found.membranes[name] * program.units[name]
    integer = program.integer[name].op
    assert isinstance(integer, Neuron)
    # Out of reach, or at the end of the register, an integer only says: never, or always.
    within = np.abs(integer.threshold) < program.arithmetic.state_max
    reachable = within & (np.abs(op.threshold) < FAR * np.abs(h).max())
    moved = not np.allclose(integer.threshold * program.units[name], op.threshold, rtol=share, atol=0)
    if moved or _rewritten(program, name):  # shifted, and negated where flipped: the distance from the threshold stays
        h = np.abs(h - np.where(reachable, op.threshold, 0))
        ours = np.abs(ours - integer.threshold * program.units[name])
    h, ours = np.where(reachable, h, 0), np.where(reachable, ours, 0)
    reach = max(
        float(np.abs(known.membranes[name]).max()),
        float(np.where(reachable, np.abs(op.threshold), 0).max(initial=0)),
    )
    near = margins_of(op, known.membranes[name])
    for sample in range(len(h)):
        same = _same_until(known, found, sample)
        steps = min(same + 1, h.shape[1])  # in the step of the first difference only the layer that differs first
        done.values["membranes"] += h[sample, :same].size
        if same and (off := float(np.abs(h[sample, :same] - ours[sample, :same]).max())) > share * reach:
            done.where.append(
                f"faithful: sample {sample}, {name} is off by {off / reach:.3g} of its reach, not {share}"
            )
            return
        if steps > same and _first(known, found, sample, same) == name:
            differs = known.spikes[name][sample, same] != found.spikes[name][sample, same]
            if (margin := float(near[sample, same][differs].max())) > share * reach:
                done.where.append(
                    f"faithful: sample {sample} step {same}, {name} fires otherwise {margin / reach:.3g} of its reach "
                    f"away from its threshold, not {share}"
                )
                return


def _rewritten(program: Program, name: str) -> bool:
    """Whether a layer was given another threshold and reset."""
    start = f"common-threshold: {name}:"
    return any(note.startswith(start) and "not a neuron" not in note for note in program.notes)


def _same_until(known: Trace, found: Trace, sample: int) -> int:
    """The first step in which any spike differs."""
    steps = next(iter(known.spikes.values())).shape[1]
    for step in range(steps):
        if any((fired[sample, step] != found.spikes[name][sample, step]).any() for name, fired in known.spikes.items()):
            return step
    return steps


def _first(known: Trace, found: Trace, sample: int, step: int) -> str:
    return next(
        name for name, fired in known.spikes.items() if (fired[sample, step] != found.spikes[name][sample, step]).any()
    )


def form(case: Case) -> tuple[Graph, dict[str, np.ndarray], Graph, dict[str, np.ndarray]] | None:
    """The graph after its inputs are quantized, and the last one before its weights are, each with inputs for it."""
    before, behind = case.after.get("quantize-inputs"), None
    for name, graph in case.after.items():
        if name not in ("quantize", "host-currents"):
            behind = graph
    if before is None or behind is None:
        return None
    given = [{n.name: _on_grid(n.op, case.inputs[n.name]) for n in g.of(Input) if n.name in case.inputs}
             for g in (before, behind)]  # fmt: skip
    return before, given[0], behind, given[1]


def _on_grid(op: object, x: np.ndarray) -> np.ndarray:
    """Inputs as the graph takes them: whole numbers of its unit."""
    assert isinstance(op, Input)
    return np.clip(np.rint(x / op.unit), op.low, op.high)
