"""The table of executors: who runs a case, and what that is held against.

An executor is a function of a case that gives what was compared, or None where it does not apply. In integers all are
held against the reference, bit for bit: what equals one equals all. Reals are held against the live module (where the
graph has none, against the oracle), spike for spike but for ties. To add one: a function, and a line in EXECUTORS.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

import numpy as np

from neurocompile.backends.onnx.executor import OnnxExecutor
from neurocompile.errors import DoesNotFit
from neurocompile.hosted import Hosted, Stage
from neurocompile.ir import Graph
from neurocompile.ir.ops import Array
from neurocompile.ir.trace import Trace
from neurocompile.simulator.engine import Engine
from neurocompile.simulator.reference import simulate_integers
from tests.fuzz.graphs import alike, faithful
from tests.fuzz.graphs.cases import Case
from tests.simulator.brute_force import NAMES, Walk, walk
from tests.simulator.engine_sweep import Compared, compare, streamed

__all__ = ["EXECUTORS", "FAST", "Check", "in_integers", "reference_of", "same"]

TOLD = ("spikes", "membranes", "potentials", "outputs")
Check = Callable[[Case], Compared | None]
Chip = Callable[[Graph, Mapping[str, Array]], Trace]


def in_integers(case: Case, chip: Chip) -> Trace:
    """A program's integers on some chip, and the host between its turns."""
    program = case.program
    assert program is not None
    if not program.integer.hosts:
        return chip(program.integer, case.of(whole_of))

    def turn(stage: Stage, given: Mapping[str, Array]) -> Trace:
        assert stage.graph is not None
        return chip(stage.graph, {
            name: program.integers_of(name, x)[0] if name in program.inputs else x.astype(np.int64)
            for name, x in given.items()
        })  # fmt: skip

    return Hosted(program.integer, program.timesteps).run(case.inputs, turn)


def whole_of(case: Case) -> dict[str, Array]:
    """The inputs in the program's integers."""
    assert case.program is not None
    return case.program.integers(case.inputs)[0]


def reference_of(case: Case) -> Trace:
    """What the reference says of a program."""
    assert case.program is not None
    arithmetic = case.program.arithmetic
    return in_integers(case, lambda graph, whole: simulate_integers(graph, arithmetic, whole, membranes=True))


def same(known: Trace, found: Trace, who: str, kinds: tuple[str, ...]) -> Compared:
    """What two traces both tell, which must be every layer of the first."""
    done = Compared()
    for kind in kinds:
        done.hold_all(kind, getattr(found, kind), getattr(known, kind))
    return named(who, done)


def joined(parts: list[Compared]) -> Compared:
    """Several comparisons as one."""
    whole = Compared()
    for part in parts:
        whole.values += part.values
        whole.mismatches += part.mismatches
        whole.where += part.where
    return whole


# -- reals -------------------------------------------------------------------------------------------------------------


def pytorch(case: Case) -> Compared | None:
    """The live module in float64 against the graph that it was lowered to."""
    if case.network is None or case.real is None:
        return None
    return alike.exact(case, alike.ran(case.real, case.inputs, case.timesteps), "lowered")


def oracle(case: Case) -> Compared | None:
    """The graph after its passes, in float64; of a small graph that is integers from the start, plain Python."""
    if case.integer:
        return _walked(case)
    if case.program is None:
        return None
    done = [alike.exact(case, alike.ran(case.program.real, case.inputs, case.timesteps), "folded")]
    found = faithful.form(case)
    if found is not None and not case.program.real.hosts:
        before, given, behind, given_behind = found
        if set(given) == set(given_behind):
            known = alike.recorded(before, alike.ran(before, given, case.timesteps))
            done.append(alike.hold(known, alike.ran(behind, given_behind, case.timesteps), "synaptic form"))
    return joined(done)


def _walked(case: Case) -> Compared | None:
    program = case.program
    assert program is not None
    graph, known = program.integer, case.of(reference_of)
    size = sum(prod(graph.edges[node.name].shape) for node in graph)
    weights = sum(np.size(getattr(node.op, "weight", 0)) for node in graph)
    # Python's numbers have no end: nothing of registers that are too small can be seen there.
    if known.overflows or case.timesteps * size > 4000 or weights > 6000:
        return None
    done = Compared()
    for sample in range(case.samples):
        whole = {name: x[sample] for name, x in case.of(whole_of).items()}
        _hold_walk(done, walk(graph, program.arithmetic, whole), graph, known, sample)
    done.where = [f"plain Python: {line}" for line in done.where]
    return done


def _hold_walk(done: Compared, found: Walk, graph: Graph, known: Trace, sample: int) -> None:
    for name, fired in known.spikes.items():
        done.hold("spikes", name, _dense(found.emitted[name], graph.edges[name].shape), fired[sample])
    for name, membranes in known.membranes.items():
        done.hold("membranes", name, _dense(found.membranes[name], graph.edges[name].shape), membranes[sample])
    for name, counts in known.counts.layers.items():
        for count in NAMES:
            done.hold("counts", f"{name} ({count})", found.counts[name][count], getattr(counts, count)[sample])


def _dense(steps: list[dict[tuple[int, ...], int]], shape: tuple[int, ...]) -> Array:
    return np.asarray([[values[place] for place in np.ndindex(*shape)] for values in steps]).reshape(-1, *shape)


# -- integers ----------------------------------------------------------------------------------------------------------


def reference(case: Case) -> Compared | None:
    """The reference itself: of a program that was compiled, against the reals."""
    if case.program is None:
        return None
    known = case.of(reference_of)
    return Compared() if case.integer else faithful.faithful(case, known)


def engine(case: Case) -> Compared | None:
    """Every instruction set of this machine: with membranes, without (which runs other loops), and as a stream."""
    program = case.program
    if program is None:
        return None
    known, done = case.of(reference_of), []
    isas = Engine.isas()
    for isa in isas:
        whole_engine = None if program.integer.hosts else Engine(program.integer, program.arithmetic, isa=isa)
        for membranes in (True, False):

            def run(
                graph: Graph,
                whole: Mapping[str, Array],
                isa: str = isa,
                membranes: bool = membranes,
                planned: Engine | None = whole_engine,
            ) -> Trace:
                engine = planned or Engine(graph, program.arithmetic, isa=isa)
                return engine.run(whole, membranes=membranes, threads=1 if membranes else 2)

            ran = in_integers(case, run)
            if not membranes:
                ran.membranes, ran.potentials = known.membranes, known.potentials
            done.append(named(f"{isa}{', membranes' * membranes}", compare(ran, known)))
    if not program.integer.hosts and case.samples > 1:
        isa = isas[case.drawn % len(isas)]
        alone, whole = Engine(program.integer, program.arithmetic, isa=isa), case.of(whole_of)
        ran = alone.run(whole, membranes=True, stream=alone.stream(case.timesteps))
        done.append(named(f"{isa}, a stream", compare(ran, streamed(program.integer, program.arithmetic, whole))))
    return joined(done)


def named(who: str, done: Compared) -> Compared:
    """With its name before all that differs."""
    done.where = [f"{who}: {line}" for line in done.where]
    return done


# -- backends ----------------------------------------------------------------------------------------------------------


def nir(case: Case) -> Compared | None:
    """The folded graph as a .nir file, read back; and the program's integers, where all neurons can be said in them."""
    from tests.fuzz.graphs.files import nir_numbers, nir_reals

    if case.program is None or case.integer:
        return None
    done = [each for each in (nir_reals(case), nir_numbers(case)) if each is not None]
    return joined(done) if done else None


def onnx(form: Any, arithmetic: Any) -> Check:
    """ONNX Runtime with a program's file: one step, or all of them; in bytes, or in float32 where that is exact."""

    def run(case: Case) -> Compared | None:
        if case.program is None:
            return None
        try:
            executor = OnnxExecutor(case.program, form, arithmetic)
        except DoesNotFit:
            return None
        found = executor.run(case.inputs, membranes=True)
        return same(case.of(reference_of), found, f"{form}, {arithmetic}", TOLD)

    return run


def lava(case: Case) -> Compared | None:
    """Lava's fixed-point processes, in one process for all cases."""
    from tests.fuzz.graphs.chips import in_lava

    return in_lava(case)


def netx(case: Case) -> Compared | None:
    """A .net file in lava-dl's own loader."""
    from tests.fuzz.graphs.chips import in_netx

    return in_netx(case)


def events(case: Case) -> Compared | None:
    """The clock of asynchronous chips against plain Python that looks everywhere all the time."""
    from tests.fuzz.graphs.chips import by_events

    return by_events(case)


def rtl(case: Case) -> Compared | None:
    """The RTL: spikes, membranes, and every cycle of the timing simulator."""
    from tests.fuzz.graphs.chips import in_rtl

    return in_rtl(case)


EXECUTORS: dict[str, Check] = {
    "pytorch": pytorch, "oracle": oracle, "reference": reference, "engine": engine,
    "onnx-step": onnx("step", "int"), "onnx-scan": onnx("scan", "int"), "onnx-float": onnx("scan", "float32"),
    "nir": nir, "events": events, "lava": lava, "netx": netx, "rtl": rtl,
}  # fmt: skip
"""By the names that ``--executors`` takes, in the order in which they run."""
FAST = ("pytorch", "oracle", "reference", "engine", "onnx-step", "onnx-scan", "onnx-float", "nir", "events")
"""Those that start no other program."""
