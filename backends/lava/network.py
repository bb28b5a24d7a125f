"""The text of network.py: one readable function that builds the network from Lava's processes."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass, field

import numpy as np

from neurocompile.backends.lava.layout import lava_shape, rank_of
from neurocompile.backends.lava.plan import Plan, Pool, Population, SynapseLayer
from neurocompile.ir.ops import Array
from neurocompile.program import Program

__all__ = ["End", "NetworkSource", "Way", "ends_of"]

_HEAD = '''"""{title}

Made by neurocompile {version}. `build` is called by run.py. Layers are [width, height, channel] in Lava.
"""

{imports}

MIXED = {{"num_weight_bits": 8, "sign_mode": SignMode.MIXED}}


def sparse(arrays, name, shape):
    """A matrix of synapses, by rows."""
    parts = (arrays[f"{{name}}.{{part}}"] for part in ("data", "indices", "indptr"))
    return csr_matrix(tuple(parts), shape, dtype=np.int32)


def waiting(matrix, steps):
    """A delay of so many steps for every synapse of a matrix."""
    return csr_matrix((np.full(matrix.nnz, steps, int), matrix.indices, matrix.indptr), matrix.shape)


def parameters(arrays, name, names):
    """The neuron equation of a layer of our own; numbers as numbers."""
    found = {{each: arrays[f"{{name}}.{{each}}"] for each in names}}
    return {{each: value if value.ndim else value.item() for each, value in found.items()}}


def written(biases):
    """Biases [*shape, steps] as a data set: each row is written after a step, for the next one."""
    steps = biases.shape[-1]
    return [(biases[..., (step + 1) % steps], 0) for step in range(steps)]


def build(arrays, data, period):
    """The layers by name.

    arrays: of arrays.npz; data: inputs, and what run.py computed, [*shape, steps] by name; period: steps of a sample,
    after which each layer starts anew, when the first data of the next sample reach it.
    """
'''


@dataclass(frozen=True)
class End:
    """One process at the end of a synapse: ``numbers[i]`` is the place in it of element i of its layer (both in Lava's
    order), -1 for those that it does not have; None: it has all."""

    name: str
    shape: tuple[int, ...]
    numbers: Array | None = None

    @property
    def size(self) -> int:
        """How many neurons it has."""
        return int(np.prod(self.shape))

    @property
    def is_whole(self) -> bool:
        """Whether it is all of its layer."""
        return self.numbers is None

    def holds(self, elements: Array) -> Array:
        """Which of these elements of the layer it has."""
        return np.ones(len(elements), bool) if self.numbers is None else self.numbers[elements] >= 0

    def within(self, elements: Array) -> Array:
        """Where they are in it."""
        return elements if self.numbers is None else self.numbers[elements]


@dataclass(frozen=True)
class Way:
    """A process of synapses, by its name, between two others."""

    name: str
    source: End
    target: End


def ends_of(plan: Plan, name: str) -> list[End]:
    """The processes of a layer, an input or a pool."""
    shape = plan.shape_of(name)
    parts = plan.parts_of(name)
    if not parts:
        return [End(name, lava_shape(shape))]
    ranks = rank_of(shape)
    ends = []
    for part in parts:
        numbers = np.full(len(ranks), -1)
        numbers[ranks[part.neurons]] = np.arange(len(part.neurons))
        ends.append(End(part.name, (len(part.neurons),), numbers))
    return ends


class NetworkSource:
    """Collects the lines of ``build`` while the arrays of the bundle are written."""

    def __init__(self, program: Program, plan: Plan) -> None:
        self.program, self.plan = program, plan
        self._names: dict[str, str] = {}
        self._made: dict[str, list[str]] = {}
        self._uses: set[str] = set()
        self._synapses: list[_Lines] = []
        for source in plan.sources:
            self._named(source.name)

    # -- layers --------------------------------------------------------------------------------------------------------

    def stock(self, layer: Population) -> None:
        """A population of Lava's LIF neurons; it starts when its first data arrive (no bias acts before)."""
        registers = layer.registers
        assert registers is not None
        decays = int(np.max(registers.decay)), int(np.max(registers.current_decay))
        self._layer(layer.name, self._lif(layer, layer.name, lava_shape(layer.shape), *decays))
        self._written(layer, layer.name)

    def parts(self, layer: Population) -> None:
        """A layer of Lava's LIF neurons with several decays: a population for each."""
        for part in layer.parts:
            shape = (len(part.neurons),)
            lines = self._lif(layer, part.name, shape, part.decay, part.current_decay)
            self._layer(part.name, lines, f"those neurons of {layer.name} that keep {part.decay} / 4096")
            self._written(layer, part.name)

    def _written(self, layer: Population, name: str) -> None:
        """What the host adds to a population's biases, written at each step."""
        if not layer.is_biased:
            return
        self._uses.add("from lava.proc.io.dataloader import StateDataloader")
        here = self._named(f"{name}.bias")
        self._synapses.append(
            _Lines([
                "# biases that run.py has computed of real-valued inputs",
                f'{here} = StateDataloader(dataset=written(data["{name}.bias"]))',
                f"{here}.connect_var({self._names[name]}.bias_mant)",
            ])
        )  # fmt: skip

    def _lif(self, layer: Population, name: str, shape: tuple[int, ...], decay: int, current_decay: int) -> list[str]:
        registers, one = layer.registers, 2**self.program.arithmetic.decay_fraction
        assert registers is not None
        self._uses.add("from lava.proc.lif.process import LIFReset")
        # A readout of the current needs no membrane.
        dv = one - decay if decay else one - 1
        bias = "0" if layer.read == "u" else f'arrays["{name}.bias_mantissa"]'
        bias = f'data["{name}.bias"][..., 0]' if layer.is_biased else bias
        return [
            f"LIFReset(shape={shape}, du={one - 1 - current_decay}, dv={dv}, vth={registers.vth},",
            f"         bias_mant={bias}, bias_exp={registers.bias_exponent},",
            f"         reset_interval=period, reset_offset={layer.depth + 1})",
        ]

    def own(self, layer: Population, names: list[str]) -> None:
        """A population that Lava has no process for."""
        self._uses.add("from own.neuron import Neuron")
        reasons = "; ".join(each.what for each in layer.missing)
        given = f', written=data["{layer.name}.current"]' if layer.written else ""
        self._layer(
            layer.name,
            [
                f"Neuron(shape={lava_shape(layer.shape)}, start={layer.depth + 1}, period=period,",
                f'       parameters=parameters(arrays, "{layer.name}", {names}){given})',
            ],
            f"CPU simulation only: {reasons}",
        )

    def host(self, layer: Population) -> None:
        """A population whose spikes the host has computed (a readout sends none)."""
        if layer.is_readout:
            return
        self._uses.add("from lava.proc.io import source")
        self._layer(layer.name, [f'source.RingBuffer(data=data["{layer.name}"])'], "computed by run.py on the host")

    def pool(self, pool: Pool) -> None:
        """A max-pool, which Lava has no process for."""
        self._uses.add("from own.pool import MaxPool")
        geometry = {
            "kernel": _across(pool.op.kernel, 1),
            "stride": _across(pool.op.stride, 1),
            "padding": _across(pool.op.padding, (0, 0)),
            "dilation": _across(pool.op.dilation, 1),
        }
        said = ", ".join(f"{name}={value}" for name, value in geometry.items())
        self._layer(
            pool.name,
            [
                f"MaxPool(shape_in={lava_shape(pool.reads)}, shape_out={lava_shape(pool.shape)},",
                f"        {said}, wait={pool.wait})",
            ],
            "CPU simulation only: max-pooling",
        )
        here = self._names[pool.name]
        (end,) = ends_of(self.plan, pool.source)
        self._connect(f"{self._out(end, lava_shape(pool.reads))}.connect({here}.s_in)")

    # -- synapses ------------------------------------------------------------------------------------------------------

    def kernel(self, synapse: SynapseLayer) -> None:
        """A convolution that keeps its weights shared."""
        self._uses.add("from lava.proc.conv.process import Conv")
        op, reads = synapse.weights.op, lava_shape(synapse.weights.reads.shape)
        padding = tuple(before for before, _ in op.padding)
        (origin,), (target,) = ends_of(self.plan, synapse.source), ends_of(self.plan, synapse.target)
        self._synapse(
            Way(synapse.name, origin, target),
            [
                f'Conv(weight=arrays["{synapse.name}.weight"].astype(np.int32), input_shape={reads},',
                f"     padding={_across(padding, 0)}, stride={_across(op.stride, 1)}, "
                f"dilation={_across(op.dilation, 1)}, groups={op.groups}, num_message_bits={synapse.bits})",
            ],
            reads=reads,
        )

    def dense(self, synapse: SynapseLayer, way: Way, exponent: int) -> None:
        """A full matrix."""
        self._uses |= {"from lava.proc.dense.process import Dense", "from lava.utils.weightutils import SignMode"}
        self._synapse(
            way,
            [
                f'Dense(weights=arrays["{way.name}.weights"].astype(np.int32), weight_exp={exponent},',
                f"      num_message_bits={synapse.bits}, **MIXED)",
            ],
        )

    def sparse(self, synapse: SynapseLayer, way: Way, exponent: int) -> None:
        """A matrix of single connections, possibly with a delay."""
        self._uses |= {"from scipy.sparse import csr_matrix", "from lava.utils.weightutils import SignMode"}
        kind = "DelaySparse" if synapse.delay else "Sparse"
        self._uses.add(f"from lava.proc.sparse.process import {kind}")
        name = self._named(f"{way.name}.weights")
        delays = f" delays=waiting({name}, {synapse.delay})," if synapse.delay else ""
        self._synapse(
            way,
            [
                f"{kind}(weights={name},{delays} weight_exp={exponent},",
                f"{' ' * len(kind)} num_message_bits={synapse.bits}, **MIXED)",
            ],
            before=f'{name} = sparse(arrays, "{way.name}", {(way.target.size, way.source.size)})',
        )

    # -- text ----------------------------------------------------------------------------------------------------------

    def text(self) -> str:
        """The module."""
        from neurocompile import __version__

        used = {synapse.source for synapse in self.plan.synapses} | {pool.source for pool in self.plan.pools}
        for source in (each for each in self.plan.sources if each.name in used):
            self._uses.add("from lava.proc.io import source")
            self._made[source.name] = [f'{self._names[source.name]} = source.RingBuffer(data=data["{source.name}"])']
        lines = [line for made in self._made.values() for line in made]
        for synapse in self._synapses:
            lines += ["", *synapse.lines]
        inputs = {each.name for each in self.plan.sources}
        layers = [name for name in self._made if name not in inputs]
        lines += ["", "return {", *(f'    "{name}": {self._names[name]},' for name in layers), "}"]
        layers_ = len(self.plan.populations)
        title = f"A network of {layers_} layers for {self.program.target}, T = {self.program.timesteps}."
        self._uses |= {"from scipy.sparse import csr_matrix", "from lava.utils.weightutils import SignMode"}
        imports = "\n".join(["import numpy as np", *sorted(self._uses)])
        head = _HEAD.format(title=title, version=__version__, imports=imports)
        return head + "\n".join(f"    {line}" if line else "" for line in lines) + "\n"

    def _layer(self, name: str, lines: list[str], remark: str = "") -> None:
        here = self._named(name)
        first, *rest = lines
        said = [f"# {remark}"] if remark else []
        self._made[name] = [*said, f"{here} = {first}", *(" " * (len(here) + 3) + line for line in rest)]

    def _synapse(self, way: Way, lines: list[str], before: str = "", reads: tuple[int, ...] | None = None) -> None:
        here = self._named(way.name)
        first, *rest = lines
        made = [before] if before else []
        made += [f"{here} = {first}", *(" " * (len(here) + 3) + line for line in rest)]
        made.append(f"{self._out(way.source, reads or (way.source.size,))}.connect({here}.s_in)")
        flat = reads is None and way.target.shape != (way.target.size,)
        reshape = f".reshape({way.target.shape})" if flat else ""
        made.append(f"{here}.a_out{reshape}.connect({self._names[way.target.name]}.a_in)")
        self._synapses.append(_Lines(made))

    def _out(self, end: End, wanted: tuple[int, ...]) -> str:
        port = f"{self._names[end.name]}.s_out"
        return port if end.shape == wanted else f"{port}.reshape({wanted})"

    def _connect(self, line: str) -> None:
        self._synapses.append(_Lines([line]))

    def _named(self, name: str) -> str:
        """A variable for a name, always the same, never one that is taken."""
        if name not in self._names:
            stem = re.sub(r"\W", "_", name)
            if not stem.isidentifier() or keyword.iskeyword(stem) or stem in _TAKEN:
                stem = f"layer_{stem}"
            taken, made, number = set(self._names.values()), stem, 2
            while made in taken:
                made, number = f"{stem}_{number}", number + 1
            self._names[name] = made
        return self._names[name]


# What network.py uses itself.
_TAKEN = {
    "np", "source", "arrays", "data", "period", "sparse", "waiting", "parameters", "build", "csr_matrix", "Conv",
    "Dense", "Sparse", "DelaySparse", "LIFReset", "SignMode", "Neuron", "MaxPool", "MIXED", "written",
    "StateDataloader",
}  # fmt: skip


@dataclass(frozen=True)
class _Lines:
    lines: list[str] = field(default_factory=list)


def _across(values: tuple[object, ...], missing: object) -> tuple[object, ...]:
    """(height, width) as (width, height); a single axis is the width."""
    return (values[0], missing) if len(values) == 1 else tuple(values[::-1])
