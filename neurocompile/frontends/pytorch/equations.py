"""The equation of a neuron, read off what its code computed.

A neuron is known by its comparisons, one a step. What is compared is followed back, through sums and products, to
what was there before the step (the state), to whether the neuron fired at the step before, and to what arrives (the
current). A step that is affine in state and current, for a neuron that fired and for one that did not, *is* a case of
:class:`neurocompile.ir.ops.Neuron`; its fields are computed from the coefficients, and every step is held against
them.
"""

# mypy: disable-error-code="arg-type,assignment,misc"
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from neurocompile.frontends.pytorch.facts import Facts
from neurocompile.frontends.pytorch.steps import FIX_LOOP, Poly, same_numbers
from neurocompile.frontends.pytorch.summing import Sums
from neurocompile.frontends.pytorch.terms import NotAlike, Term, digest
from neurocompile.ir.ops import Array, MembraneNorm, Neuron

__all__ = ["derive"]

FIX_ALL_STEPS = (
    "compute and read every step, and reset only before the first; "
    'where forward computes one step only, say layout="loop"'
)
FIX_EQUATION = (
    "a neuron's step may add, scale and compare its membrane, its current and its last spike; what is not so is given "
    "with @neurocompile.neuron"
)
_ZERO = np.asarray(0.0)


@dataclass
class _Step:
    """What is new at a step: the terms that no earlier step had, and the state that they start from."""

    compared: Term
    spike: Term
    new: set[int]
    state: list[Term]


def derive(sums: Sums, steps: Sequence[Term | None], first: int = 0) -> Term | None:
    """The neuron that comparisons are the spikes of; None if they remember nothing.

    Args:
        sums: of their terms.
        steps: the comparisons.
        first: the step of the first of them; before that the neuron hears nothing.

    Raises:
        NotAlike: if they are those of no equation.
    """
    found = _steps(sums.facts, steps)
    if found is None:
        return None
    return _Derivation(sums, found, first).neuron()


def _steps(facts: Facts, steps: Sequence[Term | None]) -> list[_Step] | None:
    """The steps with what they start from, up to the last that is known; None where no step starts from an earlier."""
    known = [term for term in steps if term is not None]
    if len(known) == 1 < len(steps):
        if facts.stands_alone(known[0]):
            return None
        raise NotAlike(f"1 of the {len(steps)} steps of this neuron are found", known[0], FIX_ALL_STEPS)
    steps = steps[: max(k for k, term in enumerate(steps) if term is not None) + 1]
    for term in known:  # where the membrane equals the threshold both are a tie
        twin = facts.terms.twin(term)
        if twin is not None and twin.uid not in facts.twins and term.uid not in facts.twins:
            facts.twins[twin.uid] = term
    strict = {term.data for term in known}
    reach: set[int] = set()
    made: list[_Step] = []
    fresh_before: set[int] = set()
    spikes = {term.uid for term in known}
    remembers = False
    for term in steps:
        if term is None:
            if remembers:
                what = f"{len(known)} of the {len(steps)} steps of this neuron are found"
                raise NotAlike(what, known[0], FIX_ALL_STEPS)
            return None
        compared = term.args[0]
        new: set[int] = set()
        state: dict[int, Term] = {}
        waiting = [compared]
        while waiting:
            top = waiting.pop()
            if top.uid in new:
                continue
            if top.uid in reach:
                if top.uid in fresh_before or (made and top.uid == made[-1].spike.uid):
                    state[top.uid] = top
                continue
            new.add(top.uid)
            if top.kind in ("affine", "mul", "func"):
                waiting += top.args
        if made and not state and not any(uid in spikes for uid in new):
            state = {}
        remembers = remembers or bool(state) or any(uid in spikes for uid in new)
        made.append(_Step(compared, term, new, list(state.values())))
        reach |= new
        fresh_before = new
    if not remembers or len(made) < 2:
        return None
    if not _is_recurrent(facts, made, spikes):
        return None
    if len(strict) > 1:
        raise NotAlike("it compares with > at one step and with >= at another", known[0], FIX_LOOP)
    return made


def _is_recurrent(facts: Facts, steps: list[_Step], spikes: set[int]) -> bool:
    """Whether what is compared at the last step starts from what the step before made, not only from what is shared."""
    last, before = steps[-1], steps[-2]
    if before.spike.uid in last.new:
        return True
    if len(steps) > 2:
        return any(term.uid not in steps[0].new for term in last.state)
    # Two steps: what both read may be a constant input.
    return any(term.kind in ("affine", "mul") for term in last.state) or not all(t.static for t in last.state)


class _Derivation:
    def __init__(self, sums: Sums, steps: list[_Step], first: int) -> None:
        self.sums = sums
        self.facts = sums.facts
        self.first = first
        self.terms = sums.terms
        self.steps = steps
        self.last = len(steps) - 1
        self._states: dict[int, list[Term]] = {}
        self._norm_on_membrane = False
        self._scale = np.asarray(1.0)
        self.shape = steps[0].compared.shape
        for t in range(1, len(steps)):
            self.states(t)

    def uid(self, term: Term) -> int:
        """The number under which a term stands in sums."""
        return self.facts.resolved(term).uid

    def refused(self, what: str, term: Term | None = None) -> NotAlike:
        return NotAlike(what, term or self.steps[-1].spike, FIX_EQUATION)

    # -- what a step is made of ----------------------------------------------------------------------------------------

    def states(self, t: int) -> list[Term]:
        """The terms of step ``t - 1`` from which step ``t`` starts, but for the spike.

        What was there before the first step, and what does not itself depend on a state, is no state: a current that is
        used twice, or the same at every step.
        """
        if t not in self._states:
            spike = self.steps[t - 1].spike
            known = [term for term in self.steps[t].state if term.uid != spike.uid and term.kind != "cmp"]
            if t > 1:
                shared = self.steps[0].new
                known = [
                    x
                    for x in known
                    if x.uid not in shared and x.kind in ("affine", "mul", "func") and self._depends(x, t - 1)
                ]
            elif self.last > 1:
                shared = {a.uid for x in self._within(self.last) for a in x.args}
                known = [x for x in known if x.uid not in shared] or known
            self._states[t] = self._independent(known, t)
        return self._states[t]

    def _independent(self, states: list[Term], t: int) -> list[Term]:
        """The states of step ``t - 1`` without those that another tells, and without those that cancel in step ``t``.

        One that another tells is made of it in step ``t``, once more.
        """
        if len(states) < 2:
            return states
        kept = list(states)
        for term in states:
            for other in kept:
                reached = {self.uid(other)}
                poly = self.facts.expand(
                    term, lambda inner, other=other: inner is other or inner.uid not in self.steps[t - 1].new
                )
                if other is not term and {uid for m in poly for uid in m} == reached and max(map(len, poly)) == 1:
                    kept.remove(term)
                    self.steps[t].new.add(term.uid)
                    break
        poly = self.facts.expand(self.steps[t].compared, lambda inner: inner.uid not in self.steps[t].new)
        read = {uid for m in poly for uid in m}
        if any(self.facts.names[uid].kind == "func" for uid in read):
            return kept
        return [term for term in kept if self.uid(term) in read]

    def neuron(self) -> Term:
        """The uniform term."""
        if self.last == 1:
            return self._two_steps()
        states = self.states(self.last)
        functions = [t for t in self._within(self.last) if t.kind == "func"]
        touching = [t for t in functions if self._depends(t, self.last)]
        if touching:
            name = touching[0].data[0]
            raise self.refused(f"its step applies {name} to its membrane", touching[0])
        if not states:
            spikes_only = self.steps[self.last - 1].spike.uid
            if spikes_only in self.steps[self.last].new:
                return self._one_state(None)
            raise self.refused("what it remembers is not a membrane")
        if len(states) == 1:
            return self._one_state(states[0])
        if len(states) == 2:
            return self._two_states(states)
        raise self.refused(
            f"it remembers {len(states)} values for each neuron; an equation has a membrane and a current"
        )

    def _spike_uids(self, t: int) -> set[int]:
        """The comparison of a step, and the same with ``>`` for ``>=`` or the other way round."""
        spike = self.steps[t].spike
        twin = self.terms.twin(spike)
        return {spike.uid} if twin is None else {spike.uid, twin.uid}

    def _two_steps(self) -> Term:
        """The neuron of two steps: what the second makes of the first is told by what arrived at the first."""
        try:
            return self._of_two_steps()
        except NotAlike as error:
            states = self.states(1)
            if len(states) != 1:
                raise
            try:
                return self._one_state(states[0])
            except NotAlike:
                raise error from None

    def _of_two_steps(self) -> Term:
        before, s = self.steps[0].spike, self.uid(self.steps[0].spike)
        new, left = self.steps[1].new, self.steps[0].new | self._spike_uids(0)
        fresh = [x for x in self._within(1) if not self._reaches(x, left)]
        inside = {a.uid for x in fresh for a in x.args}
        arrives = {x.uid for x in fresh if x.uid not in inside}
        poly = self.facts.expand(self.steps[1].compared, lambda inner: inner.uid in arrives or inner.uid not in new)
        heard = [x for x in fresh if x.uid in arrives and (self.uid(x),) in poly]
        if any(set(m) & {self.uid(x) for x in heard} and len(m) > 1 for m in poly):
            raise self.refused("after a spike it hears its input with another weight")
        current = self.terms.affine([(x, poly[self.uid(x),]) for x in heard], 0.0, self.shape)
        u0 = self.facts.expand(self.steps[0].compared)
        rolled = self._unified({1: current})
        first = self.facts.expand(self._at(rolled, 0))
        names = self.facts.names
        steady = Poly({m: v for m, v in u0.items() if m and m not in first and all(names[uid].static for uid in m)})
        if steady:  # the same at both steps
            current = self.terms.affine(
                [(current, np.asarray(1.0)), (self.facts.summed(steady, self.shape), np.asarray(1.0))], 0.0, self.shape
            )
            rolled = self._unified({1: current})
            first = self.facts.expand(self._at(rolled, 0))
        if not same_numbers(self._ratio(u0, first, ()), np.asarray(1.0)):
            rolled = self._unified({0: self._without_constant(u0), 1: current})
            first = self.facts.expand(self._at(rolled, 0))
        u0, u1 = self.facts.expand(self.steps[0].compared), self.facts.expand(self.steps[1].compared)
        u1 = u1.added(self.facts.expand(self._at(rolled, 1)), -1.0)
        g0 = self._ratio(u0, first, ())
        alpha, beta = self._ratio(u1, first, ()), self._ratio(u1, first, (s,))
        if not same_numbers(g0, np.asarray(1.0)):
            raise self.refused("its first step hears its input with another weight")
        assert before
        c00 = u0.constant - first.constant
        c1 = u1.constant - alpha * first.constant
        gamma = u1.get((s,), _ZERO) - beta * first.constant
        with np.errstate(invalid="ignore"):
            rest = Poly({(): np.where(np.isfinite(c00), c1 - c00, 0.0)})
        rest.plus((-1,), np.asarray(alpha))
        rest.plus((-1, s), np.asarray(beta))
        rest.plus((s,), np.asarray(gamma))
        fields, _ = self._fields(self._settled(rest, s, np.asarray(c00)), [], -1, s, 1)
        fields["gain"] = np.asarray(1.0)
        return self._finish(fields, rolled, np.asarray(1.0), np.asarray(c00), None)

    def _unified(self, steps: Mapping[int, Term | None]) -> Term:
        """One term for all steps, of those of the neuron that are known."""
        return self.facts.unify([steps.get(t - self.first) for t in range(self.facts.timesteps)])

    def _at(self, rolled: Term, t: int) -> Term:
        """What a uniform term is at a step of the neuron."""
        return self.terms.at(rolled, self.first + t)

    def _without_constant(self, poly: Poly) -> Term:
        return self.facts.summed(Poly({m: v for m, v in poly.items() if m}), self.shape)

    def _ratio(self, poly: Poly, first: Poly, more: tuple[int, ...]) -> Array:
        """How often a sum holds another one (times the spike): the same for each of its summands."""
        found: Array | None = None
        for monomial, value in first.items():
            if not monomial:
                continue
            own = poly.get(tuple(sorted((*monomial, *more))), _ZERO)
            with np.errstate(divide="ignore", invalid="ignore"):
                ratio = np.where(value == 0, 0.0, own / np.where(value == 0, 1.0, value))
            if found is not None and not np.allclose(found, ratio, rtol=1e-11, atol=1e-14):
                raise self.refused("its second step remembers its inputs with different weights")
            found = np.asarray(ratio) if found is None else found
        return _ZERO if found is None else (np.asarray(found.flat[0]) if (found == found.flat[0]).all() else found)

    def _reaches(self, term: Term, left: set[int]) -> bool:
        """Whether a term depends, element by element, on what was there before."""
        waiting, seen = [term], set()
        while waiting:
            top = waiting.pop()
            if top.uid in left:
                return True
            if top.uid in seen:
                continue
            seen.add(top.uid)
            if top.kind in ("affine", "mul", "func"):
                waiting += top.args
        return False

    def _within(self, t: int) -> list[Term]:
        """All new element-wise terms of a step."""
        found, waiting, seen = [], [self.steps[t].compared], set()
        while waiting:
            top = waiting.pop()
            if top.uid in seen or top.uid not in self.steps[t].new:
                continue
            seen.add(top.uid)
            found.append(top)
            if top.kind in ("affine", "mul", "func"):
                waiting += top.args
        return sorted(found, key=lambda term: term.uid)

    def _depends(self, term: Term, t: int) -> bool:
        """Whether a term of step ``t`` depends on what the step before left."""
        left = {s.uid for s in self.states(t)} | self._spike_uids(t - 1)
        waiting, seen = [term], set()
        while waiting:
            top = waiting.pop()
            if top.uid in left:
                return True
            if top.uid in seen or top.uid not in self.steps[t].new:
                continue
            seen.add(top.uid)
            if top.kind in ("affine", "mul", "func"):
                waiting += top.args
        return False

    def expanded(self, term: Term, t: int) -> tuple[Poly, list[Term]]:
        """A term of step ``t`` as a sum over the state, the last spike and what arrives; and what arrives."""
        left = {s.uid for s in self.states(t)} | self._spike_uids(t - 1)
        arrives: dict[int, Term] = {}

        def stops(inner: Term) -> bool:
            if inner.uid in left:
                return True
            if not self._depends(inner, t):
                if (
                    len(inner.args) == 1
                    and inner.kind == "affine"
                    and not inner.data.coefficients[0].ndim
                    and not (inner.data.constant.ndim or inner.data.constant)
                ):
                    return False  # a number times a current: the number is the equation's
                arrives[self.uid(inner)] = inner
                return True
            return False

        poly = self.facts.expand(term, stops)
        names = self.facts.names
        known = {self.uid(s) for s in (*self.states(t), self.steps[t - 1].spike)}
        for monomial in poly:
            for uid in monomial:
                if uid not in known and not self._is_own(names[uid], t):
                    arrives.setdefault(uid, names[uid])
        return poly, [arrives[uid] for uid in sorted(arrives) if any(uid in m for m in poly)]

    def _is_own(self, term: Term, t: int) -> bool:
        return any(term.uid == self.uid(s.spike) for s in self.steps[: t + 1])

    def counterpart(self, state: Term | None, t: int) -> Term:
        """The term of step ``t`` that the state of step ``t - 1`` is the earlier one of."""
        if t < self.last:
            later = self.states(t + 1)
            if len(later) == 1:
                return later[0]
        compared = self.steps[t].compared
        if state is None or t == 0 or state is self.steps[t - 1].compared:
            return compared
        k, c = self._threshold(state, t - 1)
        for term in self._within(t):
            poly = self.facts.expand(
                compared, lambda inner, term=term: inner is term or inner.uid not in self.steps[t].new
            )
            key = (self.uid(term),)
            if key not in poly or not set(poly) <= {key, ()}:
                continue
            if same_numbers(poly[key], k) and same_numbers(poly.constant, c) and self._depends(term, t):
                return term
        what = "its last step goes on otherwise than those before: its leak, reset or threshold is another"
        raise NotAlike(what, self.steps[-1].spike, FIX_LOOP)

    def _threshold(self, state: Term, t: int) -> tuple[Array, Array]:
        """``compared = k * state + c``."""
        compared = self.steps[t].compared
        if compared is state:
            return np.asarray(1.0), _ZERO
        poly = self.facts.expand(compared, lambda inner: inner is state or inner.uid not in self.steps[t].new)
        key = (self.uid(state),)
        if set(poly) - {key, ()}:
            if key not in poly:
                raise self.refused("what it compares is not what it remembers")
            raise self.refused("it compares its membrane with something that is computed as well")
        return poly.get(key, _ZERO), poly.constant

    # -- one membrane --------------------------------------------------------------------------------------------------

    def _one_state(self, state: Term | None) -> Term:
        t = self.last
        before = self.steps[t - 1].spike
        if state is None:
            membrane, k, c = self.steps[t].compared, np.asarray(1.0), _ZERO
        else:
            k, c = self._threshold(state, t - 1)
            membrane = self.counterpart(state, t)
        norm = self._norm(membrane, t)
        self._norm_on_membrane = norm is not None and norm.on == "membrane"
        self._scale = self._factor(Neuron(threshold=_ZERO), k, norm)
        whole = membrane if norm is None or norm.on == "compare" else self._normed_input
        poly, arrives = self.expanded(whole, t)
        h = None if state is None else self.uid(state)
        s = self.uid(before)
        poly = self._settled(poly, s, c)
        fed_back, poly = self._fed_back(poly, h, s)
        fields, current = self._fields(poly, arrives, h, s, t)
        first: NotAlike | None = None
        # What arrives at the first steps follows from what arrives later; where it does not, it is looked for.
        for since in (2 if self.last > 1 else 1, 0, None):
            try:
                told = (
                    self._rolled_by_steps(fields["bias"]) if since is None else self._rolled(current, since, fed_back)
                )
                rolled, gain = told
                return self._finish({**fields, "gain": gain}, rolled, k, c, norm)
            except NotAlike as error:
                first = first or error
        assert first is not None
        raise first

    def _rolled_by_steps(self, bias: Array) -> tuple[Term, Array]:
        """All that arrives, told at every step by itself, with what the step adds to it beside the ``bias``.

        At the last step nothing may arrive (a gain of 0), or other numbers may be added there (a norm of each step).
        """
        if np.any(self._scale == 0):
            raise self.refused("it hears nothing of its membrane")
        at_first = self.facts.expand(self.steps[0].compared)
        steps: list[Term | None] = [self._without_constant(Poly().added(at_first, 1.0 / self._scale))]
        for t in range(1, len(self.steps)):
            found = self._currents_at(t)
            if found is None:
                raise self.refused("what arrives cannot be told from what it remembers", self.steps[t].spike)
            currents, added = found
            steps.append(self.terms.affine(currents, added - bias, self.shape))
        return self._unified(dict(enumerate(steps))), np.asarray(1.0)

    def _fed_back(self, poly: Poly, h: int | None, s: int) -> tuple[Array, Poly]:
        """What a step hears of the last spike where it keeps nothing of the membrane, and the rest of the step.

        No reset does that: the neuron hears itself, a step later.
        """
        kept = _ZERO if h is None else poly.get((h,), _ZERO)
        if (s,) not in poly or np.all(kept != 0) or any(h in m and s in m for m in poly):
            return _ZERO, poly
        heard = np.where(kept == 0, poly[s,], 0.0)
        rest = Poly(poly)
        rest.plus((s,), -heard)
        return np.asarray(heard), rest

    def _settled(self, poly: Poly, s: int, c: Array) -> Poly:
        """A step without its last spike where that is known: with an infinite threshold it fires always or never."""
        known = ~np.isfinite(c)
        if not np.any(known):
            return poly
        fires = (c == np.inf).astype(np.float64)
        made = Poly()
        for monomial, value in poly.items():
            if s not in monomial:
                made.plus(monomial, value)
                continue
            value, at, always = np.broadcast_arrays(value, known, fires)
            made.plus(monomial, np.where(at, 0.0, value))
            made.plus(tuple(uid for uid in monomial if uid != s), np.where(at, value * always, 0.0))
        return made

    def _fields(
        self, poly: Poly, arrives: list[Term], h: int | None, s: int, t: int
    ) -> tuple[dict[str, Any], list[tuple[Term, Array]]]:
        """The equation's fields from a sum over membrane ``h``, spike ``s`` and currents."""
        rest = Poly(poly)

        def take(*uids: int | None) -> Array:
            if None in uids:
                return _ZERO
            return rest.pop(tuple(sorted(uids)), _ZERO)  # type: ignore[type-var]

        a0, extra = take(h), take(h, s)
        a1 = a0 + extra
        jump = take(s)
        c0 = rest.pop((), _ZERO)
        currents: list[tuple[Term, Array]] = []
        deaf: bool | None = None
        for term in arrives:
            uid = self.uid(term)
            b0, b1 = take(uid), take(uid, s)
            if np.any(b1 != 0) and not same_numbers(b1, -b0):
                raise self.refused("after a spike it hears its input with another weight", term)
            is_deaf = bool(np.any(b1 != 0))
            if deaf not in (None, is_deaf):
                raise self.refused("after a spike it hears one of its inputs, and not another", term)
            deaf = is_deaf
            currents.append((term, b0))
        if rest:
            raise self.refused(self._said(rest))
        fields: dict[str, Any] = {"decay": a0, "bias": c0}
        forgets = same_numbers(a1, _ZERO) or np.all(np.abs(a1) <= 1e-15)
        if deaf:
            if not forgets:
                raise self.refused("after a spike it does not hear its input, and still remembers its membrane")
            return {**fields, **self._reset_to(a0, c0, jump), "deaf": True}, currents
        if not np.any(extra) and not np.any(jump):
            return {**fields, "reset": "none"}, currents
        if forgets and np.any(a0 != 0):
            return {**fields, **self._reset_to(a0, c0, jump)}, currents
        keep, amount = self._over_decay(a1, a0, 1.0), self._over_decay(-jump, a0, 0.0)
        return {**fields, "reset": "by", "keep": keep, "amount": amount}, currents

    def _over_decay(self, value: Array, decay: Array, otherwise: float) -> Array:
        """``value / decay``; where nothing is kept of a membrane, as elsewhere, since it cannot be told."""
        value, decay = np.broadcast_arrays(value, decay)
        kept = decay != 0
        if np.any(value[~kept] != 0):
            raise self.refused("it keeps nothing of its membrane, but remembers that it fired")
        found = np.full(value.shape, otherwise)
        found[kept] = value[kept] / decay[kept]
        found[~kept] = found[kept].flat[0] if kept.any() else otherwise
        return found

    def _reset_to(self, a0: Array, c0: Array, jump: Array) -> dict[str, Any]:
        return {"reset": "to", "v_reset": self._over_decay(jump, a0, 0.0)}

    def _said(self, rest: Poly) -> str:
        monomial = max(rest, key=len)
        parts = []
        for uid in monomial:
            term = self.facts.names[uid]
            own = [t for t, s in enumerate(self.steps) if self.uid(s.spike) == uid]
            if own:
                before = self.last - own[0]
                parts.append("its last spike" if before == 1 else f"its spike of {before} steps before")
            elif any(uid == self.uid(x) for s in self.steps for x in s.state):
                parts.append("its state")
            else:
                parts.append("another neuron's spike" if term.binary else "its input")
        if len(parts) == 1:
            return f"its step reads {parts[0]}"
        *most, last = dict.fromkeys(parts)
        return f"its step multiplies {', '.join(most)} and {last}" if most else f"its step multiplies {last} by another"

    # -- a membrane and a synaptic current -----------------------------------------------------------------------------

    def _two_states(self, states: list[Term]) -> Term:
        t = self.last
        before = self.steps[t - 1].spike
        s = self.uid(before)
        old_current, old_membrane, current = self._which_is_current(states)
        of_current, heard = self.expanded(current, t)
        k, c = self._threshold(old_membrane, t - 1)
        membrane = self.counterpart(old_membrane, t)
        i, h = self.uid(old_current), self.uid(old_membrane)
        alpha = of_current.get((i,), _ZERO)
        if any(s in m and m != (s,) for m in of_current):
            raise self.refused("its synaptic current depends on its spike otherwise than by a sum", current)
        fed_back = of_current.get((s,), _ZERO)  # its own last spike is a part of its current
        poly, arrives = self.expanded(membrane, t)
        poly = self._settled(poly, s, c)
        g_old = poly.pop((i,), _ZERO)
        deaf = False
        if any(i in m for m in poly):
            after = poly.pop(tuple(sorted((i, s))), _ZERO)
            if any(i in m for m in poly) or not same_numbers(after, -g_old):
                raise self.refused("after a spike its synaptic current counts otherwise", current)
            deaf = True
        parts = [(x, of_current.get((self.uid(x),), _ZERO)) for x in heard]
        new_current = self.terms.affine([*parts, (before, fed_back)], of_current.constant, self.shape)
        # Either the membrane hears the current as it is now, or as it was a step before.
        late = not any((self.uid(x),) in poly for x in heard) and bool(heard)
        if late:
            gain, delayed = g_old, 1
        else:
            gain, delayed = (g_old / alpha if np.all(alpha != 0) else self._gain_now(poly, of_current, heard)), 0
            self._without(poly, gain, of_current, heard, deaf, fed_back, s)
        others = [x for x in arrives if x not in heard]
        fields, direct = self._fields(poly, others, h, s, t)
        if direct:
            raise self.refused("one of its inputs reaches the membrane beside the synaptic current", direct[0][0])
        if deaf:
            if fields["reset"] != "to":
                raise self.refused("after a spike it does not hear its current, and still remembers its membrane")
            fields["deaf"] = True
        fields |= {"current_decay": np.asarray(alpha), "gain": np.asarray(gain)}
        return self._rolled_current(new_current, heard, of_current, fields, k, c, delayed)

    def _rolled_current(
        self, new_current: Term, heard: list[Term], of_current: Poly, fields: dict[str, Any], k: Array, c: Array,
        delayed: int,
    ) -> Term:  # fmt: skip
        """The neurons, with what drives their current in all steps; in the first it may be written otherwise."""
        t = self.last
        first: NotAlike | None = None
        for since in (2, 1, 0):
            known = {j: self._current_at(j, heard, of_current) for j in range(since, t)}
            try:
                rolled = self._unified({**known, t: new_current})
                return self._finish(fields, self.facts.lag(rolled, 1) if delayed else rolled, k, c, None)
            except NotAlike as error:
                first = first or error
        assert first is not None
        raise first

    def _without(
        self, poly: Poly, gain: Array, of_current: Poly, heard: list[Term], deaf: bool, fed_back: Array, s: int
    ) -> None:
        """Take from a membrane what reaches it through its synaptic current of the same step."""
        for x in heard:
            uid = self.uid(x)
            through = gain * of_current.get((uid,), _ZERO)
            left = poly.pop((uid,), _ZERO) - through
            if deaf:
                poly.pop(tuple(sorted((uid, s))), None)
            if np.any(np.abs(left) > 1e-12 * np.abs(through)):
                raise self.refused("its input reaches the membrane beside the synaptic current, too", x)
        if not deaf:
            through = gain * fed_back
            left = poly.pop((s,), _ZERO) - through
            poly.plus((s,), np.where(np.abs(left) > 1e-12 * np.abs(through), left, 0.0))
        poly.plus((), -gain * of_current.constant)
        if np.all(np.abs(poly.constant) <= 1e-15):
            poly.pop((), None)

    def _which_is_current(self, states: list[Term]) -> tuple[Term, Term, Term]:
        """The state that is the synaptic current, the one that is the membrane, and the current as it goes on."""
        for old_current, old_membrane in (states, states[::-1]):
            current = self._goes_on(old_current, old_membrane, self.last)
            if current is not None and not self._reads(old_membrane, old_current, self.last - 1):
                return old_current, old_membrane, current
        raise self.refused("it remembers two values, and each depends on the other")

    def _goes_on(self, current: Term, membrane: Term, t: int) -> Term | None:
        """The term of step ``t`` that goes on from a current, and not from the membrane."""
        found: dict[int, set[int]] = {}
        terms = self._within(t)
        for term in terms:
            poly = self.facts.expand(term, lambda inner: inner.uid not in self.steps[t].new)
            uids = {uid for m in poly for uid in m}
            if term.kind == "affine" and self.uid(current) in uids and self.uid(membrane) not in uids:
                found[term.uid] = uids
        # Of a sum that is made summand by summand the whole is meant: what stands where the current stood.
        before = [x for x in self._within(t - 1) if self._same_place(x, current)]
        now = [x for x in terms if self._same_place(x, current)]
        if current in before and len(before) == len(now) and now[before.index(current)].uid in found:
            return now[before.index(current)]
        fresh, spike = {self.uid(x) for x in self._new_atoms(t)}, self.uid(self.steps[t - 1].spike)
        return next((x for x in terms if x.uid in found and spike not in found[x.uid] and found[x.uid] & fresh), None)

    def _new_atoms(self, t: int) -> list[Term]:
        return [x for x in self._within(t) if x.kind not in ("affine", "mul", "func")] + [
            x for x in self._within(t) if x.kind == "affine" and not self._depends(x, t)
        ]

    def _reads(self, membrane: Term, current: Term, t: int) -> bool:
        """Whether a current depends on the membrane of the same step."""
        waiting, seen = [current], set()
        while waiting:
            top = waiting.pop()
            if top is membrane:
                return True
            if top.uid in seen or top.uid not in self.steps[t].new:
                continue
            seen.add(top.uid)
            waiting += top.args if top.kind in ("affine", "mul") else ()
        return False

    def _gain_now(self, poly: Poly, of_current: Poly, heard: list[Term]) -> Array:
        uid = self.uid(heard[0])
        return np.asarray(poly.get((uid,), _ZERO) / of_current[(uid,)])

    def _current_at(self, j: int, heard: list[Term], like: Poly) -> Term | None:
        """What the synaptic current of step ``j`` hears, as that of the last does."""
        chosen: list[Term] = []
        for term in heard:
            alike = [x for x in self._reached(j) if self._same_place(x, term) and x.uid not in {c.uid for c in chosen}]
            if not alike:
                return None
            chosen.append(alike[-1])
        parts = [(x, like.get((self.uid(y),), _ZERO)) for x, y in zip(chosen, heard)]
        if j:
            fed_back = like.get((self.uid(self.steps[self.last - 1].spike),), _ZERO)
            parts.append((self.steps[j - 1].spike, fed_back))
        return self.terms.affine(parts, like.constant, self.shape)

    # -- batch norm on the membrane ------------------------------------------------------------------------------------

    def _norm(self, membrane: Term, t: int) -> MembraneNorm | None:
        """A batch norm between the membrane and the comparison, or on the membrane itself."""
        for term in self._within(t):
            numbers = self.norms.get(term.uid) if (_found := self.norms) else None
            if numbers is None or not self._depends(term, t):
                continue
            gamma, beta, mean, std = numbers
            self._norm_term = term
            if term is membrane or self._below(term, membrane, t):
                self._normed_input = term.args[0] if term.args else term
                return MembraneNorm(gamma, beta, mean, std, "membrane")
            return MembraneNorm(gamma, beta, mean, std, "compare")
        return None

    @property
    def norms(self) -> dict[int, tuple[Array, ...]]:
        """The affine terms that are batch norms in eval mode: gamma, beta, mean, standard deviation."""
        return self.facts.norms

    def _below(self, term: Term, membrane: Term, t: int) -> bool:
        waiting, seen = [membrane], set()
        while waiting:
            top = waiting.pop()
            if top is term:
                return True
            if top.uid in seen or top.uid not in self.steps[t].new:
                continue
            seen.add(top.uid)
            waiting += top.args if top.kind in ("affine", "mul") else ()
        return False

    # -- putting it together -------------------------------------------------------------------------------------------

    def _finish(self, fields: dict[str, Any], rolled: Term, k: Array, c: Array, norm: MembraneNorm | None) -> Term:
        strict = self.steps[self.last].spike.data
        if norm is not None and norm.on == "compare":
            # compared = norm(h) - threshold, whatever the fold of both says.
            with np.errstate(divide="ignore", invalid="ignore"):
                scale = norm.gamma / norm.std
                threshold = -(c - (norm.beta - scale * norm.mean))
            through = self.facts.expand(self.steps[self.last].compared, lambda inner: inner is self._norm_term)
            if set(through) <= {(self.uid(self._norm_term),), ()}:
                threshold = -through.constant
            fields |= {"threshold": np.asarray(threshold), "norm": norm}
        else:
            with np.errstate(divide="ignore", invalid="ignore"):
                threshold = np.where(
                    k == 0, np.where((c > 0) if strict else (c >= 0), -np.inf, np.inf), -c / np.where(k == 0, 1.0, k)
                )
            fields |= {"threshold": np.asarray(threshold), "flip": np.asarray(k < 0), "norm": norm}
        op = Neuron(strict=strict, **fields)
        rolled = self._with_start(op, rolled, k, c, norm)
        op = replace(op, v_init=self._v_init(op, rolled, k, c, norm))
        op = _tidied(op, self.shape)
        self._verify(op, rolled, k, c, norm)
        op, rolled = self._from_rest(op, rolled)
        key = tuple(
            digest(v) if isinstance(v, np.ndarray) else v for v in vars(op).values() if not isinstance(v, MembraneNorm)
        )
        self.terms.place = self.steps[self.last].spike.place
        made = self.terms.uniform("neuron", self.shape, (rolled,), op, (key, self.steps[0].spike.uid), binary=True)
        spike = self.steps[self.last].spike
        own = [
            t.place.module
            for t in self._within(self.last)
            if t is not spike and t.kind != "cmp" and self._depends(t, self.last)
        ]
        home = spike.place.module
        self.facts.modules[made.uid] = [home] if home in own else [*own, home]
        return made

    def _rolled(self, currents: list[tuple[Term, Array]], since: int, fed_back: Array) -> tuple[Term, Array]:
        """All that arrives, from a step on, as one uniform term, and the gain that the equation has for it."""
        feeds = bool(np.any(fed_back != 0))
        if not currents and not feeds:
            return self.terms.constant(_ZERO, self.shape), np.asarray(1.0)
        one = len(currents) == 1 and not feeds
        gain = currents[0][1] if one else np.asarray(1.0)
        steps: dict[int, Term] = {}
        for t in range(self.last, since - 1, -1):
            mine = currents if t == self.last else self._like(currents, t)
            if mine is None:
                continue
            if one and same_numbers(mine[0][1], gain):
                steps[t] = mine[0][0]
            elif one and np.all(gain != 0):
                steps[t] = self.terms.affine([(mine[0][0], mine[0][1] / gain)], 0.0, self.shape)
            elif not one:
                own = [(self.steps[t - 1].spike, fed_back)] if t else []
                steps[t] = self.terms.affine([*mine, *own], 0.0, self.shape)
        return self._unified(steps), gain

    def _like(self, currents: list[tuple[Term, Array]], t: int) -> list[tuple[Term, Array]] | None:
        """What arrives at step ``t`` as ``currents`` do at the last, and how it counts; None if it cannot be told."""
        if t > 1:
            found = self._currents_at(t)
            if found is not None and len(found[0]) == len(currents):
                return found[0]
        chosen: list[Term] = []
        for term, _ in currents:
            alike = [x for x in self._reached(t) if self._same_place(x, term) and x.uid not in {c.uid for c in chosen}]
            if not alike:
                return None
            chosen.append(alike[-1])
        ids = {c.uid for c in chosen}
        new = self.steps[t].new
        poly = self.facts.expand(self.steps[t].compared, lambda inner: inner.uid in ids or inner.uid not in new)
        if t == 0 and {m for m in poly if m} != {(self.uid(c),) for c in chosen}:
            return None
        return [(x, self._through_norm(poly.get((self.uid(x),), _ZERO), n)) for x, (_, n) in zip(chosen, currents)]

    def _through_norm(self, found: Array, gain: Array) -> Array:
        """How a current counts before the norm; where the norm lets nothing through it counts as elsewhere."""
        k = self._scale
        if np.all(k != 0):
            return np.asarray(found / k)
        if np.all(k == 0):
            return gain
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.asarray(found / k / gain)
        told = ratio[np.broadcast_to(k != 0, ratio.shape)]
        return np.asarray(gain * told.flat[0]) if np.allclose(told, told.flat[0], rtol=1e-12) else np.asarray(gain)

    def _reached(self, t: int) -> list[Term]:
        """All terms of what is compared at step ``t``, element by element, down to what arrives."""
        found, waiting, seen = [], [self.steps[t].compared], set()
        before = self.steps[t - 1].spike.uid if t else -1
        while waiting:
            top = waiting.pop()
            if top.uid in seen or top.uid == before:
                continue
            seen.add(top.uid)
            found.append(top)
            if top.kind in ("affine", "mul") and (t == 0 or top.uid in self.steps[t].new):
                waiting += top.args
        return sorted(found, key=lambda term: term.uid)

    def _same_place(self, a: Term, b: Term) -> bool:
        if a is b:
            return True
        return (
            a.kind == b.kind and (a.place.module, a.place.site) == (b.place.module, b.place.site) and a.shape == b.shape
        )

    def _currents_at(self, t: int) -> tuple[list[tuple[Term, Array]], Array] | None:
        """What arrives at a step and how it counts, and the number that the step adds; None if it cannot be told."""
        states = self.states(t)
        if len(states) > 1:
            return None
        state = states[0] if states else None
        membrane = self.counterpart(state, t) if state is not None else self.steps[t].compared
        whole = membrane
        if self._norm_on_membrane:
            below = [x for x in self._within(t) if x.uid in self.norms and self._depends(x, t)]
            whole = below[0].args[0] if below and below[0].args else membrane
        poly, arrives = self.expanded(whole, t)
        return [(x, poly.get((self.uid(x),), _ZERO)) for x in arrives], poly.constant

    def _with_start(self, op: Neuron, rolled: Term, k: Array, c: Array, norm: MembraneNorm | None) -> Term:
        """What arrives, and at the first step also what a membrane that starts from an input has of that.

        An equation starts every sample alike: what differs from sample to sample (a state that is drawn at random, or
        computed from the input) arrives as one current more, at the first step alone.
        """
        found = self.facts.expand(self.steps[0].compared)
        told = self._compared_at_first(replace(op, v_init=_ZERO), rolled, k, c, norm)
        left = found.added(self.facts.renamed(told, found), -1.0)
        left = Poly({m: v for m, v in left.items() if m and not self._is_rounding(v, found)})
        through = np.asarray(self._factor(op, k, norm) * op.gain)
        if not left or np.any(op.current_decay) or np.any(through == 0) or self.last < 1:
            return rolled
        first = Poly({monomial: np.asarray(value / through) for monomial, value in left.items()})
        return self.sums.with_first(rolled, self.facts.summed(first, self.shape), self.first)

    def _from_rest(self, op: Neuron, rolled: Term) -> tuple[Neuron, Term]:
        """The equation and what arrives from the very first step on, where a neuron hears nothing before its first.

        What arrives before may be numbers alone. Else all that arrives comes so many steps later, or is kept from it;
        or all but what layers give of nothing.
        """
        if not self.first:
            return op, rolled
        kept = [np.asarray(float(t >= self.first)) for t in range(self.facts.timesteps)]
        ways: tuple[Callable[[], Term], ...] = (
            lambda: rolled,
            lambda: self._without_numbers(rolled, lambda part: self.facts.lag(part, self.first)),
            lambda: self.sums.varying(rolled, kept),
            lambda: self._without_numbers(rolled, lambda part: self.sums.varying(part, kept)),
        )
        for way in ways if rolled.static else (ways[0], *ways[2:]):
            heard = way()
            v = self._at_rest(op, heard)
            if v is not None:
                return replace(op, v_init=v), heard
        raise NotAlike("it first does something other than later", self.steps[0].spike, FIX_LOOP)

    def _without_numbers(self, rolled: Term, changed: Callable[[Term], Term]) -> Term:
        """A sum with each summand changed, but for its constants and what layers give of nothing."""
        poly = self.facts.expand(rolled)
        one, constant = np.asarray(1.0), poly.constant
        parts = []
        for monomial, coefficient in poly.items():
            if monomial:
                part = self.facts.summed(Poly({monomial: one}), self.shape)
                nothing = self._of_nothing(part)
                number = nothing.data.constant if nothing.is_constant else _ZERO
                parts.append((changed(self.terms.affine([(part, one)], -number, self.shape)), coefficient))
                constant = constant + coefficient * number
        return self.terms.affine(parts, constant, self.shape)

    def _of_nothing(self, term: Term) -> Term:
        """What a term gives where all that is given, and whatever fires, is 0."""
        if term.kind in ("apply", "affine", "mul"):
            return self.terms.rebuilt(term, tuple(self._of_nothing(a) for a in term.args))
        return term if term.kind in ("func", "host", "cmp") else self.terms.constant(_ZERO, term.shape)

    def _at_rest(self, op: Neuron, rolled: Term) -> Array | None:
        """The membrane from which the first steps lead to that of the neuron's own first; None if they do not.

        They hear numbers alone, and none of them fires.
        """
        before = [self.terms.at(rolled, t) for t in range(self.first)]
        if op.norm is not None or not all(term.is_constant for term in before):
            return None
        v = np.asarray(op.v_init)
        for current in (term.data.constant for term in before[::-1]):
            if np.any(op.current_decay) and np.any(current):
                return None
            h, v = v, (v - op.gain * current - op.bias) / np.where(op.decay == 0, 1.0, op.decay)
            above = (h > op.threshold) if op.strict else (h >= op.threshold)
            below = (h < op.threshold) if op.strict else (h <= op.threshold)
            if np.any(np.where(op.flip, below, above)) or np.any((op.decay == 0) & (v != 0)):
                return None
        return np.asarray(v)

    @staticmethod
    def _is_rounding(value: Array, among: Poly) -> bool:
        largest = max((float(np.abs(v).max(initial=0.0)) for m, v in among.items() if m), default=0.0)
        return bool(np.all(np.abs(value) <= 1e-12 * largest))

    def _v_init(self, op: Neuron, rolled: Term, k: Array, c: Array, norm: MembraneNorm | None) -> Array:
        """What the membrane is before the first step, so that the first comparison is as it was."""
        from_zero = self._compared_at_first(replace(op, v_init=_ZERO), rolled, k, c, norm)
        actual = self.facts.expand(self.steps[0].compared)
        here, there = actual.constant, from_zero.constant
        with np.errstate(invalid="ignore"):  # a threshold may be infinite
            left = np.where(here == there, 0.0, here - there)
        factor = self._factor(op, k, norm)
        with np.errstate(divide="ignore", invalid="ignore"):
            reach = factor * op.decay
            if np.any((reach == 0) & (np.abs(left) > 1e-12)):
                raise self.refused("its first step starts from what no initial membrane gives", self.steps[0].spike)
            start = np.where(reach == 0, 0.0, left / np.where(reach == 0, 1.0, reach))
        return np.asarray(np.where(np.abs(start) < 1e-13, 0.0, start))

    def _factor(self, op: Neuron, k: Array, norm: MembraneNorm | None) -> Array:
        if norm is None:
            return k
        scale = norm.gamma / norm.std
        return np.asarray(scale if norm.on == "compare" else k * scale)

    def _compared_at_first(self, op: Neuron, rolled: Term, k: Array, c: Array, norm: MembraneNorm | None) -> Poly:
        h = self._charged(op, Poly({(): np.asarray(op.v_init)}), self._current_poly(op, rolled, 0))
        return self._compared_of(h, k, c, norm)[0]

    def _compared_of(self, h: Poly, k: Array, c: Array, norm: MembraneNorm | None) -> tuple[Poly, Poly]:
        """What is compared, and what stays on the membrane, for a membrane before the norm."""
        if norm is None:
            kept = h
        else:
            scale = norm.gamma / norm.std
            normed = Poly().added(h, scale)
            normed.plus((), np.asarray(norm.beta - scale * norm.mean))
            if norm.on == "compare":
                compared = Poly().added(h, k)
                compared.plus((), c)
                return compared, h
            kept = normed
        compared = Poly().added(kept, k)
        compared.plus((), c)
        return compared, kept

    def _current_poly(self, op: Neuron, rolled: Term, t: int) -> Poly:
        total = Poly()
        for j in range(t + 1):
            weight = op.current_decay ** (t - j) if j < t else np.asarray(1.0)
            if j < t and not np.any(op.current_decay):
                continue
            total = total.added(self.facts.expand(self._at(rolled, j)), weight)
        return total

    def _charged(self, op: Neuron, v: Poly, i: Poly) -> Poly:
        h = Poly().added(v, op.decay).added(i, op.gain)
        h.plus((), np.asarray(op.bias))
        return h

    def _verify(self, op: Neuron, rolled: Term, k: Array, c: Array, norm: MembraneNorm | None) -> None:
        """Hold the first steps against the equation, symbol by symbol, and all later ones by their coefficients."""
        v = Poly({(): np.asarray(op.v_init)})
        fired: Term | None = None
        for t, step in enumerate(self.steps[:3]):
            i = self._current_poly(op, rolled, t)
            h = self._charged(op, v, i)
            if op.deaf and fired is not None:
                after = Poly({(): np.asarray(op.decay * op.v_reset + op.bias)})
                h = self._either(fired, after, h)
            compared, kept = self._compared_of(h, k, c, norm)
            if not self.facts.same(compared, self.facts.expand(step.compared)):
                raise NotAlike(f"step {t} of this neuron does not do what the others do", step.spike, FIX_LOOP)
            fired = self.facts.resolved(step.spike)
            self.facts.names[fired.uid] = fired
            if op.reset == "to":
                v = self._either(fired, Poly({(): np.asarray(op.v_reset)}), kept)
            elif op.reset == "by":
                reset = Poly().added(kept, op.keep)
                reset.plus((), np.asarray(-op.amount))
                v = self._either(fired, reset, kept)
            else:
                v = kept
        if len(self.steps) > 3:
            self._verify_later(op, rolled, k, c, norm)

    def _either(self, fired: Term, after: Poly, otherwise: Poly) -> Poly:
        spike = self.facts.expand(fired)
        return otherwise.added(self.facts.product(spike, after.added(otherwise, -1.0), fired))

    def _verify_later(self, op: Neuron, rolled: Term, k: Array, c: Array, norm: MembraneNorm | None) -> None:
        """Every later step goes on from its state as the last does, and hears the current that was found for it."""
        kept: list[dict[Any, Array]] = []
        for t in range(2, len(self.steps)):
            left = {self.uid(x): n for n, x in enumerate(self.states(t))}
            spike = self.uid(self.steps[t - 1].spike)
            poly, _ = self.expanded(self.steps[t].compared, t)
            own: dict[Any, Array] = {}
            heard = Poly()
            for monomial, value in poly.items():
                if set(monomial) & {*left, spike}:
                    others = len([uid for uid in monomial if uid not in left and uid != spike])
                    called = tuple(
                        sorted(
                            "s" if uid == spike else f"h{left[uid]}" for uid in monomial if uid in left or uid == spike
                        )
                    )
                    own[called, others] = own.get((called, others), _ZERO) + value
                else:
                    heard.plus(monomial, value)
            kept.append(own)
            if len(left) <= 1:
                expected = self._compared_of(self._charged(op, Poly(), self._heard(rolled, t)), k, c, norm)[0]
                actual = self.facts.expand(self.facts.summed(heard, self.shape))
                if not self.facts.same(expected, actual):
                    raise NotAlike(
                        f"step {t} of this neuron hears another thing than the others", self.steps[t].spike, FIX_LOOP
                    )
        for t, own in enumerate(kept[:-1], start=2):
            same = set(own) == set(kept[-1]) and all(m[1] or same_numbers(own[m], kept[-1][m]) for m in own)
            if not same:
                raise NotAlike(
                    f"step {t} of this neuron does not do what the last step does", self.steps[t].spike, FIX_LOOP
                )

    def _heard(self, rolled: Term, t: int) -> Poly:
        """What arrives at a step, but for the neuron's own last spike."""
        poly = self.facts.expand(self._at(rolled, t))
        spike = self.uid(self.steps[t - 1].spike)
        return Poly({monomial: value for monomial, value in poly.items() if spike not in monomial})


def _tidied(op: Neuron, shape: tuple[int, ...]) -> Neuron:
    """The same with each array as small as its numbers allow."""
    from neurocompile.ir.arrays import compact

    fields = {
        name: compact(value, shape) for name, value in vars(op).items() if isinstance(value, np.ndarray) and value.ndim
    }
    made = replace(op, **fields)
    if made.reset == "by" and np.all(made.keep == 1):
        made = replace(made, keep=np.asarray(1.0))
    return made
