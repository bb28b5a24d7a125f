"""A script that decodes one file with faery, in a process of its own, and writes the events to standard output.

    python decoder.py FILE MOST

First the sensor's columns and rows (int64), then the events (:data:`EVENT`). More than MOST events: exit
:data:`TOO_MANY`. Nothing of this project is imported.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

__all__ = ["EVENT", "SAID", "TOO_MANY", "main"]

EVENT = np.dtype([("t", "<i8"), ("x", "<u2"), ("y", "<u2"), ("p", "u1")])
TOO_MANY = 3
SAID = "decoder: "
_MEMORY = 8 << 30


def main(path: str, most: int) -> int:
    """Decode; returns the exit code."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, resource.RLIM_INFINITY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError, OSError):  # no Unix, or less is allowed
        pass
    import faery

    try:
        stream: Any = faery.events_stream_from_file(path)
        columns, rows = stream.dimensions()
        sys.stdout.buffer.write(np.array([columns, rows], "<i8").tobytes())
        events = 0
        for part in stream:
            events += len(part)
            if events > most:
                return TOO_MANY
            found = np.empty(len(part), EVENT)
            found["t"], found["x"], found["y"], found["p"] = part["t"], part["x"], part["y"], part["on"]
            sys.stdout.buffer.write(found.tobytes())
    except Exception as error:
        print(f"{SAID}{(str(error).splitlines() or [type(error).__name__])[0]}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2])))
