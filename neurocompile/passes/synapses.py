"""Every neuron gets synapses of its own: currents that fan out, add and concatenate become weights on events."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neurocompile.errors import DoesNotFit, Problem
from neurocompile.ir.arrays import compact, compact_over_time
from neurocompile.ir.graph import Edge, Graph, Node
from neurocompile.ir.kernels import apply, without_bias
from neurocompile.ir.ops import (
    Add,
    Array,
    Concat,
    Conv,
    ConvTranspose,
    Delay,
    Gain,
    Input,
    Integrator,
    Linear,
    MaxPool,
    Neuron,
    Op,
    Output,
    Reshape,
    Scale,
    SumPool,
    Upsample,
)
from neurocompile.ir.shapes import output_shape
from neurocompile.passes.compose import Tiled, as_weights, compose, is_depthwise, without_weights
from neurocompile.passes.fold_scale import scale_inputs, scale_outputs

__all__ = ["Synapses"]

Shape = tuple[int, ...]

# Unit vectors that are pushed through layers at a time, where these compose into a matrix.
_BASIS = 256


@dataclass(frozen=True)
class Synapses:
    """Bring a graph into the form in which a chip can hold it.

    Afterwards a layer with weights (Linear, Conv, ConvTranspose, or Scale: one weight an event) reads events and
    feeds one neuron or integrator, through Add, Concat, Reshape and Gain only; biases are the neuron's, or, where they
    differ from step to step, a Gain's.

    1. A current with several readers is replicated: each reader gets its own synapses. The log says what that costs.
    2. Layers that follow one another without a neuron between them are composed: a scale into the weights, a slice of
       a concatenation into a convolution, a pool and a convolution into one with a larger kernel (and one more for
       outputs at a border that reads fewer windows), anything else into a matrix that stores only the connections that
       exist.
    3. An event that is added to a current (a skip) gets one weight.
    4. What is constant (biases, shifts) moves to the neuron, place by place. Behind a Gain a bias differs from step to
       step: its mean over time moves to the neuron, and what differs from that becomes the bias of the last Gain on the
       way (of one by 1 where none is on the way of all).
    5. Where the target cannot add events up on their way (``event_sums`` false), pools, upsampling, sums and
       concatenations of events become part of the weights: what is left reads neurons, inputs and max-pools.
    6. The Gains on the way from an event to a neuron become one, right behind the weights: they commute with everything
       that is linear (but a Delay, behind which a gain is that of an earlier step).

    Raises:
        DoesNotFit: for max-pooling of currents, layers behind a membrane readout, loops of currents, delayed biases,
            matrices above ``largest_matrix`` numbers, max-pooling of padding alone, and of sums where events are not
            summed.
    """

    largest_matrix: int = 1 << 27
    event_sums: bool = True
    name: str = "synapses"

    def run(self, graph: Graph) -> tuple[Graph, list[str]]:
        """Rewrite the currents of every neuron and integrator."""
        problems: list[Problem] = []
        build = _Build(graph, self.largest_matrix, self.event_sums)
        if not self.event_sums:
            problems += [
                Problem("it pools what the target cannot route: sums, or other pools of neurons", node.name,
                        type(graph[node.inputs[0]].op).__name__, "spikes of one layer", "pool behind a neuron")
                for node in graph.of(MaxPool)
                if graph.edges[node.name].is_event
                and not isinstance(graph[node.inputs[0]].op, Neuron | Input | MaxPool)
            ]  # fmt: skip
        problems += [
            Problem("some of its windows see nothing but padding, and give minus infinity", node.name,
                    f"padding {list(node.op.padding)}, dilation {list(node.op.dilation)}", "", "pad less")
            for node in graph.of(MaxPool)
            if isinstance(node.op, MaxPool) and _sees_padding_alone(node.op, graph.edges[node.inputs[0]].shape)
        ]  # fmt: skip
        changed: dict[str, Node | None] = {}
        for node in graph.of(Neuron, Integrator):
            try:
                changed[node.name] = build.consumer(node)
            except _Stuck as stuck:
                problems.append(Problem(stuck.what, stuck.where, fix=stuck.fix))
        for node in graph.of(Output):
            if not isinstance(graph[node.inputs[0]].op, Integrator | Neuron):
                what, fix = "a layer behind a membrane readout has no chip to run on", "read the membrane last"
                problems.append(Problem(what, node.inputs[0], fix=fix))
        if problems:
            raise DoesNotFit(problems)
        kept = [
            changed.get(node.name) or node
            for node in graph
            if graph.edges[node.name].is_event or isinstance(node.op, Neuron | Integrator | Output)
        ]
        nodes = {node.name: node for node in (*kept, *build.added)}
        return Graph(nodes.values(), graph.hosts.values()).rewritten({}), build.log()


_INSTEAD = (
    "pool the spikes behind the neuron instead, or take AvgPool, and train again; or put it into a module whose class "
    "is marked with @neurocompile.host: a host computes it then"
)


def _sees_padding_alone(op: MaxPool, shape: tuple[int, ...]) -> bool:
    return not np.isfinite(apply(op, [np.zeros((1, *shape))])).all()


class _Stuck(Exception):
    def __init__(self, what: str, where: str, fix: str) -> None:
        super().__init__(what)
        self.what, self.where, self.fix = what, where, fix


@dataclass(frozen=True)
class _Place:
    """The part of a concatenation that one branch fills: number ``branch`` of branches of ``sizes`` along ``axis``."""

    axis: int
    branch: int
    sizes: tuple[int, ...]

    @property
    def start(self) -> int:
        return sum(self.sizes[: self.branch])

    @property
    def size(self) -> int:
        return self.sizes[self.branch]

    @property
    def total(self) -> int:
        return sum(self.sizes)

    def embed(self, x: Array) -> Array:
        """``[N, *branch]`` into zeros ``[N, *whole]``."""
        pads = [(0, 0)] * x.ndim
        pads[self.axis + 1] = (self.start, self.total - self.start - self.size)
        return np.pad(x, pads)

    def whole(self, shape: Shape) -> Shape:
        """The shape of the concatenation around a branch."""
        return (*shape[: self.axis], self.total, *shape[self.axis + 1 :])

    def take(self, values: Array) -> Array:
        """The branch's part of the whole, without batch."""
        return np.take(values, range(self.start, self.start + self.size), self.axis)


@dataclass(frozen=True)
class _Anew(Reshape):
    """A shape anew of currents of the shape ``before``."""

    before: Shape = ()


@dataclass(frozen=True)
class _Chain:
    """Layers behind one another that no layer does at once: a matrix, once all of them are known."""

    steps: tuple[Step, ...]


Step = Op | _Place


@dataclass(frozen=True)
class _Path:
    """One way from an event to a consumer: what is done to it, in order; ``origin`` names its first weights.

    ``gains[T]`` is the product of the Gains on the way (None: there is none), ``gained`` the name of the last.
    """

    source: str
    steps: tuple[Step, ...] = ()
    delay: int = 0
    origin: str = ""
    gains: Array | None = None
    gained: str = ""

    def then(self, step: Step, name: str) -> _Path:
        origin = self.origin or (name if isinstance(step, Linear | Conv | ConvTranspose | Scale) else "")
        return replace(self, steps=(*self.steps, step), origin=origin)

    def times(self, gains: Array, name: str) -> _Path:
        return replace(self, gains=gains if self.gains is None else self.gains * gains, gained=name)

    def delayed(self, steps: int) -> _Path:
        """What comes out later still has the gain of the step at which it went in."""
        gains = self.gains
        if gains is not None:
            gains = np.concatenate((np.zeros(steps), gains))[: len(gains)]
        return replace(self, delay=self.delay + steps, gains=gains)


class _Build:
    def __init__(self, graph: Graph, largest_matrix: int, event_sums: bool) -> None:
        self.graph = graph
        self.largest_matrix = largest_matrix
        self.event_sums = event_sums
        self.added: list[Node] = []
        self._names = {node.name for node in graph}
        self._used_origins: dict[str, list[int]] = {}
        self._composed: list[str] = []
        self._event_nodes: dict[tuple[Any, ...], str] = {}

    def log(self) -> list[str]:
        lines = list(self._composed)
        for origin, sizes in self._used_origins.items():
            if origin in self.graph and len(sizes) > 1:
                lines.append(f"{origin}: replicated for {len(sizes)} readers, {sum(sizes[1:])} weights more")
        return lines

    def emit(self, stem: str, op: Op, *inputs: str) -> str:
        name, number = stem, 2
        while name in self._names or name in {node.name for node in self.added}:
            name, number = f"{stem}.{number}", number + 1
        self.added.append(Node(name, op, inputs))
        return name

    # -- one consumer --------------------------------------------------------------------------------------------------

    def consumer(self, node: Node) -> Node:
        op: Any = node.op
        (source,) = node.inputs
        shape = self.graph.edges[node.name].shape
        constant = self._constant(source)
        paths = self._paths(source, ())
        if np.any(op.gain != 1):
            paths = [path.then(Scale(op.gain), f"{node.name}.gain") for path in paths]
        settled = [self._settled(path, node.name) for path in paths]
        while torn := _torn([(done, done.after) for done in settled]):
            for done in torn:
                done.chain(())
                self._to_matrix(done, node.name)
        varying = None
        if np.any(constant != constant[0]):
            varying = compact_over_time(op.gain * (constant - constant.mean(0)))
        constant = constant[0] if varying is None else constant.mean(0)
        bearer = next((path for path in settled if path.path.gains is not None and not path.after), None)
        ends = [(self._emit_path(path, node.name, varying if path is bearer else None), path.after) for path in settled]
        fed = self._joined(ends, node.name)
        if varying is not None and bearer is None:
            fed = self.emit(f"{node.name}.bias", Gain(np.ones(len(varying)), varying), fed)
        one = np.asarray(1.0)
        if isinstance(op, Integrator):
            return Node(node.name, replace(op, gain=one, bias=compact(op.bias + op.gain * constant, shape)), (fed,))
        pushed = op.gain * (constant + op.input_bias)
        if np.any(op.current_decay) or op.deaf:
            changed = replace(op, gain=one, input_bias=compact(pushed, shape))
        else:
            changed = replace(op, gain=one, input_bias=np.asarray(0.0), bias=compact(op.bias + pushed, shape))
        return Node(node.name, changed, (fed,))

    def _constant(self, name: str) -> Array:
        """What a value is at each step when nothing fires: ``[T, *shape]``, or ``[1, *shape]`` if always the same."""
        node, edge = self.graph[name], self.graph.edges[name]
        nothing = np.zeros((1, *edge.shape))
        if edge.is_event:
            return nothing
        if isinstance(node.op, Delay):
            inner = self._constant(node.inputs[0]) if not self._loops(name) else nothing
            if np.any(inner):
                raise _Stuck("a delayed current has a bias", name, "delay spikes instead")
            return inner
        if isinstance(node.op, Integrator):
            return nothing
        inputs = [self._constant(source) for source in node.inputs]
        if isinstance(node.op, Gain):
            if not np.any(inputs[0]) and not np.any(node.op.bias):
                return nothing
            gains = node.op.gains.reshape(-1, *(1,) * len(edge.shape))
            return np.asarray(gains * inputs[0] + node.op.bias)
        steps = max(map(len, inputs))
        inputs = [np.broadcast_to(x, (steps, *x.shape[1:])) for x in inputs]
        if isinstance(node.op, Linear | Conv | ConvTranspose) and not np.any(inputs[0]):
            bias = np.zeros(()) if node.op.bias is None else node.op.bias
            return np.broadcast_to(bias, nothing.shape)
        return apply(node.op, inputs)

    def _loops(self, name: str, target: str = "", seen: frozenset[str] = frozenset()) -> bool:
        """Whether a delayed current comes back to itself without passing a neuron."""
        target = target or name
        for source in self.graph[name].inputs:
            if source == target:
                return True
            if source not in seen and not self.graph.edges[source].is_event:
                seen = seen | {source}
                if self._loops(source, target, seen):
                    return True
        return False

    def _paths(self, name: str, behind: tuple[str, ...]) -> list[_Path]:
        node, edge = self.graph[name], self.graph.edges[name]
        if edge.is_event and (self.event_sums or isinstance(node.op, Neuron | Input | MaxPool)):
            return [_Path(name)]
        if name in behind:
            raise _Stuck("a current feeds itself", name, "put a neuron into the loop")
        behind = (*behind, name)
        if isinstance(node.op, Add):
            return [path for source in node.inputs for path in self._paths(source, behind)]
        if isinstance(node.op, Concat):
            axis = node.op.axis
            sizes = tuple(self.graph.edges[source].shape[axis] for source in node.inputs)
            return [
                path.then(_Place(axis, branch, sizes), name)
                for branch, source in enumerate(node.inputs)
                for path in self._paths(source, behind)
            ]
        if isinstance(node.op, Delay):
            found = self._paths(node.inputs[0], behind)
            return [path.delayed(node.op.steps) for path in found]
        if isinstance(node.op, Gain):
            return [path.times(node.op.gains, name) for path in self._paths(node.inputs[0], behind)]
        if isinstance(node.op, SumPool | Upsample) and not self.event_sums:
            channels = self.graph.edges[node.inputs[0]].shape[0]
            found = self._paths(node.inputs[0], behind)
            return [replace(path, steps=(*path.steps, as_weights(node.op, channels))) for path in found]
        if isinstance(node.op, Linear | Conv | ConvTranspose | Scale | SumPool | Upsample | Reshape):
            step = without_bias(node.op)
            return [path.then(step, name) for path in self._paths(node.inputs[0], behind)]
        if isinstance(node.op, Integrator):
            what = "a membrane that never fires stands before another layer, and synapses have no memory"
            raise _Stuck(what, node.name, "let it fire, or read it as an output")
        what = f"{type(node.op).__name__} of currents cannot be done by synapses"
        raise _Stuck(what, name, _INSTEAD)

    # -- one path ------------------------------------------------------------------------------------------------------

    def _settled(self, path: _Path, reader: str) -> _Settled:
        """Compose a path into wiring of events, one layer of weights, wiring of currents."""
        done = _Settled(path, [], None, [], self.graph.edges[path.source])
        for step in path.steps:
            done.take(step)
        if done.weights is None:
            done.weights = Scale(np.ones(()))
        if isinstance(done.weights, _Chain):
            self._to_matrix(done, reader)
        return done

    def _to_matrix(self, done: _Settled, reader: str) -> None:
        """Make one matrix of a chain; what stands behind it stays."""
        first = done.shape_of_events
        parts = done.weights.steps
        out = _shape(parts, first)
        inputs, outputs = int(np.prod(first)), int(np.prod(out))
        what = f"{done.path.origin or done.path.source} and the layers up to {reader} compose into a matrix"
        if inputs * outputs > self.largest_matrix:
            size = f"{inputs * outputs} weights"
            raise _Stuck(f"{what} of {size}, over {self.largest_matrix}", reader, "put neurons between the layers")
        structure = [_structure(part) for part in parts]
        weight, stored = np.empty((outputs, inputs)), np.empty((outputs, inputs), bool)
        for start in range(0, inputs, _BASIS):
            part = slice(start, min(start + _BASIS, inputs))
            weight[:, part] = _columns(parts, part, first).reshape(-1, outputs).T
            stored[:, part] = _columns(structure, part, first).reshape(-1, outputs).T > 0
        done.events += [Reshape((inputs,))] if len(first) > 1 else []
        done.weights = Linear(weight, None, None if stored.all() else stored)
        if len(out) > 1:
            done.after.insert(0, _Anew(out, (outputs,)))
        self._composed.append(f"{what} of {int(stored.sum())} weights")

    def _emit_path(self, path: _Settled, reader: str, bias: Array | None) -> str:
        name = path.path.source
        if path.path.delay:
            shape = self.graph.edges[name].shape
            name = self._event(name, Delay(shape, path.path.delay), f"{name}.delay{path.path.delay}")
        for op in path.events:
            name = self._event(name, op, f"{name}.{type(op).__name__.lower()}")
        origin = path.path.origin or f"{reader}.skip"
        assert path.weights is not None
        used = self._used_origins.setdefault(origin, [])
        used.append(_weights(path.weights))
        stem = origin if len(used) == 1 else f"{origin}@{reader}"
        if isinstance(path.weights, Tiled):
            name = self._tiled(stem, path.weights, name)
        else:
            name = self._emit_current(stem, path.weights, name)
        if path.path.gains is None:
            return name
        gain = Gain(path.path.gains) if bias is None else Gain(path.path.gains, bias)
        stem = path.path.gained
        taken = any(node.name == stem for node in self.added)
        return self._emit_current(f"{stem}@{reader}" if taken else stem, gain, name)

    def _tiled(self, stem: str, tiled: Tiled, source: str) -> str:
        """The tiles of a layer, one beside the other along each axis."""
        tiles = {}
        for place, convolutions in tiled.tiles.items():
            here = ".".join(map(str, (stem, *place)))
            terms = [self.emit(here, each, source) for each in convolutions]
            tiles[place] = terms[0] if len(terms) == 1 else self.emit(f"{here}.add", Add(), *terms)
        for axis in range(len(place), 0, -1):
            beside: dict[Shape, list[str]] = {}
            for place, name in tiles.items():
                beside.setdefault(place[:-1], []).append(name)
            tiles = {
                place: names[0] if len(names) == 1 else self.emit(f"{stem}.concat", Concat(axis), *names)
                for place, names in beside.items()
            }
        return tiles[()]

    def _emit_current(self, stem: str, op: Op, source: str) -> str:
        """A node that may have the name of one of the currents, which are all replaced."""
        if stem in self.graph:
            self._names.discard(stem)
        return self.emit(stem, op, source)

    def _event(self, source: str, op: Op, stem: str) -> str:
        """An operation on events, made once for all who need it."""
        key = (source, type(op), str(vars(op)))
        if key not in self._event_nodes:
            self._event_nodes[key] = self.emit(stem, op, source)
        return self._event_nodes[key]

    def _joined(self, ends: Sequence[tuple[str, Sequence[Step]]], reader: str) -> str:
        """Wire currents together: the last step of each first, equal ones once."""
        terms = [name for name, after in ends if not after]
        groups: dict[Any, list[tuple[str, Sequence[Step]]]] = {}
        for name, after in ends:
            if after:
                groups.setdefault(_last_key(after), []).append((name, after))
        for members in groups.values():
            last = members[0][1][-1]
            if isinstance(last, _Place):
                branches: dict[int, list[tuple[str, Sequence[Step]]]] = {}
                for name, after in members:
                    place: Any = after[-1]
                    branches.setdefault(place.branch, []).append((name, after[:-1]))
                joined = [self._joined(branches[branch], reader) for branch in sorted(branches)]
                terms.append(self.emit(f"{reader}.concat", Concat(last.axis), *joined))
            else:
                inner = self._joined([(name, after[:-1]) for name, after in members], reader)
                assert isinstance(last, _Anew)
                terms.append(self.emit(f"{reader}.reshape", Reshape(last.shape), inner))
        return terms[0] if len(terms) == 1 else self.emit(f"{reader}.add", Add(), *terms)


def _torn(ends: Sequence[tuple[_Settled, Sequence[Step]]]) -> list[_Settled]:
    """The paths into concatenations of which other branches were composed into a matrix: there is no whole any more."""
    groups: dict[Any, list[tuple[_Settled, Sequence[Step]]]] = {}
    for done, after in ends:
        if after:
            groups.setdefault(_last_key(after), []).append((done, after))
    found = []
    for members in groups.values():
        last = members[0][1][-1]
        if not isinstance(last, _Place):
            found += _torn([(done, after[:-1]) for done, after in members])
            continue
        branches: dict[int, list[tuple[_Settled, Sequence[Step]]]] = {}
        for done, after in members:
            place: Any = after[-1]
            branches.setdefault(place.branch, []).append((done, after[:-1]))
        if len(branches) < len(last.sizes):
            found += [done for done, _ in members]
        else:
            found += [done for branch in branches.values() for done in _torn(branch)]
    return found


def _last_key(after: Sequence[Step]) -> Any:
    """What the last steps of two paths have in common if one operation does both."""
    last = after[-1]
    if isinstance(last, _Place):
        return last.axis, last.sizes
    assert isinstance(last, _Anew)
    return "reshape", last.before, last.shape


@dataclass
class _Settled:
    """A path on its way to the form events -> weights -> after."""

    path: _Path
    events: list[Op]
    weights: Any
    after: list[Step]
    source: Edge

    @property
    def shape_of_events(self) -> Shape:
        return _shape(self.events, self.source.shape)

    @property
    def shape_of_weights(self) -> Shape:
        return _shape([*self.events, self.weights], self.source.shape)

    def take(self, step: Step) -> None:
        """Take one more step; one that no weights can do makes them a chain."""
        if not self._taken(step):
            self.chain((step,))

    def chain(self, steps: tuple[Step, ...]) -> None:
        """Weights, and all that stands behind them, as a chain with more steps."""
        self.weights = _Chain((*_steps([self.weights, *self.after]), *steps))
        self.after = []

    def _taken(self, step: Step) -> bool:
        if self.weights is None:
            if isinstance(step, Linear | Conv | ConvTranspose | Scale):
                self.weights = step
            elif isinstance(step, _Place):
                self.weights, self.after = Scale(np.ones(())), [step]
            else:
                self.events.append(step)
            return True
        if isinstance(step, _Place):
            self.after.append(step)
            return True
        if isinstance(step, Reshape):
            self._reshape(step.shape)
            return True
        if isinstance(step, Scale):
            return self._scale(step)
        if self.after:
            part = self._part(step)
            if part is None:
                return False
            step, after = part
        else:
            after = []
        weights = self._one(step)
        if weights is None:
            return False
        self.weights, self.after = weights, after
        return True

    def _reshape(self, shape: Shape) -> None:
        """Give what comes out another shape; of several in a row the last one counts."""
        before = _shape(self.after, self.shape_of_weights)
        if self.after and isinstance(last := self.after[-1], _Anew):
            before = last.before
            self.after.pop()
        if before != shape:
            self.after.append(_Anew(shape, before))

    def _part(self, step: Any) -> tuple[Any, list[Step]] | None:
        """What a layer behind a concatenation does to this branch alone, and what is left behind it."""
        place = self.after[0]
        if len(self.after) > 1 or not isinstance(place, _Place) or place.axis != 0:
            return None
        branch = slice(place.start, place.start + place.size)
        if is_depthwise(step):
            return replace(step, weight=step.weight[branch], groups=place.size), [place]
        if isinstance(step, Linear) or (isinstance(step, Conv) and step.groups == 1):
            return replace(step, weight=step.weight[:, branch]), []
        if isinstance(step, ConvTranspose) and step.groups == 1:
            return replace(step, weight=step.weight[branch]), []
        return None

    def _one(self, step: Any) -> Any | None:
        """The weights and a layer behind them as one layer."""
        shape = self.shape_of_events
        if isinstance(self.weights, _Chain):
            return _Chain((*self.weights.steps, step))
        if isinstance(self.weights, Tiled):
            both = compose(self.weights.second, step, output_shape(self.weights.first, [shape]))
            return compose(self.weights.first, both, shape) if isinstance(both, Conv) else None
        if not isinstance(self.weights, Scale):
            return compose(self.weights, step, shape)
        if isinstance(step, SumPool | Upsample):
            small = compact(self.weights.scale, shape)
            if small.ndim and small.shape[1:] != (1,) * (len(shape) - 1):
                return None
            self.events.append(step)
            return Scale(small)
        return scale_inputs(step, self.weights.scale, shape)

    def _scale(self, step: Scale) -> bool:
        """A scale on the result becomes a scale on the outputs of the weights."""
        shapes = [self.shape_of_weights]
        for wire in self.after:
            shapes.append(_shape([wire], shapes[-1]))
        values = np.broadcast_to(step.scale, shapes[-1])
        for wire, shape in zip(reversed(self.after), reversed(shapes[:-1])):
            values = wire.take(values) if isinstance(wire, _Place) else values.reshape(shape)
        shape = shapes[0]
        if isinstance(self.weights, Scale):
            self.weights = Scale(compact(self.weights.scale * values, shape))
            return True
        small = compact(values, shape)
        if isinstance(self.weights, _Chain):
            self.weights = _Chain((*self.weights.steps, Scale(small)))
            return True
        layer = self.weights.second if isinstance(self.weights, Tiled) else self.weights
        scaled = scale_outputs(layer, small, np.asarray(0.0), shape)
        if scaled is not None and isinstance(self.weights, Tiled):
            scaled = compose(self.weights.first, scaled, self.shape_of_events)
        if scaled is None:
            return False
        self.weights = scaled
        return True


def _columns(steps: Sequence[Any], part: slice, shape: Shape) -> Array:
    """What steps make of some of the inputs, each alone and 1: a first step that is a matrix has it in its columns."""
    if isinstance(steps[0], Linear) and len(shape) == 1:
        return _run(steps[1:], np.ascontiguousarray(steps[0].weight.T[part]))
    basis = np.eye(part.stop - part.start, int(np.prod(shape)), part.start)
    return _run(steps, basis.reshape(-1, *shape))


def _steps(steps: Sequence[Any]) -> Iterator[Any]:
    """Steps one by one, those of chains and of tiled layers too."""
    for step in steps:
        if isinstance(step, _Chain | Tiled):
            yield from _steps(step.steps if isinstance(step, _Chain) else (step.first, step.second))
        else:
            yield step


def _run(steps: Sequence[Any], x: Array) -> Array:
    for step in map(without_weights, steps):
        if isinstance(step, Linear):
            met = x.any(0)  # few: of unit vectors
            x = x[:, met] @ step.weight.T[met]
        else:
            x = step.embed(x) if isinstance(step, _Place) else apply(step, [x])
    return x


def _shape(steps: Sequence[Any], shape: Shape) -> Shape:
    for step in _steps(steps):
        shape = step.whole(shape) if isinstance(step, _Place) else output_shape(step, [shape])
    return shape


def _structure(step: Any) -> Any:
    """The step with every stored weight one: where its result is positive there is a connection."""
    if isinstance(step, Linear):
        return Linear(np.ones_like(step.weight) if step.stored is None else step.stored.astype(np.float64))
    if isinstance(step, Conv | ConvTranspose):
        return replace(step, weight=np.ones_like(step.weight))
    return Scale(np.ones(())) if isinstance(step, Scale) else step


def _weights(op: Any) -> int:
    """How many weights a layer stores."""
    if isinstance(op, Tiled):
        return sum(each.weight.size for each in op.convolutions)
    if isinstance(op, Scale):
        return int(op.scale.size)
    return int(op.stored.sum()) if isinstance(op, Linear) and op.stored is not None else int(op.weight.size)
