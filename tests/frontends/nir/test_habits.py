"""What real files lack or say in another way, graphs within graphs, and what speaks for a dialect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest
import torch

import neurocompile
from neurocompile.errors import BadInput, DoesNotFit, UnsupportedModel, UsageError
from neurocompile.frontends import load_model
from neurocompile.frontends.nir.dialects import weighed
from neurocompile.frontends.nir.hdf5 import read_nir
from neurocompile.frontends.nir.network import network_of
from neurocompile.ir.ops import Array
from tests.frontends.nir.files import N, affine, chain, changed, edges, lif, put

STEPS = 12


def load(path: Path, **how: Any) -> Any:
    return load_model(path, **{"timesteps": STEPS, "dialect": "snntorch-zero", "readout": "sequence", **how})


def run(path: Path, x: Array | None = None, **how: Any) -> Array:
    """What its output reads, ``[N, T, ...]``."""
    model = load(path, **how)
    ((name, shape),) = model.input_shapes.items()
    x = np.random.default_rng(0).normal(0.5, 1, (4, STEPS, *shape)) if x is None else x
    (found,) = model.run({name: x.reshape(*x.shape[:2], *shape)}).outputs.values()
    assert found.any()
    return np.asarray(found)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return chain(tmp_path / "net.nir", affine(), lif())


@pytest.mark.parametrize("habit", [
    lambda held: held.pop("node/nodes/n1/v_reset"),
    lambda held: put(held, "node/nodes/input/shape", np.array([1, N])),
    lambda held: put(held, "node/nodes/input/shape", np.array([1, 1, N])),
    lambda held: put(held, "node/nodes/n1/tau", np.full((1, N), 1e-3)),
    lambda held: [put(held, f"node/nodes/n1/{name}", 10.0) for name in ("r",)],
    lambda held: put(held, "node/nodes/n0/weight", held["node/nodes/n0/weight"][()][None]),
    lambda held: put(held, "version", "0.1.1"),
])  # fmt: skip
def test_a_habit_changes_nothing(habit: Any, file: Path) -> None:
    wanted = run(file)
    assert np.array_equal(run(changed(file, habit)), wanted)


def test_a_file_without_ports(tmp_path: Path) -> None:
    """Neurons tell how many there are; what nothing leads to is given, what leads nowhere is read."""
    path = chain(tmp_path / "net.nir", lif(), affine(), lif())
    wanted = run(path)

    def bare(held: h5py.File) -> None:
        del held["node/nodes/input"], held["node/nodes/output"]
        edges(held, [("n0", "n1"), ("n1", "n2")])

    model = load(changed(path, bare))
    assert model.input_shapes == {"input": (N,)}
    assert any("the file has no Input" in note for note in model.notes)
    assert np.array_equal(run(path), wanted)


def test_float32_beside_float64(file: Path) -> None:
    weight = affine().weight.astype(np.float32)
    changed(file, lambda held: put(held, "node/nodes/n0/weight", weight))
    assert load(file).graph["n0"].op.weight.dtype == np.float64


def test_a_graph_within_a_graph(tmp_path: Path) -> None:
    flat = run(chain(tmp_path / "flat.nir", affine(), lif(), affine(seed=1), lif()))
    inner = nir.NIRGraph(
        {"input": nir.Input(np.array([N])), "w": affine(), "f": lif(), "output": nir.Output(np.array([N]))},
        [("input", "w"), ("w", "f"), ("f", "output")],
    )
    path = chain(tmp_path / "nested.nir", inner, affine(seed=1), lif())
    assert np.array_equal(run(path), flat)
    assert {node.name for node in load(path).graph} >= {"n0.w", "n0.f", "n1", "n2"}


@pytest.mark.parametrize("padding", [0, 1, "same", "valid"])
@pytest.mark.parametrize("axes", [1, 2])
def test_convolutions_are_those_of_torch(axes: int, padding: int | str, tmp_path: Path) -> None:
    draw = np.random.default_rng(axes)
    shape = (4, 6, 7)[: axes + 1]
    weight, bias = draw.normal(0, 1, (6, 2, 3, 2)[: axes + 2]), draw.normal(0, 1, 6)
    make = nir.Conv1d if axes == 1 else nir.Conv2d
    size = shape[1] if axes == 1 else shape[1:]
    conv = make(size, weight, 1, padding, 1, 2, bias)
    compute = torch.nn.functional.conv1d if axes == 1 else torch.nn.functional.conv2d
    x = draw.normal(0, 1, (4, STEPS, *shape))
    wanted = compute(
        torch.from_numpy(x.reshape(-1, *shape)), torch.from_numpy(weight), torch.from_numpy(bias), 1, padding, 1, 2
    ).numpy()
    path = chain(tmp_path / "net.nir", conv, into=shape, out=wanted.shape[1:])
    found = run(path, x, dialect="text", dt=1.0)
    assert np.allclose(found.reshape(wanted.shape), wanted, atol=1e-12)


@pytest.mark.parametrize("start", [0, 1])
def test_a_flatten_may_count_the_batch(start: int, tmp_path: Path) -> None:
    flatten = nir.Flatten({"input": np.array([1, 2, 2])}, start, -1)
    model = load(chain(tmp_path / "net.nir", flatten, affine(N, 4), lif(), into=(1, 2, 2)))
    assert model.input_shapes == {"input": (1, 2, 2)}
    assert any("start_dim 1 is taken to count the batch" in note for note in model.notes) == (start == 1)


# -- dialects ----------------------------------------------------------------------------------------------------------

TAU = np.array([2e-3, 5e-3, 1e-2])
EVIDENCE = {
    "snntorch": (lif(), {"snntorch", "snntorch-late", "snntorch-zero", "snntorch-none", "spikingjelly"}),
    "snntorch with a leak": (
        lif(v_leak=0.5), {"snntorch", "snntorch-late", "snntorch-zero", "snntorch-none"},
    ),
    "rockpool": (lif(tau=TAU, r=TAU * np.exp(-1e-3 / TAU) / 1e-3), {"rockpool"}),
    "sinabs": (lif(tau=10.0, r=1.0), {"sinabs", "sinabs-nonorm"}),
    "spyx": (lif(tau=10.0, r=0.9), {"spyx"}),
    "norse 1.1": (lif(tau=1e-5, r=1.0), {"norse-1.1"}),
    "norse": (lif(tau=1e-2, r=1.0), {"norse", "spikingjelly"}),
    "spikingjelly": (nir.IF(r=np.full(N, 1e4), v_threshold=np.ones(N), v_reset=np.zeros(N)), {"spikingjelly"}),
    "nobody's": (lif(tau=1e-2, r=3.0), set()),
}  # fmt: skip


@pytest.mark.parametrize("name", EVIDENCE)
def test_what_speaks_for_a_dialect(name: str, tmp_path: Path) -> None:
    cell, wanted = EVIDENCE[name]
    path = chain(tmp_path / "net.nir", affine(), cell)
    found = weighed(network_of(read_nir(path), str(path)))
    assert {dialect.name for dialect, _ in found} == wanted
    assert all(why for _, why in found)


def test_one_that_is_nobodys_is_asked_for(tmp_path: Path) -> None:
    path = chain(tmp_path / "net.nir", affine(), lif(tau=1e-2, r=3.0))
    with pytest.raises(UsageError, match="how long a step is"):
        load(path, dialect=None)
    assert load(path, dialect=None, dt=1e-3).dialect.name == "text"


def test_the_only_one_is_taken_and_told(tmp_path: Path) -> None:
    model = load(chain(tmp_path / "net.nir", affine(), lif(tau=1e-5, r=1.0)), dialect=None)
    assert model.dialect.name == "norse-1.1"
    assert any("read as norse-1.1: r = 1" in note for note in model.notes)


def test_metadata_may_name_it(tmp_path: Path) -> None:
    graph = nir.read(chain(tmp_path / "net.nir", affine(), lif()))
    graph.metadata = {"dialect": "snntorch-late", "dt": 2e-4}
    nir.write(tmp_path / "said.nir", graph)
    model = load(tmp_path / "said.nir", dialect=None)
    assert (model.dialect.name, model.dialect.dt, model.dialect.reset) == ("snntorch-late", 2e-4, "soft-late")
    assert load(tmp_path / "said.nir", dialect="norse").dialect.name == "norse"


def test_several_spikes_a_step(tmp_path: Path) -> None:
    """As sinabs fires: as many as fit, subtracted at once; on chips that fire once a step, and say so."""
    leaky = nir.LIF(*(np.full(N, value) for value in (5.0, 1.0, 0.0, 0.3, 0.0)))
    path = chain(tmp_path / "net.nir", affine(), leaky, affine(seed=1), nir.IF(np.ones(N), np.full(N, 0.5)))
    x = np.random.default_rng(0).normal(0.5, 2, (4, STEPS, N))
    program = neurocompile.compile(path, timesteps=STEPS, dialect="sinabs", calibrate=x, readout="sequence", bits=16)
    (real,) = (neurocompile.simulate(program, x, real=True).outputs or {}).values()
    assert np.array_equal(real, _as_sinabs(path, x))
    assert real.max() > 2
    (whole,) = (neurocompile.simulate(program, x).outputs or {}).values()
    assert (np.rint(whole) == real).mean() > 0.97
    with pytest.raises(DoesNotFit, match="several spikes a step"):
        neurocompile.compile(path, timesteps=STEPS, dialect="sinabs", calibrate=x, target="nc1")
    notes = neurocompile.compile(path, timesteps=STEPS, dialect="sinabs", calibrate=x, target="loihi").notes
    assert any("not a neuron of the chip: it fires several spikes a step" in note for note in notes)
    assert load(path, dialect="sinabs", spikes="one").dialect.spikes == "one"


def _as_sinabs(path: Path, x: Array) -> Array:
    """One leaky layer and one without leak, by hand."""
    nodes = nir.read(path, type_check=False).nodes
    keep, out = np.exp(-1 / 5.0), np.zeros_like(x)
    u = v = np.zeros((len(x), N))
    for t in range(STEPS):
        u = keep * u + (1 - keep) * (x[:, t] @ nodes["n0"].weight.T + nodes["n0"].bias)
        fired = np.where(u > 0, np.trunc(u / 0.3), 0)
        u = u - 0.3 * fired
        v = v + fired @ nodes["n2"].weight.T + nodes["n2"].bias
        out[:, t] = np.where(v > 0, np.trunc(v / 0.5), 0)
        v = v - 0.5 * out[:, t]
    return out


@pytest.mark.parametrize(
    ("how", "why"),
    [({"dialect": "snntorch", "spikes": "many"}, "in the next one"),
     ({"dialect": "snntorch-late", "spikes": "many"}, "in the next one")],
)  # fmt: skip
def test_several_spikes_that_no_neuron_has(how: dict[str, Any], why: str, file: Path) -> None:
    with pytest.raises(UnsupportedModel, match=why):
        load(file, **how)


@pytest.mark.parametrize("how", [{"fire": "gt"}, {"reset": "hard"}, {"reset": "none"}])
def test_several_spikes_with_other_parts(how: dict[str, Any], tmp_path: Path) -> None:
    """The graph is held against the file when it is read."""
    path = chain(tmp_path / "net.nir", affine(), nir.IF(np.ones(N), np.full(N, 0.25), np.full(N, 0.125)))
    x = np.random.default_rng(3).integers(0, 3, (4, STEPS, N)) / 4
    assert run(path, x, dialect="sinabs", **how).max() > 1


def test_options_of_torch_are_none_of_nirs(file: Path) -> None:
    with pytest.raises(UsageError, match="file says this itself") as caught:
        load(file, layout="TN", arch="a:b")
    assert len(caught.value.problems) == 2


@pytest.mark.parametrize(
    "metadata", [{"dt": -1.0}, {"dt": "x"}, {"reset": "softly"}, {"gain": 3}, {"fire": np.ones(3)}]
)
def test_metadata_that_say_nothing_are_refused(metadata: dict[str, Any], tmp_path: Path) -> None:
    graph = nir.read(chain(tmp_path / "net.nir", affine(), lif()))
    graph.metadata = {"dialect": "norse-1.1", **metadata}
    nir.write(tmp_path / "said.nir", graph)
    with pytest.raises(BadInput, match="metadata"):
        load(tmp_path / "said.nir", dialect=None)


def test_options_of_nir_are_none_of_torchs(tmp_path: Path) -> None:
    torch.save(torch.nn.Sequential(torch.nn.Linear(2, 2)).eval(), tmp_path / "m.pt")
    with pytest.raises(UsageError, match="this is for"):
        load_model(tmp_path / "m.pt", input_shape=(2,), timesteps=3, dialect="norse")


def test_ones_before_the_parameters_of_neurons(tmp_path: Path) -> None:
    """Found by the file fuzzer: they were taken for more axes of the layer, and the proof broke."""
    plain, wide = (lif(), lif())
    wide.r, wide.tau = wide.r.reshape(1, 1, -1), wide.tau[None]
    models = [
        load_model(chain(tmp_path / f"{k}.nir", affine(), cell), timesteps=4, dialect="snntorch")
        for k, cell in enumerate((plain, wide))
    ]
    assert models[0].graph.same_as(models[1].graph)
