"""Files that are damaged, or no recordings: refused with what, where and what to do; nothing hangs, nothing is run."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import neurocompile
from neurocompile.errors import BadInput, UsageError
from neurocompile.recordings import Hints, base, read_recordings
from tests.recordings import files
from tests.recordings.conftest import Digits

T, X, Y, P = (np.array(each) for each in ([10, 20, 30], [1, 2, 3], [0, 0, 0], [1, 0, 1]))


def read(path: Path) -> Any:
    return read_recordings([("", path)], Hints(), "one")


def refused(path: Path, *said: str) -> None:
    with pytest.raises(BadInput) as caught:
        read(path)
    for problem in caught.value.problems:
        assert problem.what
        assert str(path) in problem.where
        assert problem.fix
    for words in said:
        assert words in str(caught.value)


def read_or_refused(path: Path) -> None:
    try:
        read(path)
    except BadInput as error:
        problems = error.problems
    else:
        problems = ()
    assert all(problem.what and problem.where and problem.fix for problem in problems)


BAD_TABLES = {
    "nothing": ("", "no column says when"),
    "no times": ("neuron,x\n1,2\n", "no column says when"),
    "no addresses": ("t_us,p\n1,1\n", "no address"),
    "two columns of times": ("t,time,neuron\n1,1,1\n", "two columns are time"),
    "words": ("t_us,neuron\n1,2\n3,four\n", "row 3"),
    "a row too short": ("t_us,neuron\n1,2\n3\n", "row 3"),
    "half a neuron": ("t_us,neuron\n1,2.5\n", "no whole number"),
    "a negative neuron": ("t_us,neuron\n1,-2\n", "below 0"),
    "NaN": ("t_us,neuron\nnan,2\n", "no numbers"),
    "infinite": ("t_us,neuron\n1e999,2\n", "no numbers"),
    "a line without end": ("t_us,neuron\n" + "1" * 10_000, "too long"),
    "no text": (b"t_us,neuron\n\xff\xfe,1\n", "no text"),
    "a null character": ("t_us,neuron\n1,\x00\n", ""),
}


@pytest.mark.parametrize("kind", BAD_TABLES)
def test_tables(kind: str, tmp_path: Path) -> None:
    content, said = BAD_TABLES[kind]
    path = tmp_path / "a.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    refused(path, said)


def test_no_files(tmp_path: Path) -> None:
    refused(tmp_path / "none.csv", "no such file")
    refused(tmp_path, "folder")
    (tmp_path / "a.what").write_bytes(b"hello")
    refused(tmp_path / "a.what", "no recording of a kind that is known")


def test_more_events_than_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(base, "MOST_EVENTS", 2)
    refused(files.csv(tmp_path / "a.csv", "t_us,neuron", T, X), "too many events")
    refused(files.parquet(tmp_path / "a.parquet", t_us=T, neuron=X), "too many events")
    refused(files.nmnist(tmp_path / "a.bin", T, X, Y, P), "too many events")


def test_parquet_without_values_or_of_words(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    for columns, said in (
        ({"t_us": [1, None], "neuron": [1, 2]}, "without a value"),
        ({"t_us": ["a", "b"], "neuron": [1, 2]}, "no numbers"),
        ({"t_us": [1, 2], "neuron": [[1], [2]]}, "no numbers"),
    ):
        parquet.write_table(pyarrow.table(columns), tmp_path / "a.parquet")
        refused(tmp_path / "a.parquet", said)


def test_arrays_that_do_not_belong_together(tmp_path: Path) -> None:
    cases: tuple[tuple[dict[str, Any], str], ...] = (
        ({"1:t_us": T, "1:neuron": X[:2]}, "different lengths"),
        ({"1:t_us": T.reshape(3, 1), "1:neuron": X}, "lists"),
        ({"1:neuron": X}, "need their times"),
        ({"1:t_us": T}, "no address"),
        ({"1:t_us": T, "1:t_ms": T, "1:neuron": X}, "need their times, once"),
        ({"1:t_us": T.astype(str), "1:neuron": X}, "no numbers"),
        ({"1:counts": np.array([0.5])}, "no whole number"),
        ({"markers": np.zeros((2, 2)), "1:t_us": T, "1:neuron": X}, "no times"),
    )
    for arrays, said in cases:
        np.savez(tmp_path / "a.npz", **arrays)
        refused(tmp_path / "a.npz", said)


def test_a_layer_twice(tmp_path: Path) -> None:
    one, two = (files.csv(tmp_path / f"{name}.csv", "t_us,neuron", T, X) for name in "ab")
    with pytest.raises(BadInput, match="recorded twice"):
        read_recordings([("", one), ("", two)], Hints(), "one")
    many = files.csv(tmp_path / "c.csv", "t_us,neuron,layer", T, X, np.array(["u", "v", "u"]))
    with pytest.raises(BadInput, match="names other layers"):
        read_recordings([("u", many)], Hints(), "one")


# -- cut short and altered ---------------------------------------------------------------------------------------------

WRITERS: dict[str, Callable[[Path], Path]] = {
    "a.csv": lambda path: files.csv(path, "t_us,x,y,p", T, X, Y, P),
    "a.parquet": lambda path: files.parquet(path, t_us=T, x=X, y=Y, p=P),
    "a.bin": lambda path: files.nmnist(path, T, X, Y, P),
    "a2.aedat": lambda path: files.aedat2(path, T, X, Y, P),
    "a3.aedat": lambda path: files.aedat3(path, T, X, Y, P),
    "a.npz": lambda path: (np.savez(path, t_us=T, neuron=X), path)[1],
    "a.h5": lambda path: files.nir_events(path, "one", np.eye(4, dtype=np.int8)[None], 1e-3),
}
damaged = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("name", WRITERS)
@damaged
@given(data=st.data())
def test_damage_is_refused_or_harmless(tmp_path: Path, name: str, data: st.DataObject) -> None:
    path = WRITERS[name](tmp_path / name)
    content = bytearray(path.read_bytes())
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    for _ in range(data.draw(st.integers(0, 4))):
        if content:
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content))
    read_or_refused(path)


@pytest.mark.parametrize("suffix", ["aedat4", "raw", "dat", "es"])
def test_damage_to_what_faery_reads(suffix: str, tmp_path: Path) -> None:
    """Its decoder may end the process that it runs in: that is another one, and what is told is the same."""
    pytest.importorskip("faery")
    rng = np.random.default_rng(0)
    events = 200
    t = np.sort(rng.integers(0, 10**5, events))
    x, y, p = rng.integers(0, 64, events), rng.integers(0, 48, events), rng.integers(0, 2, events)
    path = files.by_faery(tmp_path / f"a.{suffix}", t, x, y, p, (64, 48))
    whole = path.read_bytes()
    for trial in range(6):
        content = bytearray(whole[: rng.integers(1, len(whole))] if trial % 2 else whole)
        for at in rng.integers(0, len(content), 5):
            content[at] = rng.integers(0, 256)
        path.write_bytes(bytes(content))
        read_or_refused(path)


def test_a_header_that_promises_much(tmp_path: Path) -> None:
    """No memory is taken on its word."""
    packet = struct.pack("<hhiiiiii", 1, 1, 8, 4, 0, 2**31 - 1, 2**31 - 1, 2**31 - 1)
    (tmp_path / "a.aedat").write_bytes(b"#!AER-DAT3.1\r\n#!END-HEADER\r\n" + packet)
    refused(tmp_path / "a.aedat", "ends too early")


# -- what belongs to no program or no data -----------------------------------------------------------------------------


def test_what_does_not_belong(digits: Digits, tmp_path: Path) -> None:
    head = "t_us,neuron"
    good = files.csv(tmp_path / "good.csv", head, T, X)

    def validated(*recorded: Any, **options: Any) -> None:
        neurocompile.validate(digits.program, digits.file, recorded=recorded, **options)

    many = np.array([10**6] * 3)
    cases: tuple[tuple[Any, dict[str, Any], str], ...] = (
        (files.csv(tmp_path / "a.csv", head, T, many), {}, "addresses that the layer has not"),
        (files.csv(tmp_path / "b.csv", "sample,step,neuron", many, X, X), {}, "no such sample"),
        (files.csv(tmp_path / "c.csv", "t_us,x,y", T, X, X), {}, "how wide the sensor is"),
        (files.csv(tmp_path / "d.csv", "t_us,x,y", T, X, X), {"recorded_layer": "neuron1"}, "how wide the sensor is"),
        (good, {"recorded_layer": "nothing"}, "no such layer"),
        (good, {"markers": np.arange(3)}, "do not belong to these samples"),
    )
    for path, options, said in cases:
        with pytest.raises(BadInput, match=said) as caught:
            validated(path, **options)
        assert all(problem.fix for problem in caught.value.problems)
    usage: tuple[tuple[dict[str, Any], str], ...] = (
        ({"step_length": "fast"}, "no length of time"),
        ({"step_length": "0ms"}, "no length of time"),
        ({"step_length": "1e400s"}, "no length of time"),
        ({"sample_length": "1ms"}, "needs to know how long a step is"),
        ({"step_length": "1ms", "sample_length": "2500us"}, "a sample is not so long"),
        ({"align": "somehow"}, "align"),
        ({"time_unit": "years"}, "time_unit"),
    )
    for options, said in usage:
        with pytest.raises(UsageError, match=said):
            validated(good, **options)
    with pytest.raises(UsageError, match="in what unit the times are"):
        validated(files.csv(tmp_path / "e.csv", "t,neuron", T, X), step_length="1ms")
