"""What each operation of a trace means for the steps of one sample."""

# mypy: disable-error-code="arg-type,index,misc,no-any-return"
from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np
import torch

from neurocompile.errors import Problem
from neurocompile.frontends.pytorch.axes import Axes, MixedAxes, regroup
from neurocompile.frontends.pytorch.rolling import NotAlike, Roller
from neurocompile.frontends.pytorch.terms import Term, Terms
from neurocompile.frontends.pytorch.trace import Call, Trace, references
from neurocompile.frontends.pytorch.values import (
    FIX_MIXED,
    Refused,
    Value,
    aligned,
    concatenated,
    is_time,
    joined,
    picked,
    shown,
    spread,
)
from neurocompile.frontends.pytorch.vocabulary import OPERATIONS, VIEWS
from neurocompile.ir.ops import Array, Conv, ConvTranspose, Linear, MaxPool, Reshape, SumPool, Upsample

__all__ = ["HANDLERS", "HostCall", "Lowering"]

Ints = Sequence[int]
# Above this many numbers a pooling with uneven windows is not written out as a matrix.
_LARGEST_MATRIX = 1 << 24


@dataclass(frozen=True)
class HostCall:
    """What a host computes, for one step: which axes its tensors have, and the values of an example of them.

    ``function`` takes tensors with the axes that forward has, time as an axis of size one where it was there
    (``whole``: with all of time). ``carries`` tells whether it gives spikes.
    """

    key: Any
    kind: str
    function: Any
    axes: tuple[Axes, ...]
    result_axes: Axes
    examples: tuple[Any, ...]
    whole: bool = False
    carries: str = "real"

    @property
    def stepwise(self) -> bool:
        """Whether each step is computed from the same step alone."""
        return not self.whole


class Lowering:
    """The state of one lowering: the terms, the roller, what could not be lowered.

    ``call`` is what is being lowered; ``spikes`` tells for each comparison the value that it was.
    """

    def __init__(
        self, trace: Trace, timesteps: int, neurons: Mapping[str, Any], regions: Mapping[str, Any],
        examples: Callable[[Sequence[int]], Mapping[int, torch.Tensor]] | None,
    ) -> None:  # fmt: skip
        self.trace = trace
        self.timesteps = timesteps
        self.batch = trace.batch
        self.terms = Terms(timesteps)
        self.roller = Roller(self.terms)
        self.neurons = neurons
        self.regions = regions
        self.examples = examples
        self.problems: list[Problem] = []
        self.call: Call = Call("", (), -1, ())
        self.spikes: dict[int, tuple[int, Axes, int]] = {}
        self.module_classes: Mapping[str, str] = {}
        self.stepped_inputs = ""
        self.counts: dict[str, int] = {}
        self.host_calls: dict[int, Any] = {}
        self.values: dict[int, Any] = {}
        self._examples: Mapping[int, torch.Tensor] = {}
        self.layer_modules: set[str] = set()
        self.neuron_modules: set[str] = set()

    def report(self, what: str, module: str, line: str, fix: str, name: str = "") -> None:
        """Note a problem, once."""
        place = f"{line} ({module})" if line and module else line or module or name
        problem = Problem(what, place, fix=fix)
        if problem not in self.problems:
            self.problems.append(problem)

    def report_unlike(self, error: NotAlike) -> None:
        """Note steps that could not be rolled up."""
        place = error.term.place if error.term is not None else None
        self.report(error.what, place.module if place else "", place.line if place else "", error.fix)

    def note(self, call: Call, value: Any) -> None:
        """Remember which value of the trace a comparison was."""
        if call.operation in _LAYERS and isinstance(value, Value):
            self.layer_modules.add(call.module)
        if isinstance(value, Value):
            for step, term in enumerate(value.steps):
                if term.kind == "cmp":
                    self.neuron_modules.add(term.place.module)
                if term.kind in ("cmp", "mul", "registered") and term.uid not in self.spikes:
                    self.spikes[term.uid] = (call.out, value.axes, step if value.timed else -1)

    def value(self, number: int) -> Any:
        """What became of a value of the trace."""
        return self.values.get(number)

    def example(self, number: int) -> torch.Tensor:
        """A value of the trace on the example."""
        if number not in self._examples:
            assert self.examples is not None
            wanted = {
                n
                for call in self.trace.calls
                if call.leaf or call.operation not in HANDLERS
                for n in references(call.args)
            }
            wanted = {n for n in (*wanted, number) if n not in self.trace.constants}
            self._examples = self.examples(sorted(wanted))
        return self._examples[number]

    # -- what is no operation of the IR --------------------------------------------------------------------------------

    def leaf(self, call: Call, args: Any) -> Any:
        """A module that is one whole: a registered neuron, or what a host computes."""
        positional, named = args
        if call.leaf in self.neurons:
            return self.neurons[call.leaf](self, call, *positional, **named)
        return self.regions[call.leaf](self, call, positional, named)

    def on_host(self, call: Call, args: tuple[Any, ...]) -> Any:
        """A function that no chip computes."""
        from neurocompile.frontends.pytorch.regions import function_on_host

        return function_on_host(self, call, args)


# -- element by element ------------------------------------------------------------------------------------------------


def _elementwise(low: Lowering, operands: Sequence[Any], function: Callable[..., Term]) -> Value:
    given = [x if isinstance(x, Value) else _numbers(x) for x in operands]
    axes, shape, columns = aligned(low.terms, given)
    made = [function(*parts) for parts in zip(*columns)]
    timed = any(is_time(name) for name in axes)
    return Value(axes, shape, tuple(made) if timed else made[0])


def _numbers(x: Any) -> Array:
    return x.detach().double().numpy() if isinstance(x, torch.Tensor) else np.asarray(x, np.float64)


def _sum(low: Lowering, *parts: tuple[Any, float]) -> Value:
    """A sum of operands times numbers."""

    def add(*terms: Term) -> Term:
        return low.terms.affine([(t, np.asarray(n)) for t, (_, n) in zip(terms, parts)], 0.0, terms[0].shape)

    return _elementwise(low, [x for x, _ in parts], add)


def add(low: Lowering, a: Any, b: Any, alpha: float = 1) -> Value:
    return _sum(low, (a, 1.0), (b, float(alpha)))


def sub(low: Lowering, a: Any, b: Any, alpha: float = 1) -> Value:
    return _sum(low, (a, 1.0), (b, -float(alpha)))


def mul(low: Lowering, a: Any, b: Any) -> Value:
    return _elementwise(low, (a, b), low.terms.mul)


def div(low: Lowering, a: Any, b: Any) -> Value:
    if isinstance(b, Value):
        return _function(low, "div", a, b)
    with np.errstate(divide="ignore"):
        return mul(low, a, 1.0 / _numbers(b))


def neg(low: Lowering, x: Value) -> Value:
    return _sum(low, (x, -1.0))


def lerp(low: Lowering, a: Any, b: Any, weight: Any) -> Value:
    return add(low, a, mul(low, sub(low, b, a), weight))


def addcmul(low: Lowering, x: Any, a: Any, b: Any, value: float) -> Value:
    product = mul(low, a, b) if isinstance(a, Value) or isinstance(b, Value) else _numbers(a) * _numbers(b)
    return _sum(low, (x, 1.0), (product, float(value)))


def addcdiv(low: Lowering, x: Any, a: Any, b: Any, value: float) -> Value:
    if isinstance(b, Value):
        return _function(low, "addcdiv", x, a, b, numbers=(float(value),))
    return addcmul(low, x, a, 1.0 / _numbers(b), value)


def _compare(strict: bool, turned: bool) -> Callable[..., Value]:
    def handler(low: Lowering, a: Any, b: Any) -> Value:
        def compared(x: Term, y: Term) -> Term:
            x, y = (y, x) if turned else (x, y)
            difference = low.terms.affine([(x, np.asarray(1.0)), (y, np.asarray(-1.0))], 0.0, x.shape)
            return low.terms.compare(difference, strict)

        return _elementwise(low, (a, b), compared)

    return handler


def _equal(turned: bool) -> Callable[..., Value]:
    def handler(low: Lowering, a: Any, b: Any) -> Value:
        def equal(x: Term, y: Term) -> Term:
            if x.is_constant:
                x, y = y, x
            if not (x.binary and y.is_constant):
                return low.terms.func("ne" if turned else "eq", (x, y), (), x.shape)
            zero, one = (y.data.constant == 0).astype(float), (y.data.constant == 1).astype(float)
            if turned:
                zero, one = 1.0 - zero, 1.0 - one
            return low.terms.affine([(x, one - zero)], zero, x.shape)

        return _elementwise(low, (a, b), equal)

    return handler


def where(low: Lowering, mask: Any, a: Any, b: Any) -> Value:
    def choose(c: Term, x: Term, y: Term) -> Term:
        one = np.asarray(1.0)
        if not c.is_constant:
            return low.terms.affine([(low.terms.mul(c, x), one), (low.terms.mul(c, y), -one), (y, one)], 0.0, x.shape)
        chosen = c.data.constant != 0
        return low.terms.affine([(x, chosen.astype(float)), (y, (~chosen).astype(float))], 0.0, x.shape)

    return _elementwise(low, (mask, a, b), choose)


def masked_fill(low: Lowering, x: Any, mask: Any, value: Any) -> Value:
    return where(low, mask, value, x)


def heaviside(low: Lowering, x: Any, at_zero: Any) -> Value:
    if not isinstance(at_zero, Value) and np.isin(_numbers(at_zero), (0, 1)).all():
        if np.all(_numbers(at_zero) == 0):
            return _compare(True, False)(low, x, 0.0)
        if np.all(_numbers(at_zero) == 1):
            return _compare(False, False)(low, x, 0.0)
    return _function(low, "heaviside", x, at_zero)


def sign(low: Lowering, x: Value) -> Value:
    return sub(low, _compare(True, False)(low, x, 0.0), _compare(True, True)(low, x, 0.0))


def _logical(name: str) -> Callable[..., Value]:
    def handler(low: Lowering, a: Any, b: Any) -> Value:
        def joined_(x: Term, y: Term) -> Term:
            if not (x.binary and y.binary):
                return low.terms.func(name, (x, y), (), x.shape)
            both, one = low.terms.mul(x, y), np.asarray(1.0)
            if name.endswith("and"):
                return both
            return low.terms.affine(
                [(x, one), (y, one), (both, -one * (2 if name.endswith("xor") else 1))], 0.0, x.shape
            )

        return _elementwise(low, (_truth(low, a), _truth(low, b)) if name.startswith("logical") else (a, b), joined_)

    return handler


def _truth(low: Lowering, x: Any) -> Any:
    if isinstance(x, Value):
        return x if all(t.binary for t in x.steps) else _equal(True)(low, x, 0.0)
    return (_numbers(x) != 0).astype(np.float64)


def logical_not(low: Lowering, x: Value) -> Value:
    return _sum(low, (1.0, 1.0), (_truth(low, x), -1.0))


def to(low: Lowering, x: Value, kind: str) -> Value:
    """Another kind of number: whole numbers and truth values are floats here, too."""
    if kind == "float" or all(t.binary for t in x.steps):
        return x
    if kind == "bool":
        return _truth(low, x)
    return _function(low, "trunc", x)


def _bounded(low: Lowering, x: Any, least: Any, most: Any) -> Value:
    """clamp: nothing changes where everything lies inside."""
    inside = isinstance(x, Value) and all(t.binary for t in x.steps)
    fits = all(not isinstance(b, Value) for b in (least, most))
    if inside and fits:
        low_end = -np.inf if least is None else _numbers(least)
        high_end = np.inf if most is None else _numbers(most)
        if np.all(low_end <= 0) and np.all(high_end >= 1):
            return x
    operands = [x, *(b for b in (least, most) if b is not None)]
    which = (least is not None, most is not None)
    return _function(low, "clamp", *operands, numbers=which)


def _of_binary(name: str) -> Callable[..., Value]:
    """A function that leaves 0 and 1 as they are."""

    def handler(low: Lowering, x: Value) -> Value:
        return x if all(t.binary for t in x.steps) else _function(low, name, x)

    return handler


def _extreme_of_two(name: str) -> Callable[..., Value]:
    logical = _logical("logical_or" if name == "maximum" else "logical_and")

    def handler(low: Lowering, a: Any, b: Any) -> Value:
        if all(isinstance(x, Value) and all(t.binary for t in x.steps) for x in (a, b)):
            return logical(low, a, b)
        return _function(low, name, a, b)

    return handler


def _function(low: Lowering, name: str, *operands: Any, numbers: tuple[Any, ...] = ()) -> Value:
    """An element-wise function that no equation can hold: a host computes it, if it is not part of a neuron."""
    return _elementwise(low, operands, lambda *terms: low.terms.func(name, terms, numbers, terms[0].shape))


def _named_function(name: str) -> Callable[..., Value]:
    def handler(low: Lowering, *args: Any) -> Value:
        operands = [x for x in args if isinstance(x, Value | torch.Tensor) or type(x) in (int, float)]
        texts = tuple(x for x in args if isinstance(x, str))
        return _function(low, name, *operands, numbers=texts)

    return handler


# -- axes --------------------------------------------------------------------------------------------------------------


def _sizes(low: Lowering, x: Value) -> int:
    """How many steps an axis of time and batch folded together holds."""
    return len(x.content) if isinstance(x.content, tuple) else low.timesteps


def _time_beside_channels(x: Value, after: tuple[int, ...]) -> Value | None:
    """Time and channels made one axis "TF", or apart again: so a norm of one step is mapped over all of them."""
    for at, name in enumerate(x.axes):
        if x.axes[at : at + 2] == ("T", "F"):
            joined_ = (*x.shape[:at], x.shape[at] * x.shape[at + 1], *x.shape[at + 2 :])
            if after == joined_ and x.shape[at] > 1 < x.shape[at + 1]:
                return Value((*x.axes[:at], "TF", *x.axes[at + 2 :]), after, x.content)
        if name == "TF":
            steps = len(x.steps)
            if after == (*x.shape[:at], steps, x.shape[at] // steps, *x.shape[at + 1 :]):
                return Value((*x.axes[:at], "T", "F", *x.axes[at + 1 :]), after, x.content)
    return None


@dataclass(frozen=True)
class Merged:
    """A value of which all axes but the last (or the first) were made one, between two reshapes around a product."""

    value: Value
    shape: tuple[int, ...]
    last: bool


def _merged(x: Value, after: tuple[int, ...]) -> Merged | None:
    """A reshape of all axes but one into one, beside axes of size one."""
    sizes = tuple(n for n in after if n != 1) or (1,)
    whole = prod(x.shape)
    if len(sizes) <= 2 and sizes[-1] == x.shape[-1] and prod(sizes) == whole and x.axes[-1] == "F":
        return Merged(x, after, True)
    if len(sizes) <= 2 and sizes[0] == x.shape[0] and prod(sizes) == whole:
        return Merged(x, after, False)
    return None


def _unmerged(low: Lowering, x: Merged, size: Ints) -> Any:
    """A reshape of a merged value: back into the axes that it had, or into others of size one."""
    after = _resolved(x.shape, size)
    kept = x.value.shape
    if prod(after) == prod(kept):
        plain = tuple(n for n in after if n != 1)
        if plain == tuple(n for n in kept if n != 1):
            return view(low, x.value, after)
        try:
            return view(low, x.value, after)
        except MixedAxes:
            pass
        if len(plain) <= 2:
            return Merged(x.value, after, x.last)
    raise MixedAxes(f"a reshape of axes {shown(x.value.axes)} to {list(after)}")


def view(low: Lowering, x: Any, size: Ints) -> Any:
    if isinstance(x, Merged):
        return _unmerged(low, x, size)
    after = _resolved(x.shape, size)
    if after == x.shape:
        return x
    beside = _time_beside_channels(x, after)
    if beside is not None:
        return beside
    try:
        axes = regroup(x.axes, x.shape, after, _sizes(low, x))
    except MixedAxes:
        merged = _merged(x, after)
        if merged is None:
            raise
        return merged
    features = tuple(n for name, n in zip(axes, after) if name == "F")
    if prod(features) != prod(x.features):
        raise MixedAxes(f"a reshape of axes {shown(x.axes)} from {list(x.shape)} to {list(after)}")
    made = x.mapped(lambda t: low.terms.apply(Reshape(features), t) if features != t.shape else t, axes, after)
    return _timed(made)


def _timed(x: Value) -> Value:
    """A value whose content is one term where no axis of time is left (T = 1)."""
    has = any(is_time(name) for name in x.axes)
    if has and not isinstance(x.content, tuple):
        return replace(x, content=(x.content,))
    if not has and isinstance(x.content, tuple):
        if len(x.content) > 1:
            raise MixedAxes("a reshape that loses the axis of time")
        return replace(x, content=x.content[0])
    return x


def _resolved(before: Sequence[int], size: Ints) -> tuple[int, ...]:
    if -1 not in size:
        return tuple(size)
    known = -prod(size)
    return tuple(prod(before) // known if n == -1 else n for n in size)


def permute(low: Lowering, x: Any, dims: Ints) -> Any:
    if isinstance(x, Merged):
        return _turned(low, x, dims)
    order = [d % len(x.axes) for d in dims]
    axes, shape = tuple(x.axes[i] for i in order), tuple(x.shape[i] for i in order)
    kept = [i for i in order if x.axes[i] == "F"]
    if kept == sorted(kept):
        return replace(x, axes=axes, shape=shape)
    rank = {axis: n for n, axis in enumerate(sorted(kept))}
    turned = [rank[axis] for axis in kept]
    index = np.arange(prod(x.features)).reshape(x.features).transpose(turned)
    return x.mapped(lambda t: picked(low.terms, t, index), axes, shape)


def _turned(low: Lowering, x: Merged, dims: Ints) -> Merged:
    """A merged value whose two axes (beside those of size one) change places, or do not."""
    shape = tuple(x.shape[d] for d in dims)
    wide = [d % len(x.shape) for d in dims if x.shape[d] != 1]
    if wide == sorted(wide):
        return Merged(x.value, shape, x.last)
    rank = len(x.value.axes)
    order = [rank - 1, *range(rank - 1)] if x.last else [*range(1, rank), 0]
    return Merged(permute(low, x.value, order), shape, not x.last)


def unsqueeze(low: Lowering, x: Any, dim: int) -> Any:
    if isinstance(x, Merged):
        at = dim % (len(x.shape) + 1)
        return Merged(x.value, (*x.shape[:at], 1, *x.shape[at:]), x.last)
    at = dim % (len(x.axes) + 1)
    return replace(x, axes=(*x.axes[:at], "1", *x.axes[at:]), shape=(*x.shape[:at], 1, *x.shape[at:]))


def squeeze(low: Lowering, x: Any, dims: Ints | None = None) -> Any:
    if isinstance(x, Merged):
        gone_ = [i for i, n in enumerate(x.shape) if n == 1 and (dims is None or i in [d % len(x.shape) for d in dims])]
        return Merged(x.value, tuple(n for i, n in enumerate(x.shape) if i not in gone_), x.last)
    chosen = set(range(len(x.axes))) if dims is None else {d % len(x.axes) for d in dims}
    gone = [i for i in chosen if x.shape[i] == 1 and x.axes[i] != "N"]
    for at in sorted(gone, reverse=True):
        x = _without(low, x, at)
    return x


def _without(low: Lowering, x: Value, at: int) -> Value:
    """A value without an axis of size one."""
    axes, shape = (*x.axes[:at], *x.axes[at + 1 :]), (*x.shape[:at], *x.shape[at + 1 :])
    if is_time(x.axes[at]):
        return Value(axes, shape, x.steps[0])
    if x.axes[at] == "F":
        features = tuple(n for name, n in zip(axes, shape) if name == "F")
        return x.mapped(lambda t: low.terms.apply(Reshape(features), t), axes, shape)
    return replace(x, axes=axes, shape=shape)


def expand(low: Lowering, x: Value, size: Ints) -> Value:
    new = len(size) - len(x.axes)
    axes, before = ["1"] * new + list(x.axes), [1] * new + list(x.shape)
    after = [b if n == -1 else n for n, b in zip(size, before)]
    return _repeated(low, x, axes, before, after)


def repeat(low: Lowering, x: Value, sizes: Ints) -> Value:
    new = len(sizes) - len(x.axes)
    axes, before = ["1"] * new + list(x.axes), [1] * new + list(x.shape)
    after = [b * n for n, b in zip(sizes, before)]
    return _repeated(low, x, axes, before, after)


def _repeated(low: Lowering, x: Value, axes: list[str], before: list[int], after: list[int]) -> Value:
    content: Any = x.content
    steps = low.timesteps
    features_before = [n for name, n in zip(axes, before) if name == "F"]
    has_time = x.timed
    for i, (old, size) in enumerate(zip(before, after)):
        if size == old or axes[i] == "F":
            continue
        if axes[i] == "1" and not has_time and size == steps:
            axes[i], content, has_time = "T", (content,) * steps, True
        elif axes[i] == "1" and old == 1:
            at = axes[:i].count("F")
            axes[i] = "F"
            features_before.insert(at, 1)
            grown = tuple(features_before)
            content = _mapped(content, lambda t, grown=grown: low.terms.apply(Reshape(grown), t))
        elif axes[i] == "N" and not has_time and size == steps * old:
            axes[i], content, has_time = "TN", (content,) * steps, True
        elif axes[i] == "T" and size % old == 0:
            content = content * (size // old)
        else:
            what = f"it repeats the axis {shown((axes[i],))} {size // max(old, 1)} times"
            raise Refused(what, "only time may be made by repeating, and features copied")
    if steps == 1 and not has_time and axes[0] == "1":
        axes[0], content = "T", (content,)
    target = tuple(n for name, n in zip(axes, after) if name == "F")
    tiles = [b // a for a, b in zip(features_before, target)]

    def tiled(term: Term) -> Term:
        if term.shape == target:
            return term
        if all(a in (1, b) for a, b in zip(term.shape, target)):
            return spread(low.terms, term, target)
        index = np.tile(np.arange(prod(term.shape)).reshape(term.shape), tiles)
        return picked(low.terms, term, index)

    return Value(tuple(axes), tuple(after), _mapped(content, tiled))


def _mapped(content: Any, function: Callable[[Term], Term]) -> Any:
    return tuple(map(function, content)) if isinstance(content, tuple) else function(content)


# -- parts of tensors --------------------------------------------------------------------------------------------------


def _along(low: Lowering, x: Value, dim: int, places: Sequence[int]) -> Value:
    """The places along an axis, in this order."""
    at = dim % len(x.axes)
    name, size = x.axes[at], x.shape[at]
    shape = (*x.shape[:at], len(places), *x.shape[at + 1 :])
    if list(places) == list(range(size)):
        return x
    if name == "T":
        return Value(x.axes, shape, tuple(x.steps[p] for p in places))
    if name == "TN":
        batch = size // len(x.steps)
        whole = [p // batch for p in places[::batch]]
        if list(places) == [w * batch + n for w in whole for n in range(batch)]:
            return Value(x.axes, shape, tuple(x.steps[w] for w in whole))
    if name == "F":
        axis = x.axes[:at].count("F")
        index = np.arange(prod(x.features)).reshape(x.features).take(list(places), axis)
        return x.mapped(lambda t: picked(low.terms, t, index), x.axes, shape)
    if name == "N":
        what = "it takes a part of the batch, or changes the order of its samples"
        raise Refused(what, "treat every sample alike: a chip sees one at a time")
    raise Refused(f"it takes a part of the axis {shown((name,))}", FIX_MIXED)


def select(low: Lowering, x: Value, dim: int, index: int) -> Value:
    at = dim % len(x.axes)
    return _without(low, _along(low, x, at, [index % x.shape[at]]), at)


def slice_(low: Lowering, x: Value, dim: int, start: Any, end: Any, step: int) -> Value:
    return _along(low, x, dim, range(x.shape[dim % len(x.axes)])[slice(start, end, step)])


def flip(low: Lowering, x: Value, dims: Ints) -> Value:
    for dim in dims:
        x = _along(low, x, dim, range(x.shape[dim % len(x.axes)])[::-1])
    return x


def roll(low: Lowering, x: Value, shifts: Ints, dims: Ints) -> Value:
    if not dims:
        raise Refused("it rolls all axes as one", "name the axes: dims=...")
    for shift, dim in zip(shifts, dims):
        size = x.shape[dim % len(x.axes)]
        x = _along(low, x, dim, [(p - shift) % size for p in range(size)])
    return x


@dataclass(frozen=True)
class Picked:
    """The numbers of a tensor where a mask is 1, until they are written where it is."""

    value: Any
    mask: Value

    def placed(self, low: Lowering, mask: Value, base: Any) -> Value:
        """``base`` with these numbers where the mask is 1."""
        if mask.content != self.mask.content:
            raise Refused("it writes by another mask than it picked by", "use torch.where")
        return where(low, mask, self.value, base)


def masked_scatter(low: Lowering, x: Any, mask: Any, source: Any) -> Value:
    if not isinstance(mask, Value) or not isinstance(source, Picked):
        raise Refused("it writes where a tensor that depends on the input says", "use torch.where")
    return source.placed(low, mask, x)


def index(low: Lowering, x: Any, places: Sequence[Any]) -> Any:
    if len(places) == 1 and isinstance(places[0], Value) and all(t.binary for t in places[0].steps):
        return Picked(x, places[0])
    if not isinstance(x, Value) or any(isinstance(p, Value) for p in places):
        raise Refused("it picks by an index that depends on the input", "pick by numbers that are known")
    chosen = [(i, p) for i, p in enumerate(places) if p is not None]
    if len(chosen) == 1:
        ((at, where_),) = chosen
        if where_.dtype == torch.bool and where_.ndim == 1:
            where_ = where_.nonzero().ravel()
        if where_.dtype != torch.bool and where_.ndim == 1:
            size = x.shape[at]
            return _along(low, x, at, [int(p) % size for p in where_])
    positions = _positions(low, x, lambda t: OPERATIONS["index"].run(t, list(places)))
    return _gathered(low, x, positions)


def index_select(low: Lowering, x: Any, dim: int, places: Any) -> Value:
    if isinstance(places, Value):
        raise Refused("it picks by an index that depends on the input", "pick by numbers that are known")
    return _along(low, x, dim, [int(p) for p in places])


def _positions(low: Lowering, x: Value, move: Callable[[torch.Tensor], torch.Tensor]) -> tuple[Array, Axes]:
    """Where each feature comes from, for a move that leaves time and batch alone; and the axes after it."""
    lead = [i for i, name in enumerate(x.axes) if name != "F"]
    if lead != list(range(len(lead))):
        raise Refused(f"it moves features of axes {shown(x.axes)}", "bring time and batch to the front")
    shape = (*(1 for _ in lead), *x.features)
    moved = move(torch.arange(prod(x.features)).reshape(shape).double()).long().numpy()
    if moved.shape[: len(lead)] != (1,) * len(lead):
        raise Refused("it moves features across time or batch", FIX_MIXED)
    return moved.reshape(moved.shape[len(lead) :]), x.axes[: len(lead)]


def _gathered(low: Lowering, x: Value, positions: tuple[Array, Axes]) -> Value:
    places, lead = positions
    axes = (*lead, *("F",) * places.ndim)
    shape = (*x.shape[: len(lead)], *places.shape)
    return x.mapped(lambda t: picked(low.terms, t, places), axes, shape)


def _moved(name: str) -> Callable[..., Value]:
    """An operation that moves features alone: where each goes is told by moving numbers."""

    def handler(low: Lowering, x: Value, *args: Any) -> Value:
        return _gathered(low, x, _positions(low, x, lambda t: OPERATIONS[name].run(t, *args)))

    return handler


def _masked(name: str) -> Callable[..., Value]:
    """tril and triu."""

    def handler(low: Lowering, x: Value, diagonal: int) -> Value:
        mask = OPERATIONS[name].run(torch.ones(x.shape[-2:], dtype=torch.float64), diagonal)
        return mul(low, x, mask)

    return handler


def pad(low: Lowering, x: Value, sizes: Ints, value: float) -> Value:
    pairs = list(zip(sizes[::2], sizes[1::2]))
    if value != 0 and any(n for pair in pairs for n in pair):
        raise Refused(f"it pads with {value:g}", "pad with zeros")
    for back, (before, after) in enumerate(pairs):
        if not (before or after):
            continue
        at = len(x.axes) - 1 - back
        if x.axes[at] == "T":
            nothing = low.terms.constant(np.zeros(()), x.features)
            steps = (*(nothing,) * before, *x.steps, *(nothing,) * after)
            steps = steps[max(-before, 0) : len(steps) - max(-after, 0)]
            x = Value(x.axes, (*x.shape[:at], len(steps), *x.shape[at + 1 :]), steps)
            continue
        if x.axes[at] != "F":
            raise Refused(f"it pads the axis {shown((x.axes[at],))}", "pad features, or time")
        axis = x.axes[:at].count("F")
        places = np.arange(prod(x.features)).reshape(x.features)
        widths = [(0, 0)] * places.ndim
        widths[axis] = (max(before, 0), max(after, 0))
        padded = np.pad(places, widths, constant_values=-1)
        cut = [slice(None)] * places.ndim
        cut[axis] = slice(max(-before, 0), padded.shape[axis] - max(-after, 0))
        padded = padded[tuple(cut)]
        shape = (*x.shape[:at], padded.shape[axis], *x.shape[at + 1 :])
        x = x.mapped(lambda t, padded=padded: picked(low.terms, t, padded), x.axes, shape)
    return x


def cat(low: Lowering, tensors: Sequence[Any], dim: int) -> Value:
    tensors = [x for x in tensors if isinstance(x, Value) or x.numel()]
    values = joined(low.terms, [x if isinstance(x, Value) else _numbers(x) for x in tensors])
    at = dim % len(values[0].axes)
    values = _same_axes(low, values, at)
    axes = values[0].axes
    name = axes[at]
    shape = (*values[0].shape[:at], sum(v.shape[at] for v in values), *values[0].shape[at + 1 :])
    if name in ("T", "TN"):
        return Value(axes, shape, tuple(t for v in values for t in v.steps))
    untimed = not any(v.timed for v in values)
    if untimed and (name == "1" or (name == "N" and len(values) == low.timesteps)):
        renamed = "T" if name == "1" else "TN"
        return Value((*axes[:at], renamed, *axes[at + 1 :]), shape, tuple(v.steps[0] for v in values))
    if name != "F":
        raise Refused(f"it concatenates along the axis {shown((name,))}", "concatenate features, or steps in time")
    axis = axes[:at].count("F")
    count = max(len(v.steps) for v in values)
    columns = [v.steps if len(v.steps) == count else v.steps * count for v in values]
    made = tuple(concatenated(low.terms, parts, axis) for parts in zip(*columns))
    return Value(axes, shape, made if values[0].timed else made[0])


def _same_axes(low: Lowering, values: list[Value], at: int) -> list[Value]:
    """Axes of size one beside others' axes of time or features are such."""
    names = []
    for position in range(len(values[0].axes)):
        kinds = {v.axes[position] for v in values} - {"1"}
        if len(kinds) > 1:
            raise Refused(f"it joins axes {shown(values[0].axes)} and {shown(values[1].axes)}", FIX_MIXED)
        names.append(kinds.pop() if kinds else "1")
    made = []
    for v in values:
        if len(v.axes) != len(names):
            raise Refused("it joins tensors of different ranks", "give them the same axes")
        content: Any = v.content
        if any(is_time(n) for n in names) and not v.timed:
            content = (content,)
        grown = tuple(n for name, n in zip(names, v.shape) if name == "F")
        content = _mapped(content, lambda t, grown=grown: low.terms.apply(Reshape(grown), t) if t.shape != grown else t)
        time = next((i for i, n in enumerate(names) if is_time(n)), None)
        one = time is not None and time != at and len(content) == 1 and v.shape[time] == 1 and low.timesteps > 1
        if one and any(w.shape[time] != 1 for w in values):
            raise Refused("it joins one step and many", "give both the same steps")
        made.append(Value(tuple(names), v.shape, content))
    return made


def stack(low: Lowering, tensors: Sequence[Any], dim: int) -> Value:
    values = joined(low.terms, [x if isinstance(x, Value) else _numbers(x) for x in tensors])
    at = dim % (len(values[0].axes) + 1)
    if not any(v.timed for v in values) and _in_time(low, [v.steps[0] for v in values]):
        like = next(x for x in tensors if isinstance(x, Value))
        axes = (*like.axes[:at], "T", *like.axes[at:])
        shape = (*like.shape[:at], len(values), *like.shape[at:])
        return Value(axes, shape, tuple(v.steps[0] for v in values))
    if (
        any(v.timed for v in values)
        and len(values) == low.timesteps > 1
        and all(v.steps == values[0].steps for v in values)
    ):
        raise Refused(
            "it makes a second axis of time", "repeat a tensor over time only where it has none, or check the layout"
        )
    return cat(low, [_as_feature(low, unsqueeze(low, v, at), at) for v in values], at)


def _as_feature(low: Lowering, x: Value, at: int) -> Value:
    axes = (*x.axes[:at], "F", *x.axes[at + 1 :])
    features = tuple(n for name, n in zip(axes, x.shape) if name == "F")
    return x.mapped(lambda t: low.terms.apply(Reshape(features), t), axes, x.shape)


def _in_time(low: Lowering, terms: Sequence[Term]) -> bool:
    """Whether tensors that are stacked are steps, in their order."""
    if len(terms) == low.timesteps and all(t is terms[0] for t in terms):
        return True
    steps = [t.step for t in terms if not t.is_constant]
    if len(terms) == 1:
        return low.timesteps == 1
    return all(a < b for a, b in itertools.pairwise(steps)) or len(terms) == low.timesteps


# -- what is written ---------------------------------------------------------------------------------------------------


def write(low: Lowering, base: Any, value: Any, way: Sequence[Sequence[Any]]) -> Any:
    """A copy of ``base`` in which a view has other values."""
    shape = base.shape if isinstance(base, Value) else tuple(base.shape)
    places = torch.arange(prod(shape)).reshape(tuple(shape))
    for name, *args in way:
        places = VIEWS[name].run(places, *args)
    return _placed(low, base, value, places.numpy(), tuple(shape))


def index_put(low: Lowering, base: Any, places: Sequence[Any], value: Any, accumulate: bool) -> Any:
    if len(places) == 1 and isinstance(places[0], Value) and not accumulate and not isinstance(value, Value):
        if all(t.binary for t in places[0].steps) and isinstance(value, Picked):
            return value.placed(low, places[0], base)
        if all(t.binary for t in places[0].steps) and value.numel() == 1:
            return where(low, places[0], value, base)
    if any(isinstance(p, Value) for p in places):
        raise Refused("it writes where a tensor that depends on the input says", "use torch.where")
    shape = base.shape if isinstance(base, Value) else tuple(base.shape)
    grid = torch.arange(prod(shape)).reshape(tuple(shape))
    where_ = OPERATIONS["index"].run(grid, list(places)).numpy()
    if accumulate:
        raise Refused("it adds to places by their index", "use slices: y[...] += ...")
    return _placed(low, base, value, where_, tuple(shape))


def _placed(low: Lowering, base: Any, value: Any, places: Array, shape: tuple[int, ...]) -> Any:
    if not isinstance(value, Value) and not isinstance(base, Value):
        flat = _numbers(base).copy().ravel()
        flat[places] = np.broadcast_to(_numbers(value), places.shape)
        return torch.from_numpy(flat.reshape(shape))
    if isinstance(base, Value) and "TN" in base.axes:
        at = base.axes.index("TN")
        apart = (*shape[:at], len(base.steps), shape[at] // len(base.steps), *shape[at + 1 :])
        return view(low, _placed(low, view(low, base, apart), _apart(low, value), places, apart), shape)
    coordinates = np.unravel_index(places, shape)
    if isinstance(value, Value):
        axes = base.axes if isinstance(base, Value) else _guessed_axes(low, value, coordinates, shape)
    else:
        axes = base.axes
    whole = _as_value(low, base, axes, shape)
    part = value if isinstance(value, Value) else _beside(low, _numbers(value), axes, coordinates, places.shape)
    if isinstance(value, Value) and tuple(value.shape) != places.shape:
        part = expand(low, value, places.shape)
    return _written(low, whole, part, coordinates, places.shape)


def _apart(low: Lowering, value: Any) -> Any:
    return value


def _as_value(low: Lowering, base: Any, axes: Axes, shape: tuple[int, ...]) -> Value:
    if isinstance(base, Value):
        return base
    count = next((n for name, n in zip(axes, shape) if name == "T"), 1)
    count = low.timesteps if "TN" in axes else count
    features = tuple(n for name, n in zip(axes, shape) if name == "F")
    from neurocompile.frontends.pytorch.values import _constants

    content = _constants(low.terms, _numbers(base), axes, shape, count, features)
    return Value(axes, shape, tuple(content) if any(map(is_time, axes)) else content[0])


def _guessed_axes(low: Lowering, value: Value, at: Sequence[Array], shape: tuple[int, ...]) -> Axes:
    """The names of the axes of a tensor of numbers into which a value is written."""
    names: list[str] = []
    for axis, size in enumerate(shape):
        found = "F"
        for own, name in enumerate(value.axes):
            index = np.arange(value.shape[own]).reshape([-1 if k == own else 1 for k in range(len(value.axes))])
            if (
                name in ("N", "T", "TN")
                and value.shape[own] > 1
                and np.array_equal(at[axis], np.broadcast_to(index, at[axis].shape))
            ):
                found = name
        fixed = at[axis].size and (at[axis] == at[axis].flat[0]).all()
        if found == "F" and fixed and size == low.timesteps and not value.timed and "T" not in names:
            found = "T"
        names.append(found)
    return tuple(names)


def _beside(low: Lowering, numbers: Array, axes: Axes, at: Sequence[Array], shape: tuple[int, ...]) -> Array:
    return np.broadcast_to(numbers, shape)


def _written(low: Lowering, whole: Value, part: Any, at: Sequence[Array], shape: tuple[int, ...]) -> Value:
    """The terms of a value after a part of it was written."""
    batch_axis = [i for i, name in enumerate(whole.axes) if name == "N"]
    if len(batch_axis) != 1:
        raise Refused(f"it writes into axes {shown(whole.axes)}", FIX_MIXED)
    n = at[batch_axis[0]]
    first = n == 0
    time = next((i for i, name in enumerate(whole.axes) if name == "T"), None)
    features = [i for i, name in enumerate(whole.axes) if name == "F"]
    sizes = [whole.shape[i] for i in features]
    into = np.ravel_multi_index([at[i][first] for i in features], sizes) if features else np.zeros(first.sum(), int)
    step_into = at[time][first] if time is not None else np.zeros(into.shape, int)
    if isinstance(part, Value):
        own = np.indices(shape)
        axis_n = part.axes.index("N")
        if not np.array_equal(own[axis_n], n):
            raise Refused("it writes one sample where another was", "treat every sample alike")
        own_time = next((i for i, name in enumerate(part.axes) if name == "T"), None)
        own_features = [i for i, name in enumerate(part.axes) if name == "F"]
        places = [own[i][first] for i in own_features]
        source = np.ravel_multi_index(places, part.features) if places else np.zeros(into.shape, int)
        step_from = own[own_time][first] if own_time is not None else np.zeros(into.shape, int)
    else:
        if not np.array_equal(part, np.broadcast_to(part[first].flat[0], shape)) and not _same_for_all(
            part, at, batch_axis[0]
        ):
            raise Refused("it writes other numbers for one sample than for another", "give every sample the same")
        numbers = part[first]
    made = list(whole.steps)
    size = prod(sizes)
    for step in np.unique(step_into):
        here = step_into == step
        before = made[step]
        if not isinstance(part, Value):
            mask, new = np.zeros(size), np.zeros(size)
            mask[into[here]], new[into[here]] = 1.0, numbers[here]
            shaped = before.shape
            made[step] = low.terms.affine([(before, 1.0 - mask.reshape(shaped))], new.reshape(shaped), shaped)
            continue
        for origin in np.unique(step_from[here]):
            mine = here & (step_from == origin)
            term = part.steps[origin]
            made[step] = _spliced(low, made[step], term, into[mine], source[mine])
    return replace(whole, content=tuple(made) if whole.timed else made[0])


def _same_for_all(part: Array, at: Sequence[Array], axis: int) -> bool:
    n = at[axis]
    keys = tuple(a for k, a in enumerate(at) if k != axis)
    table: dict[tuple[int, ...], float] = {}
    for key, value in zip(zip(*(k.ravel() for k in keys)), part.ravel()):
        if table.setdefault(key, value) != value:
            return False
    return n is not None


def _spliced(low: Lowering, before: Term, term: Term, into: Array, source: Array) -> Term:
    """``before`` with ``term``'s features ``source`` at the places ``into``."""
    size, own = prod(before.shape), prod(term.shape)
    order = np.argsort(into)
    into, source = into[order], source[order]
    if len(into) == size:
        return picked(low.terms, term, source.reshape(before.shape))
    flat = np.full(size, -1)
    flat[into] = source
    added = picked(low.terms, term, flat.reshape(before.shape))
    mask = np.ones(size)
    mask[into] = 0.0
    assert own
    kept = low.terms.affine([(before, mask.reshape(before.shape))], 0.0, before.shape)
    return low.terms.affine([(kept, np.asarray(1.0)), (added, np.asarray(1.0))], 0.0, before.shape)


# -- layers ------------------------------------------------------------------------------------------------------------


def _array(x: Any) -> Any:
    return None if x is None else x.detach().double().numpy()


def _layer(low: Lowering, x: Value, op: Any, axes: Axes, shape: tuple[int, ...], bias: Any = None) -> Value:
    return x.mapped(lambda t: low.terms.apply(op, t), axes, shape)


def _on_features(x: Value, lead: int, what: str) -> None:
    """Refuse a layer whose batch is not what it takes for it."""
    if x.axes[lead:] != ("F",) * (len(x.axes) - lead) or any(name == "F" for name in x.axes[:lead]):
        raise Refused(f"{what} reads axes {shown(x.axes)}", "time and batch must come before the channels here")


def _time_inside(low: Lowering, x: Value) -> tuple[Value, int | None]:
    """A layer's input; where time is among the axes behind the channels, its place among these."""
    x = _grown(low, x)
    time = next((i for i, name in enumerate(x.axes) if name == "T" and i > 1), None)
    if time is None:
        return x, None
    return x, time - 2


def _grown(low: Lowering, x: Value) -> Value:
    """Axes of size one behind the batch are features."""
    if "1" not in x.axes:
        return x
    lead = next((i for i, name in enumerate(x.axes) if name in ("N", "TN", "NT")), 0)
    axes = tuple("F" if name == "1" and i > lead else name for i, name in enumerate(x.axes))
    features = tuple(n for name, n in zip(axes, x.shape) if name == "F")
    return x.mapped(lambda t: low.terms.apply(Reshape(features), t), axes, x.shape)


def convolve(
    low: Lowering, x: Any, weight: Any, bias: Any, stride: Ints, padding: Ints, dilation: Ints, transposed: bool,
    output_padding: Ints, groups: int,
) -> Value:  # fmt: skip
    if isinstance(weight, Value) or isinstance(bias, Value):
        raise Refused(
            "its weights depend on the input", "a chip has one set of weights: let them depend on parameters only"
        )
    x, time = _time_inside(low, x)
    w, rank = _array(weight), weight.ndim - 2
    if x.axes[0] not in ("N", "TN", "NT") or x.axes[1:2] != ("F",):
        raise Refused(f"a convolution reads axes {shown(x.axes)}", "time and batch must come before the channels here")
    b = _array(bias)
    if time is not None:
        return _over_time(low, x, w, b, stride, padding, dilation, transposed, groups, time)
    if rank not in (1, 2):
        raise Refused(
            f"it convolves over {rank} axes of features", "one or two can be convolved; of three, one must be time"
        )
    if b is not None:
        b = b.reshape(-1, *(1,) * rank)
    ints = [tuple(int(n) for n in v) * (rank // len(v)) for v in (stride, padding, dilation, output_padding)]
    if transposed:
        op: Any = ConvTranspose(w, b, ints[0], ints[1], ints[3], ints[2], groups)
    else:
        op = Conv(w, b, ints[0], tuple((p, p) for p in ints[1]), ints[2], groups)
    made = x.mapped(lambda t: low.terms.apply(op, t))
    shape = low.call.shape
    return replace(made, shape=shape)


def _over_time(
    low: Lowering, x: Value, w: Array, b: Any, stride: Ints, padding: Ints, dilation: Ints, transposed: bool,
    groups: int, time: int,
) -> Value:  # fmt: skip
    """A convolution one of whose axes is time: a sum of layers of earlier and later steps."""
    rank = w.ndim - 2
    others = [k for k in range(rank) if k != time]
    if transposed and w.shape[2 + time] != 1:
        raise Refused("it convolves over time and is transposed", "use an ordinary convolution over time")

    def without(values: Ints) -> tuple[int, ...]:
        return tuple(int(values[k]) for k in others)

    taps = []
    for tap in range(w.shape[2 + time]):
        weight = w.take(tap, 2 + time)
        if rank == 1:
            taps.append(Linear(_dense(weight, groups)))
        elif transposed:
            taps.append(
                ConvTranspose(
                    weight, None, without(stride), without(padding), (0,) * (rank - 1), without(dilation), groups
                )
            )
        else:
            pads = tuple((p, p) for p in without(padding))
            taps.append(Conv(weight, None, without(stride), pads, without(dilation), groups))
    one = np.asarray(1.0)
    steps = []
    for t in range(low.call.shape[2 + time]):
        parts = []
        for tap, op in enumerate(taps):
            source = t * stride[time] + tap * dilation[time] - padding[time]
            if 0 <= source < len(x.steps) and np.any(op.weight):
                parts.append((low.terms.apply(op, x.steps[source]), one))
        features = tuple(n for k, n in enumerate(low.call.shape[1:]) if k != time + 1)
        constant = 0.0 if b is None else b.reshape(-1, *(1,) * (len(features) - 1))
        if len(taps) == 1 and b is not None and parts:
            biased = replace(taps[0], bias=b if rank == 1 else constant)
            steps.append(low.terms.apply(biased, x.steps[t * stride[time] - padding[time]]))
        else:
            steps.append(low.terms.affine(parts, constant, features))
    return Value(x.axes, low.call.shape, tuple(steps))


def _dense(weight: Array, groups: int) -> Array:
    """The matrix of a grouped layer ``[out, in / groups]``."""
    outputs, per = weight.shape
    made = np.zeros((outputs, per * groups))
    for row in range(outputs):
        group = row // (outputs // groups)
        made[row, group * per : (group + 1) * per] = weight[row]
    return made


def _linear(low: Lowering, x: Value, weight: Array, bias: Any) -> Value:
    """``x @ weight.T + bias`` over the last axis."""
    if x.axes[-1] == "1":
        x = _as_feature(low, x, len(x.axes) - 1)
    if x.axes[-1] != "F":
        what = f"it reads axes {shown(x.axes)}: its weights would be of {x.axes[-1]}, the last one"
        if is_time(x.axes[-1]):
            return _mixed_time(low, x, weight, bias)
        raise Refused(what, "permute the features to the end before it, and back behind it")
    shape = (*x.shape[:-1], weight.shape[0])
    if x.axes.count("F") == 1:
        op = Linear(weight, bias)
        return x.mapped(lambda t: low.terms.apply(op, t), x.axes, shape)
    features = x.features
    rows = prod(features[:-1])
    if rows <= 1:
        op = Linear(weight, bias)

        def flat(t: Term) -> Term:
            return low.terms.apply(Reshape((*features[:-1], weight.shape[0])),
                                   low.terms.apply(op, low.terms.apply(Reshape((features[-1],)), t)))  # fmt: skip

        return x.mapped(flat, x.axes, shape)
    one = Conv(weight[..., None], None if bias is None else np.asarray(bias).reshape(-1, 1), (1,), ((0, 0),), (1,), 1)

    def each(t: Term) -> Term:
        turned = np.arange(rows * features[-1]).reshape(rows, features[-1]).T
        there = _transposed(low, low.terms.apply(Reshape((rows, features[-1])), t), turned)
        made = low.terms.apply(one, there)
        back = np.arange(weight.shape[0] * rows).reshape(weight.shape[0], rows).T
        return low.terms.apply(Reshape((*features[:-1], weight.shape[0])), _transposed(low, made, back))

    return x.mapped(each, x.axes, shape)


def _transposed(low: Lowering, term: Term, index_: Array) -> Term:
    return picked(low.terms, term, index_)


def _mixed_time(low: Lowering, x: Value, weight: Array, bias: Any) -> Value:
    """A matrix over time: every step it gives is a sum of steps."""
    steps = []
    for row in range(weight.shape[0]):
        parts = [(t, np.asarray(n)) for t, n in zip(x.steps, weight[row])]
        steps.append(low.terms.affine(parts, 0.0 if bias is None else np.asarray(bias)[row], x.features))
    return Value(x.axes, (*x.shape[:-1], weight.shape[0]), tuple(steps))


def _merged_product(low: Lowering, a: Any, b: Any) -> Any:
    """A product of a merged value and a matrix."""
    if isinstance(a, Merged) and not isinstance(b, Value | Merged):
        matrix = _array(b).reshape(b.shape[-2:])
        if not a.last:
            a = _turned(low, _turned(low, a, range(len(a.shape))), range(len(a.shape)))
        if a.last and a.value.shape[-1] == matrix.shape[0]:
            return Merged(_linear(low, a.value, matrix.T, None), (*a.shape[:-1], matrix.shape[1]), True)
    if isinstance(b, Merged) and not isinstance(a, Value | Merged):
        matrix = _array(a).reshape(a.shape[-2:])
        if not b.last and b.value.shape[0] == matrix.shape[1]:
            rank = len(b.value.axes)
            turned = permute(low, b.value, [*range(1, rank), 0])
            made = _linear(low, turned, matrix, None)
            return Merged(
                permute(low, made, [rank - 1, *range(rank - 1)]), (*b.shape[:-2], matrix.shape[0], b.shape[-1]), False
            )
    raise MixedAxes("a product of axes that were made one")


def mm(low: Lowering, a: Any, b: Any) -> Any:
    if isinstance(a, Merged) or isinstance(b, Merged):
        return _merged_product(low, a, b)
    if isinstance(a, Value) and isinstance(b, Value):
        return low.on_host(low.call, (a, b))
    if isinstance(a, Value):
        return _linear(low, a, _array(b).T, None)
    turned = permute(low, b, [1, 0])
    return permute(low, _linear(low, turned, _array(a), None), [1, 0])


def mv(low: Lowering, a: Any, b: Any) -> Value:
    if not isinstance(a, Value) or isinstance(b, Value):
        return low.on_host(low.call, (a, b))
    return _without(low, _linear(low, a, _array(b)[None], None), len(a.axes) - 1)


def addmm(low: Lowering, c: Any, a: Any, b: Any, beta: float = 1, alpha: float = 1) -> Any:
    if (
        isinstance(a, Merged)
        and a.last
        and not isinstance(b, Value | Merged)
        and not isinstance(c, Value)
        and c.ndim == 1
    ):
        made = _linear(low, a.value, _array(b).T * alpha, _array(c) * beta)
        return Merged(made, (*a.shape[:-1], b.shape[1]), True)
    if isinstance(a, Value) and not isinstance(b, Value) and not isinstance(c, Value) and c.ndim == 1:
        return _linear(low, a, _array(b).T * alpha, _array(c) * beta)
    return _sum(low, (c, float(beta)), (mm(low, a, b), float(alpha)))


def bmm(low: Lowering, a: Any, b: Any) -> Any:
    if (isinstance(a, Merged) and len(b) == 1) or (isinstance(b, Merged) and len(a) == 1):
        return _merged_product(low, a, b)
    if isinstance(a, Value) and not isinstance(b, Value):
        w = _array(b)
        if len({w[k].tobytes() for k in range(len(w))}) == 1:
            return _linear(low, a, w[0].T, None)
    elif isinstance(b, Value) and not isinstance(a, Value):
        w = _array(a)
        if len({w[k].tobytes() for k in range(len(w))}) == 1:
            turned = permute(low, b, [0, 2, 1])
            return permute(low, _linear(low, turned, w[0], None), [0, 2, 1])
    return low.on_host(low.call, (a, b))


def baddbmm(low: Lowering, c: Any, a: Any, b: Any, beta: float = 1, alpha: float = 1) -> Value:
    return _sum(low, (c, float(beta)), (bmm(low, a, b), float(alpha)))


def batch_norm(low: Lowering, x: Any, weight: Any, bias: Any, mean: Any, var: Any, eps: float) -> Value:
    x = _grown(low, x)
    if any(isinstance(v, Value) for v in (weight, bias, mean, var)):
        raise Refused("its statistics depend on the input", "evaluate it with running statistics")
    std = np.sqrt(_array(var) + eps)
    gamma = np.ones(std.shape) if weight is None else _array(weight)
    beta = np.zeros(std.shape) if bias is None else _array(bias)
    center = _array(mean)
    axis = x.axes[1] if len(x.axes) > 1 else "F"
    scale, shift = gamma / std, beta - center * (gamma / std)
    if axis == "T":
        parts = [low.terms.affine([(t, np.asarray(k))], c, t.shape) for t, k, c in zip(x.steps, scale, shift)]
        return replace(x, content=tuple(parts))
    if axis == "TF":
        rank = len(x.steps[0].shape)
        columns = [v.reshape(len(x.steps), -1, *(1,) * (rank - 1)) for v in (scale, shift)]
        parts = [low.terms.affine([(t, k)], c, t.shape) for t, k, c in zip(x.steps, *columns)]
        return replace(x, content=tuple(parts))
    if axis != "F":
        raise Refused(f"a batch norm reads axes {shown(x.axes)}", "channels must come second")
    each = (-1, *(1,) * (x.axes.count("F") - 1))

    def normed(t: Term) -> Term:
        if t.kind == "apply" and isinstance(t.data, Reshape):
            inner = t.args[0]  # a membrane that was flattened for its norm
            full = [np.broadcast_to(v.reshape(each), t.shape).reshape(inner.shape) for v in (gamma, beta, center, std)]
            k, b = full[0] / full[3], full[1] - full[2] * (full[0] / full[3])
            made = low.terms.affine([(inner, k)], b, inner.shape)
            low.roller.norms.setdefault(made.uid, tuple(full))
            return low.terms.apply(t.data, made)
        made = low.terms.affine([(t, scale.reshape(each))], shift.reshape(each), t.shape)
        low.roller.norms.setdefault(made.uid, tuple(v.reshape(each) for v in (gamma, beta, center, std)))
        return made

    return x.mapped(normed)


def _window(x: Value, time: int | None, sizes: Ints, alone: int, what: str) -> tuple[int, ...]:
    """Sizes along the axes of places, without that of time."""
    if time is None:
        return tuple(int(n) for n in sizes)
    if sizes[time] != alone:
        raise Refused(f"it {what} over time", f"let it be {alone} along time, so that each step is computed alone")
    return tuple(int(n) for k, n in enumerate(sizes) if k != time)


def _pool_geometry(low: Lowering, x: Value, kernel: Ints, stride: Any, padding: Ints) -> Any:
    x, time = _time_inside(low, x)
    if x.axes[0] not in ("N", "TN", "NT") or x.axes[1:2] != ("F",):
        raise Refused(f"a pool reads axes {shown(x.axes)}", "time and batch must come before the channels here")
    k = _window(x, time, kernel, 1, "pools")
    s = _window(x, time, stride or kernel, 1, "pools")
    p = _window(x, time, padding, 0, "pools")
    outs = tuple(n for i, n in enumerate(low.call.shape[2:]) if i != time)
    return x, time, k, s, p, outs


def _after(size: int, out: int, span: int, stride: int, padding: int) -> int:
    """Padding at the far end, so that the last of ``out`` windows fits (more than ``padding`` in ceil mode)."""
    return max((out - 1) * stride + span - size - padding, 0)


def avg_pool(
    low: Lowering, x: Value, kernel: Ints, stride: Any, padding: Ints, ceil: bool, include: bool, divisor: Any
) -> Value:
    x, _, k, s, p, outs = _pool_geometry(low, x, kernel, stride, padding)
    sizes = x.features[1:]
    pads = tuple((q, _after(n, o, w, j, q)) for n, o, w, j, q in zip(sizes, outs, k, s, p))
    op = SumPool(k, s, pads)
    counts: Any = np.ones(())
    for n, o, w, j, q in zip(sizes, outs, k, s, p):
        first = np.arange(o) * j - q
        low_end, high_end = (-q, n + q) if include else (0, n)
        counts = counts[..., None] * (np.minimum(first + w, high_end) - np.maximum(first, low_end))
    if divisor:
        counts = np.full_like(counts, divisor)
    scale = np.asarray(1.0 / counts.flat[0]) if np.all(counts == counts.flat[0]) else 1.0 / counts[None]

    def pooled(t: Term) -> Term:
        made = low.terms.apply(op, t)
        return low.terms.affine([(made, scale)], 0.0, made.shape)

    return replace(x.mapped(pooled), shape=low.call.shape)


def max_pool(low: Lowering, x: Value, kernel: Ints, stride: Any, padding: Ints, dilation: Ints, ceil: bool) -> Value:
    x, time, k, s, p, outs = _pool_geometry(low, x, kernel, stride, padding)
    d = tuple(int(n) for i, n in enumerate(dilation) if i != time)
    spans = [j * (w - 1) + 1 for j, w in zip(d, k)]
    pads = tuple((q, _after(n, o, w, j, q)) for n, o, w, j, q in zip(x.features[1:], outs, spans, s, p))
    op = MaxPool(k, s, pads, d)
    return replace(x.mapped(lambda t: low.terms.apply(op, t)), shape=low.call.shape)


def adaptive_avg_pool(low: Lowering, x: Value, size: Ints) -> Value:
    x, time = _time_inside(low, x)
    if time is not None and low.call.shape[2 + time] != len(x.steps):
        raise Refused("it pools over time", "let it keep all steps, and take the mean over time last")
    channels, *sizes = x.features
    outs = tuple(n for i, n in enumerate(low.call.shape[2:]) if i != time)
    if all(o % n == 0 for n, o in zip(sizes, outs)) and outs != tuple(sizes):
        up = Upsample(tuple(int(o // n) for n, o in zip(sizes, outs)))
        return replace(x.mapped(lambda t: low.terms.apply(up, t)), shape=low.call.shape)
    if all(n % o == 0 for n, o in zip(sizes, outs)):
        kernel = tuple(n // o for n, o in zip(sizes, outs))
        if all(k == 1 for k in kernel):
            return x
        return replace(x.mapped(lambda t: _mean_pool(low, t, kernel)), shape=low.call.shape)
    matrix = np.ones((1, 1))
    for n, o in zip(sizes, outs):
        first = np.arange(o) * n // o
        last = -(-(np.arange(o) + 1) * n // o)
        inside = (np.arange(n) >= first[:, None]) & (np.arange(n) < last[:, None])
        matrix = np.kron(matrix, inside / inside.sum(1, keepdims=True))
    if channels**2 * matrix.size > _LARGEST_MATRIX:
        raise Refused(
            f"uneven windows from {sizes} to {list(outs)} on {channels} channels", "pool to a size that divides"
        )
    weight = np.kron(np.eye(channels), matrix)
    op = Linear(weight, stored=weight != 0)

    def pooled(t: Term) -> Term:
        flat = low.terms.apply(op, low.terms.apply(Reshape((weight.shape[1],)), t))
        return low.terms.apply(Reshape((channels, *outs)), flat)

    return replace(x.mapped(pooled), shape=low.call.shape)


def _mean_pool(low: Lowering, term: Term, kernel: tuple[int, ...], mean: bool = True) -> Term:
    made = low.terms.apply(SumPool(kernel, kernel, ((0, 0),) * len(kernel)), term)
    return low.terms.affine([(made, np.asarray(1.0 / prod(kernel) if mean else 1.0))], 0.0, made.shape)


def upsample(low: Lowering, x: Value, size: Ints) -> Value:
    x, time = _time_inside(low, x)
    outs = tuple(n for i, n in enumerate(low.call.shape[2:]) if i != time)
    sizes = x.features[1:]
    if time is not None and low.call.shape[2 + time] != len(x.steps):
        raise Refused("it upsamples time", "let it keep the steps")
    if any(o % n for n, o in zip(sizes, outs)):
        raise Refused(f"upsampling {list(sizes)} to {list(outs)}", "use a whole factor")
    op = Upsample(tuple(int(o // n) for n, o in zip(sizes, outs)))
    return replace(x.mapped(lambda t: low.terms.apply(op, t)), shape=low.call.shape)


# -- sums over axes ----------------------------------------------------------------------------------------------------


def _summed(mean: bool) -> Callable[..., Value]:
    def handler(low: Lowering, x: Value, dims: Any, keepdim: bool) -> Value:
        if dims is None:
            raise Refused("it takes everything together, the batch too", "name the axes: dim=0 for time")
        chosen = sorted({d % len(x.axes) for d in dims})
        if any(x.axes[d] in ("N", "TN", "NT") for d in chosen):
            raise Refused(
                "it takes the samples of the batch together",
                "treat every sample alike; name the axes of time or places",
            )
        features = [d for d in chosen if x.axes[d] == "F"]
        if features:
            x = _over_features(low, x, features, mean)
        for d in [d for d in chosen if x.axes[d] == "T"]:
            x = _over_steps(low, x, d, mean)
        for d in sorted(chosen, reverse=True):
            if not keepdim:
                x = _without(low, x, d)
        return x

    return handler


def _over_steps(low: Lowering, x: Value, d: int, mean: bool) -> Value:
    """A sum over time; the axis stays, with size one."""
    number = np.asarray(1.0 / len(x.steps) if mean else 1.0)
    total = low.terms.affine([(t, number) for t in x.steps], 0.0, x.features)
    return Value((*x.axes[:d], "1", *x.axes[d + 1 :]), (*x.shape[:d], 1, *x.shape[d + 1 :]), total)


def _over_features(low: Lowering, x: Value, dims: Sequence[int], mean: bool) -> Value:
    """A sum over feature axes; they stay, with size one."""
    order = [i for i, name in enumerate(x.axes) if name == "F"]
    axes = [order.index(d) for d in dims]
    kept = tuple(1 if k in axes else n for k, n in enumerate(x.features))
    shape = tuple(1 if d in dims else n for d, n in enumerate(x.shape))
    count = prod(x.features[k] for k in axes)

    def total(t: Term) -> Term:
        if axes == list(range(1, len(t.shape))) and len(t.shape) <= 3:
            return low.terms.apply(Reshape(kept), _mean_pool(low, t, tuple(t.shape[1:]), mean))
        if axes == [0] and 1 < len(t.shape) <= 3:
            one = (1,) * (len(t.shape) - 1)
            ones = np.full((1, t.shape[0], *one), 1.0 / count if mean else 1.0)
            return low.terms.apply(Conv(ones, None, one, ((0, 0),) * len(one), one, 1), t)
        if count == 1:
            return t
        size = prod(t.shape)
        if size * prod(kept) > _LARGEST_MATRIX:
            raise Refused(
                f"it sums over some axes of features {list(t.shape)}", "sum over all places, or over channels"
            )
        places = np.arange(prod(kept)).reshape(kept)
        target = np.broadcast_to(places, t.shape).ravel()
        matrix = np.zeros((prod(kept), size))
        matrix[target, np.arange(size)] = 1.0 / count if mean else 1.0
        flat = low.terms.apply(Linear(matrix, None, matrix != 0), low.terms.apply(Reshape((size,)), t))
        return low.terms.apply(Reshape(kept), flat)

    return x.mapped(total, x.axes, shape)


def _extreme(name: str) -> Callable[..., Value]:
    def handler(low: Lowering, x: Value, dims: Any, keepdim: bool) -> Value:
        chosen = [d % len(x.axes) for d in ([dims] if isinstance(dims, int) else dims or range(len(x.axes)))]
        if [x.axes[d] for d in chosen] == ["T"]:
            axes = (*x.axes[: chosen[0]], "1", *x.axes[chosen[0] + 1 :])
            shape = (*x.shape[: chosen[0]], 1, *x.shape[chosen[0] + 1 :])
            made = Value(axes, shape, low.terms.extreme(name.removeprefix("a"), x.steps))
            return made if keepdim else _without(low, made, chosen[0])
        return low.on_host(low.call, (x, dims, keepdim))

    return handler


def cumsum(low: Lowering, x: Value, dim: int) -> Value:
    if x.axes[dim % len(x.axes)] != "T":
        return low.on_host(low.call, (x, dim))
    steps = [x.steps[0]]
    for t in x.steps[1:]:
        steps.append(low.terms.affine([(steps[-1], np.asarray(1.0)), (t, np.asarray(1.0))], 0.0, t.shape))
    return replace(x, content=tuple(steps))


_LAYERS = frozenset({"convolve", "mm", "addmm", "bmm", "mv", "max_pool", "avg_pool"})

HANDLERS: dict[str, Callable[..., Any]] = {
    "add": add,
    "sub": sub,
    "mul": mul,
    "div": div,
    "neg": neg,
    "lerp": lerp,
    "addcmul": addcmul,
    "addcdiv": addcdiv,
    "ge": _compare(False, False),
    "gt": _compare(True, False),
    "le": _compare(False, True),
    "lt": _compare(True, True),
    "eq": _equal(False),
    "ne": _equal(True),
    "where": where,
    "masked_fill": masked_fill,
    "heaviside": heaviside,
    "sign": sign,
    "logical_not": logical_not,
    "bitwise_not": logical_not,
    **{name: _logical(name) for name in (
        "logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor")},
    "maximum": _extreme_of_two("maximum"),
    "minimum": _extreme_of_two("minimum"),
    "clamp": _bounded,
    **{name: _of_binary(name) for name in ("abs", "relu", "floor", "ceil", "round", "trunc", "square", "sqrt")},
    **{name: _named_function(name) for name in (
        "reciprocal", "pow", "rsqrt", "exp", "log", "sigmoid", "tanh", "sin", "cos", "erf", "log1p", "expm1", "frac",
        "remainder",
        "fmod", "atan2", "leaky_relu", "div_rounded", "gelu", "silu", "elu", "softplus")},
    "to": to,
    "view": view,
    "permute": permute,
    "unsqueeze": unsqueeze,
    "squeeze": squeeze,
    "expand": expand,
    "repeat": repeat,
    "select": select,
    "slice": slice_,
    "flip": flip,
    "roll": roll,
    "index": index,
    "index_select": index_select,
    "pixel_shuffle": _moved("pixel_shuffle"),
    "pixel_unshuffle": _moved("pixel_unshuffle"),
    "channel_shuffle": _moved("channel_shuffle"),
    "unfold": _moved("unfold"),
    "diagonal": _moved("diagonal"),
    "tril": _masked("tril"),
    "triu": _masked("triu"),
    "pad": pad,
    "cat": cat,
    "stack": stack,
    "write": write,
    "index_put": index_put,
    "masked_scatter": masked_scatter,
    "convolve": convolve,
    "mm": mm,
    "mv": mv,
    "addmm": addmm,
    "bmm": bmm,
    "baddbmm": baddbmm,
    "batch_norm": batch_norm,
    "avg_pool": avg_pool,
    "max_pool": max_pool,
    "adaptive_avg_pool": adaptive_avg_pool,
    "upsample": upsample,
    "mean": _summed(True),
    "sum": _summed(False),
    "amax": _extreme("amax"),
    "max": _extreme("max"),
    "amin": _extreme("amin"),
    "min": _extreme("min"),
    "cumsum": cumsum,
}  # fmt: skip
