"""What the terms of all steps are given as, and sums of products of terms."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from neurocompile.frontends.pytorch.terms import Term
from neurocompile.ir.ops import Array

__all__ = ["FIX_LOOP", "Monomial", "Poly", "Steps", "Summand", "is_zero", "key_of", "same_numbers", "some", "within"]

Steps = tuple[Term | None, ...]
Monomial = tuple[int, ...]
Summand = tuple[Monomial, Array]

FIX_LOOP = (
    "let every step of the loop do the same: the same layers, neurons and numbers, each with what the last step left"
)


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


def key_of(steps: Steps) -> tuple[int, ...]:
    """The numbers of terms, -1 where one is not known."""
    return tuple(-1 if term is None else term.uid for term in steps)


def is_zero(term: Term) -> bool:
    """Whether a term is the constant 0."""
    return term.is_constant and not np.any(term.data.constant)


def within(steps: Steps, sequence: Steps) -> bool:
    """Whether all that is known of some steps is what a sequence has there."""
    return all(a is None or a is b for a, b in zip(steps, sequence))


def some(steps: Iterable[Term | None]) -> Term | None:
    """The first term that is known."""
    return next((term for term in steps if term is not None), None)
