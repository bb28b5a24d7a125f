"""Rules broken on purpose, one at a time: ``python -m tests.fuzz.broken --json [--rule NAME] [--most 2000]``.

How many graphs does the fuzzer take to find each? In Python the changed source is compiled, and the code of functions
that differ is put into those that there are, whoever holds them; C++ is compiled anew, into a folder that is then gone.
"""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from pathlib import Path
from types import CodeType, FunctionType
from typing import Any

import click

from tests.fuzz.graphs.fuzzing import Fuzzer, Settings
from tests.fuzz.rules import RULES, Rule

__all__ = ["broken", "taken"]

_REAL, _WHOLE = ("reals", "deep", "torch"), ("integers", "small", "reals", "netx")
AREAS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "passes": (("pytorch", "oracle"), _REAL),
    "quantization": (("reference",), _REAL),
    "reference": (("pytorch", "oracle", "reference", "engine"), (*_WHOLE, "torch")),
    "engine": (("reference", "engine"), _WHOLE),
    "kernels": (("reference", "engine"), _WHOLE),
    "onnx": (("reference", "onnx-step", "onnx-scan"), _WHOLE),
    "nir": (("oracle", "nir"), _REAL),
    "lava": (("reference", "lava"), ("loihi",)),
    "netx": (("reference", "netx"), ("netx",)),
    "rtl": (("reference", "rtl"), ("nc1",)),
    "cycles": (("reference", "rtl"), ("nc1",)),
    "events": (("reference", "events"), ("deep",)),
}
"""By area, the executors that can tell, and the sources of what they run: the others would only take time."""

ROOT = Path(__file__).parents[2]


@contextmanager
def broken(rule: Rule) -> Iterator[None]:
    """A rule of Python is broken inside, and whole again behind."""
    module = import_module(rule.where)
    source = inspect.getsource(module)
    assert source.count(rule.old) == 1, f"{rule.name}: {source.count(rule.old)} times in {rule.where}: {rule.old}"
    changed = compile(source.replace(rule.old, rule.new), str(module.__file__), "exec")
    found = {code.co_qualname: code for code in _codes(changed)}
    put: list[tuple[FunctionType, CodeType]] = []
    for function in _functions(module):
        code = found.get(function.__qualname__)
        if code is not None and not _alike(code, function.__code__):
            put.append((function, function.__code__))
            function.__code__ = code
    assert put, f"{rule.name}: no function of {rule.where} differs"
    try:
        yield
    finally:
        for function, code in put:
            function.__code__ = code


def _codes(code: CodeType) -> Iterator[CodeType]:
    """Of functions in a module and its classes, not of those within functions."""
    for const in code.co_consts:
        if isinstance(const, CodeType):
            if const.co_flags & inspect.CO_OPTIMIZED:
                yield const
            else:
                yield from _codes(const)


def _alike(one: CodeType, other: CodeType) -> bool:
    return (one.co_code, one.co_names) == (other.co_code, other.co_names) and _plain(one) == _plain(other)


def _plain(code: CodeType) -> list[Any]:
    return [
        (each.co_code, each.co_names, _plain(each)) if isinstance(each, CodeType) else repr(each)
        for each in code.co_consts
    ]


def _functions(module: Any) -> Iterator[FunctionType]:
    for value in list(vars(module).values()):
        if getattr(value, "__module__", None) != module.__name__:
            continue
        if isinstance(value, FunctionType):
            yield value
        elif isinstance(value, type):
            for each in vars(value).values():
                inner = (
                    getattr(each, "__func__", None)
                    or getattr(each, "fget", None)
                    or getattr(each, "func", None)
                    or each
                )
                if isinstance(inner, FunctionType):
                    yield inner


def _compiled(rule: Rule, folder: Path) -> None:
    """The engine with one line of its C++ changed, as a module in a folder."""
    import pybind11

    sources = {file.name: file.read_text() for file in (ROOT / rule.where).iterdir() if file.suffix in (".h", ".cpp")}
    assert sum(text.count(rule.old) for text in sources.values()) == 1, rule.name
    for name, text in sources.items():
        (folder / name).write_text(text.replace(rule.old, rule.new))
    made = folder / f"_native{sysconfig.get_config_var('EXT_SUFFIX')}"
    include = [f"-I{path}" for path in (pybind11.get_include(), sysconfig.get_paths()["include"])]
    files = [str(folder / name) for name in sorted(sources) if name.endswith(".cpp")]
    flags = ["-O1", "-std=c++17", "-fPIC", "-shared", "-pthread", "-fvisibility=hidden"]
    subprocess.run([os.environ.get("CXX", "g++"), *flags, *include, *files, "-o", str(made)], check=True)


def taken(rule: Rule, most: int, seed: int) -> dict[str, Any]:
    """How many graphs it took until something disagreed (None: it survived), and who told."""
    return _taken_in_cpp(rule, most, seed) if "/" in rule.where else _taken(rule, broken(rule), most, seed)


def _taken_in_cpp(rule: Rule, most: int, seed: int) -> dict[str, Any]:
    """The same in a process of its own, which has another engine from the start."""
    with tempfile.TemporaryDirectory() as folder:
        _compiled(rule, Path(folder))
        command = [sys.executable, "-c", _OTHER_ENGINE, folder, rule.name, str(most), str(seed)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, cwd=ROOT)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


_OTHER_ENGINE = """
import importlib.util, json, sys, sysconfig, warnings
warnings.simplefilter("ignore")
folder, name, most, seed = sys.argv[1:]
file = f"{folder}/_native{sysconfig.get_config_var('EXT_SUFFIX')}"
spec = importlib.util.spec_from_file_location("_native", file)
module = importlib.util.module_from_spec(spec)
spec.loader.exec_module(module)
sys.modules["neurocompile.simulator.engine._native"] = module
from contextlib import nullcontext
from tests.fuzz.broken import RULES, _taken
from neurocompile.simulator.engine import engine
assert engine._native is module
print(json.dumps(_taken(next(r for r in RULES if r.name == name), nullcontext(), int(most), int(seed))))
"""


def _taken(rule: Rule, breaking: AbstractContextManager[None], most: int, seed: int) -> dict[str, Any]:
    started = time.perf_counter()
    settings = Settings(seed, *AREAS[rule.area], watched=0)
    fuzzer = Fuzzer(settings)
    with breaking:
        while not fuzzer.tally.found and fuzzer.tally.graphs < most:
            fuzzer.one()
    found = fuzzer.tally.found[0] if fuzzer.tally.found else None
    return {
        "area": rule.area, "rule": rule.name, "graphs": fuzzer.tally.graphs if found else None,
        "by": found["executor"] if found else "", "said": found["said"][:1] if found else [],
        "recipe": found["recipe"] if found else "", "seconds": round(time.perf_counter() - started, 1),
    }  # fmt: skip


@click.command(help=__doc__)
@click.option("--rule", "names", multiple=True, help="Only these, by a part of their name or their area.")
@click.option("--most", default=2000, show_default=True, help="After so many graphs a rule has survived.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="A file, a line a rule: what it has is not run again.")
@click.option("--json", "as_json", is_flag=True)
def main(names: tuple[str, ...], most: int, seed: int, out: Path | None, as_json: bool) -> None:
    import torch

    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    rows: list[dict[str, Any]] = []
    told = [json.loads(line) for line in out.read_text().splitlines()] if out is not None and out.exists() else []
    known = {row["rule"]: row for row in told}
    for rule in RULES:
        if names and not any(name == rule.area or name in rule.name for name in names):
            continue
        rows.append(known.get(rule.name) or taken(rule, most, seed))
        if out is not None and rule.name not in known:
            with out.open("a") as file:
                file.write(json.dumps(rows[-1]) + "\n")
        print(f"{rows[-1]['graphs'] or 'SURVIVED':>8} {rule.area}: {rule.name}", file=sys.stderr, flush=True)
    survived = [row["rule"] for row in rows if row["graphs"] is None]
    body = {"seed": seed, "most": most, "rules": len(rows), "survived": survived, "rows": rows}
    if as_json:
        click.echo(json.dumps(body))
    else:
        click.echo("| area | rule | graphs | found by |\n|---|---|---|---|")
        for row in rows:
            click.echo(f"| {row['area']} | {row['rule']} | {row['graphs'] or 'survived'} | {row['by']} |")
    sys.exit(bool(survived))


if __name__ == "__main__":
    main()
