"""The HDF5 of a .nir file, read within limits: plain hard links, sizes that the file can hold, numbers and texts.

NIR's own package is not asked: it refuses files that are in use, and frameworks want different versions of it. A file
may hold anything; what it declares is held against its size before memory is taken, and nothing outside it is opened.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import h5py
import numpy as np

from neurocompile.errors import BadInput, Problem
from neurocompile.files import opened
from neurocompile.ir.ops import Array
from neurocompile.printable import first_line

__all__ = ["Raw", "read_nir", "read_nir_data"]

Found = TypeVar("Found")

DEPTH = 16
NODES = 100_000
_SMALL = 64 << 20
_HEAP = b"GCOL\x01\x00\x00\x00"
_RATIO = 200
_MEMORY = 128 << 20  # beside what the file holds
_FIX = "write the file again, or copy it again: it may be cut short"


@dataclass(frozen=True)
class Raw:
    """One node as the file has it.

    Attributes:
        kind: its type, in NIR's words.
        fields: its arrays and texts.
        nodes: of a NIRGraph: those in it.
        edges: of a NIRGraph: pairs of their names.
        metadata: whatever somebody kept with it.
    """

    kind: str
    fields: Mapping[str, Array | str] = field(default_factory=dict)
    nodes: Mapping[str, Raw] = field(default_factory=dict)
    edges: tuple[tuple[str, str], ...] = ()
    metadata: Mapping[str, Any] = field(default_factory=dict)


def read_nir(path: Path) -> Raw:
    """What a .nir file holds.

    Args:
        path: of the file.

    Raises:
        BadInput: for what is no such file, damaged, or larger inside than it may be.
    """
    return _read(path, lambda reader, root: reader.root(root))


def read_nir_data(path: Path, dt: float | None = None, steps: int | None = None) -> dict[str, Array]:
    """What a file of :func:`nir.write_data` (NIRGraphData) recorded of each node: ``[samples, steps, neurons]``.

    Args:
        path: of the file.
        dt: of a step, for events that have times; None: that of what is sampled in steps, if anything is.
        steps: that a recording has where nothing says how long one is; None: that is refused.

    Raises:
        BadInput: for what is no such file, damaged, or larger inside than it may be; for times without a dt.
    """
    return _read(path, lambda reader, root: reader.data(root, dt, steps))


def _read(path: Path, take: Callable[[_Reader, h5py.File], Found]) -> Found:
    with opened(path) as file:
        size = path.stat().st_size
        try:
            _check_heaps(file)
            with _bounded(_MEMORY + 2 * max(_SMALL, _RATIO * size)), h5py.File(file, "r") as root:
                return take(_Reader(size), root)
        except _Refused as refused:
            raise BadInput(
                Problem(refused.what, f"{path}{refused.where}", refused.actual, refused.limit, refused.fix)
            ) from None
        except (
            OSError,
            RuntimeError,
            KeyError,
            ValueError,
            TypeError,
            AttributeError,
            MemoryError,
            OverflowError,
        ) as error:
            what = f"this cannot be read as HDF5: {first_line(error)}"
            raise BadInput(Problem(what, str(path), fix=_FIX)) from error


def _check_heaps(file: BinaryIO) -> None:
    """Walk every heap of texts as HDF5 does, which goes round for ever where an object of no size stands in one.

    (File Format Specification 3.0, III.E: a global heap collection and its objects.)
    """
    file.seek(0, 2)
    if not file.tell():
        return
    with mmap(file.fileno(), 0, access=ACCESS_READ) as held:
        start = held.find(_HEAP)
        while start >= 0:
            if start % 8 == 0 and start + 16 <= len(held):
                _check_heap(held, start)
            start = held.find(_HEAP, start + 1)
    file.seek(0)


def _check_heap(held: mmap, start: int) -> None:
    (size,) = struct.unpack_from("<Q", held, start + 8)
    end, place = start + size, start + 16
    if end > len(held):
        return  # HDF5 says so itself
    while place + 16 <= end:
        number, _, _, size = struct.unpack_from("<HHIQ", held, place)
        step = 16 + (size + 7) // 8 * 8 if number else size
        if step < 16 or place + step > end:
            raise _Refused("a heap of its texts is damaged", f": byte {place:,}")
        place += step


@contextmanager
def _bounded(most: int) -> Iterator[None]:
    """Let nothing within take more memory than so many bytes: HDF5 believes what a damaged file says of its heaps."""
    try:
        import resource

        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        before = resource.getrlimit(resource.RLIMIT_AS)
    except (ImportError, OSError):  # no Linux
        yield
        return
    soft, hard = before
    if soft != resource.RLIM_INFINITY and soft <= now + most:
        yield
        return
    resource.setrlimit(resource.RLIMIT_AS, (now + most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


class _Refused(Exception):
    def __init__(self, what: str, where: str = "", actual: str = "", limit: str = "", fix: str = _FIX) -> None:
        super().__init__(what)
        self.what, self.where, self.actual, self.limit, self.fix = what, where, actual, limit, fix


def _kind(group: Any) -> str:
    found = group.attrs.get("__type__", "")
    return found if isinstance(found, str) else ""


class _Reader:
    def __init__(self, size: int) -> None:
        self.left = self.most = max(_SMALL, _RATIO * size)
        self.texts = size  # in an array: each takes more than a byte
        self.nodes = 0
        self.open: list[int] = []  # the groups that the one at hand lies in

    def root(self, root: h5py.File) -> Raw:
        members = dict(self._members(root, ""))
        if "node" not in members or not isinstance(members["node"], h5py.Group):
            raise _Refused("this HDF5 file is no NIR graph", limit="a group named node")
        return self._node(members["node"], "/node")

    def data(self, root: h5py.File, dt: float | None, steps: int | None) -> dict[str, Array]:
        held = dict(self._observed(root, "", ""))
        sampled = [float(group.attrs["dt"]) for _, group in held.values() if _kind(group) == "TimeGriddedData"]
        step = dt or next(iter(sampled), None)
        if step is None and steps:
            ends = [float(group.attrs["t_max"]) for _, group in held.values() if "t_max" in group.attrs]
            step = max(ends, default=0.0) / steps
        return {name: self._series(group, where, step) for name, (where, group) in held.items()}

    def _observed(self, group: h5py.Group, prefix: str, where: str) -> Iterator[tuple[str, tuple[str, h5py.Group]]]:
        """For each node, where its spikes are: the observable of that name, or the only one."""
        if _kind(group) != "NIRGraphData":
            raise _Refused("this HDF5 file is no NIRGraphData, and no .npz", where, fix="write it with nir.write_data")
        if len(self.open) >= DEPTH:
            raise _Refused("graphs lie too deep in one another", where, f"more than {DEPTH}", str(DEPTH))
        self.open.append(-1)
        for name, each in self._members(group["nodes"], f"{where}/nodes"):
            at = f"{where}/nodes/{name}"
            if _kind(each) == "NIRGraphData":
                yield from self._observed(each, f"{prefix}{name}.", at)
                continue
            seen = dict(self._members(each["observables"], f"{at}/observables"))
            likely = [key for key in seen if "spike" in key] or [key for key in seen if len(seen) == 1 or key == name]
            if likely:
                yield prefix + name, (f"{at}/observables/{likely[0]}", seen[likely[0]])
        self.open.pop()

    def _series(self, group: h5py.Group, where: str, dt: float | None) -> Array:
        """Of one observable, ``[samples, steps, neurons]``; events of a step are counted, or their values added."""
        if _kind(group) == "TimeGriddedData":
            return np.asarray(self._numbers(group, "data", where), np.float64)
        if dt is None or dt <= 0:
            raise _Refused("its events have times, and nothing says how long a step is", where, fix="give --dt")
        index, time = self._numbers(group, "idx", where), self._numbers(group, "time", where)
        value = self._numbers(group, "value", where) if "value" in group else np.ones(index.shape)
        neurons, steps = int(group.attrs["n_neurons"]), round(float(group.attrs["t_max"]) / dt)
        if index.ndim != 2 or not index.shape == time.shape == value.shape or min(neurons, steps) < 1:
            raise _Refused("its events do not fit together", where)
        if len(index) * steps * neurons > 1 << 28:
            raise _Refused("it is too long", where, f"{steps:,} steps of {neurons:,} neurons", f"{1 << 28:,} numbers")
        sample, place = np.nonzero((index >= 0) & np.isfinite(time))
        step = np.floor(time[sample, place] / dt + 1e-6).clip(-1, steps).astype(np.int64)
        neuron = index[sample, place].astype(np.int64)
        if (step < 0).any() or (step >= steps).any() or (neuron >= neurons).any():
            raise _Refused("an event is later than the recording ends, or of no neuron", where)
        found = np.zeros((len(index), steps, neurons))
        np.add.at(found, (sample, step, neuron), value[sample, place])
        return found

    def _numbers(self, group: h5py.Group, name: str, where: str) -> Array:
        found = self._value(group.get(name), f"{where}/{name}")
        if not isinstance(found, np.ndarray) or found.dtype == object:
            raise _Refused("numbers should be here", f"{where}/{name}")
        return found

    def _members(self, group: h5py.Group, where: str) -> Iterator[tuple[str, Any]]:
        for name in group:
            link = group.get(name, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise _Refused("a link out of its place; only what lies in the file itself is read", f"{where}/{name}")
            yield name, group[name]

    def _node(self, group: h5py.Group, where: str) -> Raw:
        place = h5py.h5o.get_info(group.id).addr
        if place in self.open:
            raise _Refused("a group that holds itself", where)
        if len(self.open) >= DEPTH:
            raise _Refused("graphs lie too deep in one another", where, f"more than {DEPTH}", str(DEPTH))
        self.nodes += 1
        if self.nodes > NODES:
            raise _Refused("too many nodes", where, f"more than {NODES}", str(NODES))
        self.open.append(place)
        members = dict(self._members(group, where))
        kind = self._text(members.pop("type", None), f"{where}/type")
        metadata = self._plain(members.pop("metadata", None), f"{where}/metadata")
        if kind != "NIRGraph":
            fields = {name: self._value(each, f"{where}/{name}") for name, each in members.items()}
            found = Raw(kind, {name: value for name, value in fields.items() if value is not None}, metadata=metadata)
        else:
            found = self._graph(members, where, metadata)
        self.open.pop()
        return found

    def _graph(self, members: Mapping[str, Any], where: str, metadata: Mapping[str, Any]) -> Raw:
        held = members.get("nodes")
        if not isinstance(held, h5py.Group):
            raise _Refused("a graph without nodes", where)
        nodes = {}
        for name, each in self._members(held, f"{where}/nodes"):
            if not isinstance(each, h5py.Group):
                raise _Refused("a node that is no group (a name with a / is read as a path)", f"{where}/nodes/{name}")
            nodes[name] = self._node(each, f"{where}/nodes/{name}")
        pairs = self._value(members.get("edges"), f"{where}/edges")
        if pairs is None or (isinstance(pairs, np.ndarray) and pairs.size == 0):
            return Raw("NIRGraph", {}, nodes, (), metadata)
        if not isinstance(pairs, np.ndarray) or pairs.dtype != object or pairs.ndim != 2 or pairs.shape[1] != 2:
            raise _Refused("edges are no pairs of names", f"{where}/edges")
        return Raw("NIRGraph", {}, nodes, tuple((str(a), str(b)) for a, b in pairs), metadata)

    def _text(self, data: Any, where: str) -> str:
        value = self._value(data, where)
        if not isinstance(value, str):
            raise _Refused("a text is missing", where)
        return value

    def _value(self, data: Any, where: str) -> Array | str | None:
        """An array of numbers, one of texts (as objects), or a text; None for what is empty or not there."""
        if data is None:
            return None
        if not isinstance(data, h5py.Dataset):
            raise _Refused("numbers or a text should be here", where)
        if data.is_virtual or data.external:
            raise _Refused("its numbers lie in another file", where)
        if data.shape is None:  # an empty dataset
            return None
        self._take(data, where)
        if h5py.check_string_dtype(data.dtype) is not None:
            if data.size > self.texts:
                what = "it declares more texts than such a file holds"
                raise _Refused(what, where, f"{data.size:,}", f"{self.texts:,}")
            found = data.asstr(errors="strict")[()]
            return found if isinstance(found, str) else np.asarray(found, object)
        if data.dtype.kind not in "fiub":
            raise _Refused("what it holds are no numbers", where, str(data.dtype), "floats or integers")
        return np.asarray(data[()])

    def _take(self, data: h5py.Dataset, where: str) -> None:
        """Hold what a dataset declares against what the file can hold."""
        if data.compression not in (None, "gzip", "lzf") or data.scaleoffset is not None:
            raise _Refused("it is packed in a way that is not known", where, str(data.compression), "gzip, lzf")
        if data.ndim > 8:
            raise _Refused("it has too many axes", where, str(data.ndim), "8")
        declared = int(np.prod([int(n) for n in data.shape], dtype=object)) * max(1, data.dtype.itemsize)
        self.left -= declared
        if self.left < 0:
            raise _Refused("it declares more than such a file holds", where, f"{declared:,} bytes", f"{self.most:,}")

    def _plain(self, data: Any, where: str) -> dict[str, Any]:
        """Metadata: dictionaries of numbers and texts; what is none of these is left out, as nobody needs it."""
        if not isinstance(data, h5py.Group) or len(self.open) > DEPTH:
            return {}
        found: dict[str, Any] = {}
        for name, each in self._members(data, where):
            if isinstance(each, h5py.Group):
                self.open.append(-1)
                found[name] = self._plain(each, f"{where}/{name}")
                self.open.pop()
            else:
                found[name] = self._value(each, f"{where}/{name}")
        return found
