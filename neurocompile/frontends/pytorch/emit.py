"""Uniform terms become nodes of a graph; what forward returns is read over time."""

# mypy: disable-error-code="arg-type,assignment,comparison-overlap,index"
from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neurocompile.errors import BadInput, Problem
from neurocompile.frontends.pytorch.axes import Axes
from neurocompile.frontends.pytorch.facts import LINEAR
from neurocompile.frontends.pytorch.regions import emit_region
from neurocompile.frontends.pytorch.steps import same_numbers
from neurocompile.frontends.pytorch.terms import NotAlike, Term
from neurocompile.frontends.pytorch.values import FIX_HOST, Refused, Value, is_time, picked
from neurocompile.ir.graph import Graph, Node
from neurocompile.ir.host import HostRegion
from neurocompile.ir.kernels import without_bias
from neurocompile.ir.ops import (
    LINEAR_OPS,
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
    Read,
    Reshape,
    Scale,
    SumPool,
    Upsample,
)

__all__ = ["SILENT", "UNTOLD", "Emission", "Fired"]

_LABELS: dict[type, str] = {
    Linear: "linear",
    Conv: "conv",
    ConvTranspose: "conv_transpose",
    SumPool: "sum",
    MaxPool: "max_pool",
    Upsample: "upsample",
    Reshape: "flatten",
    Concat: "cat",
}


TWO_VALUES = "it multiplies two values that both depend on the input"
FIX_PRODUCT = "a chip multiplies by fixed numbers only (products of spikes alone are neurons); or: " + FIX_HOST


SILENT, UNTOLD = -1, -2
"""Stand for a value of the trace, in :class:`Fired`, where there is none."""


@dataclass(frozen=True)
class Fired:
    """Where in a trace a layer fired: for each step a value, its axes, and which of its steps (-1: it has one).

    The value is ``SILENT`` before anything arrives there, and ``UNTOLD`` in steps that the source does not run: what a
    pipeline would do in them nobody reads.
    """

    values: tuple[int, ...]
    axes: tuple[Axes, ...]
    steps: tuple[int, ...]


@dataclass
class _Reading:
    """A uniform term that is read over time: its weight at each step."""

    term: Term
    weights: list[Array]

    @property
    def all_alike(self) -> bool:
        return all(same_numbers(w, self.weights[0]) for w in self.weights)

    @property
    def last_only(self) -> bool:
        return not any(np.any(w != 0) for w in self.weights[:-1])


class Emission:
    """Emits nodes, each term once. ``kinds`` has the class of each module that holds no other, by its path."""

    def __init__(self, low: Any, kinds: Mapping[str, str]) -> None:
        self.low = low
        self.facts = low.roller.facts
        self.sums = low.roller.sums
        self.terms = low.terms
        self.kinds = kinds
        self.nodes: dict[str, Node] = {}
        self.hosts: dict[str, HostRegion] = {}
        self.layers: dict[str, Term] = {}
        self.regions: dict[Any, str] = {}
        self.region_axes: dict[str, Any] = {}
        self._names: dict[int, str] = {}
        self._reserved: set[str] = set()
        self._open_loops: list[tuple[str, Any]] = []
        self._line = ""  # of the term that is being emitted
        for name, numbers in {**low.trace.inputs, **low.trace.random}.items():
            known = next(t for t in self.terms._known.values() if t.kind == "input" and t.data == name)
            assert numbers
            self._line = low.trace.drawn_at.get(name, "").partition(" (")[0]
            self._names[known.uid] = self._add(name, Input(known.shape, "spikes" if known.binary else "real"))
        self._line = ""

    # -- nodes ---------------------------------------------------------------------------------------------------------

    def _fresh(self, stem: str) -> str:
        name, number = stem, 2
        while name in self.nodes or name in self.hosts or name in self._reserved:
            name, number = f"{stem}.{number}", number + 1
        return name

    def _add(self, stem: str, op: Op, *inputs: str) -> str:
        if stem == "output" and not isinstance(op, Output):
            if isinstance(op, Neuron):  # its spikes go by the path of the module, which is taken
                fix = "name it otherwise, as a chip's files name outputs and layers alike"
                self.low.problems.append(Problem("a layer of neurons cannot be called so", stem, fix=fix))
            stem = "output.layer"
        for source in inputs:
            if source in self.hosts:
                self.feed(source)
        name = self._fresh(stem)
        self.nodes[name] = Node(name, op, inputs, self._line)
        return name

    def feed(self, region: str) -> None:
        """Let the chip have what a host region gives."""
        host = self.hosts[region]
        self.nodes.setdefault(region, Node(region, Input(host.shape, host.carries)))

    def _stem(self, term: Term, label: str) -> str:
        """A name that says where a term comes from."""
        path = term.place.module
        if path in self.kinds and path not in self.low.neuron_modules and label not in ("sum", "add"):
            return path
        return f"{path}.{label}" if path else label

    def emit(self, term: Term) -> str:
        """The node of a uniform term."""
        known = self._names.get(term.uid)
        if known is not None:
            return known
        before, self._line = self._line, term.place.line
        try:
            return self._emitted(term)
        finally:
            self._line = before

    def _emitted(self, term: Term) -> str:
        match term.kind:
            case "apply":
                made = self._apply(term)
            case "affine":
                made = self._affine(term)
            case "mul":
                made = self._both(term)
            case "cmp":
                made = self._compare(term)
            case "neuron":
                made = self._neuron(term)
            case "integrator":
                hosted = self._of_membranes(term)
                made = self._integrator(term) if hosted is None else self.emit(hosted)
            case "gain":
                gains, bias = term.data
                source = self.emit(term.args[0])
                if source in self._names and term.args[0].kind == "integrator":
                    raise self._behind_membrane(term)
                made = self._add(self._stem(term, "gain"), Gain(gains, bias), source)
            case "lag":
                return self._lag(term)
            case "func" | "host":
                made = emit_region(self, term)
            case _:
                raise NotAlike("it is the value of one step alone", term, "read what all steps give")
        self._names[term.uid] = made
        return made

    def _behind_membrane(self, term: Term) -> NotAlike:
        fix = "let a neuron or the output come after it"
        return NotAlike("a membrane that never fires is used as a current", term, fix)

    def _apply(self, term: Term) -> str:
        if isinstance(term.data, LINEAR):
            found = self.filtered(term)
            if found is not None:
                raise self._behind_membrane(term)
        label = _LABELS[type(term.data)]
        if isinstance(term.data, Reshape) and len(term.data.shape) > 1:
            label = "reshape"
        stem = self._stem(term, label)
        return self._add(stem, term.data, *(self.emit(a) for a in term.args))

    def _affine(self, term: Term) -> str:
        parts, constant = list(zip(term.args, term.data.coefficients)), term.data.constant
        if not parts:
            return self._numbers(term)
        shifted = bool(np.any(constant != 0))
        label = "scale" if len(parts) == 1 else "add"
        names = []
        for _number, (part, coefficient) in enumerate(parts):
            source = self.emit(part)
            alone = len(parts) == 1
            if np.all(coefficient == 1) and not (alone and shifted):
                names.append(source)
                continue
            shift = constant if alone and shifted else np.asarray(0.0)
            stem = self._stem(term, label if alone else "scale")
            names.append(self._add(stem, Scale(coefficient, shift), source))
        if len(names) == 1:
            return names[0]
        made = self._add(self._stem(term, "add"), Add(), *names)
        if shifted:
            made = self._add(self._stem(term, "shift"), Scale(np.asarray(1.0), constant), made)
        return made

    def _numbers(self, term: Term) -> str:
        """A current that is the same whatever the input: a layer without synapses."""
        source = next(node for node in self.nodes.values() if isinstance(node.op, Input))
        assert isinstance(source.op, Input)
        inputs, outputs = int(np.prod(source.op.shape)), int(np.prod(term.shape))
        flat = self._add("constant.flatten", Reshape((inputs,)), source.name)
        none = np.zeros((outputs, inputs))
        bias = np.broadcast_to(term.data.constant, term.shape).ravel().copy()
        made = self._add("constant", Linear(none, bias, none != 0), flat)
        return self._add("constant.reshape", Reshape(term.shape), made)

    def _literals(self, term: Term) -> list[tuple[Term, bool]]:
        """What a product of spikes is 1 for: terms that fire, or that do not."""
        if term.kind == "mul":
            return [found for arg in term.args for found in self._literals(arg)]
        if term.kind == "affine" and len(term.args) == 1 and term.args[0].binary:
            low, high = term.data.constant, term.data.constant + term.data.coefficients[0]
            if np.all(low == 1) and np.all(high == 0):
                return [(term.args[0], False)]
        return [(term, True)]

    def _both(self, term: Term) -> str:
        """A product of spikes: a neuron of its own, which fires where all of them do."""
        if not all(arg.binary for arg in term.args):
            raise NotAlike(TWO_VALUES, term, FIX_PRODUCT)
        literals = self._literals(term)
        names = []
        for part, fires in literals:
            source = self.emit(part)
            names.append(source if fires else self._add(f"{source}.not", Scale(np.asarray(-1.0)), source))
        summed = names[0] if len(names) == 1 else self._add(self._stem(term, "sum_of_spikes"), Add(), *names)
        least = sum(fires for _, fires in literals) - 0.5
        op = Neuron(threshold=np.asarray(least), decay=np.asarray(0.0), reset="none")
        made = self._add(self._stem(term, "both"), op, summed)
        self.layers[made] = term
        return made

    # -- neurons -------------------------------------------------------------------------------------------------------

    def _neuron_name(self, term: Term, modules: Sequence[str]) -> str:
        """The path of the module whose code the neuron is; one that holds layers, too, gives it a name of its own."""
        split = [path.split(".") if path else [] for path in modules]
        common = []
        for parts in zip(*split):
            if len(set(parts)) > 1:
                break
            common.append(parts[0])
        path = ".".join(common)
        if path and not self._holds_layers(path):
            return path
        return f"{path}.neuron" if path else "neuron"

    def _caller(self, spike: Term) -> str:
        """The module in whose code a comparison is, or that computed what it compares and called that one for it."""
        home, above = spike.place.module, spike.args[0].place.module if spike.args else ""
        return above if above and home.startswith(f"{above}.") and not self._holds_layers(above) else home

    def _holds_layers(self, path: str) -> bool:
        return any(m == path or m.startswith(f"{path}.") for m in self.low.layer_modules)

    def _neuron(self, term: Term) -> str:
        op: Neuron = term.data
        current = term.args[0]
        for name, value in vars(op).items():
            if not isinstance(value, np.ndarray) or value.dtype.kind != "f":
                continue
            broken = np.isnan(value).any() or (np.isinf(value).any() and "threshold" not in name)
            if broken:
                what = f"its {name} is no number"
                raise BadInput(Problem(what, term.place.module, str(value), "finite", "restore the model"))
        found = self.filtered(current)
        if found is not None:
            decay, inner, constant = found
            if np.any(op.current_decay) or op.deaf:
                raise self._behind_membrane(current)
            op = replace(op, current_decay=np.asarray(decay), bias=np.asarray(op.bias + op.gain * constant))
            current = inner
        modules = self.facts.modules.get(term.uid, [term.place.module])
        if len(modules) == 1 and term.uid in self.facts.neurons:
            last = self.facts.neurons[term.uid][-1]
            modules = modules if last is None or last.kind != "cmp" else [self._caller(last)]
        name = self._fresh(self._neuron_name(term, modules))
        self._reserved.add(name)  # what it hears may be neurons of the same module
        source = self.emit(current)
        self._reserved.discard(name)
        made = self._add(name, op, source)
        self.layers[made] = term
        return made

    def _compare(self, term: Term) -> str:
        """A neuron that remembers nothing."""
        simple = self.terms.simplified(term)
        if simple is not None:
            return self.emit(simple)
        x = term.args[0]
        threshold = np.asarray(0.0)
        gain = np.asarray(1.0)
        if x.kind == "affine" and x.args:
            threshold = -x.data.constant
            if len(x.args) == 1 and not x.data.coefficients[0].ndim:
                gain = x.data.coefficients[0]
                x = x.args[0]
            else:
                x = self.terms.affine(list(zip(x.args, x.data.coefficients)), 0.0, x.shape)
        if self.filtered(x) is not None:
            raise self._behind_membrane(term)
        op = Neuron(threshold=np.asarray(threshold), gain=gain, decay=np.asarray(0.0), strict=term.data, reset="none")
        made = self._add(self._neuron_name(term, [self._caller(term)]), op, self.emit(x))
        self.layers[made] = term
        return made

    def _integrator(self, term: Term) -> str:
        current = term.args[0]
        op: Integrator = term.data
        number = current.kind == "affine" and len(current.args) == 1 and not np.any(current.data.constant)
        if number and not current.data.coefficients[0].ndim:
            op = replace(op, gain=op.gain * current.data.coefficients[0])
            current = current.args[0]
        path = term.place.module
        stem = path if path and not self._holds_layers(path) else self._stem(term, "membrane")
        return self._add(stem, op, self.emit(current))

    def _of_membranes(self, term: Term) -> Term | None:
        """A membrane that never fires and hears such membranes, which a host computes; None for any other."""
        one = np.asarray(1.0)
        current = term.args[0]
        lanes: list[tuple[Term, Array]] = []
        currents: list[tuple[Term, Array]] = []
        if current.kind == "gain" and np.all(current.data[0] == 1):  # numbers of each step beside it
            nothing = self.terms.constant(np.asarray(0.0), term.shape)
            currents.append((self.terms.uniform("gain", term.shape, (nothing,), current.data, current.uid), one))
            current = current.args[0]
        parts, constant = [(current, one)], np.asarray(0.0)
        if current.kind == "affine":
            parts, constant = list(zip(current.args, current.data.coefficients)), current.data.constant
        for part, coefficient in parts:
            membrane = self._as_membrane(part)
            if membrane is None:
                currents.append((part, coefficient))
                continue
            lanes.append((membrane[0], coefficient))
            constant = constant + coefficient * membrane[1]
        if not lanes:
            return None
        if currents:
            lanes.append((self.terms.affine(currents, 0.0, term.shape), one))
        summands = [((0,), term.data.decay), *(((n + 1,), own) for n, (_, own) in enumerate(lanes))]
        if np.any(constant):
            summands.append(((), constant))
        self.terms.place = term.place
        made: Term = self.sums.recurrence(summands, [lane for lane, _ in lanes], term.shape)
        return made

    def _as_membrane(self, term: Term) -> tuple[Term, Array] | None:
        """A linear layer of a membrane that never fires as such a membrane, and a constant; None for any other term."""
        if term.kind == "integrator":
            return term, np.asarray(0.0)
        found = self.filtered(term)
        if found is None:
            return None
        decay, inner, constant = found
        op = Integrator(decay=np.asarray(decay))
        return self.terms.uniform("integrator", term.shape, (inner,), op, (decay, "read")), constant

    def _lag(self, term: Term) -> str:
        if not term.data.steps and term.data.of is not None:
            return self.emit(term.data.of)
        name = self._fresh(self._stem(term, "delay"))
        self._names[term.uid] = name
        self.nodes[name] = Node(name, Delay(term.shape, term.data.steps), (), term.place.line)
        if term.data.of is None:
            raise NotAlike("a loop is never closed", term)
        self._open_loops.append((name, term.data))
        return name

    def _close_loops(self) -> None:
        """Let every delay read what comes back to it, once that is there."""
        while self._open_loops:
            name, lag = self._open_loops.pop()
            source = self.emit(lag.of)
            if source in self.hosts:
                self.feed(source)
            self.nodes[name] = replace(self.nodes[name], inputs=(source,))

    # -- filters -------------------------------------------------------------------------------------------------------

    def filtered(self, term: Term) -> tuple[float, Term, Array] | None:
        """Decay, current and constant of a linear layer of a membrane that never fires.

        Filtering commutes with what is linear: ``W f + b`` with ``f = d * f + x`` is ``g + b`` with ``g = d * g + W
        x``.
        """
        if term.kind == "integrator" and not term.data.decay.ndim:
            inner = self.filtered(term.args[0])
            if inner is not None:
                return None
            op: Integrator = term.data
            current = self.terms.affine([(term.args[0], op.gain)], op.bias, term.shape)
            return float(op.decay), current, np.asarray(0.0)
        if term.kind == "affine" and len(term.args) == 1:
            found = self.filtered(term.args[0])
            if found is None:
                return None
            decay, inner, constant = found
            k = term.data.coefficients[0]
            return (
                decay,
                self.terms.affine([(inner, k)], 0.0, term.shape),
                np.asarray(k * constant + term.data.constant),
            )
        if term.kind == "apply" and isinstance(term.data, LINEAR) and len(term.args) == 1:
            found = self.filtered(term.args[0])
            if found is None:
                return None
            decay, inner, constant = found
            made = self.terms.apply(without_bias(term.data), inner)
            after = self.terms.apply(term.data, self.terms.constant(constant, term.args[0].shape))
            return decay, made, np.asarray(after.data.constant)
        return None

    # -- outputs -------------------------------------------------------------------------------------------------------

    def output(self, name: str, parts: Sequence[Value], read: Read | None, stepped: bool) -> None:
        """One output of the network: a tensor that forward returned (at each step, where it was called for each)."""
        if name in self.nodes or name in self.hosts:
            what, fix = "a layer cannot be called so: a chip's files name outputs and layers alike", "name it otherwise"
            self.low.problems.append(Problem(what, name, fix=fix))
            return
        parts = [self._plain(part) for part in parts]
        if stepped or parts[0].timed:
            steps = [part.steps[0] for part in parts] if stepped else list(parts[0].steps)
            if len(steps) != self.low.timesteps:
                if read not in (None, "mean"):
                    raise Refused(
                        f"an output of {len(steps)} steps of {self.low.timesteps}", "return every step, or none"
                    )
                number = np.asarray(1.0 / len(steps))
                total = self.terms.affine([(t, number) for t in steps], 0.0, steps[0].shape)
                self._emit_read(name, *self.reading(total))
                return
            term = self.facts.unify(steps)
            self._emit_sequence(name, term, read or "mean")
            return
        term = parts[0].steps[0]
        term = self._largest_by_size(term) or term
        while term.kind == "apply" and isinstance(term.data, Reshape) and term.args[0].kind == "extreme":
            inner = term.args[0]
            reshaped = tuple(self.terms.apply(term.data, a) for a in inner.args)
            term = self.terms.extreme(inner.data, reshaped)
        if term.kind == "extreme":
            self._add(name, Output(term.data), self._membrane(name, self.facts.unify(term.args)))
            return
        try:
            readings = self.reading(term)
        except NotAlike:
            steps = self._all_steps(term)
            if steps is None:
                raise
            self._emit_sequence(name, self.facts.unify(steps), "last")
            return
        self._emit_read(name, *readings)

    def _all_steps(self, term: Term) -> list[Term] | None:
        """What each step made where the last one made a term, each on the way to the next; None if there is no such."""
        steps = [term]
        while len(steps) < self.low.timesteps:
            waiting = {a.uid: a for a in steps[0].args}
            while waiting:
                top = waiting.pop(max(waiting))
                if (top.kind, top.shape, top.place.site) == (term.kind, term.shape, term.place.site):
                    break
                if top.kind in ("affine", "mul", "cmp"):
                    waiting |= {a.uid: a for a in top.args}
            else:
                return None
            steps.insert(0, top)
        return steps

    def _largest_by_size(self, term: Term) -> Term | None:
        """The step of the largest size, where that is chosen from the largest and the smallest of all steps."""
        ends = {t.data: t for t in self._all(term) if t.kind == "extreme"}
        others = [t for t in self._all(term) if t.kind not in ("extreme", "affine", "mul", "cmp", "func")]
        if set(ends) != {"max", "min"} or ends["max"].args != ends["min"].args:
            return None
        inside = {t.uid for end in ends.values() for t in self._all(end)}
        if any(t.uid not in inside for t in others):
            return None
        numbers = np.random.default_rng(0)
        pair = np.sort(np.concatenate([numbers.normal(size=(500, 2)), numbers.integers(-2, 3, (500, 2))]), 1)
        low, high = (pair[:, k].reshape(-1, *(1,) * len(term.shape)) * np.ones(term.shape) for k in (0, 1))
        given = {ends["max"].uid: high, ends["min"].uid: low}
        found = self._evaluated(term, given)
        right = np.where(np.abs(high) > np.abs(low), high, low)
        return self.terms.extreme("max-abs", ends["max"].args) if np.array_equal(found, right) else None

    def _all(self, term: Term) -> list[Term]:
        found, waiting, seen = [], [term], set()
        while waiting:
            top = waiting.pop()
            if top.uid not in seen:
                seen.add(top.uid)
                found.append(top)
                waiting += top.args if top.kind != "extreme" else ()
        return found

    def _evaluated(self, term: Term, given: Mapping[int, Array]) -> Array:
        if term.uid in given:
            return given[term.uid]
        args = [self._evaluated(a, given) for a in term.args]
        match term.kind:
            case "affine":
                return np.asarray(sum((c * a for c, a in zip(term.data.coefficients, args)), term.data.constant))
            case "mul":
                return np.asarray(args[0] * args[1])
            case "cmp":
                return np.asarray((args[0] > 0) if term.data else (args[0] >= 0), np.float64)
            case "func" if term.data[0] == "abs":
                return np.abs(args[0])
        return np.full((1,), np.nan)

    def _plain(self, x: Value) -> Value:
        """Axes of size one as features."""
        features = tuple(n for axis, n in zip(x.axes, x.shape) if axis != "N" and not is_time(axis))
        axes = tuple("F" if axis == "1" else axis for axis in x.axes)
        return x.mapped(lambda t: self.terms.apply(Reshape(features), t) if t.shape != features else t, axes, x.shape)

    def _emit_sequence(self, name: str, term: Term, read: Read) -> None:
        membrane = self._as_membrane(term)
        if membrane is not None:
            term, constant = membrane
            if np.any(constant):
                raise self._behind_membrane(term)
            term = self._of_membranes(term) or term
        region = self._whole_region(term)
        if region is not None:
            self.hosts[region] = replace(self.hosts[region], output=name, read=read)
            return
        self._add(name, Output(read), self._membrane(name, term))

    def _membrane(self, name: str, term: Term) -> str:
        node = self.emit(term)
        if node in self.hosts:
            self.feed(node)
        if isinstance(self.nodes[node].op, Integrator):
            return node
        return self._add(f"{name}.integrator", Integrator(), node)

    def _whole_region(self, term: Term) -> str | None:
        """The region that an output is, if it is one that nothing else was made of yet."""
        if term.kind not in ("func", "host"):
            return None
        node = self.emit(term)
        return node if node in self.hosts and not self.hosts[node].output else None

    def _emit_read(self, name: str, readings: list[_Reading], constant: Array, shape: tuple[int, ...]) -> None:
        if len(readings) == 1 and not np.any(constant):
            reading = readings[0]
            if (
                reading.term.kind in ("func", "host")
                and reading.term.static
                and not isinstance(reading.term.data, tuple)
            ):
                region = self._whole_region(reading.term)
                if region is not None and reading.all_alike:
                    self.hosts[region] = replace(self.hosts[region], output=name, read="last")
                    return
        op, term, read = self._as_read(readings, constant, shape)
        if op is not None:
            inner = self.emit(term)
            node = self._add(f"{name}.integrator", op, inner)
        else:
            node = self._membrane(name, term)
        weights = None
        if isinstance(read, tuple):
            read, weights = read
        self._add(name, Output(read, weights=weights), node)

    def _as_read(
        self, readings: list[_Reading], constant: Array, shape: tuple[int, ...]
    ) -> tuple[Integrator | None, Term, Any]:
        """The membrane (None: none of its own), the current and the reading that give a weighted sum over time."""
        steps = self.low.timesteps
        plain = [self._unfiltered(r, constant, len(readings)) for r in readings]
        constant = constant + sum((c for _, c in plain), np.asarray(0.0))
        readings = [r for r, _ in plain]
        one = np.asarray(1.0)
        if not readings:
            return None, self.terms.constant(constant, shape), "last"
        if all(r.all_alike for r in readings):
            mean = all(np.all(np.abs(r.weights[0] * steps - 1) < 1e-15 * steps) for r in readings)
            total = any(np.all(r.weights[0] == 1) for r in readings) and not mean
            factor = one if total else np.asarray(float(steps))
            parts = [(r.term, np.asarray(1.0) if mean else np.asarray(r.weights[0] * factor)) for r in readings]
            shift = constant / steps if total else constant
            return None, self.terms.affine(parts, shift, shape), "sum" if total else "mean"
        if all(r.last_only for r in readings):
            return None, self.terms.affine([(r.term, r.weights[-1]) for r in readings], constant, shape), "last"
        decay = self._common_decay(readings)
        if decay is not None:
            parts = [(r.term, r.weights[-1]) for r in readings]
            total_decay = sum((decay**k for k in range(steps)), np.asarray(0.0))
            bias = np.asarray(constant / total_decay) if np.any(constant) else np.asarray(0.0)
            term = self.terms.affine(parts, 0.0, shape)
            op = Integrator(decay=np.asarray(decay), bias=bias)
            if term.kind == "affine" and len(term.args) == 1 and not term.data.coefficients[0].ndim:
                op, term = replace(op, gain=term.data.coefficients[0]), term.args[0]
            return op, term, "last"
        pattern = self._common_pattern(readings)
        if pattern is not None:
            weights, factors = pattern
            parts = [(r.term, f) for r, f in zip(readings, factors)]
            shift = np.asarray(0.0)
            if np.any(constant):
                if abs(weights.sum()) < 1e-12:
                    raise Refused(
                        "an output has weights over time that cancel, and a constant", "leave out one of them"
                    )
                shift = constant / weights.sum()
            return None, self.terms.affine(parts, shift, shape), ("weighted", weights)
        gained = []
        for r in readings:
            gained.append((self.sums.varying(r.term, r.weights), one))
        return None, self.terms.affine(gained, constant / steps, shape), "sum"

    def _unfiltered(self, reading: _Reading, constant: Array, count: int) -> tuple[_Reading, Array]:
        """A reading of a filtered current as one of the current."""
        found = self.filtered(reading.term)
        if found is None:
            return reading, np.asarray(0.0)
        simple = reading.term.kind == "integrator" and count == 1 and not np.any(constant)
        w = reading.weights
        if simple and (
            (reading.last_only and np.all(w[-1] == 1))
            or (reading.all_alike and (np.all(w[0] == 1) or np.all(np.abs(w[0] * len(w) - 1) < 1e-14)))
        ):
            return reading, np.asarray(0.0)
        decay, inner, shift = found
        weights = []
        for k in range(len(w)):
            weights.append(np.asarray(sum(w[t] * decay ** (t - k) for t in range(k, len(w)))))
        return _Reading(inner, weights), np.asarray(sum(x * shift for x in w))

    def _common_decay(self, readings: list[_Reading]) -> Array | None:
        """d where every reading has the weights ``w * d ** (T - 1 - t)``."""
        found: Array | None = None
        for r in readings:
            if not all(np.all(w != 0) for w in r.weights):
                return None
            d = np.asarray(r.weights[-2] / r.weights[-1])
            if not all(np.allclose(a, d * b, rtol=1e-10, atol=0) for a, b in zip(r.weights, r.weights[1:])):
                return None
            if found is not None and not np.allclose(found, d, rtol=1e-10):
                return None
            found = d
        return None if len(readings[0].weights) < 2 else found

    def _common_pattern(self, readings: list[_Reading]) -> tuple[Array, list[Array]] | None:
        """Weights over time that all readings share, and the factor of each."""
        first = readings[0]
        at = max(range(len(first.weights)), key=lambda t: float(np.abs(first.weights[t]).max()))
        pattern: list[float] = []
        factors = [r.weights[at] for r in readings]
        for t in range(len(first.weights)):
            with np.errstate(divide="ignore", invalid="ignore"):
                ratios = [np.asarray(r.weights[t] / f) for r, f in zip(readings, factors)]
            value = float(ratios[0].flat[0])
            if not all(np.allclose(r, value, rtol=1e-12, atol=1e-300) for r in ratios):
                return None
            pattern.append(value)
        if all(not f.ndim for f in factors) and len(factors) == 1:
            return np.asarray(pattern) * float(factors[0]), [np.asarray(1.0)]
        return np.asarray(pattern), factors

    def reading(self, term: Term) -> tuple[list[_Reading], Array, tuple[int, ...]]:
        """A value that is made of all steps, as a sum over time of uniform terms.

        Raises:
            NotAlike: if it is none.
        """
        steps = self.low.timesteps
        poly = self.facts.expand(term)
        constant = poly.constant
        groups: dict[Any, list[tuple[Term, Array]]] = {}
        fixed: dict[int, _Reading] = {}
        made: list[_Reading] = []
        for monomial, coefficient in poly.items():
            if not monomial:
                continue
            atom = self.facts.names[monomial[0]]
            for uid in monomial[1:]:
                atom = self.terms.mul(atom, self.facts.names[uid])
            if atom.kind == "mul" and not atom.binary:
                raise NotAlike(TWO_VALUES, atom, FIX_PRODUCT)
            if atom.kind == "at":
                own = fixed.setdefault(atom.args[0].uid, _Reading(atom.args[0], [np.asarray(0.0)] * steps))
                own.weights[atom.data] = own.weights[atom.data] + coefficient
            elif atom.kind == "extreme":
                raise NotAlike("something is done with the largest value over time", atom, "return it as it is")
            else:
                groups.setdefault(self.facts.kin(atom), []).append((atom, coefficient))
        for atoms in groups.values():
            if len(atoms) < max(steps, 2) and any(self._reads_all(atom) for atom, _ in atoms):
                for atom, coefficient in atoms:
                    inner, shift = self._through(atom, coefficient)
                    made += inner
                    constant = constant + shift
                continue
            for own in self._apart(atoms):
                made.append(self._grouped(own))
        merged: dict[int, _Reading] = {}
        for reading in (*fixed.values(), *made):
            known = merged.get(reading.term.uid)
            if known is None:
                merged[reading.term.uid] = reading
            else:
                known.weights = [np.asarray(a + b) for a, b in zip(known.weights, reading.weights)]
        return list(merged.values()), constant, term.shape

    def _apart(self, atoms: list[tuple[Term, Array]]) -> list[list[tuple[Term, Array]]]:
        """Terms of a kind, those of several places in the code apart."""
        if len(atoms) <= self.low.timesteps:
            return [atoms]
        sites: dict[str, list[tuple[Term, Array]]] = {}
        for atom, coefficient in atoms:
            sites.setdefault(atom.place.site, []).append((atom, coefficient))
        return list(sites.values())

    def _grouped(self, atoms: list[tuple[Term, Array]]) -> _Reading:
        steps = self.low.timesteps
        atoms = sorted(atoms, key=lambda pair: (pair[0].step, pair[0].uid))
        first = atoms[0][0]
        if len(atoms) == 1 and first.uniform and first.static and first.step < 0:
            return _Reading(first, [np.asarray(atoms[0][1] / steps)] * steps)
        places: Sequence[int] = range(steps) if len(atoms) == steps else [atom.step for atom, _ in atoms]
        if len(set(places)) < len(atoms) or any(not 0 <= p < steps for p in places):
            if len(atoms) > steps:
                raise NotAlike("more than all steps of it are read", first, "read each step once")
            # One line may compute many layers, and what a layer gave before anything came is no term of its own.
            atoms = sorted(atoms, key=lambda pair: pair[0].uid)
            places = range(steps - len(atoms), steps)
        column: list[Term | None] = [None] * steps
        weights = [np.asarray(0.0)] * steps
        for place, (atom, coefficient) in zip(places, atoms):
            column[place], weights[place] = atom, coefficient
        return _Reading(self.facts.unify(column), weights)

    def _times(self, term: Term) -> set[int]:
        """The steps that a term is made of, not looking into neurons."""
        found: set[int] = set()
        waiting, seen = [term], set()
        while waiting:
            top = waiting.pop()
            if top.uid in seen:
                continue
            seen.add(top.uid)
            if top.kind in ("at", "cmp"):
                found.add(top.data if top.kind == "at" else top.step)
            else:
                waiting += top.args
        return found

    def _reads_all(self, atom: Term) -> bool:
        linear = atom.kind == "apply" and isinstance(atom.data, (*LINEAR, Concat))
        return (linear or atom.kind in ("func", "host")) and len(self._times(atom)) > 1

    def _through(self, atom: Term, coefficient: Array) -> tuple[list[_Reading], Array]:
        """A linear layer behind a sum over time is one before it."""
        if atom.kind in ("func", "host"):
            return [_Reading(atom, [np.asarray(coefficient / self.low.timesteps)] * self.low.timesteps)], np.asarray(
                0.0
            )
        if isinstance(atom.data, Concat):
            return self._through_concat(atom, coefficient)
        readings, constant, _ = self.reading(atom.args[0])
        op = without_bias(atom.data)
        whole = self.terms.apply(atom.data, self.terms.constant(constant, atom.args[0].shape)).data.constant
        made = []
        for r in readings:
            arrays = [w for w in r.weights if np.ndim(w)]
            if arrays:
                r = self._flat(r)
            made.append(_Reading(self.terms.apply(op, r.term), [np.asarray(w * coefficient) for w in r.weights]))
        return made, np.asarray(whole * coefficient)

    def _through_concat(self, atom: Term, coefficient: Array) -> tuple[list[_Reading], Array]:
        """Sums over time one after the other are sums over time of what is one after the other."""
        made: list[_Reading] = []
        whole = np.zeros(atom.shape)
        axis, start = atom.data.axis, 0
        for part in atom.args:
            size = part.shape[axis]
            place = [slice(None)] * len(atom.shape)
            place[axis] = slice(start, start + size)
            index = np.full(atom.shape, -1)
            index[tuple(place)] = np.arange(int(np.prod(part.shape))).reshape(part.shape)
            readings, constant, _ = self.reading(part)
            whole[tuple(place)] = constant
            for r in readings:
                r = self._flat(r) if any(np.ndim(w) for w in r.weights) else r
                made.append(
                    _Reading(picked(self.terms, r.term, index), [np.asarray(w * coefficient) for w in r.weights])
                )
            start += size
        return made, np.asarray(whole * coefficient)

    def _flat(self, reading: _Reading) -> _Reading:
        """A reading with one number a step."""
        at = max(range(len(reading.weights)), key=lambda t: float(np.abs(reading.weights[t]).max()))
        factor = reading.weights[at]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = [np.asarray(w / factor) for w in reading.weights]
        if not all(np.allclose(r, r.flat[0], rtol=1e-12) for r in ratios):
            raise NotAlike(
                "its weights over time differ by channel, before a layer", reading.term, "let the layer come first"
            )
        term = self.terms.affine([(reading.term, factor)], 0.0, reading.term.shape)
        return _Reading(term, [np.asarray(r.flat[0]) for r in ratios])

    # -- the whole -----------------------------------------------------------------------------------------------------

    def graph(self) -> Graph:
        """All nodes that an output needs, and the inputs."""
        self._close_loops()
        while True:
            wanted = {source for node in self.nodes.values() for source in node.inputs}
            unread = [n.name for n in self.nodes.values()
                      if isinstance(n.op, (*LINEAR_OPS, MaxPool)) and n.name not in wanted]  # fmt: skip
            if not unread:
                break
            for name in unread:
                del self.nodes[name]
        given = {read.source for region in self.hosts.values() for read in region.reads if read.kind == "input"}
        nodes = [n for n in self.nodes.values() if n.name in wanted or n.name not in given]
        return Graph(nodes, self.hosts.values())

    def two_ways(self) -> tuple[str, ...]:
        """The layers that fire at ``>=`` and are reset at ``>``, say, where their equation has one of them."""
        compared = {term.uid for term in self.facts.twins.values()}
        steps = {name: self.facts.neurons.get(term.uid, ()) for name, term in self.layers.items() if name in self.nodes}
        return tuple(name for name, known in steps.items() if compared & {t.uid for t in known if t is not None})

    def fired(self) -> dict[str, Fired]:
        """Where in the trace each layer of neurons fired."""
        found = {}
        for name, term in self.layers.items():
            if name not in self.nodes:
                continue
            steps = self.facts.neurons.get(term.uid)
            if steps is None:
                steps = (term,) * self.low.timesteps
            first = next(k for k, t in enumerate(steps) if t is not None)
            silent = (SILENT, (), -1)  # it heard nothing yet
            untold = (UNTOLD, (), -1)
            last = max(k for k, t in enumerate(steps) if t is not None)
            known = [None if t is None else self.low.spikes.get(t.uid) for t in steps[first : last + 1]]
            if any(p is None for p in known):
                continue
            places = [silent] * first + known + [untold] * (len(steps) - last - 1)
            found[name] = Fired(tuple(p[0] for p in places), tuple(p[1] for p in places), tuple(p[2] for p in places))
        return found
