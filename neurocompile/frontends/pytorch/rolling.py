"""Loops over time are rolled up: what each step computes becomes one term for all steps.

:meth:`Roller.unify` takes the terms of all steps, in their order, and finds the uniform term that they are the steps
of. It goes through layers to what these read. Where the terms of a step depend on those of the step before, they are
a recurrence: of neurons (:mod:`.equations`), of membranes that never fire, of layers that hear what they gave a step
before.
"""

# mypy: disable-error-code="arg-type,assignment,index,misc"
from __future__ import annotations

import contextlib
from collections.abc import Sequence
from itertools import pairwise

from neurocompile.frontends.pytorch.comparisons import Comparisons
from neurocompile.frontends.pytorch.facts import Facts
from neurocompile.frontends.pytorch.steps import FIX_LOOP, Steps, is_zero, key_of, some, within
from neurocompile.frontends.pytorch.summing import Sums
from neurocompile.frontends.pytorch.terms import ELEMENTWISE, Lag, NotAlike, Term, Terms
from neurocompile.ir.ops import Integrator, Reshape

__all__ = ["Roller"]

# What is held against its steps where it is made.
_HELD = ("neuron", "integrator", "host")

FIX_FUNCTION = "a neuron's step may add, scale and compare; what is not so is given with @neurocompile.neuron"
FIX_MEMBRANE = "read its spikes; a membrane that is read must never be reset (SpikingJelly: v_threshold=float('inf'))"


class Roller:
    """Rolls up the steps of one trace; ``remembers`` are the modules that keep a state (None: not known)."""

    def __init__(self, terms: Terms, remembers: frozenset[str] | None = None) -> None:
        self.facts = Facts(terms, remembers, self.unify)
        self.terms = terms
        self.timesteps = terms.timesteps
        self._open: dict[tuple[int, ...], int] = {}  # what is being rolled up, and of how many steps later
        self._passed = 0
        self._promises: dict[tuple[int, ...], list[tuple[Lag, Term]]] = {}
        self.sums = Sums(self.facts)
        self.comparisons = Comparisons(self.sums)

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
            raise NotAlike(f"{len(steps)} steps are read where there are {self.timesteps}", some(steps), FIX_LOOP)
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
        key = key_of(steps)
        if key in self.facts.memo:
            return self.facts.memo[key]
        for sequence, other, place in self.facts.sequences.get(first.uid, []):
            if other in self.facts.memo and steps[place] is first and within(steps, sequence):
                return self.facts.memo[other]
        lagged = self._lagged(steps, key)
        if lagged is not None:
            self.facts.memo[key] = lagged
            return lagged
        if key in self._open:
            if self._passed > self._open[key]:  # of the same step, for what is read a step later
                return self._promised(steps, key, 0)
            raise NotAlike("it depends on itself within one step", first, "put a delay of one step into the loop")
        before = self.facts.known()
        self._open[key] = self._passed
        self.facts.note(steps, key)
        try:
            found = self._unified(steps)
        except NotAlike as error:
            if self._promises.pop(key, None):  # what was made of a promise that is not kept
                self.facts.forget(before)
            error.steps = error.steps or steps
            if error.term is None or not error.term.place.line:
                error.term = next((t for t in known if t.place.line), error.term)
            raise
        finally:
            self._open.pop(key, None)
        for promised, term in self._promises.pop(key, []):
            promised.of = found
            self.facts.lags[found.uid, promised.steps] = term
        self.facts.memo[key] = found
        self._check(steps, found)
        return found

    def _of_its_line(self, steps: Steps) -> tuple[Steps, int] | None:
        """All comparisons of the line that made these, or calls of a registered neuron, in order, and how many steps
        later these read them.

        Where that line compared known numbers there is None: what is read of it is nothing, or a number.
        """
        first = next((term for term in steps if term is not None and not is_zero(term)), None)
        if first is None or first.kind not in ("cmp", "registered"):
            return None
        sequence = self.comparisons.passes(first) if first.kind == "cmp" else self._calls(first.data[0])
        if sequence is None or (first.kind == "registered" and (None in sequence or first not in sequence)):
            return None
        later = steps.index(first) - sequence.index(first)
        if later < 0:
            return None
        moved = ((None,) * later + sequence)[: len(steps)]
        fits = all(a is None or a is b or (b is None and is_zero(a)) for a, b in zip(steps, moved))
        return (sequence, later) if fits else None

    def _later(self, sequence: Steps, steps: int) -> Term:
        """What a sequence is, so many steps later."""
        key = key_of(sequence)
        if steps and key in self._open:
            return self._promised(sequence, key, steps)
        return self._before(sequence, steps) if steps else self.unify(sequence)

    def _before(self, sequence: Steps, steps: int) -> Term:
        """The uniform term of a sequence, so many steps before."""
        self._passed += steps
        try:
            return self.facts.lag(self.unify(sequence), steps)
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
            return self.comparisons.compared(steps)
        if self._reshape_here_and_there(known):
            inside = known[-1].args[0].shape
            column = tuple(None if t is None else self.terms.apply(Reshape(inside), t) for t in steps)
            return self.terms.rebuilt(known[-1], (self.unify(column),))
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

    def _reshape_here_and_there(self, known: Sequence[Term]) -> bool:
        """Whether the last is a shape anew of something, and others are so of another shape, or not at all.

        Where a step sums nothing, the shapes before and after the sum are one, or none.
        """
        last = known[-1]
        if last.kind != "apply" or not isinstance(last.data, Reshape):
            return False
        inside = last.args[0].shape
        others = [t for t in known if not t.is_constant]
        return any(t.kind != "apply" or t.data is not last.data or t.args[0].shape != inside for t in others)

    def _registered(self, steps: Steps) -> Term:
        """The steps of a neuron whose equation is given."""
        known = next(term for term in steps if term is not None)
        name, op, _ = known.data
        if any(t is not None and (t.data[0] != name or t.data[2] != k) for k, t in enumerate(steps)):
            raise NotAlike("a registered neuron is not called once for each step, in order", known, FIX_LOOP)
        kind = "integrator" if isinstance(op, Integrator) else "neuron"
        steps = self._calls(name)
        (current,) = self._parts(steps)
        self.terms.place = known.place
        found = self.terms.uniform(kind, known.shape, (current,), op, ("registered", name), binary=known.binary)
        for k, term in enumerate(steps):
            if term is not None:
                self.facts.rolled[term.uid] = self.terms.at(found, k)
        self.facts.canonical.clear()
        self.facts.neurons.setdefault(found.uid, steps)
        self.facts.modules[found.uid] = [name]
        return found

    def _calls(self, name: str) -> Steps:
        """All calls of a registered neuron."""
        return tuple(self.terms.calls[name].get(k) for k in range(self.timesteps))

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
                return self.facts.lag(source, lag)
            raise NotAlike(
                "a step reads a later one", known[0][1], "read steps in their order: a chip cannot look ahead"
            )
        raise NotAlike(
            "its steps read others than the same step, or than one so many steps before", known[0][1], FIX_LOOP
        )

    def _lagged(self, steps: Steps, key: tuple[int, ...]) -> Term | None:
        """Steps that are those of a sequence that is known, so many steps later, with nothing before."""
        at = (
            next(k for k, term in enumerate(steps) if term is not None and not is_zero(term))
            if any(t is not None and not is_zero(t) for t in steps)
            else -1
        )
        if at < 1:
            return None
        first = steps[at]
        assert first is not None
        for sequence, sequence_key, place in self.facts.sequences.get(first.uid, []):
            lag = at - place
            if lag < 1 or sequence_key == key:
                continue
            pairs = [(a, sequence[k - lag] if k >= lag else None) for k, a in enumerate(steps)]
            if any(a is not None and a is not b for a, b in pairs[lag:]):
                continue
            if sequence_key in self.facts.memo:
                return self.facts.lag(self.facts.memo[sequence_key], lag)
            return self._promised(sequence, sequence_key, lag)
        if first.kind == "cmp" and any(steps[:at]):  # it hears nothing before
            before = self.facts.known()
            try:
                return self.unify((*(None,) * at, *steps[at:]))
            except NotAlike:
                self.facts.forget(before)
        if all(t is not None for t in steps[:at]) and first.kind != "at":
            return self._before((*steps[at:], *(None,) * at), at)
        return None

    def _promised(self, sequence: Steps, key: tuple[int, ...], lag: int) -> Term:
        """A sequence that is being rolled up, so many steps later."""
        like = next(term for term in sequence if term is not None and not is_zero(term))
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
            if made is term or made is self.facts.resolved(term) or (made.kind == "at" and made.args[0].kind in _HELD):
                continue
            if not self.facts.alike(made, term):
                what = f"step {step} does not do what the others do"
                raise NotAlike(what, term, FIX_LOOP)

    # -- sums ----------------------------------------------------------------------------------------------------------

    # -- element by element --------------------------------------------------------------------------------------------

    def _elementwise(self, steps: Steps) -> Term:
        """Sums, products and functions of the same things at every step, or membranes that never fire."""
        known = [term for term in steps if term is not None]
        kinds = {term.kind for term in known}
        if kinds == {"mul"}:
            if not known[0].binary and self.sums.recurs(
                steps, {t.uid: k for k, t in enumerate(steps) if t is not None}
            ):
                with contextlib.suppress(NotAlike):
                    return self.sums.recurrent(steps)  # a membrane as it is left by the reset
            made = self.terms.rebuilt(known[0], self._aligned(steps))
            self.facts.neurons.setdefault(made.uid, steps)
            return made
        if kinds == {"func"}:
            if len({term.data for term in known}) > 1:
                raise NotAlike("a function has other settings at one step than at another", known[0], FIX_LOOP)
            return self.terms.rebuilt(known[0], self._parts(steps))
        return self.sums.affine(steps)

    def _aligned(self, steps: Steps) -> tuple[Term, ...]:
        """The factors of products, each with its like."""
        known = [term for term in steps if term is not None]
        kinds = {tuple(arg.kind for arg in term.args) for term in known}
        if len(kinds) == 1 and len(set(next(iter(kinds)))) > 1:
            return self._parts(steps)
        kins = [self.facts.kin(a) for a in known[-1].args]
        if all([self.facts.kin(a) for a in t.args] == kins for t in known):
            return self._parts(steps)
        turned = []
        for term in steps:
            order = {self.facts.kin(arg): arg for arg in term.args} if term is not None else {}
            row = [order.pop(kin, None) for kin in kins]
            if len(order) == 1 and row.count(None) == 1:  # at the first step the state is another sum
                row[row.index(None)] = next(iter(order.values()))
            turned.append(row)
        return tuple(self.unify(column) for column in zip(*turned))
