"""What one step of one sample computes, as terms: each exists once, so that what is equal is the same object.

A *uniform* term is one for all steps: it stands for a value at every step (an input, what neurons fire, a layer of
these). Other terms belong to a step: they were made of :meth:`Terms.at`, of steps of uniform terms. A *static* term is
uniform and has the same value at every step.

=============  ===========================================================================================
kind           value
=============  ===========================================================================================
input          what is given under the name ``data``
at             the uniform term ``args[0]`` at step ``data``
apply          ``data``, an operation of the IR without a state, of ``args``
affine         ``sum(data.coefficients * args) + data.constant``
mul            the product of two terms
cmp            1 where ``args[0] > 0`` (or ``>= 0``, as ``data`` says), else 0
func           an element-wise function that is neither, named by ``data``
host           what a host computes: ``data`` is a :class:`HostCall`
neuron         the spikes of ``data``, a neuron of the IR, for the current ``args[0]``
integrator     the membrane of ``data``, an integrator of the IR, for the current ``args[0]``
gain           ``args[0]`` times a number for each step, plus a bias for each: ``data``
registered     a step of a neuron whose equation is given: its name, its equation, which step
lag            a uniform term ``data.steps`` steps before
extreme        the largest (or smallest) of all steps of ``args``
=============  ===========================================================================================
"""

# mypy: disable-error-code="arg-type"
from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from neurocompile.ir.arrays import compact
from neurocompile.ir.kernels import apply
from neurocompile.ir.ops import Array, Concat, MaxPool, Op, Reshape, Upsample
from neurocompile.ir.shapes import output_shape

__all__ = ["ELEMENTWISE", "Affine", "Lag", "NotAlike", "Place", "Term", "Terms", "digest"]

Shape = tuple[int, ...]

ELEMENTWISE = ("affine", "mul", "cmp", "func")


class Place(NamedTuple):
    """Where a term comes from: the module's path, the user's file:line, all lines on the way, the value's number."""

    module: str = ""
    line: str = ""
    site: str = ""
    value: int = -1


class Affine(NamedTuple):
    """The numbers of an affine term; they broadcast to its shape."""

    coefficients: tuple[Array, ...]
    constant: Array


@dataclass
class Lag:
    """So many steps before; ``of`` is known once the loop that passes through it is closed."""

    steps: int
    sequence: tuple[Any, ...]
    of: Any = None


@dataclass(eq=False)
class Term:
    """One value of one step; see the module's table. ``step`` is the latest step that it needs (-1: static)."""

    kind: str
    shape: Shape
    args: tuple[Term, ...]
    data: Any
    uid: int
    uniform: bool
    static: bool
    step: int
    place: Place
    binary: bool = False
    origin: tuple[Term, int] | None = field(default=None, repr=False)

    @property
    def is_constant(self) -> bool:
        """Whether it is made of numbers alone."""
        return self.kind == "affine" and not self.args

    def __repr__(self) -> str:
        return f"<{self.uid} {self.kind} {list(self.shape)} {[a.uid for a in self.args]}>"


class NotAlike(Exception):
    """Steps that are not one term; says what about them differs, and where (a term of the user's)."""

    def __init__(self, what: str, term: Term | None, fix: str = "") -> None:
        super().__init__(what)
        self.what, self.term, self.fix = what, term, fix
        self.steps: tuple[Term | None, ...] = ()  # the innermost that could not be one term


def digest(array: Array) -> Any:
    """A key that arrays of equal numbers share."""
    array = np.ascontiguousarray(array)
    content = array.tobytes() if array.nbytes <= 64 else hashlib.blake2b(array, digest_size=16).digest()
    return array.shape, array.dtype.str, content


def _holds(value: Array, strict: bool) -> Array:
    return ((value > 0) if strict else (value >= 0)).astype(np.float64)


def _rounded(array: Array) -> Array:
    mantissa, exponent = np.frexp(array)
    return np.asarray(np.ldexp(np.rint(mantissa * 2.0**42) / 2.0**42, exponent))


class Terms:
    """Makes terms. ``place`` is where those that are made now come from."""

    def __init__(self, timesteps: int) -> None:
        self.timesteps = timesteps
        self.place = Place()
        self._known: dict[Any, Term] = {}
        self._ops: dict[Any, Op] = {}
        self._numbers: dict[int, Term | None] = {}
        self._sites: dict[str, list[Term]] = {}
        self._passes: dict[Any, tuple[int, dict[int, tuple[Term, ...]]]] = {}
        self._pass_of: dict[int, Any] = {}
        self.silent: dict[int, int] = {}
        """For neurons that hear nothing at the first steps, and are known not to fire there: how many steps."""
        self.calls: dict[str, dict[int, Term]] = {}
        self._count = 0

    # -- making --------------------------------------------------------------------------------------------------------

    def _make(self, kind: str, shape: Shape, args: tuple[Term, ...], data: Any, key: Any, **more: Any) -> Term:
        full = (kind, shape, tuple(a.uid for a in args), key)
        known = self._known.get(full)
        if known is not None:
            return known
        uniform = more.pop("uniform", all(a.uniform for a in args))
        static = more.pop("static", all(a.static for a in args))
        step = more.pop("step", max((a.step for a in args), default=-1))
        self._count += 1
        term = Term(kind, shape, args, data, self._count, uniform, static, step, self.place, **more)
        self._known[full] = term
        return term

    def interned(self, op: Op) -> Op:
        """The one operation that is equal to this."""
        key = (type(op), *(digest(v) if isinstance(v, np.ndarray) else v for v in vars(op).values()))
        return self._ops.setdefault(key, op)

    def input(self, name: str, shape: Shape, static: bool, binary: bool) -> Term:
        """What is given: the same at every step, or not."""
        return self._make("input", shape, (), name, name, static=static, binary=binary)

    def constant(self, array: Array, shape: Shape) -> Term:
        """Numbers, of which each broadcasts over the shape."""
        return self.affine((), array, shape)

    def affine(self, parts: Sequence[tuple[Term, Array]], constant: Any, shape: Shape) -> Term:
        """A sum of terms of this shape times numbers, and a constant."""
        summed: dict[int, tuple[Term, Array]] = {}
        constant = np.asarray(constant, np.float64)
        parts, constant = self._without_cancelled(parts, constant)
        for term, coefficient in parts:
            coefficient = np.asarray(coefficient, np.float64)
            if term.is_constant:
                # Nothing times infinity is nothing here: a reset by an infinite threshold that is never reached.
                constant = constant + np.where(term.data.constant == 0, 0.0, coefficient * term.data.constant)
                continue
            before = summed.get(term.uid)
            summed[term.uid] = (term, coefficient if before is None else before[1] + coefficient)
        kept = [(compact(c, shape) if c.ndim else c, t) for t, c in summed.values() if np.any(c != 0)]
        kept.sort(key=lambda pair: pair[1].uid)
        constant = compact(constant, shape) if constant.ndim else constant
        if len(kept) == 1 and not constant.ndim and constant == 0 and not kept[0][0].ndim and kept[0][0] == 1:
            return kept[0][1]
        data = Affine(tuple(c for c, _ in kept), constant)
        # Numbers that differ by rounding alone are the same.
        key = (tuple(digest(_rounded(c)) for c in data.coefficients), digest(_rounded(constant)))
        binary = False
        if not kept:
            binary = bool(np.isin(constant, (0, 1)).all())
        elif len(kept) == 1 and kept[0][1].binary:
            low, high = constant, constant + kept[0][0]
            binary = bool(np.isin(low, (0, 1)).all() and np.isin(high, (0, 1)).all())
        return self._make("affine", shape, tuple(t for _, t in kept), data, key, binary=binary)

    def _without_cancelled(
        self, parts: Sequence[tuple[Term, Array]], constant: Array
    ) -> tuple[Sequence[tuple[Term, Array]], Array]:
        """Summands of a sum, where one takes away another: ``(spike - soft) + soft``, which has a gradient."""
        direct = {term.uid: np.asarray(coefficient) for term, coefficient in parts}
        for at, (term, coefficient) in enumerate(parts):
            inner = zip(term.args, term.data.coefficients) if term.kind == "affine" else ()
            if any(a.uid in direct and np.all(direct[a.uid] + coefficient * c == 0) for a, c in inner):
                opened = [(a, np.asarray(coefficient * c)) for a, c in zip(term.args, term.data.coefficients)]
                return [*parts[:at], *opened, *parts[at + 1 :]], constant + coefficient * term.data.constant
        return parts, constant

    def mul(self, a: Term, b: Term) -> Term:
        """A product, element by element."""
        if a.is_constant:
            a, b = b, a
        if b.is_constant:
            return self.affine([(a, b.data.constant)], 0.0, a.shape)
        if a is b and a.binary:
            return a
        a, b = sorted((a, b), key=lambda term: term.uid)
        return self._make("mul", a.shape, (a, b), None, None, binary=a.binary and b.binary)

    def compare(self, x: Term, strict: bool) -> Term:
        """1 where ``x > 0`` (strict) or ``x >= 0``, else 0; what is no number (a threshold of 0 / 0) is neither."""
        if x.kind == "affine" and np.isnan(x.data.constant).any():
            below = np.where(np.isnan(x.data.constant), -np.inf, x.data.constant)
            x = self.affine(list(zip(x.args, x.data.coefficients)), below, x.shape)
        if x.kind == "affine" and np.isinf(x.data.constant).all():
            return self.constant(_holds(x.data.constant, strict), x.shape)
        # Of numbers alone: a neuron may hear nothing between two steps, which has to stay a step of it. Another's of
        # the same numbers is another.
        key = (strict, self.place.site) if x.is_constant else strict
        known = self._known.get(("cmp", x.shape, (x.uid,), key))
        if known is not None:
            return known
        if x.kind == "affine" and not x.is_constant:
            turned = self.affine([(a, -c) for a, c in zip(x.args, x.data.coefficients)], -x.data.constant, x.shape)
            if any(("cmp", x.shape, (turned.uid,), s) in self._known for s in (False, True)):
                return self.affine([(self.compare(turned, not strict), np.asarray(-1.0))], 1.0, x.shape)
        told = self._told_by_another(x, strict)
        if told is not None:
            return told
        seen = self._sites.setdefault(self.place.site, [])
        made = self._make("cmp", x.shape, (x,), strict, key, binary=True, step=max(x.step, 0) if x.static else x.step)
        seen.append(made)
        if not x.uniform or x.static:
            made.step = max(x.step, len(seen) - 1)
        return made

    def _told_by_another(self, x: Term, strict: bool) -> Term | None:
        """A comparison that the last one before it decides; None if it does not.

        Where that one holds ``x`` is a number, and where it does not, ``x`` is what that one compares: a membrane that
        was reset is compared again.
        """
        waiting = {x.uid: x}
        while waiting:
            last = waiting.pop(max(waiting))
            if last.kind == "cmp":
                break
            waiting |= {a.uid: a for a in last.args if last.kind in ("affine", "mul")}
        else:
            return None
        if last.data != strict or last.args[0].shape != x.shape:
            return None
        holds, fails = (self._with(x, {last.uid: self.constant(np.asarray(n), x.shape)}, last.uid) for n in (1.0, 0.0))
        if not holds.is_constant or fails is not last.args[0]:
            return None
        return self.affine([(last, _holds(holds.data.constant, strict))], 0.0, x.shape)

    def _with(self, term: Term, known: dict[int, Term], since: int) -> Term:
        """The same as a term, of other parts, by their numbers: of those that were made ``since``."""
        if term.uid < since or (term.kind not in ("affine", "mul") and term.uid not in known):
            return term
        if term.uid not in known:
            known[term.uid] = self.rebuilt(term, tuple(self._with(a, known, since) for a in term.args))
        return known[term.uid]

    def simplified(self, term: Term) -> Term | None:
        """A comparison of a term that is 0 or 1 as what it comes to; None for any other term."""
        if term.kind != "cmp":
            return None
        number = self._number(term.args[0])
        if number is not None:
            return self.constant(_holds(number.data.constant, term.data), term.shape)
        atom, coefficient, constant = term.args[0], np.asarray(1.0), np.asarray(0.0)
        if atom.kind == "affine" and len(atom.args) == 1:
            coefficient, constant, atom = atom.data.coefficients[0], atom.data.constant, atom.args[0]
        if not atom.binary:
            return None
        atom = self.simplified(atom) or atom
        low, high = (_holds(v, term.data) for v in (constant, constant + coefficient))
        return self.affine([(atom, high - low)], low, term.shape)

    def _number(self, term: Term) -> Term | None:
        """What a term comes to that is made of numbers, and of comparisons of such terms; None for any other."""
        if term.is_constant:
            return term
        if term.uid not in self._numbers:
            known = tuple(self._number(a) for a in term.args) if term.kind in ("affine", "mul", "cmp") else (None,)
            made = None
            if all(a is not None for a in known):
                made = self.simplified(term) if term.kind == "cmp" else self.rebuilt(term, known)
            self._numbers[term.uid] = made
        return self._numbers[term.uid]

    def twin(self, term: Term) -> Term | None:
        """The comparison of the same with ``>`` for ``>=``, or the other way round, if there is one."""
        if term.kind != "cmp":
            return None
        return self._known.get(("cmp", term.shape, (term.args[0].uid,), not term.data))

    def comparisons(self) -> list[Term]:
        """All comparisons, wherever they were made."""
        return [term for seen in self._sites.values() for term in seen]

    def passed(self, turn: int, turns: int, kind: Any, made: tuple[Term, ...]) -> None:
        """Note what a line of the user's that compares gave at its ``turn``: of one step, or of all of them."""
        key = (self.place.site, kind)
        self._passes.setdefault(key, (turns, {}))[1][turn] = made
        for term in made:
            self._pass_of.setdefault(term.uid, key)

    def passes(self, term: Term) -> tuple[int, dict[int, tuple[Term, ...]]]:
        """How often the line ran that first made a comparison, and what it gave at each turn that gave no number."""
        return self._passes.get(self._pass_of.get(term.uid), (0, {}))

    def in_same_module(self, term: Term) -> list[Term]:
        """All comparisons of this kind that were made in the same module, in order."""
        every = sorted((t for seen in self._sites.values() for t in seen), key=lambda t: t.uid)
        return [t for t in every if (t.place.module, t.shape, t.data) == (term.place.module, term.shape, term.data)]

    def func(self, name: str, args: Sequence[Term], numbers: tuple[Any, ...], shape: Shape) -> Term:
        """An element-wise function that no equation can hold."""
        return self._make("func", shape, tuple(args), (name, numbers), (name, numbers))

    def extreme(self, name: str, args: Sequence[Term]) -> Term:
        """The largest of all steps ("max"), or the one of the largest size ("max-abs")."""
        return self._make("extreme", args[0].shape, tuple(args), name, name)

    def apply(self, op: Op, *args: Term) -> Term:
        """An operation of the IR without a state."""
        if isinstance(op, Reshape) and args[0].shape == op.shape:
            return args[0]
        if isinstance(op, Reshape) and args[0].kind == "apply" and isinstance(args[0].data, Reshape):
            return self.apply(op, args[0].args[0])
        shape = output_shape(op, [a.shape for a in args])
        op = self.interned(op)
        if all(a.is_constant for a in args):
            whole = [np.broadcast_to(a.data.constant, a.shape)[None] for a in args]
            return self.constant(np.asarray(apply(op, whole)[0]), shape)
        binary = isinstance(op, Concat | MaxPool | Reshape | Upsample) and all(a.binary for a in args)
        return self._make("apply", shape, args, op, id(op), binary=binary)

    def uniform(self, kind: str, shape: Shape, args: tuple[Term, ...], data: Any, key: Any, **more: Any) -> Term:
        """A term that has a state of its own, or is one for all steps for another reason."""
        return self._make(kind, shape, args, data, key, uniform=True, static=False, **more)

    def host(self, shape: Shape, args: Sequence[Term], call: Any, key: Any, binary: bool) -> Term:
        """What a host computes of terms."""
        return self._make("host", shape, tuple(args), call, key, binary=binary)

    def registered(self, x: Term, name: str, op: Any, step: int, binary: bool) -> Term:
        """One step of a neuron whose equation its author gave."""
        made = self._make("registered", x.shape, (x,), (name, op, step), (name, step), uniform=False, static=False,
                          step=max(step, x.step), binary=binary)  # fmt: skip
        self.calls.setdefault(name, {})[step] = made
        return made

    # -- steps ---------------------------------------------------------------------------------------------------------

    def at(self, term: Term, step: int) -> Term:
        """A uniform term at one step: of inputs, neurons and the like; of all else it is the same of its parts."""
        if term.static or not term.uniform:
            return term
        if term.kind == "lag" and step < term.data.steps:
            return self.constant(np.zeros(()), term.shape)
        if term.kind == "lag" and term.data.of is not None:
            return self.at(term.data.of, step - term.data.steps)
        if term.kind == "lag" and term.data.sequence[step - term.data.steps] is not None:
            return term.data.sequence[step - term.data.steps]  # type: ignore[no-any-return]
        if step < self.silent.get(term.uid, 0):
            return self.constant(np.zeros(()), term.shape)
        if term.kind == "gain":
            gains, bias = term.data
            own = bias[step] if bias.ndim else bias
            made = self.affine([(self.at(term.args[0], step), gains[step])], own, term.shape)
            if made.origin is None:
                made.origin = (term, step)
            return made
        stepwise = term.kind == "host" and getattr(term.data, "stepwise", False)
        if term.kind not in ("apply", "affine", "mul", "cmp", "func") and not stepwise:
            before, self.place = self.place, term.place
            made = self._make("at", term.shape, (term,), step, step, uniform=False, static=False, step=step,
                              binary=term.binary)  # fmt: skip
            self.place = before
            return made
        made = self.rebuilt(term, tuple(self.at(a, step) for a in term.args))
        if made.origin is None and made is not term:
            made.origin = (term, step)
        return made

    def rebuilt(self, term: Term, args: tuple[Term, ...]) -> Term:
        """The same as a term, of other parts."""
        before, self.place = self.place, term.place
        try:
            match term.kind:
                case "apply":
                    return self.apply(term.data, *args)
                case "affine":
                    return self.affine(list(zip(args, term.data.coefficients)), term.data.constant, term.shape)
                case "mul":
                    return self.mul(*args)
                case "cmp":
                    return self.compare(args[0], term.data)
                case "host":
                    return self.host(term.shape, args, term.data, term.data.key, term.binary)
                case "func":
                    return self.func(term.data[0], args, term.data[1], term.shape)
            raise AssertionError(term.kind)
        finally:
            self.place = before
