"""The run: case after case through the executors, resumable, with what it found and reached."""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.fuzz.graphs.alike import known_of
from tests.fuzz.graphs.cases import Case, made
from tests.fuzz.graphs.executors import EXECUTORS, FAST, reference_of
from tests.fuzz.graphs.guide import Guide
from tests.fuzz.graphs.plain import written
from tests.fuzz.graphs.reach import Reach, words_of
from tests.fuzz.graphs.shrink import shrunk
from tests.fuzz.graphs.tape import Recipe

__all__ = ["FOUND", "Fuzzer", "Settings", "checked"]

FOUND = Path(__file__).parent / "found"
"""What was found once, replayed by every run of the tests."""
EVERY = 25
"""After so many graphs the state is written."""


@dataclass(frozen=True)
class Settings:
    """What to run.

    Attributes:
        seed: of the guide.
        executors: names in :data:`EXECUTORS`.
        sources: names in ``cases.SOURCES``.
        watched: trace lines in one of so many graphs (0: in none).
        folder: for what is found; None: it is only told.
        state: goes on from here, and is written to it.
        shrink_s: so long is spent on making a case small.
    """

    seed: int
    executors: tuple[str, ...]
    sources: tuple[str, ...]
    watched: int = 4
    folder: Path | None = None
    state: Path | None = None
    shrink_s: float = 60.0


def checked(
    case: Case, executors: Sequence[str], seconds: Counter[str] | None = None
) -> dict[str, tuple[int, list[str]]]:
    """For each executor that applies, how many values it compared and what differs (an error does)."""
    found: dict[str, tuple[int, list[str]]] = {}
    for name in executors:
        clock = time.process_time if name in FAST else time.perf_counter  # the others are processes of their own
        started = clock()
        try:
            done = EXECUTORS[name](case)
        except Exception as error:
            found[name] = 0, [_raised(error)]
        else:
            if done is not None:
                found[name] = sum(done.values.values()), done.where
        if seconds is not None:
            seconds[name] += clock() - started
    return found


def fails_alike(said: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether a smaller case still fails as the first one did: that it differs, or raises the same kind of error."""
    return bool(said) and _kind(said) == _kind(wanted)


def _raised(error: Exception) -> str:
    return f"{_RAISED}{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _kind(said: Sequence[str]) -> str:
    return said[0].partition(":")[0] if said[0].startswith(_RAISED) else ""


_RAISED = "raised "


@dataclass
class Tally:
    """What a run did so far."""

    graphs: int = 0
    made_from: Counter[str] = field(default_factory=Counter)
    ran: Counter[str] = field(default_factory=Counter)
    compared: Counter[str] = field(default_factory=Counter)
    seconds: Counter[str] = field(default_factory=Counter)
    thrown_back: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    calibrated: int = 0
    found: list[dict[str, Any]] = field(default_factory=list)


class Fuzzer:
    """Runs until it is told to stop; the same seed does the same."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.guide = Guide(settings.seed, settings.sources)
        self.reach = Reach()
        self.tally = Tally()
        self._read_state()

    def run(self, count: int, hours: float | None = None) -> None:
        """So many graphs in all, those of earlier runs among them; or until the time is over."""
        ends = None if hours is None else time.monotonic() + 3600 * hours
        while self.tally.graphs < count and (ends is None or time.monotonic() < ends):
            self.one()
            if self.tally.graphs % EVERY == 0:
                self._write_state()
                told = f"{self.tally.graphs} graphs, {len(self.tally.found)} disagreements"
                print(told, file=sys.stderr, end="\r", flush=True)
        self._write_state()

    def one(self) -> None:
        """The next case; one that is thrown back is no graph."""
        recipe = self.guide.next()
        self._note(recipe)
        watched = self.settings.watched and (self.tally.graphs % self.settings.watched == 0)
        if watched:
            with self.reach.watching() as ran:
                drawn = self._case(recipe)
        else:
            ran = Counter()
            drawn = self._case(recipe)
        if drawn is None:
            return
        words = words_of(drawn)
        self.guide.told(recipe, drawn.drawn, [*words, *ran])

    def _case(self, recipe: Recipe) -> Case | None:
        started = time.process_time()
        try:
            case = made(recipe)
        except Exception as error:
            self._found(None, recipe, "compile", [_raised(error)])
            self.tally.graphs += 1
            return None
        self.tally.seconds["drawing"] += time.process_time() - started
        if why := self._unwanted(case):
            self.tally.thrown_back[why] += 1
            return None
        self.tally.graphs += 1
        self.tally.made_from[recipe.source] += 1
        self.tally.calibrated += all(0.02 <= rate <= 0.8 for rate in case.rates.values())
        if case.refused:
            self.tally.refused[case.refused] += 1
        for name, (values, said) in checked(case, self.settings.executors, self.tally.seconds).items():
            self.tally.ran[name] += 1
            self.tally.compared[name] += values
            if said:
                self._found(case, recipe, name, said)
        return case

    def _unwanted(self, case: Case) -> str:
        """Why a network says nothing: all of its layers are silent, or all fire always."""
        try:
            case.of(reference_of if case.integer else known_of)
        except Exception:
            return ""  # a fault that the executors will tell
        rates = list(case.rates.values()) or [float(np.mean(r != 0)) for r in case.of(known_of).spikes.values()] \
            if not case.integer else list(case.rates.values())  # fmt: skip
        if rates and max(rates) == 0:
            return "silent"
        return "saturated" if rates and min(rates) > 0.98 else ""

    def _found(self, case: Case | None, recipe: Recipe, executor: str, said: list[str]) -> None:
        told = {"recipe": str(recipe), "executor": executor, "said": said[:4], "file": ""}
        if case is not None and self.settings.folder is not None:

            def fails(candidate: Case) -> bool:
                return fails_alike(checked(candidate, [executor]).get(executor, (0, []))[1], said)

            small = shrunk(case, fails, self.settings.shrink_s)
            again = checked(small, [executor]).get(executor, (0, said))[1] or said
            text = written(small, executor, again[:4])
            name = f"{executor}-{hashlib.sha256(text.encode()).hexdigest()[:8]}.json"
            self.settings.folder.mkdir(parents=True, exist_ok=True)
            (self.settings.folder / name).write_text(text)
            told["file"] = name
        self.tally.found.append(told)

    # -- the state -----------------------------------------------------------------------------------------------------

    def _note(self, recipe: Recipe) -> None:
        """What is running, in case it kills the process."""
        if self.settings.state is not None:
            (self.settings.state / "running").write_text(str(recipe))

    def _read_state(self) -> None:
        folder = self.settings.state
        if folder is None:
            return
        folder.mkdir(parents=True, exist_ok=True)
        if (folder / "state.json").exists():
            body = json.loads((folder / "state.json").read_text())
            self.guide.resume(body["guide"])
            self.reach.resume(body["missed"])
            for name, value in body["tally"].items():
                setattr(self.tally, name, Counter(value) if isinstance(value, dict) else value)
        if (folder / "running").exists():
            recipe = (folder / "running").read_text()
            if (folder / "state.json").exists() and recipe:
                self.tally.thrown_back["interrupted, or killed the process"] += 1
                with (folder / "interrupted").open("a") as file:
                    file.write(recipe + "\n")

    def _write_state(self) -> None:
        if self.settings.state is None:
            return
        body = {"guide": self.guide.plain(), "missed": self.reach.plain(), "tally": vars(self.tally)}
        part = self.settings.state / "state.json.part"
        part.write_text(json.dumps(body))
        part.replace(self.settings.state / "state.json")
        (self.settings.state / "running").write_text("")

    # -- the report ----------------------------------------------------------------------------------------------------

    def as_json(self) -> dict[str, Any]:
        """For ``--json``."""
        t = self.tally
        reached = sorted(self.guide.counts, key=lambda name: (self.guide.counts[name], name))
        return {
            "seed": self.settings.seed,
            "graphs": t.graphs,
            "disagreements": len(t.found),
            "executors": list(self.settings.executors),
            "graphs_by_executor": {name: t.ran[name] for name in self.settings.executors},
            "values_compared": {name: t.compared[name] for name in self.settings.executors},
            "graphs_by_source": dict(sorted(t.made_from.items())),
            "seconds": {name: round(value, 1) for name, value in t.seconds.items()},
            "graphs_per_second": {
                n: round(t.ran[n] / t.seconds[n], 2) for n in self.settings.executors if t.seconds[n]
            },
            "share_calibrated": round(t.calibrated / max(t.graphs, 1), 3),
            "thrown_back": dict(sorted(t.thrown_back.items())),
            "refused": dict(t.refused.most_common()),
            "reached": len(reached),
            "reached_once": [name for name in reached if self.guide.counts[name] == 1][:40],
            "coverage_percent": self.reach.percent(),
            "never_reached": self.reach.never(),
            "found": t.found,
        }
