"""Writing a ``.net`` file. The keys are those that lava-dl 0.6.0 reads; attributes are for people and run_netx.py."""

from __future__ import annotations

import io
from typing import Any

import h5py
import numpy as np

from neurocompile.backends.netx.layers import Geometry, Layer, net_of
from neurocompile.errors import DoesNotFit, Problem
from neurocompile.ir.ops import Array
from neurocompile.program import Program

__all__ = ["net_files", "problems_with", "write_net"]

# A decay of netx is what is lost of a register in a step, of so many parts.
_WHOLE = 4096


def problems_with(program: Program) -> list[Problem]:
    """Everything for which netx cannot load a program, or would not run it exactly; nothing if it can."""
    net = net_of(program)
    return net if isinstance(net, list) else []


def net_files(program: Program) -> dict[str, bytes]:
    """The one file of this backend."""
    return {"network.net": write_net(program)}


def write_net(program: Program) -> bytes:
    """The ``.net`` file of a program; the same program gives the same bytes.

    Raises:
        DoesNotFit: with every reason for which netx cannot load it.
    """
    net = net_of(program)
    if isinstance(net, list):
        raise DoesNotFit(net)
    buffer = io.BytesIO()
    with h5py.File(buffer, "w", libver="earliest") as file:
        file.attrs["timesteps"] = program.timesteps
        file.attrs["input_message_bits"] = net.message_bits
        file.attrs["reset_offset"] = 1
        layers = file.create_group("layer")
        first = _next_layer(layers, "input")
        first["shape"] = _integers(net.input_shape)
        for layer in net.layers:
            if layer.flat:
                _next_layer(layers, "flatten")
            _write_layer(layers, layer)
    return buffer.getvalue()


def _next_layer(layers: Any, kind: str) -> Any:
    group = layers.create_group(str(len(layers)))
    group["type"] = np.bytes_(kind)
    return group


def _write_layer(layers: Any, layer: Layer) -> None:
    if layer.geometry is not None:
        group = _next_layer(layers, "conv")
        _write_geometry(group, layer.geometry)
    else:
        group = _next_layer(layers, "dense" if layer.recurrent is None else "dense_rec")
    group.attrs["name"] = layer.name
    group["shape"] = _integers(layer.shape)
    group["weight"] = layer.weight.astype("<i2")
    if layer.recurrent is not None:
        group["weight_rec"] = layer.recurrent.astype("<i2")
    if np.any(layer.bias):
        group["bias"] = _bias(layer).astype("<i2")
    neuron = group.create_group("neuron")
    neuron["type"] = np.bytes_("CUBA")
    neuron["iDecay"] = _integers(_WHOLE - int(np.max(layer.registers.current_decay)))
    neuron["vDecay"] = _integers(_WHOLE - int(np.max(layer.registers.decay)))
    neuron["vThMant"] = _integers(layer.registers.vth)


def _write_geometry(group: Any, geometry: Geometry) -> None:
    group["stride"] = _integers(geometry.stride)
    group["padding"] = _integers(geometry.padding)
    group["dilation"] = _integers(geometry.dilation)
    group["groups"] = _integers(geometry.groups)


def _bias(layer: Layer) -> Array:
    """A number for each neuron or, of a map, for each channel; by place in Lava's order: width, height, channel."""
    if layer.geometry is None:
        return np.broadcast_to(layer.bias, layer.shape)
    if layer.bias.size == layer.shape[0] or layer.bias.ndim == 0:
        return np.broadcast_to(layer.bias.reshape(-1), layer.shape[:1])
    return layer.bias.transpose(2, 1, 0)


def _integers(values: int | tuple[int, ...]) -> Array:
    return np.asarray(values, "<i8")
