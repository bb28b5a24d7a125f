"""What is known of the terms of a trace: which are the steps of what, and what each is as a sum of products."""

# mypy: disable-error-code="arg-type,assignment,index,misc"
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from neurocompile.frontends.pytorch.steps import Poly, Steps
from neurocompile.frontends.pytorch.terms import Lag, NotAlike, Term, Terms, digest
from neurocompile.ir.ops import Array, Conv, ConvTranspose, Linear, Reshape, SumPool, Upsample

__all__ = ["LINEAR", "Facts"]

LINEAR = (Linear, Conv, ConvTranspose, SumPool, Upsample, Reshape)


class Facts:
    """What is known of the terms of one trace.

    Args:
        terms: of the trace.
        remembers: the modules that keep a state (None: not known).
        unify: gives the uniform term that others are the steps of (:meth:`.Roller.unify`).
    """

    def __init__(
        self,
        terms: Terms,
        remembers: frozenset[str] | None,
        unify: Callable[[Sequence[Term | None]], Term],
    ) -> None:
        self.terms = terms
        self.remembers = remembers
        self.unify = unify
        self.timesteps = terms.timesteps
        self.names: dict[int, Term] = {}
        self.memo: dict[tuple[int, ...], Term] = {}
        self.lags: dict[tuple[int, int], Term] = {}
        self.sequences: dict[int, list[tuple[Steps, tuple[int, ...], int]]] = {}
        self._noted: list[int] = []
        self.rolled: dict[int, Term] = {}
        self.canonical: dict[int, Term] = {}
        self.neurons: dict[int, Steps] = {}
        self.norms: dict[int, tuple[Array, ...]] = {}
        self.modules: dict[int, list[str]] = {}
        self.twins: dict[int, Term] = {}

    def known(self) -> list[int]:
        """How much is known so far."""
        return [len(own) for own in (self._noted, self.memo, self.lags, self.rolled)]

    def forget(self, known: list[int]) -> None:
        """Leave nothing of what was found since then."""
        noted, *sizes = known
        while len(self._noted) > noted:
            self.sequences[self._noted.pop()].pop()
        tables: tuple[dict[Any, Term], ...] = (self.memo, self.lags, self.rolled)
        for own, size in zip(tables, sizes):
            for key in list(own)[size:]:
                del own[key]
        self.canonical.clear()

    def note(self, steps: Steps, key: tuple[int, ...]) -> None:
        """Remember a sequence by each of its terms."""
        for place, term in enumerate(steps):
            if term is not None:
                self.sequences.setdefault(term.uid, []).append((steps, key, place))
                self._noted.append(term.uid)

    def lag(self, source: Term, steps: int) -> Term:
        """A uniform term so many steps before, and zero before that."""
        key = (source.uid, steps)
        if key not in self.lags:
            self.terms.place = source.place
            self.lags[key] = self.terms.uniform(
                "lag", source.shape, (), Lag(steps, (), source), key, binary=source.binary
            )
        return self.lags[key]

    # -- sums ----------------------------------------------------------------------------------------------------------

    def resolved(self, term: Term) -> Term:
        """A term with each comparison in it as the step of its neuron, where that is known."""
        term = self.twins.get(term.uid, term)
        if term.uid in self.rolled:
            return self.rolled[term.uid]
        if term.kind not in ("apply", "affine", "mul", "func", "host") or not term.args:
            return term
        known = self.canonical.get(term.uid)
        if known is None:
            args = tuple(self.resolved(arg) for arg in term.args)
            known = term
            if any(a is not b for a, b in zip(args, term.args)):
                known = self.terms.rebuilt(term, args)
            self.canonical[term.uid] = known
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
            simple = self.terms.simplified(top) if top.uid not in self.rolled else None
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
                made = self.product(memo[top.args[0].uid], memo[top.args[1].uid], top)
            memo[top.uid] = made
        return memo[term.uid]

    def product(self, a: Poly, b: Poly, term: Term) -> Poly:
        """The product of two sums; ``term`` is what it is written as."""
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

    # -- equal up to rounding ------------------------------------------------------------------------------------------

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

    def alike(self, made: Term, term: Term) -> bool:
        """Whether two terms are the same sum, of membranes that never fire or of all that these heard."""
        a, b = self.expand(made), self.expand(term)
        return self.same(a, b) or self.same(self.unrolled(a), self.unrolled(b))

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
        told = self.alike if isinstance(a.data, LINEAR) else lambda x, y: self.same(self.expand(x), self.expand(y))
        return all(x is y or told(x, y) for x, y in zip(a.args, b.args))

    def unrolled(self, poly: Poly) -> Poly:
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
                product = self.product(product, self._heard(atom) if self._is_membrane(atom) else one, atom)
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
        return self.unrolled(heard)

    # -- comparisons ---------------------------------------------------------------------------------------------------

    def stands_alone(self, term: Term) -> bool:
        """Whether a comparison that is the same at every step is no step of a neuron: nothing goes on from it.

        A module that keeps a state would, at a next step.
        """
        path = term.place.module
        around = {"", *(path[:end] for end, letter in enumerate(path) if letter == "."), path}
        if self.remembers is None or around & self.remembers:
            return False
        if not term.static or self.terms.passes(term)[0] > 1 or self.compared_below(term):
            return False
        return not any(term in self.all_below(other) for other in self.terms.comparisons())

    def compared_below(self, term: Term) -> list[Term]:
        """The comparisons that what is compared depends on, element by element, which no neuron has yet."""
        found = [t for t in self.all_below(term, ("affine", "mul")) if t.uid not in self.rolled]
        deeper = {t.uid for one in found for t in self.all_below(one)}
        return [t for t in found if t.uid not in deeper]

    def all_below(self, term: Term, through: Sequence[str] = ("affine", "mul", "cmp")) -> list[Term]:
        """The comparisons that a term depends on, element by element, by way of these kinds of terms."""
        found, waiting, seen = [], list(term.args), set()
        while waiting:
            top = waiting.pop()
            if top.uid in seen:
                continue
            seen.add(top.uid)
            if top.kind == "cmp":
                found.append(top)
            if top.kind in through:
                waiting += top.args
        return found
