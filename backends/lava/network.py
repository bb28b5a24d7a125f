"""The text of network.py: one readable function that builds the network from Lava's processes."""

from __future__ import annotations

import keyword
import re
from dataclasses import dataclass, field

import numpy as np

from neurocompile.backends.lava.layout import lava_shape
from neurocompile.backends.lava.plan import Plan, Pool, Population, SynapseLayer
from neurocompile.program import Program

__all__ = ["NetworkSource"]

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


def build(arrays, data, period):
    """The layers by name.

    arrays: of arrays.npz; data: inputs [*shape, steps] by name; period: steps of a sample, after which each layer
    starts anew, when the first data of the next sample reach it.
    """
'''


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
        registers, one = layer.registers, 2**self.program.arithmetic.decay_fraction
        assert registers is not None
        self._uses.add("from lava.proc.lif.process import LIFReset")
        # A readout of the current needs no membrane.
        dv = one - registers.decay if registers.decay else one - 1
        bias = "0" if layer.read == "u" else f'arrays["{layer.name}.bias_mantissa"]'
        self._layer(
            layer.name,
            [
                f"LIFReset(shape={lava_shape(layer.shape)}, du={one - 1 - registers.current_decay}, dv={dv}, "
                f"vth={registers.vth},",
                f"         bias_mant={bias}, bias_exp={registers.bias_exponent},",
                f"         reset_interval=period, reset_offset={layer.depth + 1})",
            ],
        )

    def own(self, layer: Population, names: list[str]) -> None:
        """A population that Lava has no process for."""
        self._uses.add("from own.neuron import Neuron")
        reasons = "; ".join(each.what for each in layer.missing)
        self._layer(
            layer.name,
            [
                f"Neuron(shape={lava_shape(layer.shape)}, start={layer.depth + 1}, period=period,",
                f'       parameters=parameters(arrays, "{layer.name}", {names}))',
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
        self._connect(f"{self._out(pool.source, lava_shape(pool.reads))}.connect({here}.s_in)")

    # -- synapses ------------------------------------------------------------------------------------------------------

    def kernel(self, synapse: SynapseLayer) -> None:
        """A convolution that keeps its weights shared."""
        self._uses.add("from lava.proc.conv.process import Conv")
        op = synapse.op
        padding = tuple(before for before, _ in op.padding)
        self._synapse(
            synapse,
            [
                f'Conv(weight=arrays["{synapse.name}.weight"].astype(np.int32), '
                f"input_shape={lava_shape(synapse.reads)},",
                f"     padding={_across(padding, 0)}, stride={_across(op.stride, 1)}, "
                f"dilation={_across(op.dilation, 1)}, groups={op.groups}, num_message_bits={synapse.bits})",
            ],
            whole=True,
        )

    def dense(self, synapse: SynapseLayer, exponent: int) -> None:
        """A full matrix."""
        self._uses |= {"from lava.proc.dense.process import Dense", "from lava.utils.weightutils import SignMode"}
        self._synapse(
            synapse,
            [
                f'Dense(weights=arrays["{synapse.name}.weights"].astype(np.int32), weight_exp={exponent},',
                f"      num_message_bits={synapse.bits}, **MIXED)",
            ],
        )

    def sparse(self, synapse: SynapseLayer, shape: tuple[int, int], exponent: int) -> None:
        """A matrix of single connections, possibly with a delay."""
        self._uses |= {"from scipy.sparse import csr_matrix", "from lava.utils.weightutils import SignMode"}
        kind = "DelaySparse" if synapse.delay else "Sparse"
        self._uses.add(f"from lava.proc.sparse.process import {kind}")
        name = self._named(f"{synapse.name}.weights")
        delays = f" delays=waiting({name}, {synapse.delay})," if synapse.delay else ""
        self._synapse(
            synapse,
            [
                f"{kind}(weights={name},{delays} weight_exp={exponent},",
                f"{' ' * len(kind)} num_message_bits={synapse.bits}, **MIXED)",
            ],
            before=f'{name} = sparse(arrays, "{synapse.name}", {shape})',
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
        names = [population.name for population in self.plan.populations] + [pool.name for pool in self.plan.pools]
        layers = [name for name in names if name in self._made]
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

    def _synapse(self, synapse: SynapseLayer, lines: list[str], before: str = "", whole: bool = False) -> None:
        here = self._named(synapse.name)
        first, *rest = lines
        made = [before] if before else []
        made += [f"{here} = {first}", *(" " * (len(here) + 3) + line for line in rest)]
        origin, target = self.plan.shape_of(synapse.source), self.plan.shape_of(synapse.target)
        size_in = lava_shape(synapse.reads) if whole else (int(np.prod(origin)),)
        made.append(f"{self._out(synapse.source, size_in)}.connect({here}.s_in)")
        size_out, wanted = lava_shape(target) if whole else (int(np.prod(target)),), lava_shape(target)
        reshape = "" if size_out == wanted else f".reshape({wanted})"
        made.append(f"{here}.a_out{reshape}.connect({self._names[synapse.target]}.a_in)")
        self._synapses.append(_Lines(made))

    def _out(self, name: str, wanted: tuple[int, ...]) -> str:
        shape = lava_shape(self.plan.shape_of(name))
        port = f"{self._names[name]}.s_out"
        return port if shape == wanted else f"{port}.reshape({wanted})"

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
    "Dense", "Sparse", "DelaySparse", "LIFReset", "SignMode", "Neuron", "MaxPool", "MIXED",
}  # fmt: skip


@dataclass(frozen=True)
class _Lines:
    lines: list[str] = field(default_factory=list)


def _across(values: tuple[object, ...], missing: object) -> tuple[object, ...]:
    """(height, width) as (width, height); a single axis is the width."""
    return (values[0], missing) if len(values) == 1 else tuple(values[::-1])
