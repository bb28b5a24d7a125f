"""A .nir file may hold anything: it is refused with what is wrong and where, quickly; nothing outside it is read."""

from __future__ import annotations

import random
import resource
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from neurocompile.errors import BadInput, NeurocompileError, UnsupportedModel, UsageError
from neurocompile.frontends import load_model
from tests.frontends.nir.files import N, affine, chain, changed, edges, lif, put

Change = Callable[[h5py.File], Any]
LIF = "node/nodes/n1"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return chain(tmp_path / "net.nir", affine(), lif())


def load(path: Path, **how: Any) -> Any:
    return load_model(path, **{"timesteps": 5, "dialect": "snntorch-zero", **how})


def test_the_file_itself_is_good(file: Path) -> None:
    assert load(file).input_shapes == {"input": (N,)}


def _nothing(file: h5py.File) -> None:
    del file["node"]


def _declared(file: h5py.File) -> None:
    del file["node/nodes/n0/weight"]
    file.create_dataset("node/nodes/n0/weight", (400_000, 200_000), "f8", chunks=(1000, 1000))


def _outside(file: h5py.File) -> None:
    with h5py.File(Path(file.filename).with_name("other.h5"), "w") as other:
        other["weight"] = np.ones((N, N))
    del file["node/nodes/n0/weight"]
    file["node/nodes/n0/weight"] = h5py.ExternalLink("other.h5", "weight")


def _external(file: h5py.File) -> None:
    Path(file.filename).with_name("raw").write_bytes(bytes(8 * N * N))
    del file["node/nodes/n0/weight"]
    file.create_dataset("node/nodes/n0/weight", (N, N), "f8", external=[("raw", 0, 8 * N * N)])


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((N, N), "f8")
    layout[:] = h5py.VirtualSource("other.h5", "weight", (N, N))
    del file["node/nodes/n0/weight"]
    file.create_virtual_dataset("node/nodes/n0/weight", layout)


def _soft(file: h5py.File) -> None:
    del file["node/nodes/n0/weight"]
    file["node/nodes/n0/weight"] = h5py.SoftLink("/node/nodes/n1/tau")


def _round(file: h5py.File) -> None:
    file["node/nodes/n0/again"] = file["node/nodes"]
    put(file, "node/nodes/n0/type", "NIRGraph")
    file["node/nodes/n0/nodes"] = file["node/nodes"]


def _deep(file: h5py.File) -> None:
    at = file["node/nodes/n0"]
    for _ in range(40):
        put(file, f"{at.name}/type", "NIRGraph")
        at = at.create_group("nodes/inner")
    at["type"] = "Linear"


WRONG: dict[str, tuple[Change, str]] = {
    "nothing in it": (_nothing, "no NIR graph"),
    "640 GB declared": (_declared, "declares more than such a file holds"),
    "a link to another file": (_outside, "a link out of its place"),
    "a soft link": (_soft, "a link out of its place"),
    "numbers in another file": (_external, "in another file"),
    "a virtual dataset": (_virtual, "in another file"),
    "a group that holds itself": (_round, "holds itself"),
    "graphs within graphs within graphs": (_deep, "too deep"),
    "a name with a slash": (lambda f: put(f, "node/nodes/a/b/type", "LIF"), "a text is missing|no group"),
    "NaN": (lambda f: put(f, f"{LIF}/r", np.full(N, np.nan)), "r is NaN or infinite"),
    "a negative tau": (lambda f: put(f, f"{LIF}/tau", np.full(N, -1.0)), "tau is no time"),
    "a tau of 0": (lambda f: put(f, f"{LIF}/tau", np.zeros(N)), "tau is no time"),
    "texts for numbers": (lambda f: put(f, f"{LIF}/tau", "much"), "tau holds no numbers"),
    "no threshold": (lambda f: f.pop(f"{LIF}/v_threshold"), "v_threshold is missing"),
    "parameters of two widths": (lambda f: put(f, f"{LIF}/tau", np.ones(2)), "different shapes"),
    "another width than its weights": (lambda f: put(f, "node/nodes/n0/weight", np.ones((2, N))), "does not fit"),
    "a primitive that is none": (lambda f: put(f, f"{LIF}/type", "Spiker"), "Spiker is no primitive"),
    "an edge to nowhere": (lambda f: edges(f, [("input", "n0"), ("n0", "lif"), ("n1", "output")]), "leads to no node"),
    "an edge twice": (
        lambda f: edges(f, [("input", "n0"), ("n0", "n1"), ("n0", "n1"), ("n1", "output")]), "is there twice",
    ),
    "a node that nothing leads to": (lambda f: edges(f, [("input", "n0"), ("n1", "output")]), "no edge leads|leads"),
    "an edge into an input": (
        lambda f: edges(f, [("input", "n0"), ("n0", "n1"), ("n1", "output"), ("n1", "input")]),
        "n1 -> input enters the network's input",
    ),
    "an edge out of an output": (
        lambda f: edges(f, [("input", "n0"), ("n0", "n1"), ("n1", "output"), ("output", "n0")]),
        "output -> n0 leaves the network's output",
    ),
    "a shape beyond all numbers": (
        lambda f: put(f, "node/nodes/input/shape", np.array([1e300, 1e300])), "shape is none",
    ),
    "edges that are no pairs": (lambda f: put(f, "node/edges", np.ones(3)), "no pairs of names"),
    "a shape that is none": (lambda f: put(f, "node/nodes/input/shape", np.array([2.5])), "shape is none"),
    "complex weights": (lambda f: put(f, "node/nodes/n0/weight", np.ones((N, N), complex)), "no numbers"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said(name: str, file: Path) -> None:
    change, what = WRONG[name]
    changed(file, change)
    with pytest.raises(BadInput, match=what) as caught:
        load(file)
    assert all("net.nir" in problem.where for problem in caught.value.problems)


def test_everything_that_is_wrong_is_said_at_once(file: Path) -> None:
    def change(held: h5py.File) -> None:
        put(held, f"{LIF}/r", np.full(N, np.inf))
        put(held, "node/nodes/n0/weight", np.ones(5))
        edges(held, [("input", "n0"), ("n0", "n2"), ("n1", "output")])

    changed(file, change)
    with pytest.raises(BadInput) as caught:
        load(file)
    assert len(caught.value.problems) == 3


def test_a_step_longer_than_tau_names_the_dialect_that_makes_sense_of_it(tmp_path: Path) -> None:
    path = chain(tmp_path / "net.nir", affine(), lif(tau=1e-5, r=1.0))
    with pytest.raises(UnsupportedModel, match="tau is shorter than a step of") as caught:
        load(path, dialect="norse")
    assert "--dialect norse-1.1" in caught.value.problems[0].fix
    assert load(path, dialect="norse-1.1").dialect.dt == 1e-6


@pytest.mark.parametrize("dt", [0.0, -1.0, float("nan")])
def test_a_step_of_no_length(dt: float, file: Path) -> None:
    with pytest.raises(UsageError, match="dt cannot be this"):
        load(file, dialect=None, dt=dt)


def test_a_cycle_in_which_nothing_fires(tmp_path: Path) -> None:
    path = chain(tmp_path / "net.nir", affine(), affine(seed=1), lif())
    pairs = [("input", "n0"), ("n0", "n1"), ("n1", "n0"), ("n1", "n2"), ("n2", "output")]
    changed(path, lambda held: edges(held, pairs))
    with pytest.raises(UnsupportedModel, match="a cycle in which nothing fires or waits"):
        load(path)


def test_a_heap_in_which_hdf5_goes_round_for_ever(file: Path) -> None:
    """A collection of texts whose first object is none, and has no size."""
    held = bytearray(file.read_bytes())
    start = held.index(b"GCOL")
    held[start + 16 : start + 32] = bytes(16)
    file.write_bytes(held)
    with pytest.raises(BadInput, match="a heap of its texts is damaged"):
        load(file)


def test_a_file_that_is_no_hdf5_at_all(file: Path) -> None:
    file.write_bytes(b"nothing")
    with pytest.raises(BadInput, match="does not begin as HDF5 does"):
        load(file)


def test_a_dialect_that_a_file_names(file: Path) -> None:
    changed(file, lambda f: put(f, "node/metadata/dialect", "mine"))
    with pytest.raises(BadInput, match="there is no such dialect"):
        load_model(file, timesteps=5)


def test_a_file_that_is_cut_short(file: Path) -> None:
    content = file.read_bytes()
    for size in range(8, len(content), len(content) // 12):
        file.write_bytes(content[:size])
        with pytest.raises(BadInput):
            load(file)


def _corrupted(file: Path, seed: int, count: int) -> None:
    """Four bytes that are others: the file is read, or refused, within 300 MB."""
    content, draw = file.read_bytes(), random.Random(seed)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(count):
        data = bytearray(content)
        at = draw.randrange(len(data) - 4)
        data[at : at + 4] = draw.randbytes(4)
        file.write_bytes(bytes(data))
        with suppress(NeurocompileError):
            load(file)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024


def test_some_corruptions(file: Path) -> None:
    _corrupted(file, 0, 100)


@pytest.mark.slow
def test_a_thousand_corruptions(file: Path) -> None:
    _corrupted(file, 1, 1000)


def test_every_neuron_that_makes_no_step_is_named(tmp_path: Path) -> None:
    path = chain(tmp_path / "net.nir", affine(), lif(tau=1e-5), affine(seed=1), lif(), affine(seed=2), lif(tau=2e-5))
    with pytest.raises(UnsupportedModel) as caught:
        load(path)
    assert [problem.where for problem in caught.value.problems] == ["n1", "n5"]
