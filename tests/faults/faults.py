"""Faults of a layer: what is done to a graph's numbers, to the rules of a layer's neurons, to what leaves them.

Each function draws one for a layer of a graph, real or in integers, and says by which names it may be called; None
where the layer has nothing that could be wrong in this way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, TypeAlias

import numpy as np

from neurocompile.arithmetic import Arithmetic
from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.ops import Array, Conv, ConvTranspose, Delay, Linear, Neuron, Reshape, Scale
from tests.faults.chip import Cell, Maker

__all__ = ["FAULTS", "OF_NUMBERS", "Change", "Fault", "Place", "scaled_bias", "weight_of"]


@dataclass(frozen=True, eq=False)
class Place:
    """Where a fault is planted: a layer of a graph; ``one`` is a decay of 1, ``r`` all that is drawn from."""

    graph: Graph
    layer: str
    one: float
    r: np.random.Generator

    @property
    def node(self) -> Node:
        """The layer's neurons."""
        return self.graph[self.layer]

    @property
    def op(self) -> Neuron:
        """Their parameters."""
        assert isinstance(self.node.op, Neuron)
        return self.node.op

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the layer."""
        return self.graph.edges[self.layer].shape

    @cached_property
    def synapses(self) -> list[Node]:
        """The weights that feed it, whether or not they read events and have biases of their own."""
        found, waiting = [], [self.node.inputs[0]]
        while waiting:
            node = self.graph[waiting.pop()]
            if isinstance(node.op, Linear | Conv | ConvTranspose) or self.graph.edges[node.inputs[0]].is_event:
                found.append(node)
            else:
                waiting += node.inputs
        return found

    @property
    def is_whole(self) -> bool:
        """Whether the graph is of integers."""
        return bool(np.asarray(self.op.threshold).dtype.kind == "i")

    def number(self, value: Any) -> Array:
        """As the graph has numbers."""
        return np.rint(value).astype(np.int64) if self.is_whole else np.asarray(value, np.float64)

    def pick(self, options: Any) -> Any:
        """One of them."""
        return options[int(self.r.integers(len(options)))]

    def neuron(self, *names: str, **settings: Any) -> Change:
        """Other parameters."""
        node = replace(self.node, op=replace(self.op, **settings))
        return Change({self.layer: node}, names=frozenset(names))

    def weights(self, change: Callable[[Array], Array], *names: str, of: Node | None = None) -> Change:
        """Other weights, of one of its synapses or of all."""
        synapses = self.synapses if of is None else (of,)
        nodes = {s.name: _with_weight(s, self.number(change(weight_of(s)))) for s in synapses}
        return Change(nodes, names=frozenset(names))

    def rule(self, cell: Callable[[], Maker], *names: str) -> Change:
        """Another rule."""
        return Change(cell=cell, names=frozenset(names))


@dataclass(frozen=True, eq=False)
class Change:
    """What a fault changes.

    Attributes:
        nodes: of the graph.
        cell: gives, for each run anew, what the layer is made of; None: what it should.
        names: of the vocabulary, each of which is right.
        alone: whether samples have to be run one after the other.
    """

    nodes: Mapping[str, Node] = field(default_factory=dict)
    cell: Callable[[], Maker] | None = None
    names: frozenset[str] = frozenset()
    alone: bool = False


Fault: TypeAlias = Callable[[Place], Change | None]


def weight_of(synapse: Node) -> Array:
    """Its weights, whatever they are called."""
    op: Any = synapse.op
    return np.asarray(op.scale if isinstance(op, Scale) else op.weight)


def _with_weight(synapse: Node, weight: Array) -> Node:
    op: Any = synapse.op
    return replace(synapse, op=replace(op, **{"scale" if isinstance(op, Scale) else "weight": weight}))


def bias_of(synapse: Node) -> Array:
    """Its bias, if it has one."""
    op: Any = synapse.op
    bias = op.shift if isinstance(op, Scale) else op.bias
    return np.asarray(0.0 if bias is None else bias)


def _with_bias(synapse: Node, bias: Array) -> Node:
    op: Any = synapse.op
    return replace(synapse, op=replace(op, **{"shift" if isinstance(op, Scale) else "bias": bias}))


# -- thresholds --------------------------------------------------------------------------------------------------------


def _is_scale_free(place: Place) -> bool:
    """Whether a scale of the weights alone is a scale of the threshold."""
    return (
        place.op.reset != "by" and not has_bias(place) and not np.any(place.op.v_reset) and not np.any(place.op.v_init)
    )


def has_bias(place: Place) -> bool:
    """Whether anything but events drives the layer."""
    return any(np.any(bias) for bias in (place.op.bias, place.op.input_bias, *map(bias_of, place.synapses)))


def _threshold(place: Place, new: Any, name: str) -> Change | None:
    """Another threshold, by every name that tells this difference."""
    old, new = np.asarray(place.op.threshold), place.number(new)
    if np.array_equal(old, new) or np.any(place.op.flip):
        return None
    names, near = {name}, 1.0 if place.is_whole else 1e-9
    ratio, lower = np.median(new / np.where(old == 0, 1, old)), new < old
    if np.all(np.abs(new - old * ratio) <= near):
        names |= {"threshold-scaled"} | ({"weights-scaled"} if _is_scale_free(place) else set())
    if np.ptp(new - old) <= near:
        names.add("threshold-shifted")
    if np.all(new <= old) and np.ptp(new[lower]) <= near and np.all(old[~lower] <= np.max(new[lower])):
        names.add("threshold-saturated")
    if place.is_whole and any(np.array_equal(new, np.rint(old / 2**k) * 2**k) for k in range(1, 22)):
        names.add("threshold-rounded")
    return place.neuron(*names, threshold=new)


def threshold_scaled(place: Place) -> Change | None:
    return _threshold(place, place.op.threshold * place.pick((0.5, 0.7, 1.3, 1.5, 2.0)), "threshold-scaled")


def threshold_shifted(place: Place) -> Change | None:
    size = np.abs(place.op.threshold).mean() * place.pick((-0.5, -0.3, 0.3, 0.6))
    return _threshold(place, place.op.threshold + place.number(size), "threshold-shifted")


def threshold_rounded(place: Place) -> Change | None:
    """To a power of two, or a multiple of one, that is not far below it."""
    step = 2.0 ** np.floor(np.log2(np.abs(place.op.threshold).max() / place.pick((0.8, 1.5, 3.0))))
    new = np.rint(place.op.threshold / step) * step
    return None if np.any(new == 0) else _threshold(place, new, "threshold-rounded")


def threshold_saturated(place: Place) -> Change | None:
    thresholds = np.unique(place.op.threshold)
    if len(thresholds) < 3 or np.any(thresholds <= 0):
        return None
    most = np.quantile(thresholds, 0.4) * place.pick((0.6, 0.8, 0.95))
    return _threshold(place, np.minimum(place.op.threshold, place.number(most)), "threshold-saturated")


# -- weights -----------------------------------------------------------------------------------------------------------


def weights_scaled(place: Place) -> Change | None:
    scale = place.pick((0.5, 0.7, 1.4, 2.0))
    names = {"threshold-scaled"} if _is_scale_free(place) and scale in (0.5, 2.0) else set()
    return place.weights(lambda w: w * scale, "weights-scaled", *names)


def weights_rounded(place: Place) -> Change | None:
    """To multiples of a power of two: few bits are left."""
    most = max(np.abs(weight_of(s)).max() for s in place.synapses)
    step = 2.0 ** np.floor(np.log2(most / place.pick((1.5, 3.0))))
    how = place.pick((np.rint, np.trunc, np.floor))
    return place.weights(lambda w: how(w / step) * step, "weights-rounded")


def weights_saturated(place: Place) -> Change | None:
    most = np.quantile(np.abs(np.concatenate([weight_of(s).ravel() for s in place.synapses])), 0.5)
    return place.weights(lambda w: np.clip(w, -most, most), "weights-saturated")


def weights_missing_of_a_source(place: Place) -> Change | None:
    """One synapse has no weights."""
    synapse = place.pick(place.synapses)
    names = {"weights-missing"} | ({"weights-scaled"} if len(place.synapses) == 1 else set())
    return place.weights(np.zeros_like, *names, of=synapse)


def weights_missing_of_a_channel(place: Place) -> Change | None:
    """One channel, of those that hear or of those that are heard, has no weights."""
    synapse = place.pick(place.synapses)
    axis = int(place.r.integers(2))
    weight = weight_of(synapse)
    if weight.ndim < 2 or weight.shape[axis] < 2:
        return None
    channel = int(place.r.integers(weight.shape[axis]))

    def without(w: Array) -> Array:
        w = w.copy()
        w[(slice(None),) * axis + (channel,)] = 0
        return w

    return place.weights(without, "weights-missing", of=synapse)


def weight_changed(place: Place) -> Change | None:
    """A single weight."""
    synapse = place.pick(place.synapses)
    weight = weight_of(synapse).copy()
    at = int(place.r.integers(weight.size))
    most = np.abs(weight).max()
    weight.flat[at] = place.number(most if weight.flat[at] < 0 else -most)
    return place.weights(lambda _: weight, "weight-changed", of=synapse)


def _kernel(place: Place, change: Callable[[Array], Array], name: str) -> Change | None:
    for synapse in place.synapses:
        weight = weight_of(synapse)
        if isinstance(synapse.op, Conv) and weight.ndim == 4 and weight.shape[2] == weight.shape[3] > 1:
            return place.weights(change, name, of=synapse)
    return None


def kernel_transposed(place: Place) -> Change | None:
    return _kernel(place, lambda w: w.swapaxes(-1, -2), "kernel-transposed")


def kernel_flipped(place: Place) -> Change | None:
    return _kernel(place, lambda w: w[..., ::-1, ::-1], "kernel-flipped")


def _biases(place: Place) -> dict[str, Array]:
    """Those of its synapses that are one a channel."""
    return {s.name: bias for s in place.synapses if np.size(bias := bias_of(s)) > 1}


def channels_swapped(place: Place) -> Change | None:
    """Two channels have each other's weights and parameters."""
    channels = place.shape[0]
    if any(isinstance(s.op, Scale | ConvTranspose) or len(weight_of(s)) != channels for s in place.synapses):
        return None
    if any(np.size(bias_of(s)) not in (1, channels) for s in place.synapses):
        return None
    order = np.arange(channels)
    a, b = place.r.choice(channels, 2, replace=False)
    order[[a, b]] = order[[b, a]]
    rows = place.weights(lambda w: w[order], "channels-swapped")
    biased = {n: _with_bias(rows.nodes[n], b[order]) for n, b in _biases(place).items()}
    each = {
        name: value[order]
        for name in ("threshold", "decay", "bias", "input_bias", "v_reset", "amount", "v_init", "flip")
        if np.ndim(value := getattr(place.op, name)) and len(value) == channels
    }
    return replace(rows, nodes={**rows.nodes, **biased, **place.neuron(**each).nodes})


# -- biases, delays, resets, decays, comparisons -----------------------------------------------------------------------


def scaled_bias(place: Place, scale: float, *names: str) -> Change | None:
    """Its biases times a number, wherever they stand."""
    op = place.op
    if not has_bias(place):
        return None
    new = place.neuron(*names, bias=place.number(op.bias * scale), input_bias=place.number(op.input_bias * scale))
    biased = {s.name: _with_bias(s, bias_of(s) * scale) for s in place.synapses if np.any(bias_of(s))}
    return replace(new, nodes={**new.nodes, **biased})


def bias_missing(place: Place) -> Change | None:
    return scaled_bias(place, 0.0, "bias-missing", "bias-scaled")


def bias_scaled(place: Place) -> Change | None:
    return scaled_bias(place, place.pick((-1.0, 0.5, 2.0, 3.0)), "bias-scaled")


def delay_off(place: Place) -> Change | None:
    """A delay that only this layer hears is a step longer, or shorter."""
    graph = place.graph
    for synapse in place.synapses:
        (name,) = synapse.inputs
        while isinstance(graph[name].op, Reshape) and len(graph.consumers[name]) == 1:
            (name,) = graph[name].inputs
        op = graph[name].op
        if isinstance(op, Delay) and len(graph.consumers[name]) == 1:
            steps = op.steps - 1 if op.steps > 1 and place.r.random() < 0.5 else op.steps + 1
            return Change({name: replace(graph[name], op=replace(op, steps=steps))}, names=frozenset({"delay-off"}))
    return None


def reset_hard(place: Place) -> Change | None:
    zero = place.number(0.0)
    return place.neuron("reset-hard", reset="to", v_reset=zero) if place.op.reset == "by" else None


def reset_soft(place: Place) -> Change | None:
    if place.op.reset != "to" or np.any(place.op.flip):
        return None
    return place.neuron("reset-soft", reset="by", amount=place.op.threshold, keep=place.number(place.one))


def reset_missing(place: Place) -> Change | None:
    """A soft one by nothing is none, too."""
    names = {"by": {"reset-missing", "reset-value"}, "to": {"reset-missing"}}.get(place.op.reset)
    return place.neuron(*names, reset="none") if names else None


def reset_value(place: Place) -> Change | None:
    op = place.op
    if op.reset == "by":
        return place.neuron("reset-value", amount=place.number(op.amount * place.pick((0.5, 0.7, 1.4))))
    if op.reset == "to":
        off = np.abs(op.threshold).mean() * place.pick((-0.8, -0.4, 0.4, 0.7))
        return place.neuron("reset-value", v_reset=op.v_reset + place.number(off))
    return None


def decay_value(place: Place) -> Change | None:
    change = place.pick((-0.4, -0.2, 0.2)) * place.one
    new = place.op.decay + place.number(change)
    return place.neuron("decay-value", decay=new) if np.all((new >= 0) & (new <= place.one)) else None


def comparison(place: Place) -> Change | None:
    """Of integers, above a threshold is from the next one on."""
    return place.neuron("comparison", *(["threshold-shifted"] if place.is_whole else []), strict=not place.op.strict)


OF_NUMBERS: dict[str, Fault] = {
    "threshold-scaled": threshold_scaled,
    "threshold-shifted": threshold_shifted,
    "threshold-rounded": threshold_rounded,
    "threshold-saturated": threshold_saturated,
    "weights-scaled": weights_scaled,
    "weights-rounded": weights_rounded,
    "weights-saturated": weights_saturated,
    "weights-missing (source)": weights_missing_of_a_source,
    "weights-missing (channel)": weights_missing_of_a_channel,
    "weight-changed": weight_changed,
    "bias-missing": bias_missing,
    "bias-scaled": bias_scaled,
    "kernel-transposed": kernel_transposed,
    "kernel-flipped": kernel_flipped,
    "channels-swapped": channels_swapped,
    "delay-off": delay_off,
    "reset-hard": reset_hard,
    "reset-soft": reset_soft,
    "reset-missing": reset_missing,
    "reset-value": reset_value,
    "decay-value": decay_value,
    "comparison": comparison,
}
"""Those that are a graph with other numbers."""


# -- rules of a neuron -------------------------------------------------------------------------------------------------


class BiasEarly(Cell):
    """The bias is integrated for some steps before the first input comes."""

    steps = 1

    def start(self) -> None:
        super().start()
        for _ in range(self.steps):
            h = self.membrane(np.zeros(self.size, np.int64))
            self.v = self.reset(h, self.fires(h))


class BiasEarlier(BiasEarly):
    steps = 2


def bias_early(place: Place) -> Change | None:
    cell = place.pick((BiasEarly, BiasEarlier))
    return place.rule(lambda: cell, "bias-early") if has_bias(place) else None


class ResetLate(Cell):
    """The membrane is reset a step late, after the comparison of that step."""

    def start(self) -> None:
        super().start()
        self.last = np.zeros(self.size, np.int64)

    def reset(self, h: Array, spikes: Array) -> Array:
        late, self.last = self.last, spikes
        return super().reset(h, late)


def reset_late(place: Place) -> Change | None:
    return place.rule(lambda: ResetLate, "reset-late") if place.op.reset != "none" else None


class ResetBefore(Cell):
    """The reset falls in the step after the spike, before its comparison: a hard one takes that step's input along."""

    def start(self) -> None:
        super().start()
        self.last = np.zeros(self.size, np.int64)

    def membrane(self, x: Array) -> Array:
        return super().reset(super().membrane(x), self.last)

    def reset(self, h: Array, spikes: Array) -> Array:
        self.last = spikes
        return h


def reset_before(place: Place) -> Change | None:
    """A soft one without a leak is the ordinary reset."""
    op = place.op
    if op.reset == "none" or (op.reset == "by" and np.all(op.decay == place.one)):
        return None
    return place.rule(lambda: ResetBefore, "reset-late", *(["reset-value"] if op.reset == "by" else []))


def decay_rounding(place: Place) -> Change | None:
    """Products with a decay lose their bits in another way than the target's."""
    if not np.any((place.op.decay != 0) & (place.op.decay != place.one)):
        return None
    start = int(place.r.integers(3))

    def maker(op: Neuron, arithmetic: Arithmetic, size: tuple[int, ...]) -> Cell:
        others = [how for how in ("nearest", "floor", "zero") if how != arithmetic.rounding]

        class Rounded(Cell):
            def decayed(self, value: Array, mantissa: Array) -> Array:
                kept, self.arithmetic = self.arithmetic, replace(arithmetic, rounding=others[start % 2])  # type: ignore[arg-type]
                found = super().decayed(value, mantissa)
                self.arithmetic = kept
                return found

        return Rounded(op, arithmetic, size)

    return place.rule(lambda: maker, "decay-rounding")


def state_kept(place: Place) -> Change | None:
    """What a sample leaves on the membranes is where the next one starts."""

    def cell() -> Maker:
        left: dict[str, Array] = {}

        class Kept(Cell):
            def start(self) -> None:
                super().start()
                self.v, self.i = left.get("v", self.v), left.get("i", self.i)

            def step(self, x: Array) -> Array:
                spikes = super().step(x)
                left.update(v=self.v, i=self.i)
                return spikes

        return Kept

    return replace(place.rule(cell, "state-kept"), alone=True)


# -- what leaves the neurons -------------------------------------------------------------------------------------------


def _emitting(place: Place, change: Callable[[Any, Array], Array], *names: str) -> Change:
    """``change`` is given a new generator of each run, ``late`` to keep spikes in, and what the neurons fire."""
    seed = int(place.r.integers(2**32))

    def cell() -> Maker:
        r = np.random.default_rng(seed)

        class Emitting(Cell):
            draws, late = r, np.asarray(0)

            def emitted(self, spikes: Array) -> Array:
                return change(self, spikes)

        return Emitting

    return place.rule(cell, *names)


def _one_of(place: Place) -> tuple[int, ...]:
    """A neuron."""
    return tuple(int(place.r.integers(n)) for n in place.shape)


def _at_one(place: Place, new: Callable[[Any, Array], Any], name: str) -> Change:
    where: tuple[Any, ...] = (slice(None), *_one_of(place))

    def change(cell: Any, spikes: Array) -> Array:
        spikes = spikes.copy()
        spikes[where] = new(cell, spikes[where])
        return spikes

    return _emitting(place, change, name)


def neuron_dead(place: Place) -> Change | None:
    return _at_one(place, lambda _, spikes: 0, "neuron-dead")


def neuron_stuck(place: Place) -> Change | None:
    return _at_one(place, lambda _, spikes: 1, "neuron-stuck")


def neuron_noisy(place: Place) -> Change | None:
    return _at_one(place, lambda cell, spikes: spikes ^ (cell.draws.random(spikes.shape) < 0.4), "neuron-noisy")


def events_lost(place: Place) -> Change | None:
    share = place.pick((0.1, 0.25))
    return _emitting(place, lambda cell, s: s * (cell.draws.random(s.shape) >= share), "events-lost")


def events_doubled(place: Place) -> Change | None:
    """An event comes once more a step later."""

    def doubled(cell: Any, spikes: Array) -> Array:
        found: Array = np.maximum(spikes, cell.late)
        cell.late = spikes * (cell.draws.random(spikes.shape) < 0.4)
        return found

    return _emitting(place, doubled, "events-doubled")


def events_jittered(place: Place) -> Change | None:
    """An event comes a step late."""

    def jittered(cell: Any, spikes: Array) -> Array:
        late = spikes * (cell.draws.random(spikes.shape) < 0.3)
        found: Array = np.maximum(spikes - late, cell.late)
        cell.late = late
        return found

    return _emitting(place, jittered, "events-jittered")


def channels_swapped_outside(place: Place) -> Change | None:
    """Two channels leave the layer in each other's place."""
    channels = place.shape[0]
    if channels < 2:
        return None
    order = np.arange(channels)
    a, b = place.r.choice(channels, 2, replace=False)
    order[[a, b]] = order[[b, a]]
    return _emitting(place, lambda _, spikes: spikes[:, order], "channels-swapped")


OF_RULES: dict[str, Fault] = {
    "bias-early": bias_early,
    "reset-late": reset_late,
    "reset-late (before)": reset_before,
    "decay-rounding": decay_rounding,
    "state-kept": state_kept,
    "neuron-dead": neuron_dead,
    "neuron-stuck": neuron_stuck,
    "neuron-noisy": neuron_noisy,
    "events-lost": events_lost,
    "events-doubled": events_doubled,
    "events-jittered": events_jittered,
    "channels-swapped (events)": channels_swapped_outside,
}
"""Those that only a cell of another kind can do."""

FAULTS: dict[str, Fault] = OF_NUMBERS | OF_RULES
