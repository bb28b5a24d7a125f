"""Sums of terms, step by step, as one: with other numbers at each step, with a first step apart, as a recurrence."""

# mypy: disable-error-code="arg-type,assignment,index,misc"
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from neurocompile.frontends.pytorch.facts import Facts
from neurocompile.frontends.pytorch.steps import FIX_LOOP, Poly, Steps, Summand, is_zero, same_numbers, some
from neurocompile.frontends.pytorch.terms import ELEMENTWISE, Lag, NotAlike, Term, digest
from neurocompile.ir.ops import Array, Integrator

__all__ = ["Recurrence", "Sums"]


@dataclass(frozen=True)
class Recurrence:
    """What a host computes of a state and of what arrives: a sum of products, each of the numbers of its factors."""

    summands: tuple[Summand, ...]
    key: Any
    kind: str = "Recurrence"
    carries: str = "real"
    whole: bool = False


class Sums:
    """Rolls up sums."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.terms = facts.terms
        self.timesteps = facts.timesteps

    def affine(self, steps: Steps) -> Term:
        """Weighted sums as one: of the same parts, with other numbers at each step, or of what was summed before."""
        known = [(k, term) for k, term in enumerate(steps) if term is not None]
        earlier = {term.uid: k for k, term in known}
        if not self.recurs(steps, earlier):
            columns = self._alike_parts(steps)
            if columns is not None:
                parts = [self.facts.unify(column) for column in columns]
                return self._varying(parts, [known[0][1].data.coefficients] * len(steps), steps)
        later = self._since_third(steps)
        if later is not None:
            return later
        polys: list[Poly | None] = [None] * len(steps)
        recurrence: list[Array] = []
        for k, term in known:
            poly = self.facts.expand(term, lambda t, k=k: earlier.get(t.uid, len(steps)) < k)
            before = steps[k - 1] if k else None
            left = -1 if before is None else self.facts.resolved(before).uid
            if before is not None and before.static and set(poly) == {(left,)}:
                left = -1  # an image times a number is no state of it times another
            if any(left in m and len(m) > 1 for m in poly):
                return self.recurrent(steps)
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
        places = [(self.facts.kin(a), digest(c)) for a, c in zip(first.args, first.data.coefficients)]
        rows: list[list[Term | None]] = []
        for term in steps:
            if term is None:
                rows.append([None] * len(places))
                continue
            if term.kind != "affine" or len(term.args) != len(places):
                return None
            left = [(self.facts.kin(a), digest(c), a) for a, c in zip(term.args, term.data.coefficients)]
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
            poly = self.facts.expand(
                term, lambda t, before=before, depends=depends: t is before or t.uid not in depends
            )
            left = self.facts.resolved(before).uid
            if (left,) not in poly or any(left in m and len(m) > 1 for m in poly):
                return None
            decays.append(poly.pop((left,)))
            rest[k] = self.facts.summed(poly, term.shape)
        if not all(same_numbers(d, decays[-1]) for d in decays):
            return None
        try:
            current = self.facts.unify(rest)
            if first == 0:
                current = self._with_start(current, steps[0])
        except NotAlike:
            return None
        y = Poly()
        for k in range(first + 2):
            y = self.facts.unrolled(Poly().added(y, decays[-1]).added(self.facts.expand(self.terms.at(current, k))))
            if k < first:
                continue
            actual = self.facts.unrolled(self.facts.expand(steps[k]))
            if k == first:
                start = actual.added(y, -1.0).constant
                y.plus((), start)
            if not self.facts.same(y, actual):
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
            Poly({monomial: value for monomial, value in self.facts.unrolled(self.facts.expand(x)).items() if monomial})
            for x in (first, self.terms.at(current, 0))
        )
        if self.facts.same(starts, arrives):
            return current
        return self.with_first(current, self.facts.summed(starts.added(arrives, -1.0), first.shape))

    def with_first(self, current: Term, more: Term, first: int = 0) -> Term:
        """A uniform term, to one step of which, the first, another term is added."""
        if not (more.uniform and more.static):
            more = self.facts.unify([more if t == first else None for t in range(self.timesteps)])
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

    def recurrent(self, steps: Steps) -> Term:
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
                raise NotAlike("a membrane is multiplied by something that is computed", some(steps), FIX_LOOP)
            last = before
            own = None if last is None or not apart else self._depending(term, last)
            poly = self.facts.expand(
                term, lambda t, last=last, own=own: t is last or (own is not None and t.uid not in own)
            )
            left = set() if before is None else {self.facts.resolved(before).uid}
            atoms = {uid: self.facts.names[uid] for m in poly for uid in m if uid not in left}
            if k and not apart and any(a.kind in ELEMENTWISE and a.kind != "cmp" for a in atoms.values()):
                raise NotAlike("a membrane is multiplied by something that is computed", term, FIX_LOOP)
            polys.append((poly, [atoms[uid] for uid in sorted(atoms)]))
            before = term
        last_poly, last_atoms = polys[-1]
        columns: list[list[Term | None]] = []
        for n, atom in enumerate(last_atoms):
            kin = self.facts.kin(atom)
            nth = [self.facts.kin(a) for a in last_atoms[:n]].count(kin)
            column = []
            for _, atoms in polys:
                alike = [a for a in atoms if self.facts.kin(a) == kin]
                column.append(alike[nth] if nth < len(alike) else None)
            # At the first steps another membrane and what it hears may be the same term.
            if any(t is None for t in column[2 if apart else 1 :]):
                raise NotAlike("its steps read different things", steps[-1], FIX_LOOP)
            columns.append(column)
        state = self.facts.resolved(steps[-2]).uid
        lanes = [self.facts.unify(column) for column in columns]
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
            poly = self.facts.expand(steps[k], lambda t, last=last: t is last)
            if not (
                self.facts.same(expected, poly)
                or self.facts.same(self.facts.unrolled(expected), self.facts.unrolled(poly))
            ):
                raise NotAlike(f"step {k} does not do what the others do", steps[k], FIX_LOOP)
        for k, term in enumerate(steps):
            assert term is not None
            self.facts.rolled[term.uid] = self.terms.at(found, k)
        self.facts.canonical.clear()
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
                term = self.facts.resolved(state if place == 0 else atoms[place - 1])
                self.facts.names[term.uid] = term
                whole = place == 0 and not term.is_constant
                factor = Poly({(term.uid,): np.asarray(1.0)}) if whole else self.facts.expand(term)
                product = self.facts.product(product, factor, term)
            made = made.added(product)
        return made

    def recurs(self, steps: Steps, earlier: dict[int, int]) -> bool:
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
                product = self.facts.names[monomial[0]]
                for uid in monomial[1:]:
                    product = self.terms.mul(product, self.facts.names[uid])
                kin = self.facts.kin(product)
                nth = count[kin] = count.get(kin, -1) + 1
                groups.setdefault((kin, nth), [None] * len(steps))[k] = product
                numbers.setdefault((kin, nth), [None] * len(steps))[k] = poly[monomial]
        parts = [self.facts.unify(column) for column in groups.values()]
        coefficients = []
        for k in range(len(steps)):
            if polys[k] is not None and any(self.terms.at(part, k) is None for part in parts):
                raise NotAlike("a step of what it hears is not known", steps[k], FIX_LOOP)
            mine = []
            for part, column in zip(parts, numbers.values()):
                number = column[k]
                if number is None:  # not known, or nothing: of a part that is nothing there, or times 0
                    told = polys[k] is not None and not is_zero(self.terms.at(part, k))
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
        rest = [None if p is None else self.facts.summed(p, shape) for p in polys]
        current = self.facts.unify(rest)
        self.terms.place = next(t for t in steps if t is not None).place
        op = Integrator(decay=np.asarray(decay))
        return self.terms.uniform("integrator", shape, (current,), op, digest(op.decay))


def _multiples(numbers: Sequence[Array], first: Array) -> list[Array] | None:
    """How often each of some numbers by channel is the first; None if they differ otherwise."""
    if not np.all(first != 0):
        return None
    ratios = [np.asarray(n / first) for n in numbers]
    if any(np.any(np.abs(r - r.flat[0]) > 1e-12 * np.abs(r.flat[0])) for r in ratios):
        return None
    return [np.asarray(r.flat[0]) for r in ratios]
