"""Data sets in their published formats, written here byte by byte, read back, damaged, and read by slow decoders."""

from __future__ import annotations

import gzip
import io
import json
import math
import pickle
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from neurocompile.data import arrange_inputs
from neurocompile.errors import BadInput, NeurocompileError, ToolFailed, UsageError
from neurocompile.files import read_arrays
from neurocompile.models.loaders import (
    CIFAR10_CLASSES,
    EVENT,
    Events,
    Images,
    Recordings,
    Sample,
    frames,
    load_cifar10,
    load_cifar10_dvs,
    load_cifar100,
    load_dvs_gesture,
    load_mnist,
    load_nmnist,
    main,
    read_aedat2,
    read_aedat3,
    read_idx,
    read_nmnist,
    to_npz,
)

seeded = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds = st.integers(0, 2**32 - 1)


def refused(load: Callable[[], object], *said: str) -> BadInput:
    """`load` raises BadInput that says where and what to do, and `said`."""
    with pytest.raises(BadInput) as caught:
        load()
    assert all(problem.what and problem.where and problem.fix for problem in caught.value.problems)
    for words in said:
        assert words in str(caught.value)
    return caught.value


def listed(events: Events) -> list[tuple[int, ...]]:
    return [tuple(int(value) for value in event) for event in events]


# Writers, one for each format


def idx(values: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in values.shape)
    return bytes([0, 0, 8, values.ndim]) + sizes + values.tobytes()


def write_mnist(
    folder: Path, images: np.ndarray, labels: np.ndarray, zipped: bool = False, prefix: str = "t10k"
) -> None:
    for name, values in ((f"{prefix}-images-idx3-ubyte", images), (f"{prefix}-labels-idx1-ubyte", labels)):
        content = idx(values)
        (folder / (name + ".gz" * zipped)).write_bytes(gzip.compress(content, mtime=0) if zipped else content)


def short(text: bytes) -> bytes:
    return b"U" + bytes([len(text)]) + text


def number(value: int) -> bytes:
    return b"K" + bytes([value]) if value < 256 else b"J" + struct.pack("<i", value)


def array(pixels: np.ndarray, columns_first: bool = False) -> bytes:
    """A uint8 array as Python 2 pickled it."""
    raw = pixels.tobytes("F" if columns_first else "C")
    shape = b"".join(number(size) for size in pixels.shape) + (b"\x86" if pixels.ndim == 2 else b"\x85")
    made = b"cnumpy.core.multiarray\n_reconstruct\nq\x05cnumpy\nndarray\nq\x06K\x00\x85U\x01b\x87R"
    dtype = b"cnumpy\ndtype\n" + short(b"u1") + b"K\x00K\x01\x87R(K\x03" + short(b"|")
    dtype += b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    return made + b"(K\x01" + shape + dtype + (b"\x88" if columns_first else b"\x89") + long_text(raw) + b"tb"


def long_text(text: bytes) -> bytes:
    return b"T" + struct.pack("<i", len(text)) + text


def batch(entries: dict[bytes, bytes]) -> bytes:
    """A pickled dict of Python 2, from pickled values."""
    return b"\x80\x02}q\x01(" + b"".join(short(key) + value for key, value in entries.items()) + b"u."


def numbers(values: Any) -> bytes:
    return b"](" + b"".join(number(int(value)) for value in values) + b"e"


def cifar_pickle(images: np.ndarray, labels: dict[bytes, Any], columns_first: bool = False) -> bytes:
    names = b"](" + b"".join(short(b"image_%d.png" % n) for n in range(len(images))) + b"e"
    lists = {key: numbers(values) for key, values in labels.items()}
    data = array(images.reshape(len(images), -1), columns_first)
    return batch({b"batch_label": short(b"batch 1 of 5"), **lists, b"data": data, b"filenames": names})


def cifar_binary(images: np.ndarray, *labels: np.ndarray) -> bytes:
    return b"".join(bytes([*each]) + image.tobytes() for *each, image in zip(*labels, images))


def nmnist(events: Events) -> bytes:
    return b"".join(bytes([x, y]) + (p << 23 | t).to_bytes(3, "big") for t, x, y, p in listed(events))


AEDAT3_HEADER = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DVS128\r\n"
AEDAT3_HEADER += b"#Start-Time: 2016-06-01 10:00:00 (TZ+0200)\r\n#!END-HEADER\r\n"


def packet(events: Events, overflows: int = 0, room: int = 0, valid: bool = True) -> bytes:
    size = len(events)
    header = struct.pack("<hhiiiiii", 1, 1, 8, 4, overflows, size + room, size, size * valid)
    words = b"".join(
        struct.pack("<II", x << 17 | y << 2 | p << 1 | valid, t & 0x7FFFFFFF) for t, x, y, p in listed(events)
    )
    return header + words + bytes(8 * room)


AEDAT2_HEADER = b"#!AER-DAT2.0\r\n# This is a raw AE data file - do not edit\r\n# Timestamps tick is 1 us\r\n"


def aedat2(events: Events) -> bytes:
    """Upright events as the sensor on its side sent them."""
    return AEDAT2_HEADER + b"".join(
        struct.pack(">II", (127 - x) << 8 | (127 - y) << 1 | (1 - p), t) for t, x, y, p in listed(events)
    )


def random_events(rng: np.random.Generator, count: int, size: int, last_us: int = 2**20) -> Events:
    events = np.empty(count, EVENT)
    events["t"] = np.sort(rng.integers(0, last_us, count))
    events["x"], events["y"], events["p"] = (rng.integers(0, high, count) for high in (size, size, 2))
    return events


def random_cifar(rng: np.random.Generator, count: int) -> np.ndarray:
    return rng.integers(0, 256, (count, 3, 32, 32), np.uint8)


# MNIST


@seeded
@given(seeds, st.booleans())
def test_mnist(tmp_path: Path, seed: int, zipped: bool) -> None:
    rng = np.random.default_rng(seed)
    count, height, width = (int(size) for size in rng.integers(1, 6, 3))
    images = rng.integers(0, 256, (count, height, width), np.uint8)
    labels = rng.integers(0, 10, count).astype(np.uint8)
    folder = tmp_path / f"{seed}-{zipped}"
    folder.mkdir(exist_ok=True)
    write_mnist(folder, images, labels, zipped)
    loaded = load_mnist(folder)
    assert loaded.images.dtype == np.uint8
    np.testing.assert_array_equal(loaded.images, images[:, None])
    np.testing.assert_array_equal(loaded.labels, labels)
    content = idx(images)
    for n, y, x in np.ndindex(count, height, width):  # by the offsets of the format's description
        assert loaded.images[n, 0, y, x] == content[16 + (n * height + y) * width + x]


def test_train_and_test_are_different_files(tmp_path: Path) -> None:
    images = np.zeros((2, 4, 4), np.uint8)
    write_mnist(tmp_path, images, np.array([1, 2], np.uint8), prefix="train")
    write_mnist(tmp_path, images[:1], np.array([3], np.uint8), zipped=True)
    assert load_mnist(tmp_path, "train").labels.tolist() == [1, 2]
    assert load_mnist(tmp_path).labels.tolist() == [3]


def test_mnist_that_is_not_there(tmp_path: Path) -> None:
    refused(lambda: load_mnist(tmp_path / "nowhere"), "no such folder")
    error = refused(lambda: load_mnist(tmp_path), "t10k-images-idx3-ubyte or t10k-images-idx3-ubyte.gz")
    assert len(error.problems) == 2


@pytest.mark.parametrize("zipped", [False, True])
def test_every_shorter_idx_file_is_refused(tmp_path: Path, zipped: bool) -> None:
    content = idx(np.arange(12, dtype=np.uint8).reshape(3, 2, 2))
    content = gzip.compress(content, mtime=0) if zipped else content
    path = tmp_path / ("x.gz" if zipped else "x")
    for length in range(len(content)):
        path.write_bytes(content[:length])
        refused(lambda: read_idx(path, 3), str(path))
    path.write_bytes(content)
    assert read_idx(path, 3).shape == (3, 2, 2)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (bytes([0, 0, 9, 3]) + bytes(20), "00 00 08 03"),
        (bytes([0, 0, 8, 1]) + bytes(20), "00 00 08 03"),
        (bytes([1, 0, 8, 3]) + bytes(20), "01 00 08 03"),
        (gzip.compress(idx(np.ones((1, 2, 2), np.uint8)), mtime=0), "1f 8b"),
        (idx(np.ones((3, 2, 2), np.uint8)) + b"!", "got more; allowed: 12"),
        (idx(np.ones((0, 2, 2), np.uint8)), "cannot be right"),
        (bytes([0, 0, 8, 3]) + b"\xff" * 12 + bytes(100), "cannot be right"),
        (bytes([0, 0, 8, 3]) + struct.pack(">III", 2**20, 2**5, 2**5) + bytes(100), "got 100; allowed: 1073741824"),
    ],
)
def test_idx_that_says_what_it_does_not_hold(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "x").write_bytes(content)
    tracemalloc.start()
    refused(lambda: read_idx(tmp_path / "x", 3), said)
    assert tracemalloc.get_traced_memory()[1] < 4e6
    tracemalloc.stop()


def test_a_gzip_that_unpacks_to_more_than_it_says_is_left_early(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(idx(np.zeros((1, 100, 100), np.uint8)) + bytes(50_000_000), 1))
    tracemalloc.start()
    refused(lambda: read_idx(path, 3), "got more; allowed: 10000")
    assert tracemalloc.get_traced_memory()[1] < 4e6
    tracemalloc.stop()


def test_labels_that_do_not_belong_to_the_images(tmp_path: Path) -> None:
    images = np.zeros((3, 2, 2), np.uint8)
    write_mnist(tmp_path, images, np.array([1, 2], np.uint8))
    refused(lambda: load_mnist(tmp_path), "2 labels", "3 images")
    write_mnist(tmp_path, images, np.array([1, 2, 10], np.uint8))
    refused(lambda: load_mnist(tmp_path), "label 10", "0 to 9")
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    refused(lambda: load_mnist(tmp_path), "t10k-labels-idx1-ubyte or t10k-labels-idx1-ubyte.gz")


# CIFAR


@pytest.mark.parametrize("columns_first", [False, True])
def test_cifar10_in_both_versions(tmp_path: Path, columns_first: bool) -> None:
    rng = np.random.default_rng(0)
    parts = [(random_cifar(rng, 3), rng.integers(0, 10, 3).astype(np.uint8)) for _ in range(5)]
    for version in ("py", "bin"):
        (tmp_path / version).mkdir()
    for n, (images, labels) in enumerate(parts, 1):
        pickled = cifar_pickle(images, {b"labels": labels}, columns_first)
        (tmp_path / "py" / f"data_batch_{n}").write_bytes(pickled)
        (tmp_path / "bin" / f"data_batch_{n}.bin").write_bytes(cifar_binary(images, labels))
    for version in ("py", "bin"):
        loaded = load_cifar10(tmp_path / version, "train")
        np.testing.assert_array_equal(loaded.images, np.concatenate([images for images, _ in parts]))
        np.testing.assert_array_equal(loaded.labels, np.concatenate([labels for _, labels in parts]))
    # By the description: a label, then red, green and blue, row after row.
    content = (tmp_path / "bin" / "data_batch_2.bin").read_bytes()
    for n, channel, y, x in [(0, 0, 0, 0), (1, 2, 31, 30), (2, 1, 7, 9)]:
        assert loaded.images[3 + n, channel, y, x] == content[3073 * n + 1 + 1024 * channel + 32 * y + x]
    (tmp_path / "bin" / "data_batch_4.bin").unlink()
    (tmp_path / "bin" / "data_batch_2.bin").unlink()
    error = refused(lambda: load_cifar10(tmp_path / "bin", "train"), "data_batch_4 or data_batch_4.bin")
    assert len(error.problems) == 2


def test_the_pickles_are_what_python_reads(tmp_path: Path) -> None:
    """Python's own unpickler finds in them what is described for the data set, and the same pixels."""
    rng = np.random.default_rng(0)
    images, labels = random_cifar(rng, 4), [1, 0, 9, 3]
    for columns_first in (False, True):
        content = cifar_pickle(images, {b"labels": labels}, columns_first)
        theirs = pickle.loads(content, encoding="bytes")
        assert theirs[b"labels"] == labels
        np.testing.assert_array_equal(theirs[b"data"], images.reshape(4, -1))
        (tmp_path / "test_batch").write_bytes(content)
        np.testing.assert_array_equal(load_cifar10(tmp_path).images, images)


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_pickles_of_each_early_protocol(tmp_path: Path, protocol: int) -> None:
    """What Python 3 writes of a dict of text and numbers: all of it is known, and only the pixels are missing."""
    plain = {
        "data": [1, 2],
        "labels": [1, 300, -5, 2**40],
        "x": [None, True, (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), {}],
    }
    (tmp_path / "test_batch").write_bytes(pickle.dumps(plain, protocol))
    refused(lambda: load_cifar10(tmp_path), "labels is not a list of small whole numbers")
    plain["labels"] = [1, 2]
    (tmp_path / "test_batch").write_bytes(pickle.dumps(plain, protocol))
    refused(lambda: load_cifar10(tmp_path), "data is not an array of bytes")


def test_cifar100_in_both_versions(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images, coarse, fine = random_cifar(rng, 5), rng.integers(0, 20, 5), rng.integers(20, 100, 5)
    (tmp_path / "py").mkdir()
    (tmp_path / "bin").mkdir()
    pickled = cifar_pickle(images, {b"coarse_labels": coarse, b"fine_labels": fine})
    (tmp_path / "py" / "train").write_bytes(pickled)
    (tmp_path / "bin" / "train.bin").write_bytes(cifar_binary(images, coarse, fine))
    for version in ("py", "bin"):
        np.testing.assert_array_equal(load_cifar100(tmp_path / version, "train").labels, fine)
        loaded = load_cifar100(tmp_path / version, "train", "coarse")
        np.testing.assert_array_equal(loaded.labels, coarse)
        np.testing.assert_array_equal(loaded.images, images)
        refused(lambda: load_cifar100(tmp_path / version), "test or test.bin")  # noqa: B023
    refused(lambda: load_cifar10(tmp_path / "py"), "test_batch")


def test_cifar_binary_that_is_cut(tmp_path: Path) -> None:
    content = cifar_binary(random_cifar(np.random.default_rng(0), 2), np.array([1, 2]))
    for length in (0, 1, 3072, 3074, 6145):
        (tmp_path / "test_batch.bin").write_bytes(content[:length])
        refused(lambda: load_cifar10(tmp_path), f"{length} bytes", "a multiple of 3073")
    (tmp_path / "test_batch.bin").write_bytes(b"\x0a" + content[1:])
    refused(lambda: load_cifar10(tmp_path), "label 10")


def test_every_shorter_pickle_is_refused(tmp_path: Path) -> None:
    content = cifar_pickle(random_cifar(np.random.default_rng(0), 1), {b"labels": [1]})
    for length in [*range(150), *range(150, len(content) - 60, 97), *range(len(content) - 60, len(content))]:
        (tmp_path / "test_batch").write_bytes(content[:length])
        refused(lambda: load_cifar10(tmp_path), "not a whole pickle")


class _Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


PIXELS = np.zeros((1, 3072), np.uint8)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "GLOBAL os system"),
        (b"c__builtin__\neval\n(S'1'\ntR.", "GLOBAL __builtin__ eval"),
        (b"(S'true'\nios\nsystem\n.", "INST"),
        (b"\x80\x02cnumpy\ndtype\n)\x81.", "NEWOBJ"),
        (b"cnumpy\nload\n(S'x'\ntR.", "GLOBAL numpy load"),
        (b"K\x01K\x02R.", "REDUCE"),
        (b"}K\x02b.", "BUILD"),
        (b"\x82\x01.", "EXT1"),
        (b"Pid\n.", "PERSID"),
        (pickle.dumps({"data": PIXELS, "labels": [1]}, 4), "FRAME"),
        (pickle.dumps({b"data": PIXELS, b"labels": [1]}, 2), "GLOBAL _codecs encode"),
        (pickle.dumps([1, 2], 2), "there is no data and no labels (got list)"),
        (batch({b"data": array(PIXELS)}), "there is no labels"),
        (batch({b"data": array(PIXELS), b"labels": number(1)}), "labels is not a list"),
        (batch({b"data": array(PIXELS), b"labels": b"](NNe"}), "labels is not a list"),
        (batch({b"data": array(PIXELS), b"labels": numbers([1, 2])}), "2 labels"),
        (batch({b"data": array(PIXELS), b"labels": numbers([10])}), "label 10"),
        (batch({b"data": array(PIXELS[0]), b"labels": numbers([1])}), "uint8 [N, 3072]"),
        (batch({b"data": array(PIXELS[:, 1:]), b"labels": numbers([1])}), "uint8 [N, 3072]"),
        (batch({b"data": array(PIXELS[:0]), b"labels": numbers([])}), "uint8 [N, 3072]"),
        (batch({b"data": array(PIXELS).replace(b"u1", b"O8"), b"labels": numbers([1])}), "uint8 [N, 3072]"),
        (batch({b"data": number(1), b"labels": numbers([1])}), "uint8 [N, 3072]"),
        (b"}(K\x01K\x02u.", "keys that are not text"),
        (b"}(U\x01au.", "not a whole pickle"),
        (b"](K\x01e", "not a whole pickle"),
        (b"h\x07.", "not a whole pickle"),
        (b".", "not a whole pickle"),
        (b"t.", "not a whole pickle"),
        (b"\xff\xff", "not a whole pickle"),
        (b"", "not a whole pickle"),
        (b"I" + b"9" * 5000 + b"\n.", "not a whole pickle"),
    ],
)
def test_pickles_that_are_not_this_data_set(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "test_batch").write_bytes(content)
    refused(lambda: load_cifar10(tmp_path), said)


def test_nothing_in_a_pickle_is_run(tmp_path: Path) -> None:
    made = tmp_path / "made"
    attack = pickle.dumps(_Touch(made), 2)
    pickle.loads(attack)
    assert made.exists()
    made.unlink()
    (tmp_path / "test_batch").write_bytes(attack)
    refused(lambda: load_cifar10(tmp_path), "nothing of it was run", "GLOBAL")
    assert not made.exists()


@pytest.mark.parametrize(
    "content",
    [
        b"]r\xff\xff\xff\x7f.",  # a memo of 2^31 entries
        b"T\xff\xff\xff\x7fab.",  # 2 GB of text
        b"X\xff\xff\xff\x7fab.",
        b"\x8e" + b"\xff" * 7 + b"\x7fab.",
        b"(" * 100_000 + b"t" * 100_000 + b".",  # tuples in tuples
        b")" + b"\x85" * 100_000 + b"}" + b"K\x01s.",
        b")" + b"2\x86" * 100 + b"K\x01s.",  # 2^100 tuples, were one to walk them
        batch(
            {b"data": array(PIXELS).replace(struct.pack("<i", 3072), struct.pack("<i", 2**30)), b"labels": numbers([1])}
        ),
    ],
)
def test_pickles_that_want_memory_or_time(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "test_batch").write_bytes(content)
    tracemalloc.start()
    refused(lambda: load_cifar10(tmp_path))
    assert tracemalloc.get_traced_memory()[1] < 5e7
    tracemalloc.stop()


# N-MNIST


def slow_nmnist(content: bytes) -> list[tuple[int, ...]]:
    found: list[tuple[int, ...]] = []
    for start in range(0, len(content), 5):
        word = int.from_bytes(content[start : start + 5], "big")
        found.append((word & 0x7FFFFF, word >> 32, word >> 24 & 0xFF, word >> 23 & 1))
    return found


@seeded
@given(st.binary(min_size=5, max_size=200))
def test_nmnist_events(tmp_path: Path, content: bytes) -> None:
    content = content[: len(content) // 5 * 5]
    path = tmp_path / "00001.bin"
    path.write_bytes(content)
    assert listed(read_nmnist(path)) == slow_nmnist(content)
    assert nmnist(read_nmnist(path)) == content


def test_nmnist_comes_in_the_order_of_mnist(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    labels = [7, 2, 1, 0, 4, 1, 4, 9, 5, 9, 0, 6]
    recordings = [random_events(rng, 20 + n, 34, 300_000) for n in range(len(labels))]
    for n, (label, events) in enumerate(zip(labels, recordings), 1):
        folder = tmp_path / "Test" / str(label)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{n:05}.bin").write_bytes(nmnist(events))
    (tmp_path / "Test" / "7" / "notes.txt").write_text("not a recording")
    data = load_nmnist(tmp_path)
    assert len(data) == 12
    assert data.labels.tolist() == labels
    for (events, label), expected, wanted in zip(data, recordings, labels):
        np.testing.assert_array_equal(events, expected)
        assert label == wanted
    assert [label for _, label in data.first(3)] == labels[:3]


def test_nmnist_that_is_damaged(tmp_path: Path) -> None:
    refused(lambda: load_nmnist(tmp_path), "Test", "no such folder")
    (tmp_path / "Test" / "3").mkdir(parents=True)
    refused(lambda: load_nmnist(tmp_path), "there are no recordings", "0/*.bin to 9/*.bin")
    path = tmp_path / "Test" / "3" / "00001.bin"
    for content, said in [
        (b"", "there are no events"),
        (bytes(6), "6 bytes"),
        (bytes(5) + bytes([34, 0, 0, 0, 0]) + bytes([0, 33, 0, 0, 0]), "1 of 3, the first at x = 34, y = 0"),
        (bytes([33, 200, 0, 0, 0]), "x < 34, y < 34"),
    ]:
        path.write_bytes(content)
        refused(lambda: list(load_nmnist(tmp_path)), str(path), said)
    (tmp_path / "Test" / "00002.bin").write_bytes(bytes(5))
    refused(lambda: load_nmnist(tmp_path), "a recording without a label", "00002.bin")


# DVS128 Gesture


def slow_aedat3(content: bytes) -> list[tuple[int, ...]]:
    content = content[content.index(b"#!END-HEADER\r\n") + 14 :]
    found: list[tuple[int, ...]] = []
    while content:
        kind = int.from_bytes(content[0:2], "little")
        size, _, overflows, capacity, count = (int.from_bytes(content[n : n + 4], "little") for n in range(4, 24, 4))
        body, content = content[28 : 28 + size * capacity], content[28 + size * capacity :]
        for n in range(count if kind == 1 else 0):
            data, time = (int.from_bytes(body[8 * n + o : 8 * n + o + 4], "little") for o in (0, 4))
            if data % 2:
                found.append((overflows * 2**31 + time, data // 2**17, data // 4 % 2**15, data // 2 % 2))
    return found


@seeded
@given(seeds)
def test_aedat3_events(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    events = random_events(rng, int(rng.integers(0, 30)), 128, 2**33)
    content, kept = AEDAT3_HEADER, []
    for overflows in range(4):
        part = events[events["t"] >> 31 == overflows]
        valid = bool(rng.random() < 0.8)
        content += packet(part, overflows, int(rng.integers(0, 3)), valid)
        kept += listed(part) if valid else []
        if rng.random() < 0.5:  # special events, and ones of another size
            content += struct.pack("<hhiiiiii", 0, 1, 8, 4, 0, 2, 2, 2) + rng.bytes(16)
            content += struct.pack("<hhiiiiii", 3, 1, 36, 4, 0, 1, 1, 1) + rng.bytes(36)
    path = tmp_path / "user.aedat"
    path.write_bytes(content)
    assert listed(read_aedat3(path)) == kept == slow_aedat3(content)


def write_gesture(folder: Path, name: str, content: bytes, trials: str) -> None:
    (folder / f"{name}.aedat").write_bytes(content)
    (folder / f"{name}_labels.csv").write_text(f"class,startTime_usec,endTime_usec\n{trials}")


def test_gestures_are_cut_into_trials(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    streams = {name: random_events(rng, 300, 128, 1000) for name in ("user24_led", "user25_lab")}
    trials = {"user24_led": [(1, 0, 400), (8, 400, 700), (8, 650, 999)], "user25_lab": [(11, 100, 900)]}
    for name, events in streams.items():
        rows = "".join(f"{label},{start},{stop}\n" for label, start, stop in trials[name])
        content = AEDAT3_HEADER + packet(events[:100]) + packet(events[100:])
        write_gesture(tmp_path, name, content, rows)
    (tmp_path / "trials_to_test.txt").write_text("user24_led.aedat\nuser25_lab.aedat\n\n")
    data = load_dvs_gesture(tmp_path)
    assert data.size == (128, 128)
    assert data.labels.tolist() == [0, 7, 7, 10]
    expected = [
        [event for event in listed(streams[name]) if start <= event[0] < stop]
        for name, rows in trials.items()
        for _, start, stop in rows
    ]
    assert [listed(events) for events, _ in data] == expected
    assert min(map(len, expected)) > 50


def test_each_recording_is_read_once_and_only_when_its_turn_comes(tmp_path: Path) -> None:
    asked: list[Path] = []

    def read(path: Path) -> Events:
        asked.append(path)
        return random_events(np.random.default_rng(0), 50, 4, 100)

    a, b = tmp_path / "a", tmp_path / "b"
    data = Recordings((4, 4), (Sample(a, 0, 0, 50), Sample(a, 1, 50, 100), Sample(b, 2)), read)
    stream = iter(data)
    assert asked == []
    next(stream)
    next(stream)
    assert asked == [a]
    next(stream)
    assert asked == [a, b]


def test_gestures_with_what_is_wrong_all_at_once(tmp_path: Path) -> None:
    refused(lambda: load_dvs_gesture(tmp_path), "trials_to_test.txt")
    (tmp_path / "trials_to_test.txt").write_text("\n")
    refused(lambda: load_dvs_gesture(tmp_path), "no trials are listed")
    names = ["user24_led.aedat", "user25_lab.aedat", "../user26_lab.aedat", "user27_lab.txt", "user28_lab.aedat"]
    (tmp_path / "trials_to_test.txt").write_text("\n".join(names))
    write_gesture(tmp_path, "user24_led", AEDAT3_HEADER, "12,0,5\n1,5,5\n1;2;3\n\n2,1,2\n-1,0,5\n1,0\n")
    (tmp_path / "user25_lab.aedat").write_bytes(AEDAT3_HEADER)
    (tmp_path / "user28_lab.aedat").write_bytes(AEDAT3_HEADER)
    (tmp_path / "user28_lab_labels.csv").write_text("")
    error = refused(
        lambda: load_dvs_gesture(tmp_path),
        "user25_lab_labels.csv: no such file",
        "'../user26_lab.aedat'",
        "'user27_lab.txt'",
        "user28_lab_labels.csv: not a list of trials",
        *(f"user24_led_labels.csv, line {line}: not a trial" for line in (2, 3, 4, 7, 8)),
    )
    assert len(error.problems) == 9


def test_a_trial_without_events(tmp_path: Path) -> None:
    (tmp_path / "trials_to_test.txt").write_text("a.aedat")
    events = random_events(np.random.default_rng(0), 10, 128, 1000)
    write_gesture(tmp_path, "a", AEDAT3_HEADER + packet(events), "1,5000,6000\n")
    refused(lambda: list(load_dvs_gesture(tmp_path)), "a.aedat, 5000 to 6000 us: there are no events")


def test_every_shorter_aedat3_file_is_refused_or_ends_with_a_packet(tmp_path: Path) -> None:
    events = random_events(np.random.default_rng(0), 6, 128)
    first, second = packet(events[:3], room=1), packet(events[3:])
    ends = {len(AEDAT3_HEADER): 0, len(AEDAT3_HEADER + first): 3, len(AEDAT3_HEADER + first + second): 6}
    content = AEDAT3_HEADER + first + second
    path = tmp_path / "a.aedat"
    for length in range(len(content) + 1):
        path.write_bytes(content[:length])
        if length in ends:
            assert len(read_aedat3(path)) == ends[length]
        else:
            refused(lambda: read_aedat3(path), "a.aedat")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (AEDAT2_HEADER, "#!AER-DAT3.1"),
        (AEDAT3_HEADER.replace(b"3.1", b"4.0"), "'#!AER-DAT4.0'"),
        (AEDAT3_HEADER.replace(b"RAW", b"Compressed"), "the events are packed"),
        (AEDAT3_HEADER.replace(b"#!END-HEADER\r\n", b""), "the header does not end"),
        (b"", "not an AEDAT 3.1 file"),
        (AEDAT3_HEADER + struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, 2**31 - 1, 2**31 - 1, 1), "17179869176 bytes"),
        (AEDAT3_HEADER + struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, 1, 2, 1) + bytes(16), "2 of 1 events"),
        (AEDAT3_HEADER + struct.pack("<hhiiiiii", 1, 1, 12, 4, 0, 1, 1, 1) + bytes(16), "of 12 bytes"),
        (AEDAT3_HEADER + struct.pack("<hhiiiiii", 1, 1, 8, 0, 0, 1, 1, 1) + bytes(16), "not a packet"),
        (AEDAT3_HEADER + struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, -1, -1, 1), "not a packet"),
        (AEDAT3_HEADER + struct.pack("<hhiiiiii", 2, 1, -8, 4, 0, 1, 1, 1), "not a packet"),
        (AEDAT3_HEADER + struct.pack("<hhiiiiii", 1, 1, 8, 4, -1, 0, 0, 0), "not a packet"),
    ],
)
def test_aedat3_that_is_none(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "a.aedat").write_bytes(content)
    refused(lambda: read_aedat3(tmp_path / "a.aedat"), said)


def test_gesture_events_outside_the_sensor(tmp_path: Path) -> None:
    (tmp_path / "trials_to_test.txt").write_text("a.aedat")
    events = random_events(np.random.default_rng(0), 10, 128, 1000)
    events["x"][4] = 128
    write_gesture(tmp_path, "a", AEDAT3_HEADER + packet(events), "1,0,1000\n")
    refused(lambda: list(load_dvs_gesture(tmp_path)), "1 of 10, the first at x = 128", "x < 128, y < 128")


# CIFAR10-DVS


def slow_aedat2(content: bytes) -> list[tuple[int, ...]]:
    while content.startswith(b"#"):
        content = content[content.index(b"\n") + 1 :]
    found: list[tuple[int, ...]] = []
    for start in range(0, len(content), 8):
        address, time = (int.from_bytes(content[start + o : start + o + 4], "big") for o in (0, 4))
        if address < 2**15:
            found.append((time, 127 - address // 256, 127 - address // 2 % 128, 1 - address % 2))
    return found


@seeded
@given(seeds)
def test_aedat2_events(tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    events = random_events(rng, int(rng.integers(0, 30)), 128, 2**32)
    content = aedat2(events)
    path = tmp_path / "a.aedat"
    path.write_bytes(content)
    assert listed(read_aedat2(path)) == listed(events) == slow_aedat2(content)
    path.write_bytes(content + struct.pack(">II", 0x8000 | int(rng.integers(2**15)), 5))  # an external event
    assert listed(read_aedat2(path)) == listed(events)


def test_cifar10_dvs_shows_all_classes_early(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    written = {}
    for label, name in enumerate(CIFAR10_CLASSES):
        (tmp_path / name).mkdir()
        for n in (0, 2, 10):
            written[n, label] = random_events(rng, 9, 128)
            (tmp_path / name / f"cifar10_{name}_{n}.aedat").write_bytes(aedat2(written[n, label]))
    data = load_cifar10_dvs(tmp_path)
    assert data.labels.tolist() == [*range(10)] * 3
    for (events, label), n in zip(data, np.repeat([0, 2, 10], 10)):
        np.testing.assert_array_equal(events, written[n, label])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (AEDAT3_HEADER, "#!AER-DAT2.0"),
        (AEDAT2_HEADER, "there are no events"),
        (AEDAT2_HEADER[:-2], "the header does not end"),
        (AEDAT2_HEADER + bytes(7), "7 bytes after the header"),
        (AEDAT2_HEADER + bytes(12), "12 bytes after the header"),
        (AEDAT2_HEADER + struct.pack(">II", 1 << 22, 0), "address 0x00400000"),
        (b"no header", "'"),
        (bytes(8), "not an AEDAT 2.0 file"),
    ],
)
def test_aedat2_that_is_none(tmp_path: Path, content: bytes, said: str) -> None:
    (tmp_path / "cat").mkdir()
    (tmp_path / "cat" / "cifar10_cat_0.aedat").write_bytes(content)
    refused(lambda: list(load_cifar10_dvs(tmp_path)), "cifar10_cat_0.aedat", said)


# Whatever happens to a file


def _gesture(folder: Path) -> list[object]:
    (folder / "trials_to_test.txt").write_text("damaged.aedat")
    (folder / "damaged_labels.csv").write_text("class,startTime_usec,endTime_usec\n3,0,2000000\n")
    return list(load_dvs_gesture(folder))


def _events() -> Events:
    return random_events(np.random.default_rng(0), 12, 34, 2**20)


DAMAGED: list[tuple[str, bytes, Callable[[Path], object]]] = [
    ("damaged", idx(np.arange(60, dtype=np.uint8).reshape(5, 4, 3)), lambda folder: read_idx(folder / "damaged", 3)),
    (
        "damaged.gz",
        gzip.compress(idx(np.ones((5, 4, 3), np.uint8)), mtime=0),
        lambda folder: read_idx(folder / "damaged.gz", 3),
    ),
    ("test_batch", cifar_pickle(PIXELS.reshape(1, 3, 32, 32), {b"labels": [1]}), load_cifar10),
    ("Test/1/damaged.bin", nmnist(_events()), lambda folder: list(load_nmnist(folder))),
    ("damaged.aedat", AEDAT3_HEADER + packet(_events()[:5]) + packet(_events()[5:]), _gesture),
    ("cat/damaged.aedat", aedat2(_events()), lambda folder: list(load_cifar10_dvs(folder))),
]


@pytest.mark.parametrize(("name", "content", "load"), DAMAGED, ids=[name for name, _, _ in DAMAGED])
def test_damage_is_refused_or_harmless(
    tmp_path: Path, name: str, content: bytes, load: Callable[[Path], object]
) -> None:
    """150 times some bytes are changed, left out or put in: it loads, or BadInput says where; nothing else happens."""
    rng = np.random.default_rng(0)
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    load(tmp_path)
    refusals: list[BadInput] = []
    for _ in range(150):
        damaged = bytearray(content)
        for _ in range(rng.integers(1, 4)):
            at = int(rng.integers(min(len(damaged), 400)))  # where the structure is
            match rng.integers(3):
                case 0:
                    damaged[at] = rng.integers(256)
                case 1:
                    del damaged[at : at + rng.integers(1, 10)]
                case 2:
                    damaged[at:at] = rng.bytes(int(rng.integers(1, 10)))
        path.write_bytes(damaged)
        try:
            load(tmp_path)
        except BadInput as error:
            refusals.append(error)
    assert len(refusals) > 50
    assert all(str(tmp_path) in problem.where and problem.fix for error in refusals for problem in error.problems)


# Frames


def slow_frames(events: Events, timesteps: int, size: tuple[int, int], by: str) -> np.ndarray:
    """As `integrate_events_by_fixed_frames_number` is described: N // T events or (t_last - t_first) // T each."""
    counts = np.zeros((timesteps, 2, *size), np.float32)
    for n, (t, x, y, p) in enumerate(listed(events)):
        position, whole = (
            (t - min(events["t"]), max(events["t"]) - min(events["t"])) if by == "time" else (n, len(events))
        )
        part = 0
        while part < timesteps - 1 and position >= (part + 1) * max(int(whole) // timesteps, 1):
            part += 1
        counts[part, p, y, x] += 1
    return counts


@seeded
@given(seeds, st.sampled_from(["time", "count"]))
def test_frames(seed: int, by: Any) -> None:
    rng = np.random.default_rng(seed)
    size = (int(rng.integers(1, 6)), int(rng.integers(1, 6)))
    events = random_events(rng, int(rng.integers(1, 40)), 1, int(rng.choice([3, 50, 2**40])))
    events["y"], events["x"] = (rng.integers(0, high, len(events)) for high in size)
    timesteps = int(rng.integers(1, 8))
    counts = frames(events, timesteps, size, by)
    assert counts.dtype == np.float32
    np.testing.assert_array_equal(counts, slow_frames(events, timesteps, size, by))
    assert counts.sum() == len(events)


def test_frames_that_cannot_be() -> None:
    events = random_events(np.random.default_rng(0), 10, 8)
    assert frames(events[:0], 3, (8, 8)).shape == (3, 2, 8, 8)
    events["y"][3] = 8
    with pytest.raises(BadInput, match=r"1 of 10, the first at x = \d, y = 8"):
        frames(events, 3, (8, 8))
    with pytest.raises(UsageError):
        frames(events, 0, (9, 9))
    with pytest.raises(UsageError):
        frames(events, 1, (9, 9), "number")  # type: ignore[arg-type]


# The npz and the command


def test_images_in_an_npz_fit_a_network(tmp_path: Path) -> None:
    images = random_cifar(np.random.default_rng(0), 300)
    shape = to_npz(Images(images, np.arange(300) % 10), tmp_path / "x.npz")
    arrays = read_arrays(tmp_path / "x.npz")
    data = arrange_inputs(arrays, {"x": (3, 32, 32)}, 4, "x.npz")
    assert shape == (300, 3, 32, 32)
    assert data.inputs["x"].shape == (300, 4, 3, 32, 32)
    np.testing.assert_array_equal(arrays["x"], np.array([np.float32(v) / np.float32(255) for v in range(256)])[images])
    np.testing.assert_array_equal(data.labels, np.arange(300) % 10)


def test_recordings_in_an_npz_fit_a_network(tmp_path: Path) -> None:
    streams = [random_events(np.random.default_rng(n), 50, 8, 1000) for n in range(5)]
    samples = tuple(Sample(tmp_path / str(n), n) for n in range(5))
    data = Recordings((8, 8), samples, lambda path: streams[int(path.name)])
    to_npz(data.first(4), tmp_path / "x.npz", timesteps=3, by="count")
    loaded = arrange_inputs(read_arrays(tmp_path / "x.npz"), {"x": (2, 8, 8)}, 3, "x.npz")
    np.testing.assert_array_equal(loaded.inputs["x"], np.stack([frames(s, 3, (8, 8), "count") for s in streams[:4]]))
    np.testing.assert_array_equal(loaded.labels, range(4))
    first = (tmp_path / "x.npz").read_bytes()
    to_npz(data.first(4), tmp_path / "y.npz", timesteps=3, by="count")
    assert (tmp_path / "y.npz").read_bytes() == first
    assert all(info.date_time[0] == 1980 for info in zipfile.ZipFile(io.BytesIO(first)).infolist())


def test_the_npz_is_written_without_holding_the_set(tmp_path: Path) -> None:
    """200 recordings of 0.3 MB in frames, in less than 5 MB."""
    events = random_events(np.random.default_rng(0), 100, 64, 1000)
    data = Recordings((64, 64), tuple(Sample(tmp_path, 0) for _ in range(200)), lambda path: events)
    tracemalloc.start()
    to_npz(data, tmp_path / "x.npz", timesteps=10)
    assert tracemalloc.get_traced_memory()[1] < 5e6
    tracemalloc.stop()


def test_nothing_half_written_is_left(tmp_path: Path) -> None:
    def read(path: Path) -> Events:
        return random_events(np.random.default_rng(0), 5, 8) if path.name == "good" else np.empty(0, EVENT)

    data = Recordings((8, 8), (Sample(tmp_path / "good", 0), Sample(tmp_path / "bad", 1)), read)
    with pytest.raises(BadInput):
        to_npz(data, tmp_path / "x.npz", timesteps=2)
    with pytest.raises(UsageError):
        to_npz(data, tmp_path / "x.npz")
    with pytest.raises(UsageError):
        to_npz(Images(np.zeros((1, 1, 2, 2), np.uint8), np.zeros(1, np.int64)), tmp_path / "x.npz", timesteps=2)
    with pytest.raises(ToolFailed):
        to_npz(data.first(1), tmp_path / "nowhere" / "x.npz", timesteps=2)
    assert list(tmp_path.iterdir()) == []


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = 0
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, *capsys.readouterr()


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_mnist(tmp_path, np.zeros((5, 4, 4), np.uint8), np.array([1, 2, 3, 1, 2], np.uint8))
    out = tmp_path / "x.npz"
    code, said, errors = run(capsys, "mnist", tmp_path, "-o", out, "--limit", 3)
    assert (code, errors) == (0, "")
    assert "x [3, 1, 4, 4], y [3] of 3 classes" in said
    assert read_arrays(out)["y"].tolist() == [1, 2, 3]
    assert run(capsys, "mnist", tmp_path, "-o", out)[0] == 2
    code, said, _ = run(capsys, "fashion-mnist", tmp_path, "-o", out, "--overwrite", "--json")
    assert json.loads(said)["x"] == [5, 1, 4, 4]
    (tmp_path / "Train" / "4").mkdir(parents=True)
    (tmp_path / "Train" / "4" / "00001.bin").write_bytes(bytes(10))
    given = ("nmnist", tmp_path, "-o", tmp_path / "n.npz", "--split", "train")
    assert run(capsys, *given, "--timesteps", 2)[0] == 0
    assert read_arrays(tmp_path / "n.npz")["x"].shape == (1, 2, 2, 34, 34)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("mnist", "nowhere"), 6, "no such folder"),
        (("cifar10", "."), 6, "there is no test_batch or test_batch.bin"),
        (("cifar10-dvs", ".", "--split", "test"), 2, "no published split"),
        (("imagenet", "."), 2, "imagenet"),
        (("mnist", ".", "--limit", "0"), 2, "0"),
        (("mnist", ".", "--by", "number"), 2, "number"),
        (("mnist",), 2, "Missing argument"),
    ],
)
def test_what_the_command_refuses(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    found, out, errors = run(capsys, *arguments, "-o", "x.npz")
    assert (found, out) == (code, "")
    assert said in errors
    found, out, errors = run(capsys, *arguments, "-o", "x.npz", "--json")
    assert (found, errors) == (code, "")
    assert said in json.loads(out)["errors"][0]["what"] + json.loads(out)["errors"][0]["limit"]
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    write_mnist(tmp_path, np.zeros((1, 4, 4), np.uint8), np.array([1], np.uint8))
    monkeypatch.setattr(zipfile.ZipFile, "open", interrupted)
    before = sorted(tmp_path.iterdir())
    assert run(capsys, "mnist", tmp_path, "-o", tmp_path / "x.npz")[0] == 130
    assert sorted(tmp_path.iterdir()) == before


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    refused(lambda: read_nmnist(tmp_path / "nothing.bin"), "no such file")
    refused(lambda: read_nmnist(tmp_path), "this is a folder")
    with open(tmp_path / "huge.bin", "wb") as file:
        file.truncate(2**31 + 1)  # a hole: takes no space
    refused(lambda: read_nmnist(tmp_path / "huge.bin"), "the file is too large", f"{2**31 + 1:,} bytes")
    assert issubclass(BadInput, NeurocompileError)
    assert BadInput.exit_code == 6
    assert math.isclose(Images(np.full((1, 1, 1, 1), 255, np.uint8), np.zeros(1, np.int64)).scaled().item(), 1.0)
