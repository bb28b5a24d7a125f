"""Building and running nc1 under Verilator or Icarus Verilog."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Literal

from neurocompile.backends.rtl.builds import digest_of, kept
from neurocompile.errors import Problem, ToolFailed
from neurocompile.targets.nc1.chip import Parameters

__all__ = ["RUN_LIMIT_S", "Run", "Tool", "build", "parameter_names", "run", "sources", "synthesize"]

Tool = Literal["verilator", "iverilog"]

RUN_LIMIT_S = 600.0
"""How long one run may take if nobody says. Building has no limit: it ends, however busy the machine is."""

_TOP = "nc1_testbench"
_VERILATE = (
    "--cc", "--exe", "--main", "--timing", "-O3", "-Wno-fatal", "--Mdir", "obj", "--top-module", _TOP, "-o", _TOP
)  # fmt: skip
# Verilator's files are compiled as two: what runs in every cycle, and what runs once. Each of some thirty files of its
# own would read the same large headers again. What -O1 makes runs no slower here, and compiles in half the time.
_MAKE = (
    "VM_PARALLEL_BUILDS=1", "VM_CLASSES_FAST=hot", "VM_CLASSES_SLOW=cold", "VM_SUPPORT_FAST=", "VM_SUPPORT_SLOW=",
    "OPT_FAST=-O1", "OPT_SLOW=-O0", "OPT_GLOBAL=-O1",
)  # fmt: skip

_SHOWN_LINES = 30


def sources() -> dict[str, bytes]:
    """The Verilog files, by name: the design and its testbench."""
    folder = resources.files("neurocompile.backends.rtl") / "verilog"
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir(), key=str) if file.name.endswith(".v")}


def parameter_names(parameters: Parameters) -> dict[str, int]:
    """The parameters by the names that the RTL gives them."""
    return {name.upper(): value for name, value in asdict(parameters).items()}


def build(
    parameters: Parameters,
    folder: Path,
    tool: Tool = "verilator",
    netlist: Path | None = None,
    time_limit_s: float | None = None,
) -> Path:
    """Compile the design and its testbench for one set of parameters; what was built before is used again.

    Args:
        parameters: of the chip.
        folder: for what is built, whatever the parameters and the tool.
        tool: what simulates.
        netlist: gates in the design's place (:func:`synthesize`).
        time_limit_s: of each tool that is called, which is then killed; None: as long as it takes.

    Returns:
        the program to give to :func:`run`.

    Raises:
        ToolFailed: if the tool is missing or refuses, or takes longer than allowed.
    """
    files = _design(netlist)
    named = parameter_names(parameters)
    version = _call([tool, "-V" if tool == "iverilog" else "--version"], Path.cwd(), time_limit_s)
    text = [version, repr(named), repr(_VERILATE), repr(_MAKE)]
    entry = f"{tool}-{digest_of([*(part.encode() for part in text), *files.values()])}"

    def make(work: Path) -> Path:
        for name, content in files.items():
            (work / name).write_bytes(content)
        compile_ = _verilate if tool == "verilator" else _icarus
        return compile_(list(files), named, work, time_limit_s)

    return kept(folder, entry, _TOP + ("" if tool == "verilator" else ".vvp"), make)


def _design(netlist: Path | None) -> dict[str, bytes]:
    """The files to compile, the testbench last."""
    files = sources()
    testbench = files.pop(_TOP + ".v")
    if netlist is not None:  # whose parameters are numbers already
        files = {"netlist.v": netlist.read_bytes()}
        testbench = re.sub(rb"\bnc1 #\(.*?\) chip \(", b"nc1 chip (", testbench, flags=re.S)
    return {**files, _TOP + ".v": testbench}


def _verilate(files: list[str], named: dict[str, int], work: Path, time_limit_s: float | None) -> Path:
    overrides = [f"-G{name}={value}" for name, value in named.items()]
    _call(["verilator", *_VERILATE, *overrides, *files], work, time_limit_s)
    made = work / "obj"
    parts = sorted(file.name for file in made.glob("*.cpp"))
    cold = [name for name in parts if name.endswith("__Slow.cpp")]
    for name, included in (("hot", [part for part in parts if part not in cold]), ("cold", cold)):
        (made / f"{name}.cpp").write_text("".join(f'#include "{part}"\n' for part in included))
    _call(["make", "-j", "2", "-f", f"V{_TOP}.mk", *_MAKE], made, time_limit_s)
    return made / _TOP


def _icarus(files: list[str], named: dict[str, int], work: Path, time_limit_s: float | None) -> Path:
    overrides = [f"-P{_TOP}.{name}={value}" for name, value in named.items()]
    made = work / f"{_TOP}.vvp"
    _call(["iverilog", "-g2005", "-o", made.name, "-s", _TOP, *overrides, *files], work, time_limit_s)
    return made


def synthesize(parameters: Parameters, folder: Path) -> tuple[Path, dict[str, int]]:
    """Gates for one set of parameters, by Yosys; memories stay memories.

    Args:
        parameters: of the chip.
        folder: for the netlist.

    Returns:
        the netlist, to be given to :func:`build` in the design's place; and how many cells of each kind it has.

    Raises:
        ToolFailed: if Yosys is missing, or finds a latch or a conflict.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in sources().items():
        (folder / name).write_bytes(content)
    script = (resources.files("neurocompile.backends.rtl") / "verilog" / "synthesize.ys").read_text("utf-8")
    chosen = " ".join(f"-chparam {name} {value}" for name, value in parameter_names(parameters).items())
    script = re.sub(r"^(hierarchy .*?) -chparam.*$", rf"\1 {chosen}", script, flags=re.MULTILINE)
    script += "\ntee -q -o stat.json stat -json\nwrite_verilog -noattr netlist.v\n"
    (folder / "synthesize.ys").write_text(script)
    _call(["yosys", "-q", "synthesize.ys"], folder)
    cells: dict[str, int] = json.loads((folder / "stat.json").read_text())["design"]["num_cells_by_type"]
    return folder / "netlist.v", cells


class Run:
    """What :func:`build` made, running: several may at once."""

    def __init__(self, program: Path, folder: Path, *, log: str = "log.txt", options: Iterable[str] = ()) -> None:
        """Start it.

        Args:
            program: of :func:`build`.
            folder: with image.txt, samples.txt and events.txt; the log is written there.
            log: its file name.
            options: further plusargs, as "+membranes".

        Raises:
            ToolFailed: if the tool is missing.
        """
        self._name = program.name
        command = ["vvp", str(program)] if program.suffix == ".vvp" else [str(program)]
        self._process = _start([*command, f"+dir={folder}", f"+log={folder / log}", *options], folder)
        self._started = time.monotonic()

    def finish(self, time_limit_s: float | None = RUN_LIMIT_S) -> str:
        """Wait for it; returns what it printed.

        Args:
            time_limit_s: after so many seconds, counted from its start, it is killed; None: as long as it takes.

        Raises:
            ToolFailed: if it stopped with an error, misses a file, has a step that does not end, or took too long.
        """
        left = None if time_limit_s is None else max(0.0, time_limit_s - (time.monotonic() - self._started))
        fix = "run fewer samples (--backend-samples), or allow more time (--time-limit)"
        printed = _wait(self._process, self._name, "running the chip's samples", left, time_limit_s, fix)
        for line in printed.splitlines():
            if line.startswith(("ERROR", "TIMEOUT")):
                raise ToolFailed(Problem(line, self._name, fix="write its files anew, or run fewer samples"))
        return printed

    def stop(self) -> None:
        """Kill it, if it still runs."""
        _kill(self._process)


def run(
    program: Path,
    folder: Path,
    *,
    log: str = "log.txt",
    options: Iterable[str] = (),
    time_limit_s: float | None = RUN_LIMIT_S,
) -> str:
    """Run what :func:`build` made, to its end: :class:`Run`, and :meth:`Run.finish`."""
    return Run(program, folder, log=log, options=options).finish(time_limit_s)


def _call(command: Sequence[str], folder: Path, time_limit_s: float | None = None) -> str:
    """Run a tool that builds; it and its children are killed if it takes longer than allowed."""
    what = "building the chip's simulator"
    fix = "allow more time for building, or none (time_limit_s=None): the number of samples plays no part in it"
    return _wait(_start(command, folder), Path(command[0]).name, what, time_limit_s, time_limit_s, fix)


def _start(command: Sequence[str], folder: Path) -> subprocess.Popen[str]:
    """Start a tool as a group of its own, in which its children are."""
    if shutil.which(command[0]) is None:
        fix = "install it (in the checkout: make system)"
        raise ToolFailed(Problem(f"there is no {Path(command[0]).name} here", fix=fix))
    return subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def _wait(
    process: subprocess.Popen[str], name: str, what: str, left_s: float | None, limit_s: float | None, fix: str
) -> str:
    """What a tool printed, once it has ended well; nothing of it is left if it did not."""
    try:
        printed, _ = process.communicate(timeout=left_s)
    except subprocess.TimeoutExpired:
        _kill(process)
        said = f"{what} did not finish in time and was killed"
        raise ToolFailed(Problem(said, name, limit=f"{limit_s:g} s", fix=fix)) from None
    except BaseException:
        _kill(process)
        raise
    if process.returncode:
        last = "\n".join(printed.splitlines()[-_SHOWN_LINES:])
        raise ToolFailed(Problem(f"it failed with code {process.returncode}:\n{last}", name))
    return printed


def _kill(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
