"""Event cameras' files: small decoders of the published data sets, and faery's for what is packed.

faery decodes AEDAT4 and Prophesee's formats in Rust; damaged files can make it abort. It runs in a process of its own,
whose memory and time are bounded.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from neurocompile.errors import Problem, ToolFailed
from neurocompile.extras import needing
from neurocompile.files import opened
from neurocompile.recordings import decoder
from neurocompile.recordings.base import MOST_EVENTS, Events, Found, Hints, Reader, bad, check_count
from neurocompile.recordings.cameras import CameraEvents, read_aedat2, read_aedat3, read_nmnist

__all__ = ["AEDAT2", "AEDAT3", "AEDAT4", "NMNIST", "PROPHESEE"]

_SECONDS = 600
_DVS128 = (128, 128)


def _of(events: CameraEvents, where: Path, size: tuple[int, int] | None) -> Found:
    check_count(len(events), where)
    x, y, p = (events[name].astype(np.int64) for name in ("x", "y", "p"))
    return Found(events={"": Events(events["t"].astype(np.int64), None, x, y, p, None, "us", size, str(where))})


def _aedat2(path: Path, hints: Hints) -> Found:
    """As the sensor stands: :func:`read_aedat2` turns CIFAR10-DVS upright, and chips number the sensor's columns."""
    upright = read_aedat2(path)
    events = upright.copy()
    events["x"], events["y"] = 127 - upright["y"], 127 - upright["x"]
    return _of(events, path, _DVS128)


def _faery(path: Path, hints: Hints) -> Found:
    with needing(str(path), "recordings"):
        import faery  # noqa: F401  # found here, so that its absence is told; used in the other process
    with opened(path):
        pass
    # -P: the folder of the script is no place to import from.
    command = [sys.executable, "-P", decoder.__file__, str(path.absolute()), str(MOST_EVENTS)]
    try:
        ended = subprocess.run(command, capture_output=True, timeout=_SECONDS, check=False, stdin=subprocess.DEVNULL)
    except subprocess.TimeoutExpired as error:
        fix = "record fewer samples at a time"
        raise ToolFailed(Problem("decoding takes too long", str(path), limit=f"{_SECONDS} s", fix=fix)) from error
    if ended.returncode == decoder.TOO_MANY:
        check_count(MOST_EVENTS + 1, path)
    head = np.frombuffer(ended.stdout[:16], "<i8")
    if ended.returncode or len(head) < 2 or (len(ended.stdout) - 16) % decoder.EVENT.itemsize:
        said = ended.stderr.decode(errors="replace").strip().splitlines()
        why = next((line for line in reversed(said) if line.startswith(decoder.SAID)), decoder.SAID + "it is damaged")
        what = f"this cannot be decoded: {why.removeprefix(decoder.SAID)[:200]}"
        raise bad(what, path, fix="copy it again; it may be cut short")
    return _of(np.frombuffer(ended.stdout, decoder.EVENT, offset=16), path, (int(head[0]), int(head[1])))


AEDAT2 = Reader(lambda start, path: start.startswith(b"#!AER-DAT2"), _aedat2)
AEDAT3 = Reader(
    lambda start, path: start.startswith(b"#!AER-DAT3"), lambda path, hints: _of(read_aedat3(path), path, None)
)
AEDAT4 = Reader(lambda start, path: start.startswith(b"#!AER-DAT4"), _faery)
PROPHESEE = Reader(
    lambda start, path: start.startswith((b"% ", b"Event Stream"))
    and path.suffix.lower() in (".raw", ".dat", ".es"), _faery
)  # fmt: skip
NMNIST = Reader(
    lambda start, path: path.suffix.lower() == ".bin", lambda path, hints: _of(read_nmnist(path), path, None)
)
