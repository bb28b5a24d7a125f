"""Simulators of the RTL that were built are kept, and built once whoever asks.

An entry is a folder with the program and a digest of it. It is built beside its place and renamed into it, so that what
is there is whole; if two processes build the same, the second finds the first one's. What was damaged since is built
anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

__all__ = ["builds_folder", "digest_of", "kept"]

_DIGEST = "sha256"
_BUILDING = ".building-"
_ABANDONED_S = 86_400.0
"""What is still being built after a day was left behind by a process that was killed."""


def builds_folder() -> Path:
    """Where simulators are kept between runs: ``neurocompile/nc1`` below ``$XDG_CACHE_HOME`` or ``~/.cache``.

    Where that cannot be written, a folder of this user's below the system's temporary one; and if someone else owns a
    folder of that name, a new one, since what lies in it is going to be run.
    """
    cache = os.environ.get("XDG_CACHE_HOME")
    with contextlib.suppress(OSError, RuntimeError):
        folder = (Path(cache) if cache else Path.home() / ".cache") / "neurocompile" / "nc1"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    user = os.getuid() if hasattr(os, "getuid") else ""
    folder = Path(tempfile.gettempdir()) / f"neurocompile-{user}"
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    if not _is_ours(folder):
        folder = Path(tempfile.mkdtemp(prefix="neurocompile-"))
    (folder / "nc1").mkdir(exist_ok=True)
    return folder / "nc1"


def _is_ours(folder: Path) -> bool:
    """Whether it is a folder, no link to one, of this user, that nobody else may write."""
    found = folder.lstat()
    ours = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    return stat.S_ISDIR(found.st_mode) and ours and not found.st_mode & 0o022


def digest_of(parts: Iterable[bytes]) -> str:
    """One digest of all that decides what is built; where one part ends and the next begins counts, too."""
    whole = hashlib.sha256()
    for part in parts:
        whole.update(hashlib.sha256(part).digest())
    return whole.hexdigest()[:24]


def kept(folder: Path, entry: str, program: str, make: Callable[[Path], Path]) -> Path:
    """The program of an entry; it is built if it is not there, or is not what was built.

    Args:
        folder: that all entries are in.
        entry: its name, in which is all that decides what is built.
        program: the file's name in the entry.
        make: builds it in an empty folder and returns where; whatever else it leaves there is thrown away.
    """
    made = folder / entry / program
    if _is_whole(made):
        return made
    folder.mkdir(parents=True, exist_ok=True)
    _clear_abandoned(folder)
    with tempfile.TemporaryDirectory(prefix=_BUILDING, dir=folder, ignore_cleanup_errors=True) as scratch:
        work, ready = Path(scratch) / "work", Path(scratch) / "ready"
        work.mkdir()
        ready.mkdir()
        os.replace(make(work), ready / program)
        (ready / _DIGEST).write_text(_digest(ready / program))
        try:
            os.rename(ready, folder / entry)
        except OSError:  # something is there: another process's, or what was damaged
            if not _is_whole(made):
                with contextlib.suppress(FileNotFoundError):
                    os.rename(folder / entry, Path(scratch) / "damaged")
                with contextlib.suppress(OSError):  # another process was as fast
                    os.rename(ready, folder / entry)
    return made


def _digest(program: Path) -> str:
    return hashlib.sha256(program.read_bytes()).hexdigest()


def _is_whole(program: Path) -> bool:
    try:
        return (program.parent / _DIGEST).read_text("ascii", "replace") == _digest(program)
    except OSError:
        return False


def _clear_abandoned(folder: Path) -> None:
    for left in folder.glob(_BUILDING + "*"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _ABANDONED_S:
                shutil.rmtree(left, ignore_errors=True)
