"""Writers of recordings, independent of the readers: each puts events of a layer into a file of its format."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import numpy as np

Array = Any


def csv(path: Path, head: str, *columns: Array) -> Path:
    rows = [",".join(str(value) for value in row) for row in zip(*(column.tolist() for column in columns))]
    path.write_text("\n".join([head, *rows]) + "\n")
    return path


def parquet(path: Path, **columns: Array) -> Path:
    import pyarrow
    from pyarrow import parquet

    parquet.write_table(pyarrow.table({name: pyarrow.array(each) for name, each in columns.items()}), path)
    return path


def nmnist(path: Path, t: Array, x: Array, y: Array, p: Array) -> Path:
    events = zip(*(column.tolist() for column in (t, x, y, p)))
    path.write_bytes(b"".join(bytes([x, y]) + (p << 23 | t).to_bytes(3, "big") for t, x, y, p in events))
    return path


def aedat2(path: Path, t: Array, x: Array, y: Array, p: Array) -> Path:
    """As jAER writes a DVS128: columns in bits 1 to 7, rows in 8 to 14, bit 0 clear for brighter."""
    words = (struct.pack(">II", y << 8 | x << 1 | (1 - p), t) for t, x, y, p in
             zip(*(column.tolist() for column in (t, x, y, p))))  # fmt: skip
    path.write_bytes(b"#!AER-DAT2.0\r\n# This is a raw AE data file\r\n" + b"".join(words))
    return path


def aedat3(path: Path, t: Array, x: Array, y: Array, p: Array) -> Path:
    words = [struct.pack("<II", x << 17 | y << 2 | p << 1 | 1, t) for t, x, y, p in
             zip(*(column.tolist() for column in (t, x, y, p)))]  # fmt: skip
    packet = struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, len(words), len(words), len(words))
    path.write_bytes(b"#!AER-DAT3.1\r\n#Format: RAW\r\n#!END-HEADER\r\n" + packet + b"".join(words))
    return path


def by_faery(path: Path, t: Array, x: Array, y: Array, p: Array, size: tuple[int, int]) -> Path:
    """AEDAT4, Prophesee RAW (EVT3), DAT and ES, as faery writes them."""
    import faery

    events = np.zeros(len(t), faery.EVENTS_DTYPE)
    events["t"], events["x"], events["y"], events["on"] = t, x, y, p
    faery.events_stream_from_array(events, size).to_file(path)
    return path


def by_expelliarmus(path: Path, encoding: str, t: Array, x: Array, y: Array, p: Array) -> Path:
    """Prophesee's DAT, EVT2 and EVT3, as expelliarmus writes them."""
    from expelliarmus import Wizard

    events = np.zeros(len(t), [("t", "<i8"), ("x", "<i2"), ("y", "<i2"), ("p", "u1")])
    events["t"], events["x"], events["y"], events["p"] = t, x, y, p
    Wizard(encoding=encoding).save(fpath=path, arr=events)
    return path


def nir_events(path: Path, name: str, spikes: Array, dt: float, late: float = 0.0) -> Path:
    """NIRGraphData with events, ``spikes`` [N, T, ...]."""
    import nir

    samples, steps = spikes.shape[:2]
    flat = spikes.reshape(samples, steps, -1)
    most = max(1, int(flat.sum((1, 2)).max()))
    idx, time = np.full((samples, most), -1), np.full((samples, most), np.inf)
    for sample in range(samples):
        step, neuron = np.nonzero(flat[sample])
        idx[sample, : len(step)], time[sample, : len(step)] = neuron, step * dt + late
    data = nir.EventData(idx, time, flat.shape[2], steps * dt)
    nir.write_data(path, nir.NIRGraphData({name: nir.NIRNodeData({"spikes": data})}))
    return path


def nir_grid(path: Path, spikes: dict[str, Array], dt: float) -> Path:
    import nir

    nodes = {
        name: nir.NIRNodeData({"spikes": nir.TimeGriddedData(each.reshape(*each.shape[:2], -1).astype(bool), dt)})
        for name, each in spikes.items()
    }
    nir.write_data(path, nir.NIRGraphData(nodes))
    return path
