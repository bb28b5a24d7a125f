"""Which comparisons are the steps of one neuron, and from which step on it hears anything."""

# mypy: disable-error-code="arg-type,assignment,index,misc"
from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neurocompile.frontends.pytorch.equations import derive
from neurocompile.frontends.pytorch.steps import FIX_LOOP, Steps, is_zero, key_of, within
from neurocompile.frontends.pytorch.summing import Sums
from neurocompile.frontends.pytorch.terms import NotAlike, Term

__all__ = ["Comparisons"]


class Comparisons:
    """Rolls up comparisons."""

    def __init__(self, sums: Sums) -> None:
        self.sums = sums
        self.facts = sums.facts
        self.terms = sums.terms
        self.timesteps = sums.timesteps

    def compared(self, steps: Steps) -> Term:
        """A neuron, or what a comparison without a memory gives."""
        line = self.passes(next(term for term in steps if term is not None))
        filled = steps if steps == line else self._filled(steps)
        for step, term in enumerate(filled):
            rolled = None if term is None else self.facts.rolled.get(term.uid)
            if rolled is not None and rolled.kind == "at" and rolled.data == step:
                return rolled.args[0]
        self.facts.note(filled, key_of(steps))
        before, known = self._before_first(filled, line), self.facts.known()
        try:
            found = self._fires(filled, before)
        except NotAlike as error:
            before = self._before_heard(filled)
            if not before:
                raise
            self.facts.forget(known)
            try:
                found = self._fires(filled, before)
            except NotAlike:
                raise error from None
        if before and found.kind == "neuron":
            self.terms.silent[found.uid] = before
        for step, term in enumerate(filled):
            if term is not None:
                self.facts.rolled[term.uid] = self.terms.at(found, step)
        self.facts.canonical.clear()
        self.facts.neurons.setdefault(found.uid, filled)
        return found

    def _fires(self, steps: Steps, before: int) -> Term:
        """What fires as comparisons say, of which those ``before`` are known not to hold."""
        found = derive(self.sums, steps[before:], before)
        if found is not None:
            return found
        known = [term for term in steps[before:] if term is not None]  # it remembers nothing
        if len({term.data for term in known}) > 1:
            raise NotAlike("it compares with > at one step and with >= at another", known[0], FIX_LOOP)
        current = self.facts.unify([None if t is None or k < before else t.args[0] for k, t in enumerate(steps)])
        if any(not is_zero(self._at_once(current, known[0], k)) for k in range(before)):
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
        poly = self.facts.expand(current)
        number = self.terms.constant(poly.constant, current.shape)
        if not is_zero(self._at_once(number, like, 0)):
            raise NotAlike("it first does something other than later", like, FIX_LOOP)
        poly.pop((), None)
        kept = [np.asarray(float(step >= before)) for step in range(self.timesteps)]
        one = np.asarray(1.0)
        return self.terms.affine(
            [(self.sums.varying(self.facts.summed(poly, current.shape), kept), one), (number, one)],
            0.0,
            current.shape,
        )

    def _before_first(self, steps: Steps, line: Steps | None) -> int:
        """How many steps pass before a neuron hears anything: its first comparison starts from no other then.

        Its line has compared nothing but numbers before, or what nothing reads.
        """
        first = next(k for k, term in enumerate(steps) if term is not None)
        term = steps[first]
        assert term is not None
        return first if steps == line or not self.facts.compared_below(term) else 0

    def _before_heard(self, steps: Steps) -> int:
        """How many steps compare known numbers, and do not fire, before the first that hears something."""
        for step, term in enumerate(steps):
            if term is None:
                continue
            poly = self.facts.expand(term.args[0])
            told = None if set(poly) - {()} else self.terms.constant(poly.constant, term.shape)
            if told is None or not is_zero(self._at_once(told, term, step)):
                return step
        return 0

    def passes(self, term: Term) -> Steps | None:
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
                below = self.facts.all_below(term)
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
        if len(seen) == self.timesteps and within(steps, tuple(seen)):
            return tuple(seen)
        filled = list(steps)
        for step in range(self.timesteps - 1, 0, -1):
            later = filled[step]
            if later is None or filled[step - 1] is not None:
                continue
            before = [t for t in self.facts.compared_below(later) if t.shape == later.shape and t.data == later.data]
            if len(before) == 1:
                filled[step - 1] = before[0]
        return tuple(filled)
