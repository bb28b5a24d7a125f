"""What a recipe is: a network, its graph, a program of it, and inputs; each source has a way to make them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from neurocompile.arithmetic import Arithmetic
from neurocompile.compiler import Options, compile_graph
from neurocompile.errors import NeurocompileError
from neurocompile.ir import Graph
from neurocompile.ir.ops import Array, Input
from neurocompile.program import Program
from neurocompile.targets import load_target
from tests.exactness import lowered
from tests.fuzz.graphs.tape import Recipe, Tape
from tests.random_networks import engine, hosted, loihi, modules, nc1, netx, reals
from tests.random_networks.graphs import Drawn

__all__ = ["SOURCES", "Case", "Plan", "compiled", "made", "of_integers"]


@dataclass(frozen=True)
class Plan:
    """How a real graph is compiled."""

    target: str
    options: Options


@dataclass
class Case:
    """Something to run.

    Attributes:
        recipe: as text; "" of a case that was shrunk.
        inputs: ``[N, T, *shape]``, in real units.
        timesteps: T.
        network: the torch module, where there is one.
        real: the graph of reals that was drawn or lowered, where there is one.
        plan: how it is compiled.
        program: None where nothing compiled.
        after: the graph after each pass, by the pass's name.
        refused: why no program was compiled for the target that was drawn first.
        words: what it was built from.
        integer: whether it was drawn as integers.
        drawn: how many choices were drawn.
        kept: what was computed of it already (:meth:`of`).
    """

    recipe: str
    inputs: dict[str, Array]
    timesteps: int
    network: modules.Network | None = None
    real: Graph | None = None
    plan: Plan | None = None
    program: Program | None = None
    after: dict[str, Graph] = field(default_factory=dict)
    refused: str = ""
    words: frozenset[str] = frozenset()
    integer: bool = False
    drawn: int = 0
    kept: dict[Any, Any] = field(default_factory=dict, repr=False)

    def of(self, what: Callable[[Case], Any]) -> Any:
        """What a function makes of this case, made once."""
        if what not in self.kept:
            self.kept[what] = what(self)
        return self.kept[what]

    @property
    def samples(self) -> int:
        return len(next(iter(self.inputs.values())))

    @property
    def rates(self) -> dict[str, float]:
        """How often each layer fires, as far as it was run."""
        for known in self.kept.values():
            if getattr(known, "spikes", None):
                return {name: float((fired != 0).mean()) for name, fired in known.spikes.items()}
        return {}

    @property
    def graph(self) -> Graph:
        """The graph that it is drawn as."""
        found = self.real if self.real is not None else self.program.integer if self.program else None
        assert found is not None
        return found


def made(recipe: Recipe) -> Case:
    """The case of a recipe.

    Raises:
        Exception: whatever the compiler raises that is no refusal; that is a fault.
    """
    tape = Tape(recipe)
    case = SOURCES[recipe.source](tape)
    return replace(case, recipe=str(recipe), drawn=tape.drawn)


# -- integers ----------------------------------------------------------------------------------------------------------


def of_integers(
    graph: Graph, arithmetic: Arithmetic, whole: Mapping[str, Array], target: str = "generic", words: Any = ()
) -> Case:
    """A case of an integer graph and integer inputs."""
    timesteps = next(iter(whole.values())).shape[1]
    units = {node.name: node.op.unit for node in graph.of(Input) if isinstance(node.op, Input)}
    program = Program(target, arithmetic, timesteps, graph, graph, {})
    inputs = {name: x * float(units[name]) for name, x in whole.items()}
    return Case("", inputs, timesteps, program=program, words=frozenset(words), integer=True)


def _of_drawn(drawn: Drawn, target: str = "generic") -> Case:
    assert drawn.arithmetic is not None
    return of_integers(drawn.graph, drawn.arithmetic, drawn.inputs, target, drawn.cases)


def _integers(tape: Tape) -> Case:
    largest, work = (3000, 1_500_000) if tape.random() < 0.08 else (900, 150_000)
    return _of_drawn(engine.random_integer_network(tape, largest, work))


def _small(tape: Tape) -> Case:
    """Small enough that plain Python walks every synapse."""
    return _of_drawn(engine.random_integer_network(tape, 40, 1500))


def _nc1(tape: Tape) -> Case:
    return _of_drawn(nc1.random_case(tape), "nc1")


def _netx(tape: Tape) -> Case:
    return _of_drawn(netx.random_case(tape.getrandbits(30), tape.choice(netx.KINDS)), "loihi2")


# -- reals -------------------------------------------------------------------------------------------------------------


def _plan(tape: Tape, targets: tuple[str, ...]) -> Plan:
    target = tape.choice(targets)
    described = load_target(target)
    encodings = [None, None, *described.code.encodings(described)]
    arithmetic = described.arithmetic
    assert arithmetic is not None
    bits = tape.choice((8, 8, 8, 4, 2, 3, 6, 12, 16, 16))
    bits = min(max(bits, arithmetic.weight_bits_min), arithmetic.weight_bits_max)
    method: Any = tape.choice(("auto", "auto", "max", "percentile", "membrane"))
    return Plan(
        target,
        Options(
            bits=bits,
            per_channel=tape.random() < 0.7,
            method=method,
            input_bits=tape.choice((8, 8, 8, 4, 1, 12, 16)),
            chips=64,
            encode=tape.choice(encodings),
        ),
    )


_ANY = ("generic", "generic", "generic", "loihi", "loihi2", "loihi2", "nc1", "odin", "truenorth", "anp-i", "async28")


def compiled(case: Case, plan: Plan) -> Case:
    """The case with a program, if its graph compiles; else with what refused it."""
    assert case.real is not None
    after: dict[str, Graph] = {}
    try:
        program = compile_graph(
            case.real, plan.target, case.timesteps, plan.options, calibration=case.inputs, after=after.__setitem__
        )
    except NeurocompileError as error:
        return replace(case, plan=plan, refused=f"{plan.target}: {error.problems[0].what.partition(' (')[0]}", kept={})
    return replace(case, plan=plan, program=program, after=after, kept={})


def _any_target(case: Case, tape: Tape) -> Case:
    """Compiled for a target that is drawn, or for generic if that refuses it."""
    plan = _plan(tape, _ANY)
    done = compiled(case, plan)
    if done.program is None and plan.target != "generic":
        told = done.refused
        done = compiled(case, Plan("generic", replace(plan.options, encode=None)))
        done.refused = told
    return done


def _of_graph(drawn: Drawn, tape: Tape) -> Case:
    return _any_target(Case("", drawn.inputs, drawn.timesteps, real=drawn.graph, words=drawn.cases), tape)


def _for_loihi(tape: Tape) -> Case:
    """For a Loihi, and for nothing else: what Lava runs."""
    drawn = loihi.deep_network(tape, mixed=tape.random() < 0.3)
    case = Case("", drawn.inputs, drawn.timesteps, real=drawn.graph, words=drawn.cases)
    return compiled(case, _plan(tape, ("loihi", "loihi2")))


def _of_network(network: modules.Network, tape: Tape) -> Case:
    model = lowered(network)
    inputs = dict(network.inputs)
    case = Case("", inputs, network.timesteps, network=network, real=model.graph, words=network.cases)
    case.kept["model"] = model
    return _any_target(case, tape)


SOURCES: dict[str, Callable[[Tape], Case]] = {
    "integers": _integers,
    "small": _small,
    "reals": lambda tape: _of_graph(reals.random_real_graph(tape), tape),
    "deep": lambda tape: _of_graph(loihi.deep_network(tape, mixed=tape.random() < 0.3), tape),
    "loihi": _for_loihi,
    "torch": lambda tape: _of_network(modules.random_network(tape, tape.choice(modules.WANTED)), tape),
    "hosted": lambda tape: _of_network(hosted.random_hosted_network(tape), tape),
    "nc1": _nc1,
    "netx": _netx,
}
"""By name, what draws a case."""
