"""Loops over time are rolled up: what each step computes becomes one term for all steps.

:meth:`Roller.unify` takes the terms of all steps, in their order, and finds the uniform term that they are the steps
of. It goes through layers to what these read. Where the terms of a step depend on those of the step before, they are
a recurrence: of neurons (:mod:`.equations`), of membranes that never fire, of layers that hear what they gave a step
before.
"""

# mypy: disable-error-code="arg-type,assignment,index,misc"
from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from neurocompile.frontends.pytorch.terms import ELEMENTWISE, Lag, NotAlike, Term, Terms, digest
from neurocompile.ir.ops import Array, Conv, ConvTranspose, Integrator, Linear, Reshape, SumPool, Upsample

__all__ = ["LINEAR", "NotAlike", "Poly", "Roller", "same_numbers"]

Steps = tuple[Term | None, ...]
Monomial = tuple[int, ...]
Summand = tuple[Monomial, Array]

LINEAR = (Linear, Conv, ConvTranspose, SumPool, Upsample, Reshape)


# What is held against its steps where it is made.
_HELD = ("neuron", "integrator", "host")

FIX_LOOP = (
    "let every step of the loop do the same: the same layers, neurons and numbers, each with what the last step left"
)
FIX_FUNCTION = "a neuron's step may add, scale and compare; what is not so is given with @neurocompile.neuron"
FIX_MEMBRANE = "read its spikes; a membrane that is read must never be reset (SpikingJelly: v_threshold=float('inf'))"


class Poly(dict[Monomial, Array]):
    """A sum of products of terms (by their numbers) times coefficients; () is the constant."""

    def plus(self, monomial: Monomial, coefficient: Array) -> None:
        """Add one summand; it goes where it cancels."""
        before = self.get(monomial)
        total = coefficient if before is None else before + coefficient
        if np.any(total != 0):
            self[monomial] = np.asarray(total)
        elif before is not None:
            del self[monomial]

    def added(self, other: Poly, factor: Any = 1.0) -> Poly:
        """This plus a multiple of another."""
        made = Poly(self)
        for monomial, coefficient in other.items():
            made.plus(monomial, np.asarray(factor * coefficient))
        return made

    @property
    def constant(self) -> Array:
        """The summand without a term."""
        return self.get((), np.asarray(0.0))


def same_numbers(a: Any, b: Any) -> bool:
    """Whether two arrays are equal up to rounding."""
    with np.errstate(invalid="ignore"):
        a, b = np.asarray(a), np.asarray(b)
        return bool(np.all((a == b) | (np.abs(a - b) <= 1e-12 * np.maximum(np.abs(a), np.abs(b)))))


@dataclass(frozen=True)
class Recurrence:
    """What a host computes of a state and of what arrives: a sum of products, each of the numbers of its factors."""

    summands: tuple[Summand, ...]
    key: Any
    kind: str = "Recurrence"
    carries: str = "real"
    whole: bool = False


class Roller:
    """Rolls up the steps of one trace; ``remembers`` are the modules that keep a state (None: not known)."""

    def __init__(self, terms: Terms, remembers: frozenset[str] | None = None) -> None:
        self.terms = terms
        self.remembers = remembers
        self.timesteps = terms.timesteps
        self.names: dict[int, Term] = {}
        self._memo: dict[tuple[int, ...], Term] = {}
        self._open: dict[tuple[int, ...], int] = {}  # what is being rolled up, and of how many steps later
        self._passed = 0
        self._promises: dict[tuple[int, ...], list[tuple[Lag, Term]]] = {}
        self._lags: dict[tuple[int, int], Term] = {}
        self._sequences: dict[int, list[tuple[Steps, tuple[int, ...], int]]] = {}
        self._noted: list[int] = []
        self._rolled: dict[int, Term] = {}
        self._canonical: dict[int, Term] = {}
        self.neurons: dict[int, Steps] = {}
        self.norms: dict[int, tuple[Array, ...]] = {}
        self.modules: dict[int, list[str]] = {}
        self.twins: dict[int, Term] = {}

    # -- one term for all steps ----------------------------------------------------------------------------------------

    def unify(self, steps: Sequence[Term | None]) -> Term:
        """The uniform term that these are the steps of; None where a step is not known.

        Raises:
            NotAlike: if there is none.
        """
        before = self.terms.place
        try:
            return self._one_of(tuple(steps))
        finally:
            self.terms.place = before

    def _one_of(self, steps: tuple[Term | None, ...]) -> Term:
        if len(steps) != self.timesteps:
            raise NotAlike(f"{len(steps)} steps are read where there are {self.timesteps}", _some(steps), FIX_LOOP)
        known = [term for term in steps if term is not None]
        if not known:
            raise NotAlike("no step of it is known", None)
        first = known[0]
        self.terms.place = first.place
        steady = all(term is first for term in known) and first.uniform and first.static
        if steady and (len(known) > 1 or self.timesteps == 1 or not self._of_a_step(first)):
            return first
        origins = {(None if t is None or t.origin is None else t.origin[0].uid) for t in known}
        origin = first.origin
        alike = origin is not None and len(origins) == 1
        if alike and all(t is None or t.origin == (origin[0], k) for k, t in enumerate(steps)):
            return origin[0]
        line = self._of_its_line(steps)
        if line is not None:
            steps, later = line
            if later:
                return self._later(steps, later)
        key = _key(steps)
        if key in self._memo:
            return self._memo[key]
        for sequence, other, place in self._sequences.get(first.uid, []):
            if other in self._memo and steps[place] is first and _within(steps, sequence):
                return self._memo[other]
        lagged = self._lagged(steps, key)
        if lagged is not None:
            self._memo[key] = lagged
            return lagged
        if key in self._open:
            if self._passed > self._open[key]:  # of the same step, for what is read a step later
                return self._promised(steps, key, 0)
            raise NotAlike("it depends on itself within one step", first, "put a delay of one step into the loop")
        before = self._known()
        self._open[key] = self._passed
        self._note(steps, key)
        try:
            found = self._unified(steps)
        except NotAlike as error:
            if self._promises.pop(key, None):  # what was made of a promise that is not kept
                self._forget(before)
            error.steps = error.steps or steps
            if error.term is None or not error.term.place.line:
                error.term = next((t for t in known if t.place.line), error.term)
            raise
        finally:
            self._open.pop(key, None)
        for promised, term in self._promises.pop(key, []):
            promised.of = found
            self._lags[found.uid, promised.steps] = term
        self._memo[key] = found
        self._check(steps, found)
        return found

    def _of_its_line(self, steps: Steps) -> tuple[Steps, int] | None:
        """All comparisons of the line that made these, in order, and how many steps later these read them.

        Where that line compared known numbers there is None: what is read of it is nothing, or a number.
        """
        first = next((term for term in steps if term is not None and not _is_zero(term)), None)
        if first is None or first.kind != "cmp":
            return None
        sequence = self._passes(first)
        later = -1 if sequence is None else steps.index(first) - sequence.index(first)
        if sequence is None or later < 0:
            return None
        moved = ((None,) * later + sequence)[: len(steps)]
        fits = all(a is None or a is b or (b is None and _is_zero(a)) for a, b in zip(steps, moved))
        return (sequence, later) if fits else None

    def _known(self) -> list[int]:
        """How much is known so far."""
        return [len(own) for own in (self._noted, self._memo, self._lags, self._rolled)]

    def _forget(self, known: list[int]) -> None:
        """Leave nothing of what was found since then."""
        noted, *sizes = known
        while len(self._noted) > noted:
            self._sequences[self._noted.pop()].pop()
        tables: tuple[dict[Any, Term], ...] = (self._memo, self._lags, self._rolled)
        for own, size in zip(tables, sizes):
            for key in list(own)[size:]:
                del own[key]
        self._canonical.clear()

    def _later(self, sequence: Steps, steps: int) -> Term:
        """What a sequence is, so many steps later."""
        key = _key(sequence)
        if steps and key in self._open:
            return self._promised(sequence, key, steps)
        return self._before(sequence, steps) if steps else self.unify(sequence)

    def _before(self, sequence: Steps, steps: int) -> Term:
        """The uniform term of a sequence, so many steps before."""
        self._passed += steps
        try:
            return self.lag(self.unify(sequence), steps)
        finally:
            self._passed -= steps

    def explained(self, error: NotAlike) -> NotAlike:
        """What really stands in the way where a membrane is read that no neuron, and no sum alone, is behind."""
        steps = error.steps
        while all(t is not None and t.kind == "apply" and len(t.args) == 1 for t in steps) and steps:
            steps = tuple(t.args[0] for t in steps if t is not None)
        for before, term in pairwise(steps):
            if before is None or term is None or term.kind == "cmp":
                continue
            way = self._way(term, before)
            for passed in way:
                if passed.kind == "func":
                    what = f"its step applies {passed.data[0]} to what it remembers"
                    return NotAlike(what, passed, FIX_FUNCTION)
            if any(passed.kind == "cmp" for passed in way):
                return NotAlike("the membrane of a neuron that fires is read", error.term, FIX_MEMBRANE)
        return error

    def _way(self, term: Term, before: Term) -> list[Term]:
        """The terms by which one depends on another, from the outside in."""
        leads: dict[int, bool] = {before.uid: True}
        stack = [term]
        while stack:
            top = stack[-1]
            inside = top.args if top.kind in (*ELEMENTWISE, "cmp") else ()
            open_ = [a for a in inside if a.uid not in leads]
            if open_ and top.uid not in leads:
                stack += open_
                continue
            stack.pop()
            leads.setdefault(top.uid, any(leads[a.uid] for a in inside))
        found, seen, waiting = [], {before.uid}, [term]
        while waiting:
            top = waiting.pop()
            if top.uid in seen or not leads.get(top.uid):
                continue
            seen.add(top.uid)
            found.append(top)
            waiting += top.args
        return found

    def _note(self, steps: Steps, key: tuple[int, ...]) -> None:
        """Remember a sequence by each of its terms."""
        for place, term in enumerate(steps):
            if term is not None:
                self._sequences.setdefault(term.uid, []).append((steps, key, place))
                self._noted.append(term.uid)

    def _of_a_step(self, term: Term) -> bool:
        """Whether a term depends on a comparison, which is one of many."""
        waiting, seen = [term], set()
        while waiting:
            top = waiting.pop()
            if top.kind in ("cmp", "at"):
                return True
            if top.uid not in seen:
                seen.add(top.uid)
                waiting += top.args
        return False

    def _unified(self, steps: Steps) -> Term:
        known = [term for term in steps if term is not None]
        kinds = {term.kind for term in known}
        if kinds == {"cmp"}:
            return self._compared(steps)
        if kinds <= set(ELEMENTWISE):
            return self._elementwise(steps)
        if len(kinds) > 1:
            return self._elementwise(steps)
        kind = known[0].kind
        if kind == "at":
            return self._at(steps)
        if kind == "apply":
            ops = {id(term.data) for term in known}
            if len(ops) > 1:
                a, b = known[0], next(t for t in known if t.data is not known[0].data)
                raise NotAlike("a layer has other weights or settings at one step than at another", b or a, FIX_LOOP)
            return self.terms.rebuilt(known[0], self._parts(steps))
        if kind == "host":
            if len({term.data.key for term in known}) > 1:
                raise NotAlike("a host computes another thing at one step than at another", known[0], FIX_LOOP)
            call = known[0]
            args = self._parts(steps)
            return self.terms.host(call.shape, args, call.data, call.data.key, call.binary)
        if kind == "registered":
            return self._registered(steps)
        if kind == "input" or known[0].static:
            raise NotAlike("one step reads another thing than the others", known[0], FIX_LOOP)
        raise NotAlike("what it computes from all steps is used again within the steps", known[0], FIX_LOOP)

    def _registered(self, steps: Steps) -> Term:
        """The steps of a neuron whose equation is given."""
        known = next(term for term in steps if term is not None)
        name, op, _ = known.data
        if any(t is not None and (t.data[0] != name or t.data[2] != k) for k, t in enumerate(steps)):
            raise NotAlike("a registered neuron is not called once for each step, in order", known, FIX_LOOP)
        kind = "integrator" if isinstance(op, Integrator) else "neuron"
        steps = tuple(self.terms.calls[name].get(k) for k in range(self.timesteps))
        (current,) = self._parts(steps)
        self.terms.place = known.place
        found = self.terms.uniform(kind, known.shape, (current,), op, ("registered", name), binary=known.binary)
        for k, term in enumerate(steps):
            if term is not None:
                self._rolled[term.uid] = self.terms.at(found, k)
        self._canonical.clear()
        self.neurons.setdefault(found.uid, steps)
        self.modules[found.uid] = [name]
        return found

    def _parts(self, steps: Steps) -> tuple[Term, ...]:
        """The arguments of terms of one kind, each rolled up."""
        known = next(term for term in steps if term is not None)
        columns = []
        for position in range(len(known.args)):
            columns.append(tuple(None if t is None else t.args[position] for t in steps))
        return tuple(self.unify(column) for column in columns)

    def _at(self, steps: Steps) -> Term:
        known = [(k, term) for k, term in enumerate(steps) if term is not None]
        sources = {term.args[0].uid for _, term in known}
        lags = {k - term.data for k, term in known}
        if len(sources) == 1 and len(lags) == 1:
            source, lag = known[0][1].args[0], lags.pop()
            if lag == 0:
                return source
            if lag > 0 and known[0][0] >= lag:
                return self.lag(source, lag)
            raise NotAlike(
                "a step reads a later one", known[0][1], "read steps in their order: a chip cannot look ahead"
            )
        raise NotAlike(
            "its steps read others than the same step, or than one so many steps before", known[0][1], FIX_LOOP
        )

    def lag(self, source: Term, steps: int) -> Term:
        """A uniform term so many steps before, and zero before that."""
        key = (source.uid, steps)
        if key not in self._lags:
            self.terms.place = source.place
            self._lags[key] = self.terms.uniform(
                "lag", source.shape, (), Lag(steps, (), source), key, binary=source.binary
            )
        return self._lags[key]

    def _lagged(self, steps: Steps, key: tuple[int, ...]) -> Term | None:
        """Steps that are those of a sequence that is known, so many steps later, with nothing before."""
        at = (
            next(k for k, term in enumerate(steps) if term is not None and not _is_zero(term))
            if any(t is not None and not _is_zero(t) for t in steps)
            else -1
        )
        if at < 1:
            return None
        first = steps[at]
        assert first is not None
        for sequence, sequence_key, place in self._sequences.get(first.uid, []):
            lag = at - place
            if lag < 1 or sequence_key == key:
                continue
            pairs = [(a, sequence[k - lag] if k >= lag else None) for k, a in enumerate(steps)]
            if any(a is not None and a is not b for a, b in pairs[lag:]):
                continue
            if sequence_key in self._memo:
                return self.lag(self._memo[sequence_key], lag)
            return self._promised(sequence, sequence_key, lag)
        if first.kind == "cmp" and any(steps[:at]):  # it hears nothing before
            before = self._known()
            try:
                return self.unify((*(None,) * at, *steps[at:]))
            except NotAlike:
                self._forget(before)
        if all(t is not None for t in steps[:at]) and first.kind != "at":
            return self._before((*steps[at:], *(None,) * at), at)
        return None

    def _promised(self, sequence: Steps, key: tuple[int, ...], lag: int) -> Term:
        """A sequence that is being rolled up, so many steps later."""
        like = next(term for term in sequence if term is not None and not _is_zero(term))
        made = self.terms.uniform("lag", like.shape, (), Lag(lag, sequence), ("promised", key, lag), binary=like.binary)
        self._promises.setdefault(key, []).append((made.data, made))
        return made

    def _check(self, steps: Steps, found: Term) -> None:
        """Hold what was found against every step."""
        if found.kind == "host" and all(term is None or term.kind == "host" for term in steps):
            return  # the same function of parts that were each held against theirs
        for step, term in enumerate(steps):
            if term is None:
                continue
            made = self.terms.at(found, step)
            if made is term or made is self.resolved(term) or (made.kind == "at" and made.args[0].kind in _HELD):
                continue
            if not self._alike(made, term):
                what = f"step {step} does not do what the others do"
                raise NotAlike(what, term, FIX_LOOP)

    def _alike(self, made: Term, term: Term) -> bool:
        """Whether two terms are the same sum, of membranes that never fire or of all that these heard."""
        a, b = self.expand(made), self.expand(term)
        return self.same(a, b) or self.same(self._unrolled(a), self._unrolled(b))

    def _unrolled(self, poly: Poly) -> Poly:
        """A sum with each membrane that never fires in it as the sum of what it heard so far."""
        made = Poly()
        for monomial, coefficient in poly.items():
            atoms = [self.names[uid] for uid in monomial]
            if not any(self._is_membrane(atom) for atom in atoms):
                made.plus(monomial, coefficient)
                continue
            product = Poly({(): coefficient})
            for atom in atoms:
                one = Poly({(atom.uid,): np.asarray(1.0)})
                product = self._product(product, self._heard(atom) if self._is_membrane(atom) else one, atom)
            made = made.added(product)
        return made

    def _is_membrane(self, atom: Term) -> bool:
        return atom.kind == "at" and atom.args[0].kind == "integrator"

    def _heard(self, atom: Term) -> Poly:
        """A step of a membrane that never fires, as the sum of what it heard so far."""
        membrane, heard = atom.args[0], Poly()
        for step in range(atom.data + 1):
            current = self.expand(self.terms.at(membrane.args[0], step))
            heard = Poly().added(heard, membrane.data.decay).added(current)
        return self._unrolled(heard)

    def same(self, a: Poly, b: Poly) -> bool:
        """Whether two sums are equal up to rounding."""
        b = self.renamed(b, a)
        sizes = [float(np.abs(c[np.isfinite(c)]).max(initial=0.0)) for c in (*a.values(), *b.values())]
        bound = 1e-11 * max(sizes, default=0.0)
        # Where both are infinite nothing else matters.
        endless = ~np.isfinite(a.constant) & (a.constant == b.constant)
        for monomial in {**a, **b}:
            x, y = a.get(monomial, np.asarray(0.0)), b.get(monomial, np.asarray(0.0))
            with np.errstate(invalid="ignore"):
                if not np.all(endless | (x == y) | (np.abs(x - y) <= bound)):
                    return False
        return True

    def renamed(self, poly: Poly, like: Poly) -> Poly:
        """A sum under another's names, where layers are the other's but for the rounding of what they read."""
        own = {uid for m in poly for uid in m} - {uid for m in like for uid in m}
        others = {uid for m in like for uid in m} - {uid for m in poly for uid in m}
        if not own or not others:
            return poly
        names = {
            uid: next((o for o in sorted(others) if self._equivalent(self.names[uid], self.names[o])), uid)
            for uid in sorted(own)
            if self.names[uid].kind == "apply"
        }
        made = Poly()
        for monomial, value in poly.items():
            made.plus(tuple(sorted(names.get(uid, uid) for uid in monomial)), value)
        return made

    def _equivalent(self, a: Term, b: Term) -> bool:
        """Whether two layers are one, of sums that are equal up to rounding."""
        if not (a.kind == b.kind == "apply" and a.data is b.data and len(a.args) == len(b.args)):
            return False
        # A linear layer of a membrane is a membrane, too; nothing else can be made of one.
        told = self._alike if isinstance(a.data, LINEAR) else lambda x, y: self.same(self.expand(x), self.expand(y))
        return all(x is y or told(x, y) for x, y in zip(a.args, b.args))

    # -- sums ----------------------------------------------------------------------------------------------------------

    def resolved(self, term: Term) -> Term:
        """A term with each comparison in it as the step of its neuron, where that is known."""
        term = self.twins.get(term.uid, term)
        if term.uid in self._rolled:
            return self._rolled[term.uid]
        if term.kind not in ("apply", "affine", "mul", "func", "host") or not term.args:
            return term
        known = self._canonical.get(term.uid)
        if known is None:
            args = tuple(self.resolved(arg) for arg in term.args)
            known = term
            if any(a is not b for a, b in zip(args, term.args)):
                known = self.terms.rebuilt(term, args)
            self._canonical[term.uid] = known
        return known

    def expand(self, term: Term, stops: Callable[[Term], bool] = lambda term: False) -> Poly:
        """A term as a sum of products of terms that are no sums or products, or at which ``stops`` says to stop."""
        memo: dict[int, Poly] = {}
        waiting = [term]
        while waiting:
            top = waiting[-1]
            if top.uid in memo:
                waiting.pop()
                continue
            simple = self.terms.simplified(top) if top.uid not in self._rolled else None
            inner = (top.kind in ("affine", "mul") or simple is not None) and (top is term or not stops(top))
            if inner and simple is not None:
                if simple.uid not in memo:
                    waiting.append(simple)
                    continue
                memo[top.uid] = memo[simple.uid]
                waiting.pop()
                continue
            if not inner:
                known = self.resolved(top)
                self.names[known.uid] = known
                number = known.is_constant and known is not top
                memo[top.uid] = Poly() if number else Poly({(known.uid,): np.asarray(1.0)})
                if number:
                    memo[top.uid].plus((), known.data.constant)
                waiting.pop()
                continue
            missing = [arg for arg in top.args if arg.uid not in memo]
            if missing:
                waiting += missing
                continue
            waiting.pop()
            if top.kind == "affine":
                made = Poly()
                made.plus((), top.data.constant)
                for arg, coefficient in zip(top.args, top.data.coefficients):
                    made = made.added(memo[arg.uid], coefficient)
            else:
                made = self._product(memo[top.args[0].uid], memo[top.args[1].uid], top)
            memo[top.uid] = made
        return memo[term.uid]

    def _product(self, a: Poly, b: Poly, term: Term) -> Poly:
        made = Poly()
        if len(a) * len(b) > 4096:
            raise NotAlike("it multiplies sums of very many values", term, "")
        for left, x in a.items():
            for right, y in b.items():
                both = sorted((*left, *right))
                kept = [uid for k, uid in enumerate(both) if not (k and both[k - 1] == uid and self.names[uid].binary)]
                made.plus(tuple(kept), np.asarray(x * y))
        return made

    def summed(self, poly: Poly, shape: tuple[int, ...]) -> Term:
        """The term that a sum is."""
        parts = []
        for monomial, coefficient in poly.items():
            if not monomial:
                continue
            product = self.names[monomial[0]]
            for uid in monomial[1:]:
                product = self.terms.mul(product, self.names[uid])
            parts.append((product, coefficient))
        return self.terms.affine(parts, poly.constant, shape)

    # -- element by element --------------------------------------------------------------------------------------------

    def _compared(self, steps: Steps) -> Term:
        line = self._passes(next(term for term in steps if term is not None))
        filled = steps if steps == line else self._filled(steps)
        for step, term in enumerate(filled):
            rolled = None if term is None else self._rolled.get(term.uid)
            if rolled is not None and rolled.kind == "at" and rolled.data == step:
                return rolled.args[0]
        self._note(filled, _key(steps))
        before, known = self._before_first(filled, line), self._known()
        try:
            found = self._fires(filled, before)
        except NotAlike as error:
            before = self._before_heard(filled)
            if not before:
                raise
            self._forget(known)
            try:
                found = self._fires(filled, before)
            except NotAlike:
                raise error from None
        if before and found.kind == "neuron":
            self.terms.silent[found.uid] = before
        for step, term in enumerate(filled):
            if term is not None:
                self._rolled[term.uid] = self.terms.at(found, step)
        self._canonical.clear()
        self.neurons.setdefault(found.uid, filled)
        return found

    def stands_alone(self, term: Term) -> bool:
        """Whether a comparison that is the same at every step is no step of a neuron: nothing goes on from it.

        A module that keeps a state would, at a next step.
        """
        path = term.place.module
        around = {"", *(path[:end] for end, letter in enumerate(path) if letter == "."), path}
        if self.remembers is None or around & self.remembers:
            return False
        if not term.static or self.terms.passes(term)[0] > 1 or self._compared_below(term):
            return False
        return not any(term in self._all_below(other) for other in self.terms.comparisons())

    def _fires(self, steps: Steps, before: int) -> Term:
        """What fires as comparisons say, of which those ``before`` are known not to hold."""
        from neurocompile.frontends.pytorch.equations import derive

        found = derive(self, steps[before:], before)
        if found is not None:
            return found
        known = [term for term in steps[before:] if term is not None]  # it remembers nothing
        if len({term.data for term in known}) > 1:
            raise NotAlike("it compares with > at one step and with >= at another", known[0], FIX_LOOP)
        current = self.unify([None if t is None or k < before else t.args[0] for k, t in enumerate(steps)])
        if any(not _is_zero(self._at_once(current, known[0], k)) for k in range(before)):
            current = self._kept_back(current, known[0], before)
        self.terms.place = known[0].place
        found = self.terms.compare(current, known[0].data)
        return self.terms.simplified(found) or found

    def _at_once(self, current: Term, like: Term, step: int) -> Term:
        """What a comparison of a uniform term gives at a step."""
        self.terms.place = like.place
        made = self.terms.compare(self.terms.at(current, step), like.data)
        return self.terms.simplified(made) or made

    def _kept_back(self, current: Term, like: Term, before: int) -> Term:
        """What is compared, but for all that arrives ``before``: the number that is left of it does not fire."""
        poly = self.expand(current)
        number = self.terms.constant(poly.constant, current.shape)
        if not _is_zero(self._at_once(number, like, 0)):
            raise NotAlike("it first does something other than later", like, FIX_LOOP)
        poly.pop((), None)
        kept = [np.asarray(float(step >= before)) for step in range(self.timesteps)]
        one = np.asarray(1.0)
        return self.terms.affine(
            [(self.varying(self.summed(poly, current.shape), kept), one), (number, one)], 0.0, current.shape
        )

    def _before_first(self, steps: Steps, line: Steps | None) -> int:
        """How many steps pass before a neuron hears anything: its first comparison starts from no other then.

        Its line has compared nothing but numbers before, or what nothing reads.
        """
        first = next(k for k, term in enumerate(steps) if term is not None)
        term = steps[first]
        assert term is not None
        return first if steps == line or not self._compared_below(term) else 0

    def _before_heard(self, steps: Steps) -> int:
        """How many steps compare known numbers, and do not fire, before the first that hears something."""
        for step, term in enumerate(steps):
            if term is None:
                continue
            poly = self.expand(term.args[0])
            told = None if set(poly) - {()} else self.terms.constant(poly.constant, term.shape)
            if told is None or not _is_zero(self._at_once(told, term, step)):
                return step
        return 0

    def _passes(self, term: Term) -> Steps | None:
        """The comparisons of all steps by the line that made one, for the same layer; None if it cannot be told."""
        turns, given = self.terms.passes(term)
        whole: Sequence[Term | None] | None = next((made for made in given.values() if term in made), None)
        if whole is None:
            return None
        if len(whole) == 1:
            layers, rest = divmod(turns, self.timesteps)
            if rest or layers > len(given):
                return None
            each = [given.get(turn, (None,))[0] for turn in range(turns)]
            if layers > 1 and not self._takes_turns(each, layers):
                return None
            whole = each[each.index(term) % layers :: layers]
        if len(whole) != self.timesteps:
            return None
        return tuple(made if made is not None and made.kind == "cmp" else None for made in whole)

    def _takes_turns(self, each: Sequence[Term | None], layers: int) -> bool:
        """Whether a line that compares for many layers does so layer by layer within each step."""
        for last in range(len(each) - 1, layers - 1, -1):
            term, before, other = each[last], each[last - layers], each[last - 1]
            if term is not None and before is not None and other is not None:
                below = self._all_below(term)
                return before in below and other not in below
        return False

    def _filled(self, steps: Steps) -> Steps:
        """The comparisons of the steps that nothing reads, as far as they can be told.

        They are those of the same module; or, from a step back to the one before it, the only one of this kind on which
        what is compared depends.
        """
        if all(term is not None for term in steps):
            return steps
        known = next(term for term in steps if term is not None)
        seen = self.terms.in_same_module(known)
        if len(seen) == self.timesteps and _within(steps, tuple(seen)):
            return tuple(seen)
        filled = list(steps)
        for step in range(self.timesteps - 1, 0, -1):
            later = filled[step]
            if later is None or filled[step - 1] is not None:
                continue
            before = [t for t in self._compared_below(later) if t.shape == later.shape and t.data == later.data]
            if len(before) == 1:
                filled[step - 1] = before[0]
        return tuple(filled)

    def _compared_below(self, term: Term) -> list[Term]:
        """The comparisons that what is compared depends on, element by element, which no neuron has yet."""
        found: dict[int, Term] = {}
        waiting, seen = list(term.args), set()
        while waiting:
            top = waiting.pop()
            if top.uid in seen:
                continue
            seen.add(top.uid)
            if top.kind == "cmp":
                if top.uid not in self._rolled:
                    found[top.uid] = top
            elif top.kind in ("affine", "mul"):
                waiting += top.args
        deeper = {t.uid for one in found.values() for t in self._all_below(one)}
        return [t for uid, t in found.items() if uid not in deeper]

    def _all_below(self, term: Term) -> list[Term]:
        found, waiting, seen = [], list(term.args), set()
        while waiting:
            top = waiting.pop()
            if top.uid in seen:
                continue
            seen.add(top.uid)
            if top.kind == "cmp":
                found.append(top)
            if top.kind in ("affine", "mul", "cmp"):
                waiting += top.args
        return found

    def _elementwise(self, steps: Steps) -> Term:
        """Sums, products and functions of the same things at every step, or membranes that never fire."""
        known = [term for term in steps if term is not None]
        kinds = {term.kind for term in known}
        if kinds == {"mul"}:
            if not known[0].binary and self._recurs(steps, {t.uid: k for k, t in enumerate(steps) if t is not None}):
                with contextlib.suppress(NotAlike):
                    return self._recurrence(steps)  # a membrane as it is left by the reset
            made = self.terms.rebuilt(known[0], self._aligned(steps))
            self.neurons.setdefault(made.uid, steps)
            return made
        if kinds == {"func"}:
            if len({term.data for term in known}) > 1:
                raise NotAlike("a function has other settings at one step than at another", known[0], FIX_LOOP)
            return self.terms.rebuilt(known[0], self._parts(steps))
        return self._affine(steps)

    def _aligned(self, steps: Steps) -> tuple[Term, ...]:
        """The factors of products, each with its like."""
        known = [term for term in steps if term is not None]
        kinds = {tuple(arg.kind for arg in term.args) for term in known}
        if len(kinds) == 1 and len(set(next(iter(kinds)))) > 1:
            return self._parts(steps)
        if all(tuple(self.kin(a) for a in t.args) == tuple(self.kin(a) for a in known[-1].args) for t in known):
            return self._parts(steps)
        kins = [self.kin(a) for a in known[-1].args]
        turned = []
        for term in steps:
            order = {self.kin(arg): arg for arg in term.args} if term is not None else {}
            row = [order.pop(kin, None) for kin in kins]
            if len(order) == 1 and row.count(None) == 1:  # at the first step the state is another sum
                row[row.index(None)] = next(iter(order.values()))
            turned.append(row)
        return tuple(self.unify(column) for column in zip(*turned))

    def kin(self, term: Term) -> Any:
        """What terms of the same place in the loop share, whatever the step."""
        term = self.resolved(term)
        if term.kind == "at":
            return "at", term.args[0].uid
        if term.kind == "apply":
            return "apply", id(term.data), len(term.args)
        if term.kind == "host":
            return "host", term.data.key
        if term.kind == "affine":
            return "affine", len(term.args), tuple(map(digest, term.data.coefficients)), term.shape
        if term.kind == "cmp":
            return "cmp", term.data, term.shape, term.place.module
        return term.kind, term.shape

    def _affine(self, steps: Steps) -> Term:
        known = [(k, term) for k, term in enumerate(steps) if term is not None]
        earlier = {term.uid: k for k, term in known}
        if not self._recurs(steps, earlier):
            columns = self._alike_parts(steps)
            if columns is not None:
                parts = [self.unify(column) for column in columns]
                return self._varying(parts, [known[0][1].data.coefficients] * len(steps), steps)
        later = self._since_third(steps)
        if later is not None:
            return later
        polys: list[Poly | None] = [None] * len(steps)
        recurrence: list[Array] = []
        for k, term in known:
            poly = self.expand(term, lambda t, k=k: earlier.get(t.uid, len(steps)) < k)
            before = steps[k - 1] if k else None
            left = -1 if before is None else self.resolved(before).uid
            if before is not None and before.static and set(poly) == {(left,)}:
                left = -1  # an image times a number is no state of it times another
            if any(left in m and len(m) > 1 for m in poly):
                return self._recurrence(steps)
            if (left,) in poly:
                recurrence.append(poly.pop((left,)))
            elif recurrence:
                raise NotAlike("a step does not go on from the one before", term, FIX_LOOP)
            polys[k] = poly
        if recurrence:
            if not all(same_numbers(d, recurrence[0]) for d in recurrence):
                raise NotAlike("its leak is another at one step than at another", known[-1][1], FIX_LOOP)
            return self._integrator(steps, polys, recurrence[-1])
        return self._grouped(steps, polys)

    def _alike_parts(self, steps: Steps) -> list[Steps] | None:
        """The summands of sums of the same kin with the same numbers, each with its like; None if they are no such."""
        first = next(term for term in steps if term is not None)
        if first.kind != "affine":
            return None
        places = [(self.kin(a), digest(c)) for a, c in zip(first.args, first.data.coefficients)]
        rows: list[list[Term | None]] = []
        for term in steps:
            if term is None:
                rows.append([None] * len(places))
                continue
            if term.kind != "affine" or len(term.args) != len(places):
                return None
            left = [(self.kin(a), digest(c), a) for a, c in zip(term.args, term.data.coefficients)]
            row: list[Term | None] = []
            for kin, number in places:
                found = next((k for k, own in enumerate(left) if own[:2] == (kin, number)), None)
                if found is None:
                    return None
                row.append(left.pop(found)[2])
            rows.append(row)
        return list(zip(*rows))

    def _since_third(self, steps: Steps) -> Term | None:
        """A membrane that never fires, read off the steps after the second, and held against the first two.

        At the first steps the membrane and what arrives may be the same term.
        """
        first = next(k for k, term in enumerate(steps) if term is not None)
        if len(steps) - first < 3 or any(term is None for term in steps[first:]):
            return None
        decays: list[Array] = []
        rest: list[Term | None] = [None] * len(steps)
        for k in range(first + 2, len(steps)):
            term, before = steps[k], steps[k - 1]
            assert term is not None
            assert before is not None
            depends = self._depending(term, before)
            if before.uid not in depends or term is before:
                return None
            poly = self.expand(term, lambda t, before=before, depends=depends: t is before or t.uid not in depends)
            left = self.resolved(before).uid
            if (left,) not in poly or any(left in m and len(m) > 1 for m in poly):
                return None
            decays.append(poly.pop((left,)))
            rest[k] = self.summed(poly, term.shape)
        if not all(same_numbers(d, decays[-1]) for d in decays):
            return None
        try:
            current = self.unify(rest)
            if first == 0:
                current = self._with_start(current, steps[0])
        except NotAlike:
            return None
        y = Poly()
        for k in range(first + 2):
            y = self._unrolled(Poly().added(y, decays[-1]).added(self.expand(self.terms.at(current, k))))
            if k < first:
                continue
            actual = self._unrolled(self.expand(steps[k]))
            if k == first:
                start = actual.added(y, -1.0).constant
                y.plus((), start)
            if not self.same(y, actual):
                return None
        self.terms.place = steps[-1].place  # type: ignore[union-attr]
        if np.any(np.abs(start) > 1e-13):  # it does not start from 0
            constants = [start if k == first else np.asarray(0.0) for k in range(len(steps))]
            current = self.varying(current, [np.asarray(1.0)] * len(steps), constants)
        op = Integrator(decay=np.asarray(decays[-1]))
        return self.terms.uniform("integrator", current.shape, (current,), op, digest(op.decay))

    def _with_start(self, current: Term, first: Term) -> Term:
        """What arrives at a membrane, and at the first step also what it starts from of what differs by sample."""
        starts, arrives = (
            Poly({monomial: value for monomial, value in self._unrolled(self.expand(x)).items() if monomial})
            for x in (first, self.terms.at(current, 0))
        )
        if self.same(starts, arrives):
            return current
        return self.with_first(current, self.summed(starts.added(arrives, -1.0), first.shape))

    def with_first(self, current: Term, more: Term, first: int = 0) -> Term:
        """A uniform term, to one step of which, the first, another term is added."""
        if not (more.uniform and more.static):
            more = self.unify([more if t == first else None for t in range(self.timesteps)])
        once = [np.asarray(float(t == first)) for t in range(self.timesteps)]
        one = np.asarray(1.0)
        return self.terms.affine([(current, one), (self.varying(more, once), one)], 0.0, current.shape)

    def _depending(self, term: Term, before: Term) -> set[int]:
        """The terms within one, element by element, that depend on another; that one, too."""
        order: list[Term] = []
        seen: set[int] = set()
        waiting = [(term, False)]
        while waiting:
            top, done = waiting.pop()
            if done:
                order.append(top)
                continue
            if top.uid in seen:
                continue
            seen.add(top.uid)
            waiting.append((top, True))
            if top is not before and top.kind in ("affine", "mul"):
                waiting += [(a, False) for a in top.args]
        found = {before.uid} if before.uid in seen else set()
        for top in order:
            if top.kind in ("affine", "mul") and any(a.uid in found for a in top.args):
                found.add(top.uid)
        return found

    def _recurrence(self, steps: Steps) -> Term:
        """A membrane that never fires and is no integrator, as its leak depends on what arrives: a host computes it.

        It hears layers and neurons; or else whatever does not depend on it, such as another membrane.
        """
        try:
            return self._recurrence_of(steps, apart=False)
        except NotAlike as error:
            try:
                return self._recurrence_of(steps, apart=True)
            except NotAlike:
                raise error from None

    def _recurrence_of(self, steps: Steps, apart: bool) -> Term:
        """One that hears layers and neurons (or ``apart``: the largest terms that do not depend on it)."""
        polys: list[tuple[Poly, list[Term]]] = []
        before: Term | None = None
        for k, term in enumerate(steps):
            if term is None:
                raise NotAlike("a membrane is multiplied by something that is computed", _some(steps), FIX_LOOP)
            last = before
            own = None if last is None or not apart else self._depending(term, last)
            poly = self.expand(term, lambda t, last=last, own=own: t is last or (own is not None and t.uid not in own))
            left = set() if before is None else {self.resolved(before).uid}
            atoms = {uid: self.names[uid] for m in poly for uid in m if uid not in left}
            if k and not apart and any(a.kind in ELEMENTWISE and a.kind != "cmp" for a in atoms.values()):
                raise NotAlike("a membrane is multiplied by something that is computed", term, FIX_LOOP)
            polys.append((poly, [atoms[uid] for uid in sorted(atoms)]))
            before = term
        last_poly, last_atoms = polys[-1]
        columns: list[list[Term | None]] = []
        for n, atom in enumerate(last_atoms):
            kin = self.kin(atom)
            nth = [self.kin(a) for a in last_atoms[:n]].count(kin)
            column = []
            for _, atoms in polys:
                alike = [a for a in atoms if self.kin(a) == kin]
                column.append(alike[nth] if nth < len(alike) else None)
            # At the first steps another membrane and what it hears may be the same term.
            if any(t is None for t in column[2 if apart else 1 :]):
                raise NotAlike("its steps read different things", steps[-1], FIX_LOOP)
            columns.append(column)
        state = self.resolved(steps[-2]).uid
        lanes = [self.unify(column) for column in columns]
        shape = steps[-1].shape  # type: ignore[union-attr]
        places = {a.uid: n + 1 for n, a in enumerate(last_atoms)}
        summands = [
            (tuple(0 if uid == state else places[uid] for uid in m), np.asarray(v)) for m, v in last_poly.items()
        ]
        found = self.recurrence(summands, lanes, shape)
        for k in range(len(polys)):
            heard = [c[k] or self.terms.at(lane, k) for c, lane in zip(columns, lanes)]
            expected = self._of_summands(summands, steps[k - 1] if k else None, heard)
            last = steps[k - 1] if k else None
            poly = self.expand(steps[k], lambda t, last=last: t is last)
            if not (self.same(expected, poly) or self.same(self._unrolled(expected), self._unrolled(poly))):
                raise NotAlike(f"step {k} does not do what the others do", steps[k], FIX_LOOP)
        for k, term in enumerate(steps):
            assert term is not None
            self._rolled[term.uid] = self.terms.at(found, k)
        self._canonical.clear()
        return found

    def recurrence(self, summands: Sequence[Summand], lanes: Sequence[Term], shape: tuple[int, ...]) -> Term:
        """What a host computes of what it computed a step before (0) and of uniform terms (1, 2, ...)."""
        summands = tuple(summands)
        key = ("recurrence", tuple((m, digest(v)) for m, v in summands), tuple(lane.uid for lane in lanes))
        lag = Lag(1, ())
        back = self.terms.uniform("lag", shape, (), lag, ("recurrence", key))
        found = self.terms.uniform("host", shape, (back, *lanes), Recurrence(summands, key), key)
        lag.of = found
        return found

    def _of_summands(self, summands: Any, state: Term | None, atoms: Sequence[Term]) -> Poly:
        made = Poly()
        for monomial, value in summands:
            if 0 in monomial and state is None:
                continue
            product = Poly({(): np.asarray(value)})
            for place in monomial:
                term = self.resolved(state if place == 0 else atoms[place - 1])
                self.names[term.uid] = term
                whole = place == 0 and not term.is_constant
                factor = Poly({(term.uid,): np.asarray(1.0)}) if whole else self.expand(term)
                product = self._product(product, factor, term)
            made = made.added(product)
        return made

    def _recurs(self, steps: Steps, earlier: dict[int, int]) -> bool:
        """Whether a step reads another one of these."""
        for k, term in enumerate(steps):
            waiting = [] if term is None else list(term.args)
            seen: set[int] = set()
            while waiting:
                top = waiting.pop()
                if top.uid in seen or top.kind not in ("affine", "mul"):
                    continue
                seen.add(top.uid)
                if earlier.get(top.uid, k) != k:
                    return True
                waiting += top.args
        return False

    def _grouped(self, steps: Steps, polys: Sequence[Poly | None]) -> Term:
        """A sum of the same terms at every step, told apart by their kin."""
        groups: dict[Any, list[Term | None]] = {}
        numbers: dict[Any, list[Array | None]] = {}
        for k, poly in enumerate(polys):
            count: dict[Any, int] = {}
            for monomial in sorted(poly or ()):
                if not monomial:
                    continue
                product = self.names[monomial[0]]
                for uid in monomial[1:]:
                    product = self.terms.mul(product, self.names[uid])
                kin = self.kin(product)
                nth = count[kin] = count.get(kin, -1) + 1
                groups.setdefault((kin, nth), [None] * len(steps))[k] = product
                numbers.setdefault((kin, nth), [None] * len(steps))[k] = poly[monomial]
        parts = [self.unify(column) for column in groups.values()]
        coefficients = []
        for k in range(len(steps)):
            if polys[k] is not None and any(self.terms.at(part, k) is None for part in parts):
                raise NotAlike("a step of what it hears is not known", steps[k], FIX_LOOP)
            mine = []
            for part, column in zip(parts, numbers.values()):
                number = column[k]
                if number is None:  # not known, or nothing: of a part that is nothing there, or times 0
                    told = polys[k] is not None and not _is_zero(self.terms.at(part, k))
                    number = np.asarray(0.0) if told else next(c for c in column[::-1] if c is not None)
                mine.append(np.asarray(number))
            coefficients.append(tuple(mine))
        return self._varying(parts, coefficients, steps, polys)

    def _varying(
        self, parts: Sequence[Term], coefficients: Sequence[tuple[Array, ...]], steps: Steps,
        polys: Sequence[Poly | None] | None = None,
    ) -> Term:  # fmt: skip
        """A sum of uniform terms whose numbers may differ from step to step."""
        shape = next(t for t in steps if t is not None).shape
        last = max(k for k, t in enumerate(steps) if t is not None)
        constants: list[Array | None] = []
        for k, term in enumerate(steps):
            if term is None:
                constants.append(None)
            elif polys is not None:
                poly = polys[k]
                assert poly is not None
                constants.append(self._own_constant(parts, coefficients[k], poly, k))
            else:
                constants.append(term.data.constant)
        made: list[tuple[Term, Array]] = []
        for n, part in enumerate(parts):
            column = [coefficients[k][n] for k, t in enumerate(steps) if t is not None]
            if all(same_numbers(c, column[-1]) for c in column):
                made.append((part, column[-1]))
            else:
                made.append((self.varying(part, [c[n] for c in coefficients], None), np.asarray(1.0)))
        self.terms.place = next(t for t in steps if t is not None).place
        told = [c for c in constants if c is not None]
        constant = constants[last]
        assert constant is not None
        if all(same_numbers(c, constant) for c in told):
            return self.terms.affine(made, constant, shape)
        each = [constant if c is None else c for c in constants]
        return self.varying(self.terms.affine(made, 0.0, shape), [np.asarray(1.0)] * len(steps), each)

    def _own_constant(self, parts: Sequence[Term], numbers: Sequence[Array], poly: Poly, step: int) -> Array:
        """The constant of a step, without what its parts come to where they hear nothing yet."""
        constant = poly.constant
        for part, number in zip(parts, numbers):
            made = self.terms.at(part, step)
            if made.is_constant or made.kind == "affine":
                constant = constant - number * made.data.constant
        return np.asarray(constant)

    def varying(self, part: Term, numbers: Sequence[Array], constants: Sequence[Array] | None = None) -> Term:
        """A term times another number at each step, plus another constant."""
        first = next((n for n in numbers if np.any(n != 0)), np.asarray(1.0))
        if first.ndim:
            ratios = _multiples(numbers, first)
            if ratios is None:
                return self._varying_by_channel(part, numbers, constants)
            part = self.terms.affine([(part, first)], 0.0, part.shape)
            numbers = ratios
        gains = np.asarray([float(n) for n in numbers])
        bias = np.asarray(0.0)
        if constants is not None:
            whole = np.stack([np.broadcast_to(c, part.shape) for c in constants])
            from neurocompile.ir.arrays import compact_over_time

            bias = compact_over_time(whole) if whole.ndim > 1 else whole
        key = (digest(gains), digest(bias))
        return self.terms.uniform("gain", part.shape, (part,), (gains, bias), key)

    def _varying_by_channel(self, part: Term, numbers: Sequence[Array], constants: Sequence[Array] | None) -> Term:
        """Numbers that differ by channel and by step: each scales the term by itself, and counts at its steps alone."""
        kinds: dict[Any, list[int]] = {}
        for step, number in enumerate(numbers):
            kinds.setdefault(digest(np.asarray(number)), []).append(step)
        made: list[tuple[Term, Array]] = []
        for steps in kinds.values():
            scaled = self.terms.affine([(part, np.asarray(numbers[steps[0]]))], 0.0, part.shape)
            alone = [np.asarray(float(step in steps)) for step in range(len(numbers))]
            made.append((self.varying(scaled, alone, None if made else constants), np.asarray(1.0)))
        return self.terms.affine(made, 0.0, part.shape)

    def _integrator(self, steps: Steps, polys: list[Poly | None], decay: Array) -> Term:
        """``y = decay * y + rest``, from 0."""
        shape = next(t for t in steps if t is not None).shape
        rest = [None if p is None else self.summed(p, shape) for p in polys]
        current = self.unify(rest)
        self.terms.place = next(t for t in steps if t is not None).place
        op = Integrator(decay=np.asarray(decay))
        return self.terms.uniform("integrator", shape, (current,), op, digest(op.decay))


def _key(steps: Steps) -> tuple[int, ...]:
    return tuple(-1 if term is None else term.uid for term in steps)


def _multiples(numbers: Sequence[Array], first: Array) -> list[Array] | None:
    """How often each of some numbers by channel is the first; None if they differ otherwise."""
    if not np.all(first != 0):
        return None
    ratios = [np.asarray(n / first) for n in numbers]
    if any(np.any(np.abs(r - r.flat[0]) > 1e-12 * np.abs(r.flat[0])) for r in ratios):
        return None
    return [np.asarray(r.flat[0]) for r in ratios]


def _is_zero(term: Term) -> bool:
    return term.is_constant and not np.any(term.data.constant)


def _within(steps: Steps, sequence: Steps) -> bool:
    """Whether all that is known of some steps is what a sequence has there."""
    return all(a is None or a is b for a, b in zip(steps, sequence))


def _some(steps: Iterable[Term | None]) -> Term | None:
    return next((term for term in steps if term is not None), None)
