"""Whole files of every kind that is read, and the commands that read them."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from spikingjelly.activation_based import layer, neuron
from torch import Tensor, nn

import neurocompile
from neurocompile.targets.reading import toml_of
from tests.fuzz.onnxfile import network, written

DATA = Path(__file__).parents[1] / "data"
SHAPE, STEPS = (4,), 3
PICKLED = "--input-shape 4 --timesteps 3"


@dataclass(frozen=True)
class Base:
    """A file (or a folder) that is altered, and commands in which ``{}`` is what became of it."""

    kind: str
    path: Path
    commands: tuple[str, ...]


@neurocompile.host
class Squash(nn.Module):
    """What no chip does."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x)


def bases(folder: Path) -> list[Base]:
    """Make all of them in a folder."""
    torch.set_num_threads(1)  # a fork has none of its parent's threads, and would wait for them
    torch.manual_seed(0)
    net = nn.Sequential(
        layer.Linear(4, 6, step_mode="m"), neuron.LIFNode(step_mode="m", detach_reset=True),
        layer.Linear(6, 3, step_mode="m"), neuron.IFNode(step_mode="m"),
    ).eval()  # fmt: skip
    hosted = nn.Sequential(*net[:2], Squash()).eval()
    x = torch.rand(STEPS, 5, *SHAPE)
    neurocompile.save(net, folder / "m.pt", x)
    neurocompile.save(hosted, folder / "hosted.pt", x)
    torch.save(net, folder / "pickled.pt")
    np.savez(folder / "x.npz", x=x.movedim(1, 0).numpy(), y=np.array([0, 1, 2, 0, 1]))
    np.savez_compressed(folder / "packed.npz", x=np.zeros((5, STEPS, *SHAPE), np.float32))
    np.save(folder / "x.npy", x.movedim(1, 0).numpy())
    programs = []
    for name, model, target in (
        ("generic", "m.pt", "generic"), ("loihi", "m.pt", "loihi"), ("nc1", "m.pt", "nc1"),
        ("hosted", "hosted.pt", "generic"),
    ):  # fmt: skip
        neurocompile.export(folder / model, target=target, out=folder / name)
        programs.append(folder / name)
    for version in range(1, 6):
        programs.append(Path(shutil.copytree(DATA / f"program-v{version}", folder / f"v{version}")))
    fired = neurocompile.simulate(folder / "generic", folder / "x.npz").spikes
    np.savez(folder / "fired.npz", **fired)
    for target in ("loihi", "nc1", "generic", "anp-i"):
        (folder / f"{target}.toml").write_text(toml_of(target))
    of_model = ("export {} --dry-run --json --no-validate", "inspect {} --json")
    found = [Base("model", folder / name, of_model) for name in ("m.pt", "hosted.pt")]
    found += [Base("model", file, of_model) for file in sorted(DATA.glob("model-v1*.pt"))]
    found.append(Base("model", folder / "pickled.pt", tuple(f"{each} {PICKLED}" for each in of_model)))
    found += _of_nir(folder)
    found += _of_onnx(folder)
    for program in programs:
        data = folder / "x.npz"
        own = ["inspect {} --json"]
        if program.name in ("generic", "loihi", "nc1", "hosted"):
            own.append(f"simulate {{}} --data {data} --json")
        if program.name == "generic":
            own.append(f"validate {{}} --data {data} --recorded {folder / 'fired.npz'} --json")
        found.append(Base("program", program, tuple(own)))
    of_data = (
        f"simulate {folder / 'generic'} --data {{}} --json",
        f"export {folder / 'm.pt'} --calibrate {{}} --dry-run --json",
    )
    found += [Base("data", folder / name, of_data) for name in ("x.npz", "packed.npz", "x.npy")]
    recorded = f"validate {folder / 'generic'} --recorded {{}} --data {folder / 'x.npz'} --json"
    found.append(Base("recording", folder / "fired.npz", (recorded,)))
    of_target = (
        "targets {} --json", f"export {folder / 'm.pt'} --target {{}} --dry-run --json --no-validate",
        f"simulate {folder / 'generic'} --data {folder / 'x.npz'} --price-as {{}} --json",
    )  # fmt: skip
    return found + [Base("target", file, of_target) for file in sorted(folder.glob("*.toml"))]


def _of_onnx(folder: Path) -> list[Base]:
    """Plain networks; a program's own file, which is none; and its folder, whose files are run."""
    plain = ("export {} --dry-run --json --no-validate", "inspect {} --json", "check {} --json --target loihi")
    found = []
    for rank in range(3):
        (folder / f"plain{rank}.onnx").write_bytes(network(rank))
        found.append(Base("onnx", folder / f"plain{rank}.onnx", plain))
    (folder / "written.onnx").write_bytes(written())
    found.append(Base("onnx", folder / "written.onnx", plain))
    neurocompile.export(folder / "m.pt", out=folder / "as-onnx", emit="onnx")
    found.append(Base("onnx", folder / "as-onnx" / "onnx" / "step.onnx", plain))
    ran = f"validate {{}} --data {folder / 'x.npz'} --recorded {folder / 'fired.npz'} --require onnx --json"
    return [*found, *[Base("onnx", folder / "as-onnx", (ran,))] * 2]


_NIR = (
    "norse-lif-100", "norse-box-100", "snntorch-leaky-none-late-0.9", "snntorch-recurrent-zero-once", "sinabs-conv-iaf",
    "rockpool-lif-0.02-0.01", "spikingjelly-lif-whole",
)  # fmt: skip
"""Files of other frameworks."""


def _of_nir(folder: Path) -> list[Base]:
    """Files in NIR: of other frameworks, and one that is written here."""
    found, dialects = [], json.loads((DATA / "nir" / "dialects.json").read_text())
    for name in _NIR:
        dialect = dialects[name]
        told = f"--dialect {dialect} --timesteps 3 --json"
        commands = (
            f"export {{}} {told} --dry-run --no-validate", f"inspect {{}} {told}", f"check {{}} {told} --target loihi",
        )  # fmt: skip
        found.append(Base("nir", DATA / "nir" / f"{name}.nir", commands))
    neurocompile.export(folder / "m.pt", out=folder / "as-nir", emit="nir", approximate=True)
    own = ("export {} --timesteps 3 --json --dry-run --no-validate", "inspect {} --timesteps 3 --json")
    return [*found, Base("nir", folder / "as-nir" / "nir" / "network.nir", own)]
