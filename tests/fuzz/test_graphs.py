"""The graph fuzzer: a seeded minute of it, what it found once, and that it finds what is broken on purpose."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.fuzz.broken import broken, taken
from tests.fuzz.graphs.cases import SOURCES, made
from tests.fuzz.graphs.executors import EXECUTORS, FAST
from tests.fuzz.graphs.fuzzing import FOUND, Fuzzer, Settings, checked, fails_alike
from tests.fuzz.graphs.plain import read, written
from tests.fuzz.graphs.reach import Reach
from tests.fuzz.graphs.shrink import shrunk
from tests.fuzz.graphs.tape import Recipe, Tape
from tests.fuzz.rules import RULES

KEPT = sorted(FOUND.glob("*.json"))


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_a_seeded_minute() -> None:
    # Nothing is traced: which functions run depends on what earlier tests left in caches, and so would the graphs.
    fuzzer = Fuzzer(Settings(20, FAST, tuple(SOURCES), watched=0))
    fuzzer.run(40)
    body = fuzzer.as_json()
    assert body["found"] == [], json.dumps(body["found"], indent=1)
    assert body["graphs"] == 40
    for name in ("oracle", "reference", "engine", "onnx-step", "onnx-scan", "onnx-float"):
        assert body["graphs_by_executor"][name] > 20, name


def test_lines_that_ran_are_told() -> None:
    reach = Reach()
    assert reach.percent()["passes"] == 0
    with reach.watching() as ran:
        made(Recipe("torch", 3))
    assert reach.percent()["passes"] > 20
    assert ran["ran: base.run_passes"] > 0
    assert "ran: engine.Engine.run" not in ran


@pytest.mark.slow
def test_ten_minutes() -> None:
    """Of FAST, and some through Lava, netx and the RTL."""
    for executors, sources, count in (
        (FAST, tuple(SOURCES), 900),
        (("reference", "lava", "netx"), ("loihi", "netx"), 20),
        (("reference", "rtl"), ("nc1",), 20),
    ):
        fuzzer = Fuzzer(Settings(1000, executors, sources, watched=0))
        fuzzer.run(count)
        assert fuzzer.tally.found == [], json.dumps(fuzzer.tally.found, indent=1)


@pytest.mark.parametrize("path", KEPT, ids=lambda path: path.stem)
def test_what_was_found_agrees(path: Path) -> None:
    case, executor = read(path)
    assert executor in EXECUTORS
    found = checked(case, dict.fromkeys((executor, *FAST)))
    assert executor in found
    assert {name: said for name, (_, said) in found.items() if said} == {}


def test_recipes_are_drawn_again() -> None:
    plain, tape = random.Random(7), Tape(Recipe("small", 7))
    assert [plain.choice(range(100)) for _ in range(50)] == [tape.choice(range(100)) for _ in range(50)]
    assert plain.random() == tape.random()
    recipe = Recipe.of("small/7@30:99")
    assert str(recipe) == "small/7@30:99"
    one, again, other = made(recipe), made(recipe), made(Recipe("small", 7))
    assert str(one.graph) == str(again.graph)
    assert all(np.array_equal(x, again.inputs[name]) for name, x in one.inputs.items())
    assert str(one.graph) != str(other.graph)


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    settings = Settings(3, ("reference", "oracle"), ("small",), watched=2)
    whole = Fuzzer(settings)
    whole.run(12)
    for count in (5, 12):
        parts = Fuzzer(Settings(3, ("reference", "oracle"), ("small",), watched=2, state=tmp_path))
        parts.run(count)
    one, other = whole.as_json(), parts.as_json()
    for name in ("graphs", "values_compared", "reached", "thrown_back", "coverage_percent", "never_reached"):
        assert one[name] == other[name], name


def test_what_disagrees_is_made_small_and_read_back(tmp_path: Path) -> None:
    (rule,) = (rule for rule in RULES if rule.name == "the mean of a norm is left out of the threshold")
    with broken(rule):
        number = 0
        while True:
            case = made(Recipe("reals", number))
            if checked(case, ["oracle"]).get("oracle", (0, []))[1]:
                break
            number += 1
        small = shrunk(case, lambda each: bool(checked(each, ["oracle"])["oracle"][1]), 20)
        assert len(small.graph) < len(case.graph)
        (tmp_path / "case.json").write_text(written(small, "oracle", ["x"]))
        again, executor = read(tmp_path / "case.json")
        assert executor == "oracle"
        assert checked(again, ["oracle"])["oracle"] == checked(small, ["oracle"])["oracle"]
    again, _ = read(tmp_path / "case.json")
    assert not checked(again, ["oracle"])["oracle"][1]


def test_what_gets_small_fails_as_it_did(monkeypatch: pytest.MonkeyPatch) -> None:
    """A graph that an executor cannot run at all is none that differs."""
    case = made(Recipe("small", 7))

    def raising(kind: type[Exception]) -> list[str]:
        def fail(case: object) -> None:
            raise kind("line\nline")

        monkeypatch.setitem(EXECUTORS, "oracle", fail)
        return checked(case, ["oracle"])["oracle"][1]

    differs, one, other = ["int: n: 3 of 4 spikes"], raising(TypeError), raising(ValueError)
    assert one == ["raised TypeError: line"]
    assert [fails_alike(said, differs) for said in (differs, one, [])] == [True, False, False]
    assert [fails_alike(said, one) for said in (differs, one, other, [])] == [False, True, False, False]


@pytest.mark.parametrize("name", ["a soft reset takes half", "the mean of a norm is left out of the threshold"])
def test_a_broken_rule_is_found(name: str) -> None:
    (rule,) = (rule for rule in RULES if rule.name == name)
    assert taken(rule, 150, 0)["graphs"]


@pytest.mark.slow
@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_no_broken_rule_survives(rule) -> None:  # type: ignore[no-untyped-def]
    assert taken(rule, 2000, 0)["graphs"]
