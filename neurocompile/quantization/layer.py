"""A neuron (or integrator) with its synapses in the target's integers: scales, shift, and the proof that they hold."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from neurocompile.arithmetic import Arithmetic
from neurocompile.errors import Problem
from neurocompile.ir.form import Layer
from neurocompile.ir.graph import Node
from neurocompile.ir.kernels import apply
from neurocompile.ir.ops import Array, Conv, Gain, Integrator, Neuron
from neurocompile.quantization.bounds import (
    Interval,
    current_ranges,
    membrane_bounds,
    weighted_range,
    written_range,
)
from neurocompile.quantization.integers import (
    aligned_unit,
    in_silicon,
    integer_gain,
    integer_parameters,
    met_above,
    off_grid,
)
from neurocompile.quantization.rows import Rows, row_groups, rows_of
from neurocompile.quantization.scales import Method, group_scales
from neurocompile.quantization.silicon import bias_exponents, reach_with, shortfalls, soft_reset_of, written_bias

__all__ = ["Choices", "Fitted", "fit_layer"]

# So many thresholds below its reset a membrane may saturate.
_REST = 16
# So many times what biases and resets reach a membrane's range has to be.
_ROOM = 4.0
# The host has wider words than the chip.
_HOST_BITS = 16
# A row of weights of which the largest has fewer steps than this, or than half of what few bits have, has lost much.
_FEW_STEPS = 8
# A step of weights on a grid has so many bits of the membrane below it, if it can, or as many as other weights have.
_FINE_BITS = 8
# Rounding that takes more than this share of a neuron's current has lost much.
_MUCH = 0.25


@dataclass(frozen=True)
class Choices:
    """What was chosen for all layers; see :func:`neurocompile.quantization.quantize`."""

    arithmetic: Arithmetic
    timesteps: int
    bits: int
    per_channel: bool
    method: Method
    host: frozenset[str] = frozenset()
    written: frozenset[str] = frozenset()

    @property
    def largest(self) -> int:
        """The largest mantissa of a weight."""
        return int(2 ** (self.bits - 1) - 1)


@dataclass
class Fitted:
    """The nodes of one layer with integers in them, the real value of a step of each membrane ``[*shape]``.

    Where there are ``problems``, ``overflows`` says that they are numbers too large for their registers, which other
    scales might mend.
    """

    nodes: list[Node]
    unit: Array
    problems: list[Problem] = field(default_factory=list)
    log: list[str] = field(default_factory=list)
    overflows: bool = False


def fit_layer(
    layer: Layer, choices: Choices, events: Mapping[str, Interval], seen: Mapping[str, Array] | None
) -> Fitted:
    """Quantize a layer: its neurons, and everything that feeds them.

    Args:
        layer: with reals.
        choices: of the target and the user.
        events: the ranges of all events (:func:`neurocompile.quantization.event_ranges`).
        seen: the events of calibration data, for the method "membrane".
    """
    problems = decays_out_of_range(layer.node, choices.arithmetic)
    if problems:
        return Fitted([], np.ones(layer.shape), problems)
    if layer.name in choices.host:
        choices = replace(choices, bits=max(_HOST_BITS, choices.bits))
    weights = _Weights(layer, choices, events, seen)
    best: Fitted | None = None
    for coarser, shift in weights.attempts():
        made = weights.with_scale(coarser, shift)
        best = _checked(weights, made, shift, events)
        if not best.problems:
            for finer in weights.finer(coarser, shift):
                made_finer = weights.with_scale(coarser, shift, finer)
                found = _checked(weights, made_finer, shift, events)
                if not found.problems:
                    made, best = made_finer, found
                    break
            said = [made.said, *(weights.losses(made) or weights.rounding(made))]
            if coarser:
                left = choices.bits - coarser
                said.append(f"in {left} of their bits, so that nothing can overflow and biases fit")
                said.append(_hint(weights))
            best.log.insert(0, f"{layer.name}: {', '.join(filter(None, said))}")
            return best
    assert best is not None
    if weights.lif is None and (largest := max(weights.exponents, default=0)):  # sums may fit with smaller ones
        fewer = replace(choices.arithmetic, weight_exponent_max=largest - 1)
        return fit_layer(layer, replace(choices, arithmetic=fewer), events, seen)
    return best


def _hint(weights: _Weights) -> str:
    """What would leave the weights of a layer more of their bits, where it reads wide inputs."""
    real = any(part.synapse.reads.carries == "real" for part in weights.parts)
    return "it reads real-valued inputs: fewer --input-bits leave them more" if real and weights.lif else ""


@dataclass(frozen=True)
class _Made:
    """Synapses with integers: their nodes, the scale of each group (and whether its weights are exact in it), and of
    each neuron ``[*shape]``."""

    nodes: list[Node]
    scale: Array
    exact: Array
    of_neurons: Array
    said: str


class _Weights:
    """The synapses of one layer, and the scales that they may have.

    ``parts`` are the layer's own, ``written`` those of which the host computes the current.
    """

    def __init__(
        self, layer: Layer, choices: Choices, events: Mapping[str, Interval], seen: Mapping[str, Array] | None
    ) -> None:
        self.layer, self.choices, self.events = layer, choices, events
        self.is_written = layer.name in choices.written
        parts = rows_of(layer)
        self.for_chip = choices.arithmetic.lif is not None
        self.lif = lif = None if layer.name in choices.host else choices.arithmetic.lif
        self.silicon = lif is not None and not shortfalls(layer.op, choices.arithmetic, written=self.is_written)
        # One threshold for all neurons of a population leaves one scale for all of their weights.
        self.common = self.silicon and isinstance(layer.op, Neuron)
        grouped = list(zip(parts, row_groups(parts, together=self.common or not choices.per_channel)))
        by_host = [self.is_written and part.synapse.reads.carries == "real" for part in parts]
        self.written = [each for each, host in zip(grouped, by_host) if host]
        own = [each for each, host in zip(grouped, by_host) if not host]
        self.parts, self.groups = [part for part, _ in own], [group for _, group in own]
        self.exponents = self._chosen_exponents()
        rows = [part.rows / 2.0**e for part, e in zip(self.parts, self.exponents)]
        error = None if seen is None else _membrane_error(layer, self.parts, self.exponents, seen)
        scale, self.exact = group_scales(rows, self.groups, choices.bits, choices.method, error)
        floor = _least_scales(layer, self.parts, self.groups, len(scale), choices)
        # Weights of nothing have no scale of their own: what else moves the membrane is taken for the largest of them.
        reach = floor * choices.arithmetic.state_max / _ROOM
        silent = _silent(self.parts, self.groups, len(scale))
        scale = np.where(silent & (reach > 0), reach / choices.largest, scale)
        self.coarsened = (scale < floor) & (not self.for_chip)
        self.floor, self.scale = floor, np.where(self.coarsened, floor, scale)
        self.exact &= ~self.coarsened
        self.divisible = np.where(self.exact & ~silent, choices.largest // self._grid_steps(), 1)

    def _chosen_exponents(self) -> list[int]:
        """By how many bits the weights of each source are shifted left."""
        none, arithmetic, bits = [0] * len(self.parts), self.choices.arithmetic, self.choices.bits
        if self.lif:
            return _exponents(self.parts, self.groups, self.lif.weight_exponent_max)
        most = min(arithmetic.weight_exponent_max, arithmetic.weight_bits_max - bits)
        if self.for_chip or most <= 0 or len(self.parts) < 2:
            return none
        _, exact = group_scales([part.rows for part in self.parts], self.groups, bits, "max", None)
        return none if exact.all() else _source_exponents(self.parts, self.groups, most)

    def attempts(self) -> Iterator[tuple[int, int]]:
        """By how many bits scales may be made coarser, and by how many the sum may be shifted: finest first."""
        arithmetic, bits = self.choices.arithmetic, self.choices.bits
        if self.lif is None:
            # The host shifts as little as it likes.
            least = 0 if self.for_chip else arithmetic.min_shift
            yield from ((0, shift) for shift in range(arithmetic.max_shift, least - 1, -1))
            yield from ((coarser, 0) for coarser in range(1, bits - 1 if self.for_chip else 0))
            return
        kernels = any(isinstance(part.synapse.op, Conv) for part in self.parts)
        shifts = arithmetic.shifts(bits, None if kernels else max(self.exponents, default=0))
        for coarser in range(bits - 1):
            yield from ((coarser, shift) for shift in reversed(shifts))

    def finer(self, coarser: int, shift: int) -> Iterator[int]:
        """Into how many parts the step of weights on a grid may be cut, finest first, where a shift leaves few.

        Beside sources of many steps a shift is small; biases, thresholds and leaks would have the steps of a weight.
        """
        most = int(self.divisible.max(initial=1))
        if self.lif is None and not self.layer.gains and not coarser:
            below = max(_FINE_BITS, self.choices.bits)
            yield from (1 << k for k in range(below - shift, 0, -1) if 1 << k <= 2 * most)

    def with_scale(self, coarser: int, shift: int, finer: int = 1) -> _Made:
        """The synapses in integers; steps of weights on a grid in so many parts at most."""
        largest = self.choices.largest
        scale, exact = self._scales(coarser, shift, finer)
        nodes, clipped = [], 0
        for part, group, exponent in zip(self.parts, self.groups, self.exponents):
            whole = np.rint(part.rows / (scale[group][:, None] * 2.0**exponent))
            clipped += int((np.abs(whole) > largest).sum())
            rows = np.clip(whole, -largest, largest).astype(np.int64) << exponent
            nodes.append(part.with_rows(rows))
        said = [
            f"{self.choices.bits}-bit weights, {len(scale)} scales {scale.min():.4g}..{scale.max():.4g}",
            f"{clipped} weights clipped" if clipped else "",
            f"{int(self.coarsened.sum())} made coarser so that biases and resets fit" if self.coarsened.any() else "",
            f"{int(exact.sum())} on their own grid and kept exactly" if exact.any() else "",
            *(f"{part.synapse.name} times 2**{e}" for part, e in zip(self.parts, self.exponents) if e),
        ]
        of_neurons = np.full(self.layer.shape, scale[0]) if self.common else self._of_neurons(scale)
        of_host = self._in_host_steps(scale)
        nodes += [part.with_rows(np.rint(rows / step).astype(np.int64)) for part, rows, step in of_host]
        if of_host:
            names = ", ".join(part.synapse.name for part, _, _ in of_host)
            said.append(f"the host computes {names} in {_HOST_BITS}-bit weights and writes it in steps of a weight")
        if self.layer.gains:
            steps = {part.synapse.way[0].node.name: step for part, _, step in of_host}
            gains, lost = self._integer_gains(of_neurons, steps)
            nodes += gains
            said.append(lost)
        return _Made(nodes, scale, exact, of_neurons, ", ".join(filter(None, said)))

    def _in_host_steps(self, scale: Array) -> list[tuple[Rows, Array, float]]:
        """The weights of the host, in steps of the layer's weights, and the step that they have there.

        It is the finest in which they have the host's bits, and half of an accumulator holds their sum.
        """
        found = []
        for part, group in self.written:
            rows = part.rows / scale[group][:, None]
            synapse = replace(part.synapse, node=part.with_rows(rows))
            reach = weighted_range(synapse, self.events[synapse.event])
            top = max(float(np.abs(end).max(initial=0.0)) for end in (reach.low, reach.high))
            largest = float(np.abs(rows).max(initial=0.0)) / (2 ** (_HOST_BITS - 1) - 1)
            found.append((part, rows, max(largest, 2 * top / self.choices.arithmetic.accumulator_max) or 1.0))
        return found

    def _integer_gains(self, of_neurons: Array, steps: Mapping[str, float]) -> tuple[list[Node], str]:
        """The gains in mantissas, and what that loses; ``steps`` by gain, where what comes in is counted in others."""
        nodes, off, fractions = [], 0.0, []
        for node in self.layer.gains:
            assert isinstance(node.op, Gain)
            real = replace(node.op, gains=node.op.gains * steps.get(node.name, 1.0))
            whole = integer_gain(real, of_neurons, self.choices.arithmetic)
            nodes.append(replace(node, op=whole))
            off = max(off, float(np.abs(whole.gains / 2.0**whole.fraction - real.gains).max()))
            fractions.append(whole.fraction)
        if all(np.all(node.op.gains == 1) for node in self.layer.gains if isinstance(node.op, Gain)):
            return nodes, ""  # of the host alone
        said = f"{len(nodes)} gains with {min(fractions)} bits behind the point or more, off by at most {off:.2g}"
        return nodes, f"{said}, what they give rounded to steps of a weight"

    def _scales(self, coarser: int, shift: int, finer: int) -> tuple[Array, Array]:
        """The scale of each group, and whether its weights are exact in it.

        On a chip whose thresholds and biases move in steps of (half) a weight, and behind a Gain, whose products are
        rounded to such steps, weights that lie on a grid take many steps of a finer one: they stay exact, and the
        others gain. In a population it is the one that meets the threshold best.
        """
        lif, scale = self.lif, self.scale * 2.0**coarser
        if lif is None and not self.layer.gains:
            return scale / np.minimum(finer, self.divisible), self.exact & (coarser == 0)
        finest = np.where(self.exact, self.choices.largest // self._grid_steps(), 1) >> coarser
        if lif is None:  # biases and resets have to fit all the same
            fitting = np.divide(self.scale, self.floor, out=np.full(len(scale), np.inf), where=self.floor > 0)
            finest = np.minimum(finest, np.maximum(np.minimum(fitting, self.choices.largest), 1).astype(np.int64))
        exact = self.exact & (finest > 0)
        if lif is None or not self.common:
            return np.where(exact, self.scale / np.maximum(finest, 1), scale), exact
        if not exact.any():
            unit = aligned_unit(self.layer.op, scale[0] / 2.0**shift, lif)
            return np.full(len(scale), unit * 2.0**shift), exact
        most = int(finest[0])
        tried = [self.scale[0] / k for k in range(most, (most + 1) // 2 - 1, -1) if k]
        best = min(tried, key=lambda each: off_grid(self.layer.op, each / 2.0**shift, lif))
        return np.full(len(scale), best), exact

    def _grid_steps(self) -> Array:
        """For each group the largest weight, in steps of the grid."""
        steps = np.ones(len(self.scale), np.int64)
        for part, group, exponent in zip(self.parts, self.groups, self.exponents):
            each = np.abs(part.rows / (self.scale[group][:, None] * 2.0**exponent)).max(1, initial=0.0)
            np.maximum.at(steps, group, np.rint(each).astype(np.int64))
        return np.minimum(steps, self.choices.largest)

    def _of_neurons(self, scale: Array) -> Array:
        """The scale of each neuron: that of the rows that reach it."""
        found = np.ones(self.layer.shape)
        for part, group in (*zip(self.parts, self.groups), *self.written):
            row = part.reaches
            found = np.where(row >= 0, scale[group][np.maximum(row, 0)], found)
        return found

    def losses(self, made: _Made) -> list[str]:
        """Which rows have few steps left, because what they share a scale (or an exponent) with is much larger."""
        said = []
        for part, group, exponent in zip(self.parts, self.groups, self.exponents):
            tops = np.abs(part.rows).max(1, initial=0.0)
            steps = np.rint(tops / (made.scale[group] * 2.0**exponent))
            few = (steps < min(_FEW_STEPS, self.choices.largest / 2)) & (tops > 0) & ~made.exact[group]
            if few.any():
                worst = int(np.argmin(np.where(few, steps, np.inf)))
                ratio = float(tops.max() / tops[worst])
                said.append(
                    f"PRECISION LOST: {part.synapse.name} keeps at most {int(steps[few].max())} of "
                    f"{self.choices.largest} steps in {int(few.sum())} of {len(few)} rows (worst: row {worst}, "
                    f"{int(steps[worst])} steps; others of this layer reach {max(ratio, self._above(tops, worst)):.3g} "
                    f"times as far): {self._mend(ratio)}"
                )
        return said

    def rounding(self, made: _Made) -> list[str]:
        """Which neurons lose much of their current though their rows have steps: what reaches far has small weights.

        So it is where numbers of many steps, whose unit went into the weights, stand beside spikes.
        """
        largest, said = self.choices.largest, []
        for part, group, exponent in zip(self.parts, self.groups, self.exponents):
            event = self.events[part.synapse.event]
            reach = np.maximum(np.abs(event.low), np.abs(event.high))[None]
            if reach.max(initial=0.0) <= 1:  # alike
                continue
            exact = part.rows / (made.scale[group][:, None] * 2.0**exponent)
            off = exact - np.clip(np.rint(exact), -largest, largest)
            lost, whole = (apply(part.with_rows(np.abs(rows)).op, [reach])[0] for rows in (off, exact))
            share = np.divide(lost, whole, out=np.zeros(whole.shape), where=whole > 0)
            if (many := share > max(_MUCH, 2 / largest)).any():
                said.append(
                    f"PRECISION LOST: {part.synapse.name}: rounding its weights takes up to {share.max():.0%} of the "
                    f"current of {int(many.sum())} of {many.size} neurons, for what reaches furthest (up to "
                    f"{int(reach.max())}) has the smallest weights: {self._mend_reach()}"
                )
        return said

    def _mend_reach(self) -> str:
        most = self.choices.arithmetic.weight_bits_max
        return f"use fewer --input-bits, more --bits (up to {most}), or read real-valued inputs in a layer of their own"

    def _mend(self, within: float) -> str:
        """What would leave such weights more steps; ``within`` is how much larger others of the same source are."""
        arithmetic = self.choices.arithmetic
        most = self.lif.weight_exponent_max if self.lif else arithmetic.weight_exponent_max
        if within >= _FEW_STEPS and not self.choices.per_channel:
            return "use --per channel, which gives each channel a scale of its own"
        more = f"use more --bits (up to {arithmetic.weight_bits_max})"
        if len(self.parts) > 1 and within < _FEW_STEPS and not most and not self.lif:
            return f"{more}, or --target generic or loihi2, which have an exponent for each source"
        return f"{more}, or train these sources to weights of a like size"

    def _above(self, tops: Array, worst: int) -> float:
        """How far the other synapses of the layer reach above one row."""
        return max(float(np.abs(part.rows).max(initial=0.0)) for part in self.parts) / float(tops[worst])


def _exponents(parts: Sequence[Rows], groups: Sequence[Array], most: int) -> list[int]:
    """How many bits each layer's weights are shifted left by, so that larger ones do not make the others coarse.

    A convolution has none. Where it meets larger weights (a skip of 1 beside trained weights), these get an exponent.
    """
    count = max((int(g.max(initial=-1)) for g in groups), default=-1) + 1
    tops = np.zeros((len(parts), count))
    for top, part, group in zip(tops, parts, groups):
        np.maximum.at(top, group, np.abs(part.rows).max(1, initial=0.0))
    kernels = [isinstance(part.synapse.op, Conv) for part in parts]
    if any(kernels):
        base = tops[kernels].max(0, initial=0.0)
    else:
        base = np.where(tops > 0, tops, np.inf).min(0, initial=np.inf)
    found = []
    for top, kernel in zip(tops, kernels):
        both = (top > 0) & (base > 0) & np.isfinite(base)
        ratio = float((top[both] / base[both]).max(initial=1.0))
        found.append(0 if kernel else min(most, max(0, int(np.ceil(np.log2(ratio) - 1e-9)))))
    return found


def _source_exponents(parts: Sequence[Rows], groups: Sequence[Array], most: int) -> list[int]:
    """The exponent of each source, for a chip whose kernels may have one as well as other weights.

    It is by how much the source mostly is larger than the smallest that it meets in a neuron, to the nearest power of
    two: then none takes bits from another. Scales differ by channel, exponents do not, so the middle channel counts.
    """
    tops = np.zeros((len(parts), max((int(g.max(initial=-1)) for g in groups), default=-1) + 1))
    for top, part, group in zip(tops, parts, groups):
        np.maximum.at(top, group, np.abs(part.rows).max(1, initial=0.0))
    sizes = []
    for top in tops:
        shared = (top > 0) & ((tops > 0).sum(0) > 1)
        least = np.where(tops > 0, tops, np.inf).min(0, initial=np.inf)
        sizes.append(float(np.median(np.log2(top[shared] / least[shared]))) if shared.any() else 0.0)
    return [min(most, max(0, int(np.rint(size)))) for size in sizes]


def _least_scales(layer: Layer, parts: Sequence[Rows], groups: Sequence[Array], count: int, choices: Choices) -> Array:
    """For each group the finest scale in which its biases and resets leave three quarters of the membrane's range free.

    Weights can be so small beside them that one step of a weight would be too fine for the membrane.
    """
    op = layer.op
    growth = _geometric(np.abs(op.decay), choices.timesteps)
    current = np.abs(getattr(op, "input_bias", 0.0)) * _geometric(
        np.abs(getattr(op, "current_decay", 0.0)), choices.timesteps
    )
    varying = sum(np.abs(g.op.bias).max(0) for g in layer.gains if isinstance(g.op, Gain) and g.op.bias.ndim)
    bias = np.abs(op.bias) + current + varying
    reach = np.broadcast_to(bias * growth, layer.shape).copy()
    for name in ("v_reset", "amount", "v_init"):
        reach += np.abs(getattr(op, name, 0.0))
    floor = np.zeros(count)
    for part, group in zip(parts, groups):
        met = part.reaches >= 0
        np.maximum.at(floor, group[part.reaches[met]], reach[met])
    return floor * _ROOM / choices.arithmetic.state_max


def _silent(parts: Sequence[Rows], groups: Sequence[Array], count: int) -> Array:
    """Which groups have no weight but 0."""
    tops = np.zeros(count)
    for part, group in zip(parts, groups):
        np.maximum.at(tops, group, np.abs(part.rows).max(1, initial=0.0))
    silent: Array = tops == 0
    return silent


def _geometric(ratio: Array, terms: int) -> Array:
    """``1 + ratio + ... + ratio**(terms - 1)`` (capped, where it explodes)."""
    apart = np.where(ratio == 1, 0.5, ratio)
    with np.errstate(over="ignore"):
        summed = np.where(ratio == 1, float(terms), (1.0 - apart**terms) / (1.0 - apart))
    return np.minimum(summed, 1e12)


def _membrane_error(layer: Layer, parts: Sequence[Rows], exponents: Sequence[int], seen: Mapping[str, Array]) -> Any:
    """The squared error, through the leak, that other weights give to the membranes behind each row."""
    decay = layer.op.decay

    def error(quantized: Sequence[Array]) -> list[Array]:
        found = []
        for part, rows, exponent in zip(parts, quantized, exponents):
            events = seen[part.synapse.event]
            op = part.with_rows(rows * 2.0**exponent - part.rows).op
            batch, steps = events.shape[:2]
            x = apply(op, [events.reshape(batch * steps, *events.shape[2:]).astype(np.float64)])
            x = x.reshape(batch, steps, *x.shape[1:])
            # Currents that are reshaped or concatenated behind their weights are weighed without the leak, all without
            # the gains of single steps.
            alike = np.ndim(decay) == 0 or x.shape[2:] == layer.shape
            leak = decay if alike else 0.0
            squares, v = np.zeros(x.shape[2:]), np.zeros((batch, *x.shape[2:]))
            for t in range(steps):
                v = leak * v + x[:, t]
                squares += (v**2).sum(0)
            of_rows = np.zeros(len(part.rows))
            np.add.at(of_rows, part.row_of.ravel(), squares.ravel())
            found.append(of_rows)
        return found

    return error


def _checked(weights: _Weights, made: _Made, shift: int, events: Mapping[str, Interval]) -> Fitted:
    """The integer layer, with what could leave its range."""
    layer, choices = weights.layer, weights.choices
    node, shape = layer.node, layer.shape
    arithmetic, timesteps = choices.arithmetic, choices.timesteps
    unit = made.of_neurons / 2.0**shift
    whole = layer.rewritten({done.name: done for done in made.nodes})
    currents = current_ranges(whole, events)
    sums = [(gain.inputs[0], "synaptic sum before its gain") for gain in layer.gains]
    for name, what in (*sums, (layer.current, "synaptic sum")):
        if currents[name].magnitude > arithmetic.accumulator_max:
            limit = arithmetic.accumulator_max, arithmetic.accumulator_bits
            return _overflow(node, unit, what, currents[name], *limit, timesteps)
    op: Any = integer_parameters(node.op, unit, shape, shift, arithmetic)
    log = [f"{node.name}: membrane in steps of {unit.min():.4g}..{unit.max():.4g} (shift {shift})"]
    if weights.silicon:
        written = written_bias(op, written_range(whole, events)) if weights.is_written else None
        rounded = in_silicon(op, node.op, float(unit.flat[0]), arithmetic, written)
        if rounded is None:
            return Fitted([], unit, [_beyond_registers(node, op, arithmetic, written)], overflows=True)
        op = rounded
        log.append(_grid_losses(node, op, unit, arithmetic))
    # Far below its threshold a membrane may rest at the end of its register: it comes back later, but does not wrap.
    rests = weights.for_chip and isinstance(op, Neuron) and _may_rest_below(op, arithmetic)
    reach = membrane_bounds(op, currents[layer.current], shape, arithmetic, timesteps, saturates_below=rests)
    most = arithmetic.state_max
    if rests and reach.low.min() <= arithmetic.state_min:
        far = arithmetic.state_max / float(np.max(op.threshold))
        log.append(f"{node.name}: a membrane may saturate {far:.4g} thresholds below its reset; runs count if it does")
        reach = Interval(np.maximum(reach.low, 1 - most), reach.high)
    if weights.silicon and isinstance(op, Integrator) and arithmetic.lif is not None:
        most = arithmetic.lif.threshold_max << arithmetic.lif.threshold_shift  # a readout must not fire
    if reach.magnitude >= most:
        limit = most, arithmetic.state_bits
        return _overflow(node, unit, "membrane", reach, *limit, timesteps)
    if not weights.silicon and (added := _added(node.op, unit, rests)).magnitude > arithmetic.state_max:
        return _overflow(node, unit, "bias", added, arithmetic.state_max, arithmetic.state_bits, timesteps)
    if (taken := _subtracted(node.op, op, unit, reach)) is not None and taken.magnitude > arithmetic.state_max:
        limit = arithmetic.state_max, arithmetic.state_bits
        return _overflow(node, unit, "soft reset", taken, *limit, timesteps)
    if weights.silicon and isinstance(op, Neuron) and op.reset == "by":
        x = currents[layer.current].low * 2.0**shift
        for what, reached, most in _of_compartments(op, x, reach, arithmetic):
            if reached.magnitude > most:
                return _overflow(node, unit, what, reached, most, arithmetic.state_bits, timesteps)
    return Fitted([*made.nodes, replace(node, op=op)], unit, [], log)


def _added(real: Any, unit: Array, rests: bool) -> Interval:
    """The biases in steps of the membrane, before the register clips them; ``rests``: below, it may."""
    biases = [np.rint(getattr(real, name, np.zeros(())) / unit) for name in ("bias", "input_bias")]
    low = np.zeros(unit.shape) if rests else np.minimum.reduce([np.minimum(each, 0.0) for each in biases])
    return Interval(low, np.maximum.reduce([np.maximum(each, 0.0) for each in biases]))


def _subtracted(real: Any, op: Any, unit: Array, reach: Interval) -> Interval | None:
    """What a soft reset takes, in steps of the membrane and as a real, from the neurons that can fire."""
    if not isinstance(op, Neuron) or op.reset != "by":
        return None
    fires = np.where(op.flip, reach.low <= op.threshold, reach.high >= op.threshold)
    if op.negative_threshold is not None:
        fires |= reach.low <= op.negative_threshold
    steps = np.where(fires, np.rint(np.abs(real.amount) / unit), 0.0)
    return Interval(-steps, steps)


def _of_compartments(
    op: Neuron, x: Array, reach: Interval, arithmetic: Arithmetic
) -> Iterator[tuple[str, Interval, int]]:
    """What the first of two compartments reaches beyond what one would, and the most it may: it must not fire, and
    hears what is subtracted together with its input, which is ``x`` at least."""
    lif, high = arithmetic.lif, np.maximum(reach.high, 0.0)
    assert lif is not None
    yield "membrane without a reset", Interval(high, high), lif.threshold_max << lif.threshold_shift
    low = np.minimum(x, 0.0) - op.amount
    yield "synaptic sum with what a spike subtracts", Interval(low, low), arithmetic.state_max


def _may_rest_below(op: Neuron, arithmetic: Arithmetic) -> bool:
    """Whether the membrane saturates, many times further below its reset than its threshold is above."""
    ordinary = not np.any(op.flip) and op.negative_threshold is None and arithmetic.overflow == "saturate"
    return ordinary and float(np.min(op.threshold)) > 0 and arithmetic.state_max >= _REST * float(np.max(op.threshold))


def _grid_losses(node: Node, op: Any, unit: Array, arithmetic: Arithmetic) -> str:
    """What rounding to the chip's registers changed, beside the threshold."""
    real: Any = node.op
    lif = arithmetic.lif
    assert lif is not None
    one = 2.0**arithmetic.decay_fraction
    decays = [float(np.abs(op.decay / one - real.decay).max())]
    if isinstance(op, Neuron):
        decays.append(float(np.abs(op.current_decay / one - real.current_decay).max()))
    bias = float(np.abs(op.bias * unit - real.bias).max())
    said = f"{node.name}: on the chip's grid"
    if isinstance(op, Neuron):
        height = max(abs(float(real.threshold)), 1e-300)
        chip = (int(op.threshold) - 1 + met_above(real, lif)) * float(unit.flat[0])
        off = abs(chip - float(real.threshold)) / height
        said += f" the threshold {'is exact' if off < 1e-9 else f'is off by {off:.2%}'}"
        soft = soft_reset_of(op, arithmetic) if op.reset == "by" else None
        if soft is not None:
            taken = abs(float(op.amount) * float(unit.flat[0]) - float(real.amount)) / float(real.amount)
            weights = " + ".join(f"{mantissa} << {exponent}" for mantissa, exponent in soft.weights)
            said += f", what a spike subtracts ({weights}) {'exact' if taken < 1e-9 else f'off by {taken:.2%}'}"
        said += f", biases by at most {bias / height:.2%} of it"
    else:
        said += f" biases are off by at most {bias:.3g}"
    return said + (f", decays by at most {max(decays):.2g}" if max(decays) > 0 else ", decays exact")


def _beyond_registers(node: Node, op: Any, arithmetic: Arithmetic, written: Interval | None) -> Problem:
    lif = arithmetic.lif
    assert lif is not None
    bias, exponent = reach_with(op.bias, written), bias_exponents(lif, op, written)[-1]
    most = lif.bias_max >> lif.bias_exponent_max << exponent
    if bias > most:
        limit = f"{most} ({lif.bias_bits}-bit mantissa << {exponent})"
        if written is not None:
            return Problem(
                "what the host would write for its real-valued input is too large for the chip's bias registers, even "
                "where its weights have a single bit left: they could overflow",
                node.name,
                f"{bias} steps of the membrane",
                limit,
                "train smaller weights on that input, or put a spiking layer behind it",
            )
        return Problem(
            "its biases are too large for the chip's registers, even where its weights have a single bit left: "
            "they could overflow",
            node.name,
            f"{bias} steps of the membrane",
            limit,
            "train smaller biases, or larger weights; for a layer that reads real-valued inputs, fewer --input-bits",
        )
    limit = f"{lif.threshold_max} << {lif.threshold_shift}"
    what = "its threshold is too large for the chip's register beside its weights: it could overflow"
    return Problem(what, node.name, str(int(np.max(op.threshold))), limit, "train a lower threshold, or larger weights")


def _overflow(node: Node, unit: Array, what: str, reach: Interval, most: int, bits: int, timesteps: int) -> Fitted:
    size = np.maximum(np.abs(reach.low), np.abs(reach.high))
    worst = [int(i) for i in np.unravel_index(np.argmax(size), size.shape)]
    factor = reach.magnitude / most
    by = f"a factor of {factor:.3g}" if factor >= 1.01 else "less than 1 %"
    problem = Problem(
        f"its {what} could overflow within {timesteps} steps, by {by}",
        f"{node.name}{worst}",
        f"+-{reach.magnitude}",
        f"+-{most} ({bits} bits)",
    )
    return Fitted([], unit, [problem], overflows=True)


def decays_out_of_range(node: Node, arithmetic: Arithmetic) -> list[Problem]:
    """Every decay of a real neuron, or of an integrator, that the target's fixed point cannot hold."""
    limit = 2.0 ** (arithmetic.decay_bits - 1 - arithmetic.decay_fraction)
    problems = []
    for name in ("decay", "current_decay", "keep"):
        values = np.atleast_1d(getattr(node.op, name, np.zeros(())))
        bad = np.flatnonzero(np.abs(values).ravel() >= limit)
        if bad.size:
            channels = ", ".join(map(str, bad[:8])) + (", ..." if bad.size > 8 else "")
            what = f"the {name} of channels {channels} is beyond what the target holds"
            actual = f"{values.ravel()[bad].min():.4g}..{values.ravel()[bad].max():.4g}"
            fix = "a batch norm on the membrane with so large a gamma / std cannot be deployed; train it smaller"
            problems.append(Problem(what, node.name, actual, f"+-{limit:g}", fix))
    return problems
