"""Choices that can be drawn again, and otherwise from some place on."""

from __future__ import annotations

import random
from dataclasses import dataclass

__all__ = ["Recipe", "Tape"]


@dataclass(frozen=True)
class Recipe:
    """What a case is made of: its source, a seed, and places from which on other seeds are read.

    As text: ``integers/17``, or ``integers/17@120:993``, the first 120 choices of seed 17, then those of 993.
    """

    source: str
    seed: int
    edits: tuple[tuple[int, int], ...] = ()

    def __str__(self) -> str:
        return f"{self.source}/{self.seed}" + "".join(f"@{place}:{seed}" for place, seed in self.edits)

    @classmethod
    def of(cls, text: str) -> Recipe:
        """Read it."""
        source, _, rest = text.partition("/")
        seed, *edits = rest.split("@")
        pairs = (edit.split(":") for edit in edits)
        return cls(source, int(seed), tuple((int(place), int(other)) for place, other in pairs))

    def edited(self, place: int, seed: int) -> Recipe:
        """Other choices from a place on."""
        return Recipe(self.source, self.seed, (*(edit for edit in self.edits if edit[0] < place), (place, seed)))


class Tape(random.Random):
    """A random.Random (the same as one of this seed, as long as there are no edits) that counts what is drawn."""

    def __new__(cls, *_: object) -> Tape:
        return super().__new__(cls)

    def __init__(self, recipe: Recipe) -> None:
        self.drawn, self._edits = 0, list(recipe.edits)
        super().__init__(recipe.seed)

    def random(self) -> float:
        self._next()
        return super().random()

    def getrandbits(self, k: int, /) -> int:
        self._next()
        return super().getrandbits(k)

    def _next(self) -> None:
        if self._edits and self.drawn >= self._edits[0][0]:
            self.seed(self._edits.pop(0)[1])
        self.drawn += 1
