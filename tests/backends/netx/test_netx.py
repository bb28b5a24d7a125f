"""Programs written as ``.net``, loaded by lava-dl's own loader and run in Lava, against the reference simulator."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from collections import Counter
from pathlib import Path

import h5py
import numpy as np
import pytest

from neurocompile.backends.netx import write_net
from tests.backends.netx.lava import CHECKOUT, need_lava, run_in_lava
from tests.random_networks.netx import KINDS, random_case

# A batch is one Lava process: batches of a quick run, networks of each kind in one and drawn to see that all is
# among them, seconds after which it hangs.
BATCHES = 1
EACH = 3
DRAWN = 9
SECONDS = 3600


@pytest.fixture(scope="module")
def lava() -> None:
    need_lava()


def compare_batch(batch: int, folder: Path) -> None:
    """Hold every layer's spikes and membranes of some networks in Lava against the simulator's."""
    cases = {f"{kind}-{n}": random_case(n, kind) for n in range(batch * EACH, (batch + 1) * EACH) for kind in KINDS}
    # Registers at the end of their range are not what this is about.
    kept = {name: case for name, case in cases.items() if not case.known.overflows}
    jobs = {name: (write_net(case.program), case.inputs["input"]) for name, case in kept.items()}
    found = run_in_lava(folder, jobs, SECONDS)
    counts: Counter[str] = Counter()
    for name in kept:
        wanted = kept[name].known
        for layer, membranes in wanted.potentials.items():
            fired = wanted.spikes.get(layer, np.zeros_like(membranes))
            counts["steps of neurons"] += membranes.size
            counts["spikes"] += int(fired.sum())
            for what, ours in (("spikes", fired), ("potentials", membranes)):
                theirs = found[name][f"{what}/{layer}"]
                assert theirs.shape == ours.shape, (name, layer)
                counts[f"{what} that differ"] += int((theirs != ours).sum())
    calibrated = sum(case.is_calibrated for case in kept.values())
    print(f"batch {batch}: {len(kept)} networks, {calibrated} of them calibrated, {dict(counts)}")
    assert counts["spikes that differ"] == counts["potentials that differ"] == 0
    assert len(kept) >= 10


@pytest.mark.parametrize("batch", range(BATCHES))
@pytest.mark.usefixtures("lava")
def test_lava_agrees(batch: int, tmp_path: Path) -> None:
    compare_batch(batch, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("batch", range(BATCHES, 28))
@pytest.mark.usefixtures("lava")
def test_lava_agrees_on_many(batch: int, tmp_path: Path) -> None:
    compare_batch(batch, tmp_path)


def test_everything_is_drawn() -> None:
    """The networks that are compared hold all that netx loads, and their layers fire."""
    cases = [random_case(n, kind) for n in range(DRAWN) for kind in KINDS]
    calibrated = sum(case.is_calibrated for case in cases)
    print(f"{calibrated} of {len(cases)} networks calibrated")
    assert calibrated >= 0.8 * len(cases)
    marks = Counter(mark for case in cases for mark in case.cases)
    wanted = {"conv", "groups", "dilation", "stride", "padding", "flatten", "flattened input", "recurrent", "readout"}
    wanted |= {"2-bit", "4-bit", "8-bit", "mixed", "positive", "negative", "current decay", "graded input"}
    wanted |= {"bias by one", "bias by channel", "bias by place", "bias exponent 7"}
    wanted |= {"1 layers", "2 layers", "3 layers", "4 layers", "5 layers"}
    assert wanted <= set(marks), wanted - set(marks)


def test_same_bytes() -> None:
    """Another process at another time writes the same file."""
    case = random_case(0, "conv-dense")
    ours = write_net(case.program)
    code = (
        "import hashlib; from tests.random_networks.netx import random_case; "
        "from neurocompile.backends.netx import write_net; "
        "print(hashlib.sha256(write_net(random_case(0, 'conv-dense').program)).hexdigest())"
    )
    theirs = subprocess.run([sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert theirs.stdout.strip() == hashlib.sha256(ours).hexdigest()
    assert write_net(case.program) == ours


def test_keys() -> None:
    """What netx reads is there, in netx's words."""
    case = next(c for n in range(99) if "flatten" in (c := random_case(n, "conv-dense")).cases and "conv" in c.cases)
    with h5py.File(io.BytesIO(write_net(case.program)), "r") as file:
        kinds = [file["layer"][str(number)]["type"][()].decode() for number in range(len(file["layer"]))]
        assert kinds[0] == "input"
        assert kinds[-2:] == ["flatten", "dense"]
        assert set(kinds[1:-2]) == {"conv"}
        conv = file["layer/1"]
        assert {"shape", "weight", "stride", "padding", "dilation", "groups", "neuron"} <= set(conv)
        assert set(conv["neuron"]) == {"type", "iDecay", "vDecay", "vThMant"}
        assert conv["neuron/type"][()] == b"CUBA"
        assert file.attrs["timesteps"] == case.program.timesteps
