"""The commands of README and docs, copied in their order into an empty folder, with output on a page of 80 columns."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import pytest

from tests.backends.lava.against import need_lava
from tests.backends.rtl.test_rtl import need

ROOT = Path(__file__).parents[1]
README, STEPS = ROOT / "README.md", ROOT / "docs" / "steps.md"
TASKS = tuple(ROOT / "docs" / f"{name}.md" for name in ("deploy", "price", "explore", "validate", "report", "own-chip"))
"""Short pages; what they write has the names that it has in STEPS, and what both say is run once."""
NOT_RUN = {
    "cluster.md": "a cluster of the reader's; tests/work has one",
    "engine.md": "any program and its data",
    "host.md": "a network of the reader's with parts for a host; tests/test_hosted.py has some",
    "loihi.md": "any model; STEPS has the demo's",
    "nc1.md": "any model; STEPS has the demo's",
    "onnx.md": "any model; tests/backends/onnx/test_files.py runs what the page does with the files",
    "nir.md": "files of other programs; tests/frontends/nir and tests/models/test_nir_digits.py have some",
    "recordings.md": "any program, and what a chip recorded of it",
    "targets.md": "an architecture of SANA-FE's; tests/targets/test_sanafe.py has some",
    "timing.md": "any program and its data",
    "validation.md": "any model, and what a chip recorded; STEPS has the demo's",
}
"""Whose files the commands of the other pages name."""
SETUP = ("make demo", "make test", "make system")
"""What sets the checkout up, and is not for an empty folder."""
WIDTH = 80


def _blocks(page: Path) -> list[list[str]]:
    """The indented blocks of a page, without their indent."""
    found: list[list[str]] = [[]]
    for line in page.read_text().splitlines():
        if line.startswith("    "):
            found[-1].append(line[4:])
        elif line.strip() or not found[-1]:
            found += [[]] if found[-1] else []
        else:
            found[-1].append("")
    return [block for block in found if any(block)]


def _commands(page: Path = STEPS) -> list[str]:
    """All commands of a page in their order, without their comments."""
    found = []
    for block in _blocks(page):
        for line in block:
            command = line.partition("  #")[0].strip()
            if re.match(r"(neurocompile|make|python) ", command) and not command.startswith(SETUP):
                found.append(command)
    return found


def _python(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


def _of(*folders: str) -> list[str]:
    """The first command, which writes model and data, and those that are about one of these folders."""
    first, *others = _commands()
    return [first, *(c for c in others if any(re.search(rf"(^| ){folder}(/| |$)", c) for folder in folders))]


def _ran(command: str, folder: Path) -> str:
    """What a command prints; it must succeed, fit the page, and say nothing that nobody understands."""
    program, *arguments = shlex.split(command)
    words = {
        "neurocompile": [sys.executable, "-c", "from neurocompile.cli import main; main()"],
        "python": [sys.executable],
    }.get(program, [program])
    environment = {**os.environ, "COLUMNS": str(WIDTH)}
    ran = subprocess.run(
        [*words, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )  # fmt: skip
    said = ran.stdout + ran.stderr
    assert ran.returncode == 0, f"{command}: {ran.returncode}\n{said}"
    if program == "neurocompile" and not {"--json", "--toml"} & set(arguments):
        assert said.strip(), command
        assert max(map(len, said.splitlines())) <= WIDTH, command
        assert "Traceback" not in said
    return ran.stdout


def _run(commands: Sequence[str], folder: Path) -> dict[str, str]:
    return {command: _ran(command, folder) for command in commands}


def _is_rtl(command: str) -> bool:
    return "--require rtl" in command or command.startswith("make")


def test_every_command_of_steps_is_run_by_one_of_these_tests() -> None:
    commands = _commands()
    assert len(commands) == len(set(commands)) >= 18
    assert commands[0].startswith("neurocompile demo --write-data")
    verbs = {command.split()[1] for command in commands if command.startswith("neurocompile")}
    assert verbs == {"demo", "export", "simulate", "validate", "check", "inspect", "targets", "zoo"}
    assert any("--require lava" in command for command in _of("chip"))
    assert sum(map(_is_rtl, _of("core"))) == 2


def test_a_command_that_is_not_run_names_options_that_there_are() -> None:
    pages = {page.name: _commands(page) for page in sorted((ROOT / "docs").glob("*.md")) if page not in (STEPS, *TASKS)}
    assert {name for name, commands in pages.items() if any(c.startswith("neurocompile") for c in commands)} == set(
        NOT_RUN
    )
    for command in (c for name in NOT_RUN for c in pages[name] if c.startswith("neurocompile")):
        _, verb, *arguments = shlex.split(command.rstrip("\\"))
        known = {name for option in import_module(f"neurocompile.cli.{verb}").command.params for name in option.opts}
        assert {each for each in arguments if re.match(r"--?[a-z]", each)} <= known, command


@pytest.mark.parametrize("page", [README, *TASKS], ids=lambda page: page.stem)
def test_a_page_begins_with_what_writes_its_files(page: Path) -> None:
    commands = _commands(page)
    first = commands[0] == _commands()[0]
    assert first == any("digits" in command for command in commands)
    written = {name for command in commands for name in re.findall(r"(?:-o|--spikes) (\S+)", command)}
    read = {word for command in commands for word in ("out", "chip", "spikes.npz") if f" {word}" in command}
    assert read <= written


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first command was run, in an empty folder; it writes model and data."""
    made = tmp_path_factory.mktemp("empty")
    _run(_commands()[:1], made)
    return made


def test_the_commands_in_their_order(folder: Path) -> None:
    """All but those that need Lava or a simulator of Verilog."""
    said = _run([c for c in _commands()[1:] if not _is_rtl(c) and "--require lava" not in c], folder)
    text = "\n".join(said.values())
    for words in ("proved: lowering, quantization", "PASSED", "neuron1"):
        assert words in text
    assert re.search(r"proved: quantization, onnx \(16 of 450\s+samples\), recorded", text)
    assert "FAILED" not in text
    made = {path.name for path in folder.iterdir()}
    assert made >= {"digits.npz", "digits.pt", "out", "spikes.npz", "chip", "core", "t.json", "vgg.pt"}


def test_the_commands_of_short_pages(folder: Path) -> None:
    """Those that STEPS does not have, where its commands were run."""
    known = _commands()
    more = [c for c in dict.fromkeys(c for page in (README, *TASKS) for c in _commands(page)) if c not in known]
    text = "\n".join(_run(more, folder).values())
    assert "proved: lowering, quantization" in text
    assert "FAILED" not in text
    assert {path.name for path in folder.iterdir()} >= {"report.html", "page.html", "numbers"}


@pytest.mark.slow
def test_the_commands_for_lava(tmp_path: Path) -> None:
    need_lava()
    said = "\n".join(_run(_of("chip"), tmp_path).values())
    assert "proved: lowering, quantization, lava (8 of 450 samples)" in said


@pytest.mark.slow
def test_the_commands_for_the_rtl(tmp_path: Path) -> None:
    need("verilator")
    said = "\n".join(_run(_of("core"), tmp_path).values())
    assert "proved: quantization, rtl (4 of 450 samples)" in said
    assert "PASS " in said


@pytest.mark.parametrize(("page", "printed"), [(README, ""), (STEPS, "(450, 4, 16, 8, 8)")], ids=["README", "steps"])
def test_the_python(page: Path, printed: str, folder: Path, tmp_path: Path) -> None:
    """The block that works with the files of the first command; the others need a model of one's own."""
    for name in ("digits.npz", "digits.pt"):
        shutil.copy(folder / name, tmp_path)
    (block,) = (each for each in _python(page) if "digits.npz" in each)
    (tmp_path / "block.py").write_text(block)
    ran = subprocess.run(
        [sys.executable, "block.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert printed in ran.stdout


def test_what_is_shown_is_what_the_demo_prints(tmp_path: Path) -> None:
    """Line by line, but for numbers and the width of columns."""

    def plain(line: str) -> str:
        return " ".join(re.sub(r"[\d.,]+", "0", re.sub("─+", "-", line)).split())

    printed = {plain(line) for line in _ran("neurocompile demo", tmp_path).splitlines()}
    (shown,) = (block for block in _blocks(STEPS) if block[0].startswith("accuracy in PyTorch"))
    missing = [line for line in shown if plain(line) not in printed | {"...", "0"}]
    assert not missing
    assert max(map(len, shown)) <= WIDTH


def test_a_folder_is_named_once() -> None:
    """No command writes what another one wrote."""
    commands = dict.fromkeys(command for page in (STEPS, README, *TASKS) for command in _commands(page))
    written = [name for command in commands for name in re.findall(r" -o (\S+)", command)]
    assert len(written) == len(set(written))


def test_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) < 100
