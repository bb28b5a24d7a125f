"""That a recording holds what there is to see, and that nothing that changes in it goes unseen."""

from __future__ import annotations

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.helpers import done
from tests.recorded import models as m
from tests.recorded.case import Case
from tests.recorded.cases import CASES, VERBS
from tests.recorded.compare import differences

ROOT = Path(__file__).parents[2]
TINY = Case(
    "tiny",
    (
        m.small(),
        m.arrays("x.npz", 2, 4, labels=3),
        "export m.pt -o out --json",
        "simulate out --data x.npz --json --spikes fired.npz",
        "simulate out --data x.npz",
        "simulate no --data x.npz",
    ),
)
TWICE = "import json; from tests.recorded.test_recorded import TINY, ran; print(json.dumps([ran(TINY), ran(TINY)]))"


def ran(case: Case) -> list[dict[str, Any]]:
    """For a process of its own: forks want one that has no threads."""
    from tests.recorded.run import ran

    return ran(case)


@pytest.fixture(scope="module")
def recordings() -> list[Any]:
    """The same case, recorded twice."""
    ended = subprocess.run([sys.executable, "-c", TWICE], cwd=ROOT, capture_output=True, text=True, check=True)
    return [{"tiny": steps} for steps in json.loads(ended.stdout)]


def test_twice_is_the_same(recordings: list[Any]) -> None:
    assert not list(differences(*recordings))


def test_what_is_recorded(recordings: list[Any]) -> None:
    model, _, exported, simulated, shown, refused = recordings[0]["tiny"]
    assert list(model["files"]) == ["m.pt"]
    assert [step["exit"] for step in recordings[0]["tiny"]] == [0, 0, 0, 0, 0, 6]
    assert exported["stdout"]["neurons"] == 12
    assert exported["stdout"]["neurocompile"] == "<version>"
    assert list(exported["files"]) == ["out/arrays.npz", "out/graph.txt", "out/program.json"]
    assert exported["files"]["out/program.json"]["content"]["target"] == "generic"
    assert "Neuron" in exported["files"]["out/graph.txt"]["content"]
    assert list(simulated["files"]["fired.npz"]["members"]) == ["1.npy", "3.npy"]
    assert "accuracy" in shown["stdout"]
    assert "no such folder" in refused["stderr"]
    assert str(ROOT) not in json.dumps(recordings)


def _set(*way: Any) -> Callable[[Any], None]:
    """What puts the last of these under the others."""

    def change(steps: Any) -> None:
        for key in way[:-2]:
            steps = steps[key]
        steps[way[-2]] = way[-1]

    return change


def _line(steps: Any) -> None:
    steps[4]["stdout"] = steps[4]["stdout"].replace("accuracy", "precision")


def _order(steps: Any) -> None:
    steps[3]["stdout"] = dict(reversed(steps[3]["stdout"].items()))


PLANTED: dict[str, tuple[Callable[[Any], object], str]] = {
    "a number": (_set(3, "stdout", "layers", 0, "spikes", -1), "stdout.layers[0].spikes"),
    "a number of another kind": (_set(2, "stdout", "neurons", 12.0), "stdout.neurons"),
    "a value that is gone": (lambda steps: steps[2]["stdout"].pop("notes"), "stdout.notes"),
    "another order": (_order, "stdout (order of the keys)"),
    "a line": (_line, "stdout:"),
    "an error": (_set(5, "stderr", "error: no\n"), "stderr:1"),
    "an exit code": (_set(5, "exit", 1), "exit"),
    "a file": (_set(2, "files", "out/arrays.npz", "sha256", "0"), "files.out/arrays.npz.sha256"),
    "a file that is gone": (lambda steps: steps[2]["files"].pop("out/graph.txt"), "files.out/graph.txt"),
    "what a file says": (
        _set(2, "files", "out/program.json", "content", "timesteps", 6),
        "files.out/program.json.content.timesteps",
    ),
    "a step that is gone": (lambda steps: steps.pop(), ""),
}


@pytest.mark.parametrize("what", PLANTED)
def test_a_planted_difference_is_found(what: str, recordings: list[Any], tmp_path: Path) -> None:
    plant, where = PLANTED[what]
    before, after = recordings[0], copy.deepcopy(recordings[0])
    plant(after["tiny"])
    (found,) = differences(before, after)
    assert (found.case, found.where[: len(where)]) == ("tiny", where)
    files = []
    for name, recording in (("a", before), ("b", after)):
        files.append(tmp_path / f"{name}.json")
        files[-1].write_text(json.dumps(recording))
    said = {second: _compared(files[0], second) for second in files}
    assert said[files[0]].returncode == 0
    assert said[files[1]].returncode == 1
    assert f"tiny | {found.step} | {where}" in said[files[1]].stdout


def _compared(a: Path, b: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.recorded", "--compare", str(a), str(b)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_case_that_is_gone_is_found(recordings: list[Any]) -> None:
    (found,) = differences(recordings[0], {})
    assert found.case == "tiny"


_SHARED = {"report": ["validate"], "explore": ["export"]}
"""Verbs that take another one's options, and read them there."""


@pytest.mark.parametrize("verb", VERBS)
def test_every_option_and_every_choice_is_recorded(verb: str) -> None:
    commands = [step for case in CASES.values() for step in case.steps if isinstance(step, str)]
    given = " \n".join(command for command in commands if command.split()[:1] in [[verb], _SHARED.get(verb)]) + " "
    shown = done(verb, "--help").out
    options = re.findall(r"^  (?:(-[a-z]), )?(--[a-z-]+)(?: / (--[a-z-]+))?", shown, re.M)
    assert len(options) > 2
    said = [[f" {name}{end}" in given for name in names if name for end in " ="] for names in options]
    assert not [names for names, found in zip(options, said) if not any(found)]
    for option, choices in re.findall(r"(--[a-z-]+)\s+\[([^\]]*\|[^\]]*)\]", shown):
        assert not [choice for choice in re.split(r"\|\s*", choices) if f"{option} {choice} " not in given], option
