"""What to draw next: new seeds, or a case that reached what few did, drawn otherwise from some choice on."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from tests.fuzz.graphs.tape import Recipe

__all__ = ["Guide"]

FRESH = 0.5
"""This share of recipes are seeds of their own."""
SHARES = {"integers": 3, "small": 3, "reals": 5, "deep": 1.2, "loihi": 0.4, "torch": 2, "hosted": 0.4, "nc1": 1,
          "netx": 0.6}  # fmt: skip
"""How often a source is asked at first: what is dear (the host's parts are exported to ONNX) less often."""
KEPT = 4
"""So many recipes are kept of each thing that was reached."""
EDITS = 3


class Guide:
    """Counts what was reached, and by whom; recipes follow from the seed and what is told of them."""

    def __init__(self, seed: int, sources: Sequence[str]) -> None:
        self.source = random.Random(seed)
        self.sources = list(sources)
        self.counts: Counter[str] = Counter()
        self.by: dict[str, list[tuple[str, int]]] = {}
        self.news: Counter[str] = Counter()
        self.tried: Counter[str] = Counter()

    def next(self) -> Recipe:
        """The recipe of the next case."""
        r = self.source
        if self.by and r.random() >= FRESH:
            text, drawn = r.choice(self.by[self._rare()])
            recipe = Recipe.of(text)
            if len(recipe.edits) < EDITS and drawn > 1:
                return recipe.edited(r.randrange(1, drawn), r.getrandbits(30))
        return Recipe(self._source(), r.getrandbits(30))

    def _source(self) -> str:
        """Sources that told something new are asked more often; none is forgotten."""
        weights = [SHARES[name] * (0.25 + (1 + self.news[name]) / (1 + self.tried[name])) for name in self.sources]
        return self.source.choices(self.sources, weights)[0]

    def _rare(self) -> str:
        names = list(self.by)
        return self.source.choices(names, [1.0 / self.counts[name] for name in names])[0]

    def told(self, recipe: Recipe, drawn: int, reached: Iterable[str]) -> None:
        """What a case reached."""
        new = 0
        for name in sorted(set(reached)):
            self.counts[name] += 1
            new += self.counts[name] == 1
            kept = self.by.setdefault(name, [])
            if len(kept) < KEPT:
                kept.append((str(recipe), drawn))
            elif self.source.random() < KEPT / self.counts[name]:
                kept[self.source.randrange(KEPT)] = (str(recipe), drawn)
        self.tried[recipe.source] += 1
        self.news[recipe.source] += min(new, 3)

    def plain(self) -> dict[str, Any]:
        """For the state's file."""
        version, inner, gauss = self.source.getstate()
        return {"random": [version, list(inner), gauss], "counts": self.counts, "by": self.by, "news": self.news,
                "tried": self.tried}  # fmt: skip

    def resume(self, plain: dict[str, Any]) -> None:
        """Go on from there."""
        version, inner, gauss = plain["random"]
        self.source.setstate((version, tuple(inner), gauss))
        self.counts, self.news, self.tried = (Counter(plain[name]) for name in ("counts", "news", "tried"))
        self.by = {name: [(text, drawn) for text, drawn in kept] for name, kept in plain["by"].items()}
