"""Users' own copies of the data sets that spiking networks are measured on, read in the formats they are published in.

Still images (MNIST, Fashion-MNIST, CIFAR-10, CIFAR-100) come whole, as `Images`. Recordings of event cameras (N-MNIST,
DVS128 Gesture, CIFAR10-DVS) come one file at a time, as `Recordings`; `frames` counts a recording's events into the
time steps of a network. `to_npz` writes either for `neurocompile simulate --data`, and so does

    python -m neurocompile.models.loaders FORMAT FOLDER -o X.npz

Nothing is downloaded, nothing in a file is run, and no memory is taken on the word of a header.
"""

from __future__ import annotations

import gzip
import math
import pickletools
import re
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import click
import numpy as np
from numpy.typing import NDArray

from neurocompile.cli.console import print_json
from neurocompile.cli.guard import guarded
from neurocompile.errors import BadInput, Problem, UsageError
from neurocompile.files import check_output, completed
from neurocompile.printable import printable
from neurocompile.recordings.cameras import EVENT, LARGEST_BYTES, CameraEvents, read_aedat2, read_aedat3, read_nmnist

__all__ = [
    "EVENT",
    "Events",
    "Images",
    "Recordings",
    "Sample",
    "frames",
    "load_cifar10",
    "load_cifar10_dvs",
    "load_cifar100",
    "load_dvs_gesture",
    "load_mnist",
    "load_nmnist",
    "read_aedat2",
    "read_aedat3",
    "read_idx",
    "read_nmnist",
    "to_npz",
]

Events: TypeAlias = CameraEvents

Split: TypeAlias = Literal["train", "test"]

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_AGAIN = "download it again"


@dataclass(frozen=True)
class Images:
    """Still images `[N, C, H, W]`, uint8 from 0 to 255, and their labels `[N]`, int64."""

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.images)

    def first(self, count: int) -> Images:
        """The first `count` of them, or all if there are fewer."""
        return Images(self.images[:count], self.labels[:count])

    def scaled(self) -> NDArray[np.float32]:
        """The pixels `[N, C, H, W]` from 0 to 1."""
        return self.images.astype(np.float32) / np.float32(255)


@dataclass(frozen=True)
class Sample:
    """One labelled recording: a file, or the part of it with `start_us <= t < stop_us`."""

    path: Path
    label: int
    start_us: int | None = None
    stop_us: int | None = None


@dataclass(frozen=True)
class Recordings:
    """Recordings of an event camera of `size` (H, W) pixels.

    Iterating reads them one file at a time, as pairs of `Events` and label, and raises BadInput for a file that is
    damaged, has no events or has events outside the sensor.
    """

    size: tuple[int, int]
    samples: tuple[Sample, ...]
    read: Callable[[Path], Events]

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def labels(self) -> NDArray[np.int64]:
        """The labels `[N]`."""
        return np.array([sample.label for sample in self.samples], np.int64)

    def first(self, count: int) -> Recordings:
        """The first `count` of them, or all if there are fewer."""
        return replace(self, samples=self.samples[:count])

    def __iter__(self) -> Iterator[tuple[Events, int]]:
        path: Path | None = None
        for sample in self.samples:
            if sample.path != path:  # the trials of one file follow each other
                path, events = sample.path, self.read(sample.path)
                _check_inside(events, self.size, str(path))
            yield _trial(events, sample), sample.label


def _trial(events: Events, sample: Sample) -> Events:
    where, part = str(sample.path), events
    if sample.start_us is not None and sample.stop_us is not None:
        part = events[(events["t"] >= sample.start_us) & (events["t"] < sample.stop_us)]
        where += f", {sample.start_us} to {sample.stop_us} us"
    if not len(part):
        raise _bad("there are no events", where, fix="download the file again, or leave it out")
    return part


def frames(
    events: Events, timesteps: int, size: tuple[int, int], by: Literal["time", "count"] = "time"
) -> NDArray[np.float32]:
    """Event counts `[T, 2, H, W]` of a recording cut into T parts; channel 0 is darker, channel 1 brighter.

    The parts have equal durations (`time`) or equal numbers of events (`count`), rounded down; the last one takes the
    rest. These are the frames of SpikingJelly's `integrate_events_by_fixed_frames_number` (spikingjelly/datasets/
    utils.py); a part of time without events is 0 here.

    Raises:
        BadInput: if events lie outside `size` (H, W).
        UsageError: if there is no such `by`, or no time step.
    """
    if by not in ("time", "count") or timesteps < 1:
        problem = Problem(
            "events cannot be cut so", actual=f"{timesteps} by {by!r}", limit="1 or more, by 'time' or 'count'"
        )
        raise UsageError(problem)
    height, width = size
    _check_inside(events, size, "the events")
    if not len(events):
        return np.zeros((timesteps, 2, height, width), np.float32)
    position = events["t"] - events["t"].min() if by == "time" else np.arange(len(events))
    length = int(position.max()) if by == "time" else len(events)
    part = np.minimum(position // max(length // timesteps, 1), timesteps - 1)
    channel = (part * 2 + events["p"]) * height + events["y"]
    counts = np.bincount(channel * width + events["x"], minlength=timesteps * 2 * height * width)
    return counts.reshape(timesteps, 2, height, width).astype(np.float32)


def _check_inside(events: Events, size: tuple[int, int], where: str) -> None:
    height, width = size
    outside = (events["x"] >= width) | (events["y"] >= height) | (events["p"] > 1)
    if outside.any():
        first = events[int(outside.argmax())]
        actual = f"{int(outside.sum())} of {len(events)}, the first at x = {first['x']}, y = {first['y']}"
        limit = f"x < {width}, y < {height}"
        raise _bad("events lie outside the sensor", where, actual, limit, "is it a file of this data set?")


# MNIST and Fashion-MNIST


def load_mnist(folder: Path, split: Split = "test") -> Images:
    """MNIST or Fashion-MNIST, which has the same files: `[N, 1, 28, 28]`, labels 0 to 9.

    `folder` holds train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte,
    each as it is or with .gz.

    Raises:
        BadInput: if a file is missing, damaged or not of this format, or labels and images do not match.
    """
    prefix = {"train": "train", "test": "t10k"}[split]
    names = [f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"]
    images_file, labels_file = _find(folder, [(name, f"{name}.gz") for name in names])
    images, labels = read_idx(images_file, 3), read_idx(labels_file, 1)
    return Images(images[:, None], _checked_labels(labels, len(images), 10, str(labels_file)))


def read_idx(path: Path, dimensions: int) -> NDArray[np.uint8]:
    """An IDX file of unsigned bytes with so many dimensions, gzipped if its name ends in .gz.

    Two zero bytes, the type (8: unsigned byte), the number of dimensions, the sizes as big-endian uint32, the values
    with the last dimension fastest. Source: "The IDX file format" on http://yann.lecun.com/exdb/mnist/.

    Raises:
        BadInput: if it is damaged, or of other contents.
    """
    where = str(path)
    try:
        with gzip.open(path) if path.suffix == ".gz" else open(path, "rb") as file:
            magic = file.read(4)
            if magic != bytes([0, 0, 8, dimensions]):
                limit = f"00 00 08 {dimensions:02x}"
                raise _bad(f"not an IDX file of bytes in {dimensions} dimensions", where, magic.hex(" "), limit, _AGAIN)
            sizes_content = file.read(4 * dimensions)
            if len(sizes_content) < 4 * dimensions:
                raise _truncated(where, 4 + len(sizes_content), 4 + 4 * dimensions)
            sizes = struct.unpack(f">{dimensions}I", sizes_content)
            declared = math.prod(sizes)
            if not 0 < declared <= LARGEST_BYTES:
                limit = f"1 to {LARGEST_BYTES} bytes"
                raise _bad(f"sizes {list(sizes)} cannot be right", where, f"{declared} bytes", limit, _AGAIN)
            content = bytearray()
            while len(content) <= declared and (chunk := file.read(min(declared + 1 - len(content), 2**20))):
                content += chunk
    except (OSError, EOFError, zlib.error) as error:
        raise _unreadable(where, error) from error
    if len(content) != declared:
        actual = "more" if len(content) > declared else str(len(content))
        raise _bad(f"sizes {list(sizes)} do not match the values", where, actual, str(declared), _AGAIN)
    return np.frombuffer(bytes(content), np.uint8).reshape(sizes)


# CIFAR-10 and CIFAR-100

_CIFAR_SHAPE = (3, 32, 32)
_CIFAR_PIXELS = math.prod(_CIFAR_SHAPE)


def load_cifar10(folder: Path, split: Split = "test") -> Images:
    """CIFAR-10: `[N, 3, 32, 32]` (red, green, blue), labels 0 to 9 in the order of `CIFAR10_CLASSES`.

    `folder` is cifar-10-batches-py (data_batch_1 to data_batch_5, test_batch) or cifar-10-batches-bin (the same names
    with .bin). Source of both versions: https://www.cs.toronto.edu/~kriz/cifar.html.

    Raises:
        BadInput: if a file is missing or damaged, or a pickle holds anything but arrays, numbers and text.
    """
    names = [f"data_batch_{n}" for n in range(1, 6)] if split == "train" else ["test_batch"]
    files = _find(folder, [(name, f"{name}.bin") for name in names])
    return _joined([_read_cifar(file, "labels", ("labels",), 10) for file in files])


def load_cifar100(folder: Path, split: Split = "test", labels: Literal["fine", "coarse"] = "fine") -> Images:
    """CIFAR-100: `[N, 3, 32, 32]` (red, green, blue); labels 0 to 99 (fine) or of the 20 superclasses (coarse).

    `folder` is cifar-100-python (train, test) or cifar-100-binary (train.bin, test.bin). Source of both versions:
    https://www.cs.toronto.edu/~kriz/cifar.html.

    Raises:
        BadInput: as `load_cifar10`.
    """
    (file,) = _find(folder, [(split, f"{split}.bin")])
    stored = ("coarse_labels", "fine_labels")  # in this order in the binary version
    return _read_cifar(file, f"{labels}_labels", stored, 100 if labels == "fine" else 20)


def _read_cifar(path: Path, wanted: str, stored: tuple[str, ...], classes: int) -> Images:
    binary = path.suffix == ".bin"
    read = _read_cifar_binary(path, stored.index(wanted), len(stored)) if binary else _read_cifar_pickle(path, wanted)
    pixels, labels = read
    return Images(pixels.reshape(-1, *_CIFAR_SHAPE), _checked_labels(labels, len(pixels), classes, str(path)))


def _read_cifar_binary(path: Path, column: int, label_bytes: int) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Pixels `[N, 3072]` and labels `[N]`: each image is its label bytes and then its pixels, without any header."""
    content, row = _content(path), label_bytes + _CIFAR_PIXELS
    if not content or len(content) % row:
        whole = f"a multiple of {row}"
        raise _bad("not whole images", str(path), f"{len(content)} bytes", whole, _AGAIN)
    rows = np.frombuffer(content, np.uint8).reshape(-1, row)
    return rows[:, label_bytes:], rows[:, column]


def _read_cifar_pickle(path: Path, wanted: str) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Pixels `[N, 3072]` and labels `[N]`: a dict of Python 2 with the array `data` and lists of labels."""
    batch, where = _read_pickle(_content(path), str(path)), str(path)
    missing = [key for key in ("data", wanted) if not isinstance(batch, dict) or key not in batch]
    if missing:
        held = ", ".join(sorted(batch))[:200] if isinstance(batch, dict) else type(batch).__name__
        raise _bad(f"there is no {' and no '.join(missing)}", where, held, fix="give the folder of this data set")
    labels = batch[wanted]
    if not isinstance(labels, list) or not all(isinstance(label, int) and 0 <= label < 256 for label in labels):
        raise _bad(f"{wanted} is not a list of small whole numbers", where, fix=_AGAIN)
    return _pickled_pixels(batch["data"], where), np.array(labels, np.int64)


@dataclass(frozen=True)
class _Name:
    """What a pickle calls by name; it is never looked up."""

    name: str


@dataclass
class _Call:
    """What a pickle would make by calling `name`; it is never called."""

    name: str
    arguments: object
    state: object = None


_RECONSTRUCT = ("numpy.core.multiarray _reconstruct", "numpy._core.multiarray _reconstruct")
_NUMPY_NAMES = (*_RECONSTRUCT, "numpy ndarray", "numpy dtype")


def _pickled_pixels(array: object, where: str) -> NDArray[np.uint8]:
    """The bytes `[N, 3072]` of a pickled array: (version, shape, dtype, whether columns come first, values)."""
    match array:
        case _Call(
            name,
            state=(int(), (int(count), int(pixels)), _Call("numpy dtype", ("u1" | "|u1", *_)), int(columns), str(raw)),
        ) if name in _RECONSTRUCT and pixels == _CIFAR_PIXELS and count * pixels == len(raw) > 0:
            order: Literal["F", "C"] = "F" if columns else "C"
            return np.frombuffer(raw.encode("latin-1"), np.uint8).reshape((count, pixels), order=order)
    raise _bad("data is not an array of bytes", where, limit=f"uint8 [N, {_CIFAR_PIXELS}]", fix=_AGAIN)


def _read_pickle(content: bytes, where: str) -> Any:
    """A pickle of protocol 0 to 2 as plain data: no class is looked up, nothing is called.

    Knows what Python 2 writes for dicts, lists, tuples, numbers, text and NumPy arrays, and refuses the rest. Python's
    own list of the operations (the module pickletools) takes them apart. Text is Latin-1.
    """
    machine = _Pickled()
    try:
        for operation, argument, _ in pickletools.genops(content):
            if operation.name == "STOP":
                return machine.stack.pop()
            if not (machine.puts(operation.name, argument) or machine.puts_together(operation.name)):
                asked = f"{operation.name} {argument}" if operation.name == "GLOBAL" else operation.name
                limit = "arrays, numbers and text, as Python 2 pickled them"
                fix = "nothing of it was run; use the files from https://www.cs.toronto.edu/~kriz/cifar.html"
                raise _bad("the pickle wants something that this data set does not need", where, asked, limit, fix)
    except (ValueError, TypeError, IndexError, KeyError, AttributeError, OverflowError) as error:
        raise _bad(f"not a whole pickle: {error}", where, fix=_AGAIN) from error
    raise AssertionError("genops ends with STOP or an error")


@dataclass
class _Pickled:
    """The stack on which a pickle puts its data together."""

    stack: list[Any] = field(default_factory=list)
    marks: list[int] = field(default_factory=list)
    memo: dict[Any, Any] = field(default_factory=dict)

    def puts(self, operation: str, argument: Any) -> bool:
        """Do an operation that puts something onto the stack or remembers it; False if it is none of these."""
        match operation:
            case "PROTO":
                pass  # whatever it says, operations that later protocols added are refused
            case "POP":
                self.stack.pop()
            case "MARK":
                self.marks.append(len(self.stack))
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                self.stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[operation])
            case (
                "INT" | "BININT" | "BININT1" | "BININT2" | "LONG" | "LONG1"
                | "STRING" | "BINSTRING" | "SHORT_BINSTRING" | "UNICODE" | "BINUNICODE"
            ):  # fmt: skip
                self.stack.append(argument)
            case "EMPTY_LIST" | "EMPTY_DICT" | "EMPTY_TUPLE":
                self.stack.append({"EMPTY_LIST": list, "EMPTY_DICT": dict, "EMPTY_TUPLE": tuple}[operation]())
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = self.stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                self.stack.append(self.memo[argument])
            case "GLOBAL" if argument in _NUMPY_NAMES:
                self.stack.append(_Name(argument))
            case _:
                return False
        return True

    def puts_together(self, operation: str) -> bool:
        """Do an operation that makes one thing of several; False if it is none of these."""
        stack = self.stack
        match operation:
            case "LIST" | "TUPLE":
                items = self._since_mark()
                stack.append(items if operation == "LIST" else tuple(items))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(operation[-1])
                stack[-count:] = [tuple(stack[-count:])]
            case "DICT":
                items = self._since_mark()
                stack.append({})
                self._set_items(items)
            case "APPEND" | "APPENDS":
                items = self._since_mark() if operation == "APPENDS" else [stack.pop()]
                stack[-1].extend(items)
            case "SETITEM" | "SETITEMS":
                items = self._since_mark() if operation == "SETITEMS" else [stack.pop(-2), stack.pop()]
                self._set_items(items)
            case "REDUCE" if isinstance(stack[-2], _Name):
                arguments = stack.pop()
                stack.append(_Call(stack.pop().name, arguments))
            case "BUILD" if isinstance(stack[-2], _Call):
                state = stack.pop()
                stack[-1].state = state
            case _:
                return False
        return True

    def _since_mark(self) -> list[Any]:
        start = self.marks.pop()
        items = self.stack[start:]
        del self.stack[start:]
        return items

    def _set_items(self, items: Sequence[Any]) -> None:
        target = self.stack[-1]
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(target, dict) or not isinstance(key, str):
                raise TypeError("a dict with keys that are not text")
            target[key] = value


def _joined(parts: Sequence[Images]) -> Images:
    return Images(np.concatenate([part.images for part in parts]), np.concatenate([part.labels for part in parts]))


# N-MNIST


def load_nmnist(folder: Path, split: Split = "test") -> Recordings:
    """N-MNIST: 34 x 34 pixels, labels 0 to 9, in the order of the MNIST images they were made from.

    `folder` holds Train and Test, each with a folder for each digit and in it one .bin for each image.

    Raises:
        BadInput: if there are no such files, or some lie outside the folders that give them their labels.
    """
    root = folder / {"train": "Train", "test": "Test"}[split]
    return Recordings((34, 34), _labelled(root, "*.bin", [str(digit) for digit in range(10)]), read_nmnist)


# DVS128 Gesture

_GESTURES = 11


def load_dvs_gesture(folder: Path, split: Split = "test") -> Recordings:
    """DVS128 Gesture: 128 x 128 pixels, labels 0 to 10 (one less than in its files), one sample a trial.

    `folder` is DvsGesture: trials_to_train.txt and trials_to_test.txt name the .aedat files, and beside each lies its
    _labels.csv with the class, first and last time [us] of every trial. A trial is start <= t < end, as in
    spikingjelly/datasets/dvs128_gesture.py. Source: README.txt of the data set, https://research.ibm.com/dvsgesture.

    Raises:
        BadInput: with every file that is missing and every line that cannot be read.
    """
    (listing,) = _find(folder, [(f"trials_to_{split}.txt",)])
    names = [name for line in _text(listing).splitlines() if (name := line.strip())]
    problems: list[Problem] = []
    samples: list[Sample] = []
    for name in names:
        recording, trials = folder / name, folder / f"{Path(name).stem}_labels.csv"
        if name != recording.name or recording.suffix != ".aedat":
            problems.append(Problem("not the name of a recording", str(listing), repr(name), "NAME.aedat", _AGAIN))
            continue
        missing = [path for path in (recording, trials) if not path.is_file()]
        problems += [Problem("no such file", str(path), fix=f"{listing.name} names it: {_AGAIN}") for path in missing]
        if not missing:
            found, wrong = _read_trials(trials, recording)
            samples += found
            problems += wrong
    if not problems and not samples:
        problems.append(Problem("no trials are listed", str(listing), fix=_AGAIN))
    if problems:
        raise BadInput(problems)
    return Recordings((128, 128), tuple(samples), read_aedat3)


def _read_trials(path: Path, recording: Path) -> tuple[list[Sample], list[Problem]]:
    """The trials of a _labels.csv (class from 1, startTime_usec, endTime_usec, after a line with these names)."""
    samples: list[Sample] = []
    problems: list[Problem] = []
    header, *lines = _text(path).splitlines() or [""]
    if header.strip() != "class,startTime_usec,endTime_usec":
        limit = "class,startTime_usec,endTime_usec"
        return [], [Problem("not a list of trials", str(path), repr(header[:60]), limit, _AGAIN)]
    for number, line in enumerate(lines, 2):
        match = re.fullmatch(r"\s*(\d{1,18})\s*,\s*(\d{1,18})\s*,\s*(\d{1,18})\s*", line, re.ASCII)
        gesture, start_us, stop_us = map(int, match.groups()) if match else (0, 0, 0)
        if 1 <= gesture <= _GESTURES and start_us < stop_us:
            samples.append(Sample(recording, gesture - 1, start_us, stop_us))
        elif line.strip():
            limit = f"class 1 to {_GESTURES}, start, later end"
            problems.append(Problem("not a trial", f"{path}, line {number}", repr(line[:60]), limit, _AGAIN))
    return samples, problems


# CIFAR10-DVS


def load_cifar10_dvs(folder: Path) -> Recordings:
    """CIFAR10-DVS: 128 x 128 pixels, labels 0 to 9 in the order of `CIFAR10_CLASSES`.

    `folder` holds one folder for each class (airplane to truck) with cifar10_CLASS_NUMBER.aedat. The data set has no
    split; the order is number first, then class, so that any beginning of it has all classes alike.

    Raises:
        BadInput: if there are no such files, or some lie outside the folders that give them their labels.
    """
    return Recordings((128, 128), _labelled(folder, "*.aedat", CIFAR10_CLASSES), read_aedat2)


# Files and folders


def _bad(what: str, where: str, actual: str = "", limit: str = "", fix: str = "") -> BadInput:
    return BadInput(Problem(what, where, actual, limit, fix))


def _truncated(where: str, actual: int, needed: int) -> BadInput:
    return _bad("the file ends too early", where, f"{actual} bytes", f"{needed} bytes", _AGAIN)


def _unreadable(where: str, error: Exception) -> BadInput:
    said = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return _bad(f"cannot be read: {said}", where, fix=_AGAIN)


def _content(path: Path) -> bytes:
    try:
        size = path.stat().st_size
        if size > LARGEST_BYTES:
            limit = f"{LARGEST_BYTES} bytes"
            raise _bad("the file is too large", str(path), f"{size} bytes", limit, "is it a file of this data set?")
        return path.read_bytes()
    except OSError as error:
        raise _unreadable(str(path), error) from error


def _text(path: Path) -> str:
    return _content(path).decode("latin-1")


def _find(folder: Path, wanted: Sequence[tuple[str, ...]]) -> list[Path]:
    """For each tuple of names, the first that is a file in the folder."""
    if not folder.is_dir():
        raise _bad("no such folder", str(folder), fix="give the folder that holds the data set's files")
    found = [next((folder / name for name in names if (folder / name).is_file()), None) for names in wanted]
    files = [file for file in found if file is not None]
    if len(files) < len(wanted):
        fix = "give the folder that holds the data set's files"
        absent = [" or ".join(names) for names, file in zip(wanted, found) if file is None]
        raise BadInput([Problem(f"there is no {name}", str(folder), fix=fix) for name in absent])
    return files


def _labelled(root: Path, pattern: str, classes: Sequence[str]) -> tuple[Sample, ...]:
    """The files in the folders of the classes, ordered by the number in their names, then by class."""
    if not root.is_dir():
        raise _bad("no such folder", str(root), fix="give the folder that holds the data set's folders")
    stray = sorted(root.glob(pattern))
    if stray:
        limit = f"in a folder named {classes[0]} to {classes[-1]}"
        raise _bad("a recording without a label", str(stray[0]), f"{len(stray)} such files", limit, "move them there")
    samples = [Sample(path, label) for label, name in enumerate(classes) for path in (root / name).glob(pattern)]
    if not samples:
        limit = f"{classes[0]}/{pattern} to {classes[-1]}/{pattern}"
        raise _bad("there are no recordings", str(root), limit=limit, fix="give the folder that holds these")

    def order(sample: Sample) -> tuple[int, int, str]:
        numbers = re.findall(r"[0-9]{1,18}", sample.path.stem)
        return (int(numbers[-1]) if numbers else 0, sample.label, sample.path.name)

    return tuple(sorted(samples, key=order))


def _checked_labels(labels: NDArray[Any], samples: int, classes: int, where: str) -> NDArray[np.int64]:
    if len(labels) != samples:
        raise _bad("labels and images do not match", where, f"{len(labels)} labels", f"{samples} images", _AGAIN)
    if labels.max() >= classes:
        fix = "is it a file of this data set?"
        raise _bad("there is no such class", where, f"label {labels.max()}", f"0 to {classes - 1}", fix)
    return labels.astype(np.int64)


# The npz


def to_npz(
    data: Images | Recordings,
    path: Path,
    *,
    timesteps: int | None = None,
    by: Literal["time", "count"] = "time",
    progress: Callable[[int], None] = lambda done: None,
) -> tuple[int, ...]:
    """Write what `neurocompile simulate --data` takes, and return the shape of its x, float32.

    x is `[N, C, H, W]`, pixels from 0 to 1, for images; and `[N, T, 2, H, W]`, the counts of `frames`, for recordings,
    which are read one at a time. y is the labels `[N]`. The same data give the same bytes; the file appears under its
    name when it is complete.

    Raises:
        UsageError: if recordings come without `timesteps`, or images with them.
        BadInput: if a recording cannot be read.
        ToolFailed: if the disk does not take it.
    """
    shape, x = _float_images(data, timesteps) if isinstance(data, Images) else _event_frames(data, timesteps, by)
    with completed(path) as partial, zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
        _write_member(archive, "x", shape, np.dtype("<f4"), x, progress)
        labels = iter([data.labels.astype("<i8")])
        _write_member(archive, "y", (len(data),), np.dtype("<i8"), labels, lambda done: None)
    return shape


def _float_images(data: Images, timesteps: int | None) -> tuple[tuple[int, ...], Iterator[NDArray[np.float32]]]:
    if timesteps is not None:
        fix = "leave it out: simulate shows an image at every time step"
        raise UsageError(Problem("images have no time steps", actual=f"timesteps {timesteps}", fix=fix))
    blocks = (Images(data.images[i : i + 256], data.labels) for i in range(0, len(data), 256))
    return data.images.shape, (block.scaled() for block in blocks)


def _event_frames(
    data: Recordings, timesteps: int | None, by: Literal["time", "count"]
) -> tuple[tuple[int, ...], Iterator[NDArray[np.float32]]]:
    if timesteps is None:
        fix = "give timesteps, as many as the network was trained with"
        raise UsageError(Problem("recordings are cut into time steps, and nothing says how many", fix=fix))
    counts = (frames(events, timesteps, data.size, by)[None] for events, _ in data)
    return (len(data), timesteps, 2, *data.size), counts


def _write_member(
    archive: zipfile.ZipFile,
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    rows: Iterator[NDArray[Any]],
    progress: Callable[[int], None],
) -> None:
    """One array of an npz, row by row, without a date."""
    info = zipfile.ZipInfo(f"{name}.npy")
    info.compress_type = zipfile.ZIP_DEFLATED
    with archive.open(info, "w", force_zip64=True) as member:
        header = {"descr": np.lib.format.dtype_to_descr(dtype), "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(member, header)
        for part in rows:
            member.write(np.ascontiguousarray(part, dtype).data)
            progress(len(part))


# The command

_LOADERS: dict[str, Callable[..., Images | Recordings]] = {
    "mnist": load_mnist,
    "fashion-mnist": load_mnist,
    "cifar10": load_cifar10,
    "cifar100": load_cifar100,
    "nmnist": load_nmnist,
    "dvs-gesture": load_dvs_gesture,
    "cifar10-dvs": load_cifar10_dvs,
}


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name", metavar="FORMAT", type=click.Choice(list(_LOADERS)))
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), required=True, metavar="X.npz")
@click.option("--split", type=click.Choice(["train", "test"]), help="Which part (default: test).")
@click.option("--limit", type=click.IntRange(1), metavar="N", help="Only the first N samples.")
@click.option("--timesteps", type=click.IntRange(1), metavar="T", help="Frames a recording (event cameras only).")
@click.option("--by", type=click.Choice(["time", "count"]), default="time", help="Equal times, or equal event counts.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else.")
def _command(
    name: str,
    folder: Path,
    output: Path,
    split: Split | None,
    limit: int | None,
    timesteps: int | None,
    by: Literal["time", "count"],
    overwrite: bool,
    as_json: bool,
) -> None:
    """Write the data set in FOLDER as X.npz, for `neurocompile simulate --data X.npz`.

    FORMAT is mnist, fashion-mnist, cifar10, cifar100, nmnist, dvs-gesture or cifar10-dvs.
    """
    check_output(output, "--output", overwrite=overwrite)
    if split is not None and name == "cifar10-dvs":
        raise UsageError(Problem("CIFAR10-DVS has no published split", fix="leave --split out"))
    data = _LOADERS[name](folder, **({} if split is None else {"split": split}))
    data = data if limit is None else data.first(limit)
    watched = sys.stderr.isatty() and not as_json
    with click.progressbar(length=len(data), label="reading", file=sys.stderr) if watched else nullcontext() as bar:
        step = bar.update if bar is not None else lambda done: None
        shape = to_npz(data, output, timesteps=timesteps, by=by, progress=step)
    classes = len(np.unique(data.labels))
    if as_json:
        print_json("loaders", {"output": str(output), "x": list(shape), "classes": classes})
    else:
        print(f"{printable(str(output))}: x {list(shape)}, y [{shape[0]}] of {classes} classes")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit with its code, which is one of `neurocompile`'s."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    sys.exit(guarded(_command, given, "python -m neurocompile.models.loaders", "loaders"))


if __name__ == "__main__":
    main()
