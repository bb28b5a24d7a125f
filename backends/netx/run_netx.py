"""Run ``.net`` files with lava-dl's loader in Lava's fixed-point simulation: ``PYTHON run_netx.py NAME...``.

PYTHON is one that has lava-nc and h5py, with lava-dl's loader on its path (see fetch_netx.py). For each NAME, NAME.net
runs on NAME.npz, whose array ``x`` holds integers ``[N, T, *shape]``, and NAME.out.npz gets for each layer, by the name
that the file gives it, ``spikes/LAYER`` and ``potentials/LAYER`` (membranes after the reset) ``[N, T, *shape]``,
row-major over channel, height and width. They are in network time: what layer k does k steps later is moved back.

Where Lava fails, its processes may hang: call this with a limit of time, and kill its process group.
"""

from __future__ import annotations

import os
import sys
from typing import Any

import h5py
import numpy as np
from lava.lib.dl.netx import hdf5
from lava.magma.core.run_conditions import RunSteps
from lava.magma.core.run_configs import Loihi2SimCfg
from lava.proc.io.sink import RingBuffer as Sink
from lava.proc.io.source import RingBuffer as Source


def run(net_path: str, x: Any) -> dict[str, Any]:
    """Run one file; ``x[N, T, *shape]`` holds integers."""
    names, settings = _read(net_path)
    samples, timesteps = x.shape[:2]
    recurrent = any("weight_rec" in layer for layer in settings["layers"])
    # One sample follows the other, each layer is cleared when the first data of the next one reach it. Spikes on their
    # way back to a recurrent layer are not: there the pipeline is emptied between samples.
    interval = timesteps + (len(names) if recurrent else 0)
    steps = samples * interval + len(names)
    net = hdf5.Network(
        net_path,
        input_message_bits=settings["input_message_bits"],
        reset_interval=interval,
        reset_offset=settings["reset_offset"],
    )
    source = Source(data=_arranged(x, tuple(net.inp.shape), interval, steps))
    source.s_out.connect(net.inp)
    sinks = [Sink(shape=tuple(layer.out.shape), buffer=steps) for layer in net.layers]
    for layer, sink in zip(net.layers, sinks):
        layer.out.connect(sink.a_in)
    potentials: list[list[Any]] = [[] for _ in names]
    for step in range(steps):
        net.run(condition=RunSteps(num_steps=1), run_cfg=Loihi2SimCfg(select_tag="fixed_pt"))
        for layer, kept in zip(net.layers, potentials):
            kept.append(np.array(layer.neuron.v.get()))
        if recurrent and (step + 1) % interval == 0:
            _clear(net)
    found = {}
    for k, (name, sink) in enumerate(zip(names, sinks), 1):
        spikes = np.moveaxis(sink.data.get(), -1, 0)
        for what, values in (("spikes", spikes), ("potentials", np.stack(potentials[k - 1]))):
            ours = values.transpose(0, *range(values.ndim - 1, 0, -1))
            begun = ours[k : k + samples * interval].reshape(samples, interval, *ours.shape[1:])
            found[f"{what}/{name}"] = begun[:, :timesteps].astype(np.int64)
    net.stop()
    return found


def _read(path: str) -> tuple[list[str], dict[str, Any]]:
    """The names of the layers that have neurons, and what the file says about running it."""
    with h5py.File(path, "r") as file:
        groups = [file["layer"][str(number)] for number in range(len(file["layer"]))]
        layers = [group for group in groups if "neuron" in group]
        names = [str(group.attrs.get("name", number)) for number, group in enumerate(layers)]
        return names, {
            "input_message_bits": int(file.attrs.get("input_message_bits", 0)),
            "reset_offset": int(file.attrs.get("reset_offset", 1)),
            "layers": [set(group) for group in layers],
        }


def _arranged(x: Any, shape: tuple[int, ...], interval: int, steps: int) -> Any:
    """The input as Lava's source sends it: ``[*shape, steps]``, a map as width, height, channel."""
    samples, timesteps = x.shape[:2]
    data = np.zeros((*shape, steps), np.int32)
    for sample in range(samples):
        begun = sample * interval
        maps = x[sample].reshape(timesteps, *shape[::-1])
        data[..., begun : begun + timesteps] = maps.transpose(*range(maps.ndim - 1, 0, -1), 0)
    return data


def _clear(net: Any) -> None:
    """Empty every register, and what is on its way through a synapse."""
    for layer in net.layers:
        synapses = [layer.synapse, *([layer.synapse_rec] if hasattr(layer, "synapse_rec") else [])]
        buffers = [s.a_buff if hasattr(s, "a_buff") else s.a_buf for s in synapses]
        for register in (layer.neuron.u, layer.neuron.v, *buffers):
            register.set(np.zeros(register.shape, np.int32))


def main(names: list[str]) -> None:
    """Run each file, and write what it did under its name only when it is complete."""
    for name in names:
        with np.load(f"{name}.npz") as data:
            found = run(f"{name}.net", data["x"])
        with open(f"{name}.out.npz.partial", "wb") as file:
            np.savez(file, **found)
        os.replace(f"{name}.out.npz.partial", f"{name}.out.npz")


if __name__ == "__main__":
    main(sys.argv[1:])
