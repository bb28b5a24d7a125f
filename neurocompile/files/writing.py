"""Writing: over no input, over nothing that was not to be replaced, and complete or not at all.

What is written lies beside its place under a name of its own, locked by whoever writes it, and takes its place in one
step: two who write at once never mix, and whoever is killed leaves what was there before. What the killed left behind
is cleared by the next who writes there.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from neurocompile.errors import Problem, ToolFailed, UsageError

try:
    import fcntl
except ImportError:  # no POSIX: what the killed left behind stays
    fcntl = None  # type: ignore[assignment]

__all__ = ["check_output", "completed", "write_file", "write_folder"]

_UNLOCKED, _LOCKED = ".new", ".partial"
"""What is being written is made under a name that ends so, locked, and then renamed so."""
_ABANDONED_S = 60.0
"""So old is what was never locked before it is cleared."""
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_MISSING = (errno.ENOENT, errno.ENOTDIR)
_AT_FDCWD, _EXCHANGE = -100, 2


# -- before anything is computed ---------------------------------------------------------------------------------------


def check_output(path: Path, option: str, inputs: Iterable[Path] = (), overwrite: bool = False) -> None:
    """Refuse a file that cannot be written, is an input of the same command, or exists.

    Args:
        path: of the file.
        option: that the user gave it with.
        inputs: what the command reads: files, and folders with all that lies in them.
        overwrite: whether what exists is replaced, if it is a file.

    Raises:
        UsageError: with the first of these.
    """
    where = f"{option} {path}"
    if path.name in ("", ".", ".."):
        raise UsageError(Problem("this names no file", where, fix="name the file to write"))
    place = path.resolve()
    for read in inputs:
        if place == read.resolve() or read.resolve() in place.parents:
            raise UsageError(Problem("this would be written over what is read", where, str(read), fix="name another"))
    parent = path.parent
    if not parent.is_dir():
        what = "this is no folder" if parent.exists() else "there is no such folder"
        raise UsageError(Problem(f"{what}: {parent}", where, fix="make it first, or name another"))
    try:
        mode = path.lstat().st_mode
    except OSError:
        return
    if stat.S_ISLNK(mode) and path.exists():
        mode = path.stat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        kind = "folder" if stat.S_ISDIR(mode) else "pipe or a device"
        raise UsageError(Problem(f"a {kind} of this name exists already", where, fix="name another"))
    if not overwrite:
        raise UsageError(Problem("the output exists already", where, fix="name another, or give --overwrite"))


# -- files -------------------------------------------------------------------------------------------------------------


@contextmanager
def completed(path: Path, replace: bool = True) -> Iterator[Path]:
    """Where to write a file that appears under its name only when it is complete.

    Args:
        path: of the file.
        replace: whether it takes the place of one that exists.

    Raises:
        UsageError: if there is one that is not to be replaced.
        ToolFailed: if the disk does not take it.
    """
    target = path.resolve()
    partial = None
    with _refusals("file", path):
        try:
            _clear(target)
            handle, name = tempfile.mkstemp(_UNLOCKED, _prefix(target), target.parent)
            try:
                partial = Path(name)
                partial = _lock(handle, partial)
                os.chmod(partial, _mode(0o666))
                yield partial
                _sync(partial)
                _take_place(partial, target, replace)
            finally:
                os.close(handle)
        finally:
            if partial is not None:
                with contextlib.suppress(OSError):
                    partial.unlink(missing_ok=True)


def write_file(path: Path, content: bytes, replace: bool = True) -> None:
    """A file that appears under its name only when it is complete.

    Raises:
        UsageError, ToolFailed: as :func:`completed` does.
    """
    with completed(path, replace) as partial, open(partial, "wb") as file:
        file.write(content)


def _take_place(partial: Path, target: Path, replace: bool) -> None:
    if replace:
        os.replace(partial, target)
        return
    try:
        os.link(partial, target)  # unlike rename, it never replaces
    except FileExistsError:
        raise _exists(target) from None
    except OSError:  # a file system without links
        if os.path.lexists(target):
            raise _exists(target) from None
        os.replace(partial, target)


# -- folders -----------------------------------------------------------------------------------------------------------


def write_folder(folder: Path, files: Mapping[str, bytes], replace: bool = False) -> None:
    """A folder that appears under its name only when it is complete.

    Args:
        folder: its place; folders above it are made.
        files: the content of each file, by its name within the folder.
        replace: whether it takes the place of a folder that exists. An empty one never stands in the way.

    Raises:
        UsageError: if there is something that is not to be replaced.
        ToolFailed: if the disk does not take it.
    """
    place = folder.resolve()
    partial = None
    with _refusals("program", folder):
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            _clear(place)
            partial = Path(tempfile.mkdtemp(_UNLOCKED, _prefix(place), place.parent))
            with _locked(partial) as partial:
                os.chmod(partial, _mode(0o777))
                for name, content in files.items():
                    (partial / name).parent.mkdir(parents=True, exist_ok=True)
                    with open(partial / name, "wb") as file:
                        file.write(content)
                        file.flush()
                        os.fsync(file.fileno())
                _move_in(partial, place, replace)
        finally:
            if partial is not None:  # what was replaced, or what is incomplete
                shutil.rmtree(partial, ignore_errors=True)


def _move_in(partial: Path, place: Path, replace: bool) -> None:
    """Give a folder its place; what was there lies under the folder's old name then."""
    while True:
        try:
            os.rename(partial, place)  # onto nothing, or onto an empty folder
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise
        else:
            return
        if not replace or not place.is_dir():
            raise _exists(place)
        try:
            if _exchange(partial, place):
                return
            with _locked(Path(tempfile.mkdtemp(_UNLOCKED, _prefix(place), place.parent))) as aside:
                os.rename(place, aside)
                os.rename(partial, place)
                os.rename(aside, partial)
            return
        except OSError as error:  # another one took it away, or came first
            if error.errno not in (errno.ENOENT, errno.ENOTEMPTY, errno.EEXIST):
                raise


def _exchange(one: Path, other: Path) -> bool:
    """Let two folders change places in one step; False where the system cannot."""
    if not sys.platform.startswith("linux"):
        return False
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other), _EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.ENOSYS, errno.EINVAL):
        return False
    raise OSError(number, os.strerror(number), str(other))


# -- what others left, and what goes wrong -----------------------------------------------------------------------------


@contextmanager
def _locked(folder: Path) -> Iterator[Path]:
    """The folder under the name that a locked one has, for as long as the block runs."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield _lock(handle, folder)
    finally:
        os.close(handle)


def _lock(handle: int, path: Path) -> Path:
    """As long as its owner lives, nobody takes this for abandoned; gives its new name."""
    if fcntl is not None:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    locked = path.with_name(path.name.removesuffix(_UNLOCKED) + _LOCKED)
    os.rename(path, locked)
    return locked


def _clear(target: Path) -> None:
    """Remove what lies half-written beside a place, and whose owner lives no more."""
    if fcntl is None:
        return
    name = _literal(target.name)
    with contextlib.suppress(OSError):
        for left in [*target.parent.glob(f".{name}.*{_LOCKED}"), *target.parent.glob(f".{name}.*{_UNLOCKED}")]:
            with contextlib.suppress(OSError):
                if not left.is_symlink() and (left.suffix == _LOCKED or _ownerless(left)):
                    _remove_abandoned(left)


def _prefix(target: Path) -> str:
    return f".{target.name}.{os.getpid()}-"


def _ownerless(left: Path) -> bool:
    """Whether nobody will lock this any more."""
    owner = left.name.removesuffix(_UNLOCKED).rpartition(".")[2].partition("-")[0]
    if time.time() - left.lstat().st_mtime > _ABANDONED_S:
        return True
    try:
        os.kill(int(owner), 0)
    except ProcessLookupError:
        return True
    except (OSError, ValueError):
        return False
    return False


def _remove_abandoned(left: Path) -> None:
    """Raises OSError where somebody still writes there."""
    handle = os.open(left, os.O_RDONLY | os.O_NONBLOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)
    finally:
        os.close(handle)


def _literal(name: str) -> str:
    """A name without the meaning that a pattern gives its characters."""
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)


def _mode(most: int) -> int:
    """The permissions that a new file has by the user's own choice; files under temporary names are private."""
    mask = os.umask(0)
    os.umask(mask)
    return most & ~mask


def _sync(path: Path) -> None:
    with open(path, "rb+") as file:
        os.fsync(file.fileno())


def _exists(path: Path) -> UsageError:
    return UsageError(Problem("the output exists already", str(path), fix="name another, or give --overwrite"))


@contextmanager
def _refusals(kind: str, path: Path) -> Iterator[None]:
    """What the system says, as errors of ours."""
    try:
        yield
    except OSError as error:
        what = f"cannot write the {kind}: {error.strerror or error}"
        fix = "write elsewhere, or see who may write there"
        if error.errno in _FULL:
            fix = "free some space, or write elsewhere"
        elif error.errno in _MISSING:
            fix = "make the folder first, or name another"
        raise ToolFailed(Problem(what, str(path), fix=fix)) from error
