"""Tables of events, a row each: CSV and Parquet.

The heading names the columns: t (or t_us, ``t [us]``, step, ...), neuron or x and y, and p, sample, layer where there
are such. Rows are read block by block, into numbers.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neurocompile.extras import needing
from neurocompile.files import opened
from neurocompile.ir.ops import Array
from neurocompile.printable import first_line, printable
from neurocompile.recordings.base import Events, Found, Hints, Reader, bad, check_count
from neurocompile.recordings.columns import checked, column_of

__all__ = ["CSV", "PARQUET"]

_ROWS = 1 << 16
_LINE = 4096
"""Characters that a line may have."""
_LARGEST = 1 << 32
_FIX = "write a heading such as t_us,neuron or t_us,x,y,p, and whole numbers below it"

Columns = dict[str, list[Array]]


def _read_csv(path: Path, hints: Hints) -> Found:
    with opened(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > _LARGEST:
            raise bad("the file is too large", path, f"{size:,} bytes", f"{_LARGEST:,} bytes", "record fewer samples")
        lines = _lines(io.TextIOWrapper(file, "utf-8", newline=""), path)
        first = next(lines, "")
        between = max(",;\t", key=first.count)
        heading = next(csv.reader([first], delimiter=between), [])
        names, unit = _named(heading, path)
        rows = csv.reader(lines, delimiter=between)
        columns: Columns = {name: [] for name in names if name}
        done = 0
        for block in _blocks(rows, path):
            for place, row in enumerate(block):
                if len(row) != len(names):
                    where = f"{path}, row {done + place + 2}"
                    raise bad("a row has another number of columns", where, str(len(row)), str(len(names)), _FIX)
            for name, texts in zip(names, zip(*block)):
                if name:
                    columns[name].append(_numbers(name, texts, path, done + 2))
            done += len(block)
            check_count(done, path)
    return _found(columns, unit or hints.time_unit, str(path))


def _lines(text: io.TextIOWrapper, path: Path) -> Iterator[str]:
    """Lines that are no comment, each of a bounded length."""
    try:
        while line := text.readline(_LINE):
            if len(line) == _LINE:
                raise bad("a line is too long", path, f"{_LINE} characters or more", f"{_LINE - 1}", _FIX)
            if line.strip() and not line.startswith(("#", "%")):
                yield line
    except UnicodeDecodeError as error:
        raise bad(f"this is no text: {error.reason}", path, fix="write it in UTF-8") from error
    except OSError as error:
        raise bad(f"cannot be read: {error.strerror}", path) from error


def _blocks(rows: Iterator[list[str]], path: Path) -> Iterator[list[list[str]]]:
    try:
        block: list[list[str]] = []
        for row in rows:
            block.append(row)
            if len(block) == _ROWS:
                yield block
                block = []
        if block:
            yield block
    except csv.Error as error:
        raise bad(f"this is no table: {error}", path, fix=_FIX) from error


def _named(heading: Sequence[str], where: Path) -> tuple[list[str], str]:
    """What each column is, "" for what nobody needs; and the unit of the times."""
    found = [column_of(each) for each in heading]
    names = [name for name, _ in found]
    twice = {name for name in names if name and names.count(name) > 1}
    if "time" not in names or twice:
        what = f"two columns are {twice.pop()}" if twice else "no column says when"
        shown = ", ".join(printable(each)[:20] for each in heading[:8])
        raise bad(what, where, shown, "t, neuron (or x, y, p), sample, layer", _FIX)
    return names, next(unit for name, unit in found if name == "time")


def _numbers(name: str, texts: Sequence[str], path: Path, row: int) -> Array:
    """The values of a column; layers stay texts."""
    if name == "layer":
        return np.array([text.strip() for text in texts])
    try:
        return np.array(texts).astype(np.int64)
    except (ValueError, OverflowError):
        pass
    try:
        return np.array(texts).astype(np.float64)
    except ValueError:
        bad_at, text = next((i, text) for i, text in enumerate(texts) if not _number(text))
        raise bad(f"{name} is no number", f"{path}, row {row + bad_at}", repr(text)[:40], fix=_FIX) from None


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_parquet(path: Path, hints: Hints) -> Found:
    with needing(str(path), "recordings"):
        import pyarrow
        from pyarrow import parquet
    try:
        with opened(path) as file, parquet.ParquetFile(file) as table:
            check_count(table.metadata.num_rows, path)
            names, unit = _named(table.schema_arrow.names, path)
            wanted = [column for column, name in zip(table.schema_arrow.names, names) if name]
            kinds = {name: table.schema_arrow.field(column).type
                     for column, name in zip(table.schema_arrow.names, names) if name}  # fmt: skip
            unit = unit or _arrow_unit(kinds["time"])
            columns: Columns = {name: [] for name in names if name}
            for batch in table.iter_batches(_ROWS, columns=wanted):
                for name, values in zip((name for name in names if name), batch.columns):
                    columns[name].append(_plain(name, values, path))
    except (pyarrow.ArrowException, OSError, ValueError, TypeError, OverflowError) as error:
        raise bad(
            f"this cannot be read as Parquet: {first_line(error)}", path, fix="write it again; copy it whole"
        ) from error
    return _found(columns, unit or hints.time_unit, str(path))


def _arrow_unit(kind: Any) -> str:
    """Timestamps and durations say their unit."""
    unit = getattr(kind, "unit", "")
    return unit if unit in ("s", "ms", "us", "ns") else ""


def _plain(name: str, values: Any, path: Path) -> Array:
    if values.null_count:
        raise bad(f"{name} has places without a value", path, f"{values.null_count:,}", "0", _FIX)
    if name == "layer":
        return np.array([str(text) for text in values.to_pylist()])
    array: Array = values.to_numpy(zero_copy_only=False)
    if array.dtype.kind in "mM":
        array = array.astype(np.int64)
    if array.dtype.kind not in "iufb":
        raise bad(f"{name} holds no numbers", path, str(values.type), "integers or floats", _FIX)
    return array


def _found(columns: Mapping[str, Sequence[Array]], unit: str, where: str) -> Found:
    """Events by layer, as the column of layers tells them apart."""
    joined = {name: np.concatenate(parts) if parts else np.zeros(0, np.int64) for name, parts in columns.items()}
    time, layers = joined.pop("time"), joined.pop("layer", None)
    if layers is None:
        return Found(events={"": checked(time, joined, unit, where)})
    events: dict[str, Events] = {}
    for layer in np.unique(layers):
        of = layers == layer
        told = {name: each[of] for name, each in joined.items()}
        events[str(layer)] = checked(time[of], told, unit, f"{where}, {layer}")
    return Found(events=events)


CSV = Reader(lambda start, path: path.suffix.lower() in (".csv", ".tsv", ".txt"), _read_csv)
PARQUET = Reader(lambda start, path: start.startswith(b"PAR1"), _read_parquet)
