"""Lava that is missing, hangs, or raises something where nobody sees it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from neurocompile.backends.lava.runner import LavaMissing, find_lava_python, run_bundle
from neurocompile.errors import BadInput, ToolFailed
from tests.backends.lava.against import need_lava, write_bundle
from tests.backends.lava.test_bundle import program_of

X = {"x_seq": np.zeros((1, 4, 1, 8, 8), np.int64)}


def _bundle(tmp_path: Path, name: str = "digits-spikingjelly") -> Path:
    return write_bundle(program_of(name, "loihi2"), tmp_path / "lava")


def _change(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def test_no_interpreter_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(LavaMissing, match="make setup-lava") as caught:
        find_lava_python(tmp_path / "none")
    assert caught.value.exit_code == 1


def test_an_interpreter_without_lava_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(LavaMissing, match="pip install lava-nc"):
        run_bundle(_bundle(tmp_path), X, Path(sys.executable))


def test_a_folder_that_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no bundle"):
        run_bundle(tmp_path, X, Path(sys.executable))


def test_what_a_process_of_lava_raises_is_shown(tmp_path: Path) -> None:
    folder = _bundle(tmp_path)
    _change(folder / "equation.py", "    p = parameters\n", "    raise ValueError('a membrane of lead')\n")
    # Left alone, Lava would wait for ever: then the limit would end it, and say so.
    with pytest.raises(ToolFailed, match=r"Lava stopped with exit code[\s\S]*ValueError: a membrane of lead"):
        run_bundle(folder, X, need_lava(), time_limit_s=3600)


def test_what_lavas_own_process_raises_is_shown(tmp_path: Path) -> None:
    folder = _bundle(tmp_path, "digits")
    _change(folder / "network.py", "du=4095,", "du=4095.5,")  # a register that holds whole numbers only
    with pytest.raises(ToolFailed, match="TypeError: ufunc 'right_shift'"):
        run_bundle(folder, X, need_lava())


def test_lava_that_hangs_is_killed_with_its_children(tmp_path: Path) -> None:
    folder = _bundle(tmp_path)
    mark = tmp_path / "children"
    _change(
        folder / "own" / "neuron.py",
        "        a_in = self.a_in.recv()\n",
        f"        import os, time\n        open({str(mark)!r}, 'a').write(f'{{os.getpid()}}\\n')\n"
        "        a_in = self.a_in.recv()\n        time.sleep(3600)\n",
    )
    limit_s = 5
    while not mark.exists():  # where Lava starts more slowly than that, it is given longer before it is killed
        with pytest.raises(ToolFailed, match=f"did not finish within {limit_s} s and was killed"):
            run_bundle(folder, X, need_lava(), time_limit_s=limit_s)
        limit_s *= 4
    children = {int(line) for line in mark.read_text().split()}
    assert children
    while any(_runs(pid) for pid in children):  # for ever, if one of them is not killed
        time.sleep(0.1)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not status.exists() or status.read_text().rpartition(")")[2].split()[0] != "Z"
