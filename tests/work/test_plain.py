"""Results as bytes: what goes in comes out, and nothing else comes out of other bytes."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from neurocompile.work.plain import packed, unpacked

NUMBERS = arrays(st.sampled_from(["?", "i1", "u2", "i8", "f4", "f8"]), array_shapes(min_dims=0, min_side=0, max_dims=3))
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | NUMBERS
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)


def same(a: Any, b: Any) -> bool:
    """Type for type; NaN is NaN, -0.0 is not 0.0."""
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
    if isinstance(a, dict):
        return isinstance(b, dict) and list(a) == list(b) and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return isinstance(b, list) and len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and repr(a) == repr(b)


@settings(max_examples=60)
@given(VALUES)
def test_what_goes_in_comes_out(value: Any) -> None:
    assert same(unpacked(packed(value)), value)


@settings(max_examples=60)
@given(VALUES, st.data())
def test_other_bytes_are_refused_or_are_a_value(value: Any, data: st.DataObject) -> None:
    content = bytearray(packed(value))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        packed(unpacked(bytes(content)))
    except ValueError:  # of JSON, of Unicode, of ours
        return


class Runs:
    """What pickle runs."""

    def __reduce__(self) -> Any:
        return exec, ("raise SystemExit('it ran')",)


def test_nothing_runs() -> None:
    with pytest.raises(ValueError, match=r"."):
        unpacked(pickle.dumps(Runs()))
    with pytest.raises(TypeError, match="Runs"):
        packed({"a": [Runs()]})
    with pytest.raises(TypeError, match="ndarray"):
        packed(np.array([Runs()]))
    with pytest.raises(ValueError, match="no array"):
        unpacked(b'["a","|O",[1]]\n12345678')
    with pytest.raises(ValueError, match="cut short"):
        unpacked(b'["a","<f8",[1000000000000]]\n12345678')
