"""The layers of a ``.net`` file: shapes, integers and registers as netx takes them, or why it cannot."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from neurocompile.arithmetic import Arithmetic, Lif
from neurocompile.backends.netx.chain import ELSEWHERE, Link, chain_of
from neurocompile.backends.netx.synapse import dense_fault, kernel_fault
from neurocompile.errors import Problem
from neurocompile.ir.arrays import compact
from neurocompile.ir.ops import Array, Conv, Input, Integrator, Neuron
from neurocompile.program import Program
from neurocompile.quantization.silicon import Registers, registers_of, shortfalls

__all__ = ["Geometry", "Layer", "Net", "net_of"]

# netx gives every bias this exponent.
_BIAS_EXPONENT = 6
# Lava keeps a convolution's geometry in signed bytes.
_GEOMETRY_MAX = 127


@dataclass(frozen=True)
class Geometry:
    """How a kernel moves, as (vertical, horizontal); ``padding`` is the same before and after."""

    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int


@dataclass(frozen=True)
class Layer:
    """One layer of the file.

    ``weight`` (``[out, in]``, or ``[out, in / groups, kH, kW]`` with a geometry) and ``recurrent`` (``[out, out]``) are
    what a spike adds to Lava's ``a_in``; ``bias`` is the mantissa: one number, ``[C, 1, 1]`` or ``[*shape]``. ``flat``
    says that the layer reads a map as a row, row-major.
    """

    name: str
    shape: tuple[int, ...]
    weight: Array
    recurrent: Array | None
    geometry: Geometry | None
    flat: bool
    registers: Registers
    bias: Array


@dataclass(frozen=True)
class Net:
    """A ``.net`` file: the shape of its input, the bits of an input's value (0: spikes), and its layers in order."""

    input_shape: tuple[int, ...]
    message_bits: int
    layers: tuple[Layer, ...]


def net_of(program: Program) -> Net | list[Problem]:
    """What netx loads for a program; or everything for which it cannot."""
    graph, arithmetic = program.integer, program.arithmetic
    if arithmetic.lif is None:
        what, fix = "netx describes Loihi's neurons, which this target does not have", "compile for loihi or loihi2"
        return [Problem(what, program.target, fix=fix)]
    links, problems = chain_of(graph)
    message_bits = 0
    for node in graph.of(Input):
        assert isinstance(node.op, Input)
        message_bits, faults = _message_bits(node.name, node.op, arithmetic)
        problems += faults
    layers: list[Layer] = []
    for link in links:
        faults = _problems_of(link, arithmetic, arithmetic.lif)
        problems += faults
        if not faults:
            layers.append(_layer(link, arithmetic))
    problems = problems or _echoes(layers, arithmetic, arithmetic.lif)
    if problems:
        return problems
    return Net(links[0].synapses.reads.shape if layers[0].geometry else links[0].given, message_bits, tuple(layers))


def _message_bits(name: str, op: Input, arithmetic: Arithmetic) -> tuple[int, list[Problem]]:
    """The bits of one input value, sign included; 0 for spikes."""
    if op.carries == "spikes" or (op.low >= 0 and op.high <= 1):
        return 0, []
    if not arithmetic.graded_spikes:
        what, fix = "its values are no spikes, and the target has no graded ones", "compile for loihi2, or feed spikes"
        return 0, [Problem(what, name, fix=fix)]
    if not np.isfinite([op.low, op.high]).all():
        return 0, [Problem("the range of its values is not known", name, fix="compile again")]
    return int(max(abs(op.low), abs(op.high))).bit_length() + int(op.low < 0), []


def _layer(link: Link, arithmetic: Arithmetic) -> Layer:
    """A layer in which nothing is wrong."""
    op, synapses = link.layer.op, link.synapses.op
    assert isinstance(op, Neuron | Integrator)
    registers = registers_of(op, arithmetic)
    assert registers is not None
    weight, *recurrent = _acting_weights(link, op.shift - arithmetic.min_shift)
    geometry = None
    if isinstance(synapses, Conv):
        (vertical, _), (horizontal, _) = synapses.padding
        stride, dilation = synapses.stride, synapses.dilation
        geometry = Geometry((stride[0], stride[1]), (vertical, horizontal), (dilation[0], dilation[1]), synapses.groups)
    return Layer(
        name=link.layer.name,
        shape=link.layer.shape,
        weight=weight,
        recurrent=recurrent[0] if recurrent else None,
        geometry=geometry,
        flat=geometry is None and len(link.given) > 1,
        registers=registers,
        bias=compact(_bias(registers), link.layer.shape),
    )


def _bias(registers: Registers) -> Array:
    """The mantissas of the biases with netx's exponent."""
    return np.asarray(registers.bias_mantissa) << (registers.bias_exponent - _BIAS_EXPONENT)


def _acting_weights(link: Link, further: int) -> list[Array]:
    """What a spike adds to Lava's ``a_in``, which Lava shifts itself: weights bring what is further."""
    return [op.weight << further for _, op in link.weights]


# -- what netx cannot hold ---------------------------------------------------------------------------------------------


def _problems_of(link: Link, arithmetic: Arithmetic, lif: Lif) -> list[Problem]:
    op, synapses = link.layer.op, link.synapses
    assert isinstance(op, Neuron | Integrator)
    problems = _neuron_problems(link.layer.name, op, arithmetic, lif)
    if isinstance(synapses.op, Conv):
        problems += _geometry_problems(synapses.name, synapses.op)
        # Inputs are fed in the shape that the first layer reads; what a layer emits has the shape it has.
        if not isinstance(link.source.op, Input) and link.given != link.synapses.reads.shape:
            what = f"netx flattens, but does not make {_written(link.synapses.reads.shape)} of {_written(link.given)}"
            problems.append(Problem(what, synapses.name, fix=ELSEWHERE))
    further = op.shift - arithmetic.min_shift
    if further < 0:
        limit = f"at least {arithmetic.min_shift}"
        problems.append(
            Problem("Loihi shifts sums further to the left", link.layer.name, str(op.shift), limit, "compile again")
        )
        return problems
    weights = _acting_weights(link, further)
    fault = kernel_fault(weights[0]) if isinstance(synapses.op, Conv) else dense_fault(weights)
    if fault:
        shifted = f", shifted left by {further} as they act here," if further else ""
        what = f"its weights{shifted} do not pass through netx: {fault}"
        problems.append(Problem(what, synapses.name, fix=f"compile with smaller shifts, or {ELSEWHERE}"))
    return problems


def _neuron_problems(name: str, op: Neuron | Integrator, arithmetic: Arithmetic, lif: Lif) -> list[Problem]:
    problems = [
        Problem(f"Loihi's neuron cannot hold it: {short.what}", name, fix=short.fix)
        for short in shortfalls(op, arithmetic, 2.0**arithmetic.decay_fraction)
    ]
    if isinstance(op, Neuron) and op.reset == "by" and not problems:
        what = "its soft reset takes two compartments a neuron, and netx has one"
        problems.append(Problem(what, name, fix="use a hard reset"))
    if isinstance(op, Neuron) and np.any(op.amplitude != 1):
        problems.append(Problem("its spikes carry a value other than 1", name, fix=ELSEWHERE))
    registers = registers_of(op, arithmetic)
    if registers is not None and any(len(np.unique(each)) > 1 for each in (registers.decay, registers.current_decay)):
        what, fix = "its neurons have different decays, and netx one for a layer", "use one decay, or --emit lava"
        problems.append(Problem(what, name, fix=fix))
    if registers is None and not problems:
        what = "its threshold or a bias does not lie on the steps of Loihi's registers"
        problems.append(Problem(what, name, fix="compile again"))
    most = 2 ** (lif.bias_bits - 1) - 1
    if registers is not None and np.any(np.abs(_bias(registers)) > most):
        what = f"a bias is too large for netx, which gives all of them the exponent {_BIAS_EXPONENT}"
        largest = int(np.abs(_bias(registers)).max())
        problems.append(Problem(what, name, str(largest), str(most), "train smaller biases"))
    return problems


def _geometry_problems(name: str, op: Conv) -> list[Problem]:
    if op.weight.ndim != 4:
        return [Problem("netx has convolutions over two axes only", name, fix=ELSEWHERE)]
    problems = []
    if any(before != after for before, after in op.padding):
        problems.append(Problem("netx pads the same before and after", name, str(op.padding), fix=ELSEWHERE))
    sizes = (*op.stride, *(before for before, _ in op.padding), *op.dilation, *op.weight.shape[2:], op.groups)
    if max(sizes) > _GEOMETRY_MAX:
        what = "Lava keeps a kernel's size, stride, padding, dilation and groups in one signed byte each"
        problems.append(Problem(what, name, str(max(sizes)), str(_GEOMETRY_MAX), ELSEWHERE))
    return problems


def _written(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _echoes(layers: list[Layer], arithmetic: Arithmetic, lif: Lif) -> list[Problem]:
    """Layers that fire before their first input arrives, where a recurrent layer would hear it.

    Layer k integrates its bias for k steps before its first data arrive. netx then clears its membranes, but not a
    spike that is on its way back to it.
    """
    recurrent = [number for number, layer in enumerate(layers, 1) if layer.recurrent is not None]
    what = "its bias alone makes a neuron fire before the first input arrives, and a recurrent layer hears that"
    return [
        Problem(what, layer.name, fix=ELSEWHERE)
        for number, layer in enumerate(layers[: max(recurrent, default=0)], 1)
        if _fires_alone(layer, number, arithmetic, lif)
    ]


def _fires_alone(layer: Layer, steps: int, arithmetic: Arithmetic, lif: Lif) -> bool:
    """Whether the neuron with the largest bias fires within so many steps, without any input."""
    bias = max(int(layer.bias.max()), 0) << _BIAS_EXPONENT
    membrane = 0
    for _ in range(steps):
        membrane = (membrane * int(np.max(layer.registers.decay)) >> arithmetic.decay_fraction) + bias
    # Without a spike the membrane only rises.
    return membrane > layer.registers.vth << lif.threshold_shift
