"""Building and running nc1 under Verilator or Icarus Verilog."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Literal

from neurocompile.errors import Problem, ToolFailed
from neurocompile.targets.nc1.chip import Parameters

__all__ = ["TIME_LIMIT_S", "Tool", "build", "parameter_names", "run", "sources", "synthesize"]

Tool = Literal["verilator", "iverilog"]

TIME_LIMIT_S = 1200.0
"""How long one build or run may take."""

_SHOWN_LINES = 30


def sources() -> dict[str, bytes]:
    """The Verilog files, by name: the design and its testbench."""
    folder = resources.files("neurocompile.backends.rtl") / "verilog"
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir(), key=str) if file.name.endswith(".v")}


def _digest() -> str:
    """Of the Verilog files: another version is built anew."""
    return hashlib.sha256(b"".join(sources().values())).hexdigest()[:12]


def parameter_names(parameters: Parameters) -> dict[str, int]:
    """The parameters by the names that the RTL gives them."""
    return {name.upper(): value for name, value in asdict(parameters).items()}


def build(parameters: Parameters, folder: Path, tool: Tool = "verilator", netlist: Path | None = None) -> Path:
    """Compile the design and its testbench for one set of parameters; what was built before is used again.

    Args:
        parameters: of the chip.
        folder: for what is built, one for each set of parameters and tool.
        tool: what simulates.
        netlist: gates in the design's place (:func:`synthesize`).

    Returns:
        the program to give to :func:`run`.

    Raises:
        ToolFailed: if the tool is missing or refuses.
    """
    folder = folder / "-".join(
        [tool, *(["gates"] if netlist else []), *map(str, asdict(parameters).values()), _digest()]
    )
    made = folder / ("obj/nc1_testbench" if tool == "verilator" else "nc1_testbench.vvp")
    if made.exists():
        return made
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in sources().items():
        (folder / name).write_bytes(content)
    files = [name for name in sources() if name != "nc1_testbench.v"] + ["nc1_testbench.v"]
    if netlist is not None:  # whose parameters are numbers already
        files = ["netlist.v", "nc1_testbench.v"]
        (folder / "netlist.v").write_bytes(netlist.read_bytes())
        testbench = (folder / "nc1_testbench.v").read_text()
        (folder / "nc1_testbench.v").write_text(re.sub(r"\bnc1 #\(.*?\) chip \(", "nc1 chip (", testbench, flags=re.S))
    named = parameter_names(parameters)
    if tool == "verilator":
        overrides = [f"-G{name}={value}" for name, value in named.items()]
        options = ["--binary", "--timing", "-O3", "-j", "2", "-Wno-fatal", "--Mdir", "obj", "-o", "nc1_testbench.part"]
        _call(["verilator", *options, "--top-module", "nc1_testbench", *overrides, *files], folder)
        os.replace(folder / "obj" / "nc1_testbench.part", made)
    else:
        overrides = [f"-Pnc1_testbench.{name}={value}" for name, value in named.items()]
        _call(["iverilog", "-g2005", "-o", made.name + ".part", "-s", "nc1_testbench", *overrides, *files], folder)
        os.replace(folder / (made.name + ".part"), made)
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


def run(
    program: Path,
    folder: Path,
    *,
    log: str = "log.txt",
    options: Iterable[str] = (),
    time_limit_s: float = TIME_LIMIT_S,
) -> str:
    """Run what :func:`build` made.

    Args:
        program: of :func:`build`.
        folder: with image.txt, samples.txt and events.txt; the log is written there.
        log: its file name.
        options: further plusargs, as "+membranes".
        time_limit_s: after so many seconds it is killed.

    Returns:
        what it printed.

    Raises:
        ToolFailed: if it stopped with an error, misses a file, has a step that does not end, or took too long.
    """
    command = ["vvp", str(program)] if program.suffix == ".vvp" else [str(program)]
    printed = _call([*command, f"+dir={folder}", f"+log={folder / log}", *options], folder, time_limit_s)
    for line in printed.splitlines():
        if line.startswith(("ERROR", "TIMEOUT")):
            raise ToolFailed(Problem(line, program.name, fix="write its files anew, or run fewer samples"))
    return printed


def _call(command: Sequence[str], folder: Path, time_limit_s: float = TIME_LIMIT_S) -> str:
    """Run a tool; it and its children are killed if it takes too long."""
    if shutil.which(command[0]) is None:
        fix = "install it (in the checkout: make system)"
        raise ToolFailed(Problem(f"there is no {Path(command[0]).name} here", fix=fix))
    with subprocess.Popen(
        command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            printed, _ = process.communicate(timeout=time_limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            what = "it did not finish in time and was killed"
            raise ToolFailed(
                Problem(what, Path(command[0]).name, limit=f"{time_limit_s:g} s", fix="run fewer samples")
            ) from None
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
    if process.returncode:
        last = "\n".join(printed.splitlines()[-_SHOWN_LINES:])
        raise ToolFailed(Problem(f"it failed with code {process.returncode}:\n{last}", Path(command[0]).name))
    return printed
