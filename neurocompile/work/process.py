"""A worker of a pool: it reads calls from its standard input and writes answers to its standard output.

Shared values lie in a folder, each in a file that is called as its digest. Both ways a length in 8 bytes comes first,
then so many bytes of pickle. It ends when its input does.
"""

from __future__ import annotations

import os
import pickle
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO

from neurocompile.work.remote import do

__all__ = ["read_frame", "serve", "write_frame"]

_LENGTH = struct.Struct("<Q")


def write_frame(stream: BinaryIO, value: Any) -> None:
    """Write a value."""
    content = pickle.dumps(value, protocol=5)
    stream.write(_LENGTH.pack(len(content)))
    stream.write(content)
    stream.flush()


def read_frame(stream: BinaryIO) -> Any:
    """The next value.

    Raises:
        EOFError: if the stream ends.
    """
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    content = stream.read(length)
    if len(content) < length:
        raise EOFError
    return pickle.loads(content)


def serve(folder: str) -> None:
    """Answer until nobody asks any more; what tasks print goes to standard error."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    write_frame(answers, os.getpid())
    name = f"process {os.getpid()}"
    try:
        while True:
            call = read_frame(sys.stdin.buffer)
            write_frame(answers, do(call, lambda digest: (Path(folder) / digest).read_bytes(), name))
    except (EOFError, BrokenPipeError):
        return
