"""Arrays that are missing, damaged, or not what the network takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.cli.helpers import (
    SAMPLES,
    STEPS,
    Data,
    done,
    nothing_in,
    npz,
    one,
    pickled,
    refused,
    result,
    says,
    small_net,
)

X = np.random.default_rng(0).random((SAMPLES, STEPS, 4))
Y = np.arange(SAMPLES) % 3


def _refused(program: Path, path: Path, **arrays: Any) -> list[dict[str, str]]:
    """What simulate says of these arrays; validate and export must say the same."""
    npz(path, **arrays)
    errors = refused(6, "simulate", program, "--data", path, "--spikes", path.with_name("out.npz"))
    for error in errors:
        says(error, where=str(path))
    nothing_in(path.parent, [path.name])
    return errors


def test_missing(program: Path, tmp_path: Path) -> None:
    error = one(refused(6, "simulate", program, "--data", tmp_path / "nowhere.npz"))
    says(error, what="no such file", where="nowhere.npz")


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04" + bytes(50), b"\x93NUMPY", b"\x80\x04N.", bytes(1000), b"x,y\n1,2\n"],
    ids=["empty", "zip", "npy", "pickle", "zeros", "csv"],
)  # fmt: skip
def test_no_arrays_at_all(content: bytes, program: Path, tmp_path: Path) -> None:
    file = tmp_path / "x.npz"
    file.write_bytes(content)
    says(one(refused(6, "simulate", program, "--data", file)), where=str(file))


def test_a_folder(program: Path, tmp_path: Path) -> None:
    says(one(refused(6, "simulate", program, "--data", tmp_path)), where=str(tmp_path))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.99])
def test_truncated(share: float, program: Path, data: Data, tmp_path: Path) -> None:
    content, file = data.path.read_bytes(), tmp_path / "x.npz"
    file.write_bytes(content[: int(len(content) * share)])
    says(one(refused(6, "simulate", program, "--data", file)), where=str(file))


def test_a_damaged_member(program: Path, data: Data, tmp_path: Path) -> None:
    content, file = bytearray(data.path.read_bytes()), tmp_path / "x.npz"
    content[len(content) // 2] ^= 0xFF
    file.write_bytes(content)
    says(one(refused(6, "simulate", program, "--data", file)), where=str(file))


@pytest.mark.parametrize("name", ["x", "y"])
def test_object_arrays(name: str, program: Path, tmp_path: Path) -> None:
    objects = np.array([{"a": 1}] * SAMPLES, dtype=object)
    errors = _refused(program, tmp_path / "x.npz", **{"x": X, "y": Y, name: objects})
    says(one(errors), fix="without pickled objects")


@pytest.mark.parametrize(
    "shape", [(4,), (SAMPLES, 3), (SAMPLES, STEPS, 3), (SAMPLES, 4, STEPS), (SAMPLES, 9, 4), (), (SAMPLES, 1, 5, 4),
              (0, 4), (0, STEPS, 4)],
    ids=str,
)  # fmt: skip
def test_the_wrong_shape(shape: tuple[int, ...], program: Path, tmp_path: Path) -> None:
    error = one(_refused(program, tmp_path / "x.npz", x=np.zeros(shape)))
    says(error, what="shape", actual=str(list(shape)), limit=f"[N, {STEPS}, 4]")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_x_that_is_no_number(value: float, program: Path, tmp_path: Path) -> None:
    x = X.copy()
    x[3, 2, 1] = value
    error = one(_refused(program, tmp_path / "x.npz", x=x))
    says(error, what="NaN or infinite", actual=f"1 of {x.size}")


@pytest.mark.parametrize("dtype", ["complex128", "U5", "S5", "datetime64[s]"])
def test_x_of_another_kind(dtype: str, program: Path, tmp_path: Path) -> None:
    error = one(_refused(program, tmp_path / "x.npz", x=np.zeros((SAMPLES, 4), dtype)))
    says(error, what="no numbers", actual=str(np.dtype(dtype)))


def test_no_x(program: Path, tmp_path: Path) -> None:
    error = one(_refused(program, tmp_path / "x.npz", images=X, y=Y))
    says(error, actual="images")


def test_an_empty_npz(program: Path, tmp_path: Path) -> None:
    says(one(_refused(program, tmp_path / "x.npz")), actual="nothing")


@pytest.mark.parametrize(
    "labels",
    [Y[:-1], Y.astype(float), Y[:, None], np.eye(3)[Y], Y.astype(str), np.int64(3), np.array([]), Y.astype(complex)],
    ids=["length", "float", "column", "one-hot", "words", "one number", "none", "complex"],
)
def test_labels_that_do_not_match(labels: Any, program: Path, tmp_path: Path) -> None:
    error = one(_refused(program, tmp_path / "x.npz", x=X, y=labels))
    says(error, what="labels", limit=f"[{SAMPLES}]")
    assert str(list(np.shape(labels))) in error["actual"]


@pytest.mark.parametrize("label", [-1, 3, 1000])
def test_labels_that_no_output_has(label: int, program: Path, tmp_path: Path) -> None:
    """A network with three outputs can never be right about label 3: the labels do not match."""
    y = Y.copy()
    y[5] = label
    error = one(_refused(program, tmp_path / "x.npz", x=X, y=y))
    says(error, what="labels")


def test_everything_wrong_is_said_at_once(program: Path, tmp_path: Path) -> None:
    x = X.copy()
    x[0, 0, 0] = np.nan
    errors = _refused(program, tmp_path / "x.npz", x=x, y=Y[:-1])
    assert len(errors) == 2


@pytest.mark.parametrize("dtype", ["float16", "float32", "uint8", "int64", "bool"])
def test_numbers_of_all_kinds_are_taken(dtype: str, program: Path, tmp_path: Path) -> None:
    file = npz(tmp_path / "x.npz", x=(X > 0.5).astype(dtype), y=Y.astype("uint8"))
    body = result("simulate", program, "--data", file)
    assert body["samples"] == SAMPLES


def test_frames_repeat(program: Path, tmp_path: Path) -> None:
    once = result("simulate", program, "--data", npz(tmp_path / "a.npz", x=X[:, 0], y=Y))
    each = result("simulate", program, "--data", npz(tmp_path / "b.npz", x=np.repeat(X[:, :1], STEPS, 1), y=Y))
    assert once == each


def test_a_single_npy_is_x(program: Path, data: Data, tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", data.x)
    alone = result("simulate", program, "--data", tmp_path / "x.npy")
    assert alone["accuracy"] is None
    assert alone["spikes"] == result("simulate", program, "--data", data.path)["spikes"]


def test_the_same_is_said_of_calibration_and_validation(model: Path, program: Path, tmp_path: Path) -> None:
    bad = npz(tmp_path / "x.npz", x=np.zeros((SAMPLES, 3)))
    for arguments in (
        ("export", model, "-o", tmp_path / "out", "--calibrate", bad),
        ("validate", program, "--reference", model, "--data", bad),
    ):
        says(one(refused(6, *arguments)), what="shape", where=str(bad))
    nothing_in(tmp_path, ["x.npz"])


def test_a_model_that_brought_no_samples_needs_data(tmp_path: Path) -> None:
    model, out = pickled(small_net(), tmp_path / "model.pt"), tmp_path / "out"
    done("export", model, "-o", out, "--input-shape", "4", "--timesteps", STEPS)
    says(one(refused(2, "validate", out, "--reference", model)), fix="--data")


def test_data_is_not_optional_for_simulate(program: Path) -> None:
    says(one(refused(2, "simulate", program)), what="--data")
