"""The files of a bundle: arrays, a readable network.py, what run.py needs to know, and samples to try it with."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from typing import Any

import numpy as np

from neurocompile.backends.lava.arrays import Arrays
from neurocompile.backends.lava.currents import host_current, windows_of
from neurocompile.backends.lava.layout import lava_order, lava_shape, rank_of
from neurocompile.backends.lava.network import NetworkSource, Way, ends_of
from neurocompile.backends.lava.plan import Plan, Population, SynapseLayer, plan_of
from neurocompile.backends.lava.readme import readme
from neurocompile.files import pack_arrays
from neurocompile.ir.ops import Array, Input, Integrator, Linear, Neuron, Output
from neurocompile.program import Program
from neurocompile.simulator.reference import simulate_integers

__all__ = ["bundle_files"]

_RUNTIME = ("run.py", "equation.py", "requirements.txt", "own/__init__.py", "own/neuron.py", "own/pool.py")
# The parameters of a neuron of our own, as equation.step takes them.
_PARAMETERS = (
    "decay", "current_decay", "threshold", "flip", "bias", "input_bias", "v_reset", "amount", "keep", "v_init",
    "negative_threshold",
)  # fmt: skip
# More of the connections that a matrix could have than this, and it is stored as one.
_DENSE = 0.5
# A threshold that no membrane reaches.
_NEVER = 2**30


def bundle_files(program: Program, samples: Mapping[str, Array] | None = None) -> dict[str, bytes]:
    """Everything in the folder of a bundle, by file name; the same Program gives the same bytes.

    Args:
        program: for a target that Lava runs.
        samples: inputs ``[n, ...]`` or ``[n, T, ...]`` in real units that come along, with what the simulator makes of
            them; None: the Program's own, if it has any.

    Raises:
        DoesNotFit: for what Lava cannot do (:func:`neurocompile.backends.lava.plan.plan_of`).
    """
    plan = plan_of(program)
    arrays, about = Arrays(), []
    source = NetworkSource(program, plan)
    for population in plan.populations:
        about.append(_population(program, plan, population, arrays, source))
    for pool in plan.pools:
        source.pool(pool)
    for synapse in plan.synapses:
        _synapse(plan, synapse, arrays, source)
    body = {
        "target": program.target,
        "timesteps": program.timesteps,
        "latency": plan.latency,
        "streams": plan.streams,
        "inputs": {name: _input(op) for name, op in program.inputs.items()},
        "pooled": windows_of(program, arrays),
        "layers": about,
        "outputs": [_output(program, node.name, arrays) for node in program.integer.of(Output)],
    }
    runtime = resources.files("neurocompile.backends.lava") / "runtime"
    files = {name: (runtime / name).read_bytes() for name in _RUNTIME}
    files["network.py"] = source.text().encode()
    files["arrays.npz"] = pack_arrays(arrays.found)
    files["bundle.json"] = (json.dumps(body, indent=1) + "\n").encode()
    tried = _samples(program, samples)
    if tried is not None:
        files["samples.npz"] = pack_arrays(tried)
    files["README.md"] = readme(program, plan, tried is not None).encode()
    return files


def _input(op: Input) -> dict[str, Any]:
    bounds = {"low": float(op.low).hex(), "high": float(op.high).hex(), "unit": float(op.unit).hex()}
    return {"shape": list(op.shape), "carries": op.carries, **bounds}


def _output(program: Program, name: str, arrays: Arrays) -> dict[str, Any]:
    node = program.integer[name]
    assert isinstance(node.op, Output)
    arrays.keep(f"{name}.unit", node.op.unit)
    if node.op.weights is not None:
        arrays.keep(f"{name}.weights", node.op.weights)
    return {"name": name, "source": node.inputs[0], "read": node.op.read}


def _population(
    program: Program, plan: Plan, population: Population, arrays: Arrays, source: NetworkSource
) -> dict[str, Any]:
    about: dict[str, Any] = {
        "name": population.name,
        "shape": list(population.shape),
        "kind": population.kind,
        "depth": population.depth,
        "readout": population.is_readout,
        "read": population.read,
    }
    if population.kind == "stock":
        registers = population.registers
        assert registers is not None
        if population.written:
            about |= {**_by_host(program, population, arrays), "bias_exponent": registers.bias_exponent}
        arrays.keep(f"{population.name}.bias", _in_lava(population.op.bias, population.shape, flat=True))
        if not population.parts:
            arrays.keep(f"{population.name}.bias_mantissa", _in_lava(registers.bias_mantissa, population.shape))
            source.stock(population)
            return about
        biases = np.broadcast_to(registers.bias_mantissa, population.shape).ravel()
        for part in population.parts:
            arrays.keep(f"{part.name}.bias_mantissa", biases[part.neurons])
            arrays.keep(f"{part.name}.neurons", part.neurons)
        source.parts(population)
        return {**about, "parts": [part.name for part in population.parts]}
    parameters = _parameters(population)
    for name, value in parameters.items():
        arrays.keep(f"{population.name}.{name}", value)
    about["parameters"] = list(parameters)
    if population.kind == "own":
        source.own(population, list(parameters))
        return about | _by_host(program, population, arrays)
    source.host(population)
    return about | _by_host(program, population, arrays)


def _by_host(program: Program, population: Population, arrays: Arrays) -> dict[str, Any]:
    """What run.py computes of a layer's current: all of it, what it writes, or nothing."""
    if population.kind != "host" and not population.written:
        return {}
    current = host_current(program, population.name, arrays, written=population.written)
    return {"current": current, "shift": population.op.shift}


def _in_lava(values: Array, shape: tuple[int, ...], flat: bool = False) -> Array:
    """A number as it is; one a neuron in Lava's order, in Lava's shape or flat."""
    if np.ndim(values) == 0:
        return np.asarray(values)
    ordered = np.broadcast_to(values, shape).ravel()[lava_order(shape)]
    return ordered if flat else ordered.reshape(lava_shape(shape))


def _parameters(population: Population) -> dict[str, Any]:
    """The neuron equation's parameters, arrays in Lava's order (flat for the host)."""
    op, shape, flat = population.op, population.shape, population.kind == "host"
    if isinstance(op, Integrator):
        op = Neuron(np.asarray(_NEVER), op.decay, np.asarray(0), bias=op.bias, reset="none")
    found: dict[str, Any] = {}
    for name in _PARAMETERS:
        value = getattr(op, name)
        value = np.asarray(0 if value is None else value)
        value = value if value.dtype.kind == "b" else value.astype(np.int64)
        found[name] = _in_lava(value, shape, flat)
    signed = op.negative_threshold is not None
    whole = {"refractory": op.refractory, "deaf": op.deaf, "max_spikes": op.max_spikes, "reset": op.reset}
    return {**found, "signed": signed, **whole}


def _matrix(synapse: SynapseLayer, target: tuple[int, ...], source: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """All synapses of a layer: neuron, source element (both in Lava's order), weight; by neuron, then element."""
    neurons, elements, weights = synapse.weights.listed()
    rows, columns = rank_of(target)[neurons], rank_of(source)[elements]
    order = np.lexsort((columns, rows))
    return rows[order], columns[order], weights[order]


def _synapse(plan: Plan, synapse: SynapseLayer, arrays: Arrays, source: NetworkSource) -> None:
    if synapse.is_kernel:
        arrays.keep(f"{synapse.name}.weight", _kernel(synapse))
        source.kernel(synapse)
        return
    targets, sources = ends_of(plan, synapse.target), ends_of(plan, synapse.source)
    rows, columns, weights = _matrix(synapse, plan.shape_of(synapse.target), plan.shape_of(synapse.source))
    mantissas, exponent = _mantissas(weights)
    exponent += synapse.exponent - 1
    for target in targets:
        for origin in sources:
            whole = target.is_whole and origin.is_whole
            name = synapse.name if whole else f"{synapse.name}@{origin.name}@{target.name}"
            inside = target.holds(rows) & origin.holds(columns)
            if not inside.any():
                continue
            here = target.within(rows[inside]), origin.within(columns[inside]), mantissas[inside]
            way = Way(name, origin, target)
            full = inside.sum() >= _DENSE * target.size * origin.size
            if isinstance(synapse.weights.op, Linear) and not synapse.delay and full:
                matrix = np.zeros((target.size, origin.size), np.int64)
                matrix[here[0], here[1]] = here[2]
                arrays.keep(f"{name}.weights", matrix)
                source.dense(synapse, way, exponent)
            else:
                order = np.lexsort((here[1], here[0]))
                arrays.keep_sparse(name, here[0][order], here[1][order], here[2][order], target.size)
                source.sparse(synapse, way, exponent)


def _mantissas(weights: Array) -> tuple[Array, int]:
    """Weights as even mantissas of 8 bits and sign: ``weight == (mantissa / 2) << exponent``.

    Lava drops the lowest bit of a mantissa where a layer has weights of both signs; so it is kept free.
    """
    exponent = 0
    while np.abs(weights >> exponent).max(initial=0) > 127:
        exponent += 1
    mantissas = weights >> exponent
    if not np.array_equal(mantissas << exponent, weights):
        raise ValueError("these weights are no 8-bit mantissas with one exponent")
    return mantissas * 2, exponent


def _kernel(synapse: SynapseLayer) -> Array:
    """``[out, in / groups, kH, kW]`` (torch) as ``[out, kW, kH, in / groups]``, flipped, at its full scale."""
    weight = synapse.weights.op.weight
    if weight.ndim == 3:
        weight = weight[:, :, None]
    return np.ascontiguousarray(weight[:, :, ::-1, ::-1].transpose(0, 3, 2, 1)) << synapse.exponent


def _samples(program: Program, samples: Mapping[str, Array] | None) -> dict[str, Array] | None:
    """Integers to run the bundle with, and the spikes that are to come out."""
    from neurocompile.data import arrange_inputs

    given = samples or program.example
    if not given:
        return None
    few = {name: np.asarray(x)[:_SAMPLES] for name, x in given.items()}
    data = arrange_inputs(few, program.input_shapes, program.timesteps, "the samples of the bundle")
    whole, _ = program.integers(data.inputs)
    run = simulate_integers(program.integer, program.arithmetic, whole)
    found = {name: x.astype(np.int32) for name, x in whole.items()}
    return {**found, **{f"spikes/{name}": spikes for name, spikes in run.spikes.items()}}


_SAMPLES = 16
