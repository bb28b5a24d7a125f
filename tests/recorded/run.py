"""Running a case: every command in a process of its own, forked from one that has imported what is heavy."""

from __future__ import annotations

import gc
import hashlib
import importlib
import json
import os
import pkgutil
import re
import shlex
import shutil
import signal
import sys
import tempfile
import traceback
import zipfile
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import suppress
from multiprocessing import get_context
from pathlib import Path
from typing import IO, Any, NoReturn

import torch

import neurocompile
from neurocompile.cli import main
from tests.recorded.case import Case, Given, Step, called

__all__ = ["ran", "record"]

ROOT = Path(__file__).parents[2]
LINKS = {"checkpoints": "models/checkpoints", "old": "tests/data", ".venv-lava": ".venv-lava"}
"""What a case's folder shows of the checkout, under short names: no path says where the checkout is."""
LIMIT_S = 3600
PERSONAL = ("COLUMNS", "LINES", "FORCE_COLOR", "NO_COLOR", "NEUROCOMPILE_LAVA_PYTHON", "NEUROCOMPILE_CACHE")
KEPT = 64 * 1024
"""Files of text, up to so many bytes, are kept as they are; of others only what tells that they differ."""

# -- what may vary -----------------------------------------------------------------------------------------------------

VERSION = "neurocompile"
TIMES = frozenset({"seconds", "export_s", "export_cpu_s", "memory_mb", "memory_before_mb"})
"""Keys of --json whose values are the clock's and the machine's."""
WORDS = (
    (re.compile(r"^(neurocompile, version ).*$", re.M), r"\1<version>"),
    (re.compile(r"^\d+\.\d s$", re.M), "<seconds> s"),
    (re.compile(r"^( *(?:export s|export cpu s|memory mb|memory before mb) +).*$", re.M), r"\1<measured>"),
    (re.compile(r"<temporary>/[^\s/]+"), "<temporary>/<name>"),
    (re.compile(r"^\S+\.py:\d+: (\w+Warning: .*\n)(?:  .*\n)?", re.M), r"<line>: \1"),
    (re.compile(r"^  File \".*\n(?:    .*\n)*", re.M), ""),
)
"""In any text: what else is the clock's, and the lines of our own source that a warning or a traceback shows."""


def _text(said: str, scratch: Path) -> str:
    for path, token in ((scratch / "case", "<case>"), (scratch / "temporary", "<temporary>"), (ROOT, "<checkout>")):
        said = said.replace(str(path), token)
    for pattern, token in WORDS:
        said = pattern.sub(token, said)
    return said


def _json(value: Any) -> Any:
    """Parsed JSON without what may vary."""
    if isinstance(value, list):
        return [_json(each) for each in value]
    if not isinstance(value, dict):
        return value
    return {
        key: "<version>" if key == VERSION else "<measured>" if key in TIMES else _json(each)
        for key, each in value.items()
    }


def _said(text: str, scratch: Path) -> Any:
    """A document of JSON parsed, if nothing is lost by that; anything else as text."""
    text = _text(text, scratch)
    with suppress(ValueError):
        parsed = json.loads(text)
        if isinstance(parsed, dict | list) and text in (json.dumps(parsed, indent=1) + "\n", json.dumps(parsed)):
            return _json(parsed)
    return text


# -- files -------------------------------------------------------------------------------------------------------------


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder, by name, and what changes when it is written."""
    found = {}
    for where, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not (Path(where) / name).is_symlink()]
        for name in names:
            path = Path(where) / name
            if not path.is_symlink():
                found[str(path.relative_to(folder))] = path.stat().st_mtime_ns, path.stat().st_ino
    return dict(sorted(found.items()))


def _file(path: Path, scratch: Path) -> dict[str, Any]:
    """What tells a file from another: its checksum, and as far as it is text or an archive, what it holds."""
    content = path.read_bytes()
    about: dict[str, Any] = {"size": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            about["members"] = {each.filename: f"{each.file_size} {each.CRC:08x}" for each in archive.infolist()}
    elif len(content) <= KEPT and b"\0" not in content:
        with suppress(UnicodeDecodeError):
            about["content"] = _said(content.decode(), scratch)
    return about


# -- one command -------------------------------------------------------------------------------------------------------


def _step(step: Step, folder: Path, scratch: Path) -> dict[str, Any]:
    before = _files(folder)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        sys.stdout.flush()
        sys.stderr.flush()
        child = os.fork()
        if not child:
            _child(step, folder, scratch, out, err)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        texts = []
        for each in (out, err):
            each.seek(0)
            texts.append(each.read().decode(errors="backslashreplace"))
    after = _files(folder)
    return {
        "step": called(step),
        "exit": code,
        "stdout": _said(texts[0], scratch),
        "stderr": _text(texts[1], scratch),
        "files": {name: _file(folder / name, scratch) for name, state in after.items() if before.get(name) != state},
        "removed": [name for name in before if name not in after],
    }


def _child(step: Step, folder: Path, scratch: Path, out: IO[bytes], err: IO[bytes]) -> NoReturn:
    """Do it, and end."""
    code: Any = 99
    try:
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(out.fileno(), 1)
        os.dup2(err.fileno(), 2)
        sys.stdin, sys.stdout, sys.stderr = (open(k, mode, closefd=False) for k, mode in enumerate("rww"))  # noqa: SIM115
        signal.alarm(LIMIT_S)
        tempfile.tempdir = str(scratch / "temporary")
        for name in PERSONAL:
            os.environ.pop(name, None)
        os.environ["TMPDIR"] = tempfile.tempdir
        torch.set_num_threads(1)
        os.chdir(folder)
        if isinstance(step, Given):
            Path(step.name).parent.mkdir(parents=True, exist_ok=True)
            step.write(Path(step.name))
            code = 0
        else:
            main(shlex.split(step))
    except SystemExit as stop:
        code = stop.code
    except BaseException as error:
        sys.stderr.write("".join(traceback.format_exception_only(error)))
    finally:
        with suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code if isinstance(code, int) else 99)


# -- cases -------------------------------------------------------------------------------------------------------------


def ran(case: Case, given: Path | None = None) -> list[dict[str, Any]]:
    """What each step of a case did.

    Args:
        case: to be run, in a folder that is removed again.
        given: where given files are kept from one recording to the next: an existing one is copied, not made anew.
    """
    with tempfile.TemporaryDirectory(prefix="recorded-") as name:
        scratch = Path(name).resolve()
        folder = scratch / "case"
        for each in (folder, scratch / "temporary"):
            each.mkdir()
        for link, target in LINKS.items():
            if (ROOT / target).exists():
                (folder / link).symlink_to(ROOT / target)
        done = []
        for step in case.steps:
            if given is not None and isinstance(step, Given) and not (folder / step.name).exists():
                step = _kept(step, given / case.name)
            done.append(_step(step, folder, scratch))
        return done


def _kept(step: Given, kept: Path) -> Given:
    """The same file, made once and for all."""

    def write(path: Path) -> None:
        held = kept / step.name
        if not held.exists():
            step.write(path)
            held.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, held)
        shutil.copyfile(held, path)

    return Given(step.name, write)


def _import_all() -> None:
    """Import whatever a command may import, so that its fork need not; and let forks share it."""
    for module in pkgutil.walk_packages(neurocompile.__path__, "neurocompile."):
        if ".runtime" not in module.name:
            with suppress(ImportError):
                importlib.import_module(module.name)
    gc.collect()
    gc.freeze()


_CASES: dict[str, Case] = {}


def _record(name: str, given: Path | None) -> tuple[str, list[dict[str, Any]], float]:
    before = sum(os.times()[:4])
    return name, ran(_CASES[name], given), sum(os.times()[:4]) - before


def record(cases: Sequence[Case], jobs: int = 2, given: Path | None = None) -> dict[str, Any]:
    """Cases, several at once, and what became of each."""
    _import_all()
    _CASES.update({case.name: case for case in cases})
    found = {}
    with ProcessPoolExecutor(jobs, get_context("fork")) as workers:
        for each in as_completed([workers.submit(_record, case.name, given) for case in cases]):
            name, steps, spent = each.result()
            found[name] = steps
            print(f"{len(found):4} of {len(cases)} {spent:5.1f} s {name}", file=sys.stderr, flush=True)
    return {case.name: found[case.name] for case in cases}
