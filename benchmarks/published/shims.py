"""What stands in for packages and devices that published code asks for and that its forward does not need.

A shim is named in the table of repositories: the name of a package (an empty one takes its place), ``cuda`` (moving to
a GPU does nothing), ``cupy`` (neurons that ask for it are computed by PyTorch), ``timm.layers`` (the three functions
that spiking transformers use), or SpikingJelly's former modules ``clock_driven`` and ``cext``, which are read from a
release of before they were renamed, beside the installed one.
"""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

__all__ = ["definitions", "imported", "install"]

RELEASES = {"clock_driven": "0.0.0.0.12", "clock_driven 0.0.0.0.2": "0.0.0.0.2"}
"""Which release of SpikingJelly each shim reads: its wheel, unpacked to ``spikingjelly-RELEASE/`` among the sources."""


class _Nothing(type):
    """The type of what an empty package holds: a class that can be derived from, called, and asked for anything."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _nothing(name)

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        decorates = len(args) == 1 and not kwargs and callable(args[0]) and not isinstance(args[0], nn.Module)
        return args[0] if decorates else super().__call__()


def _nothing(name: str) -> Any:
    return _Nothing(name, (), {"__getattr__": lambda self, key: _nothing(key), "__call__": lambda self, *a, **k: self})


class _Empty(ModuleType):
    """A package without code, which has every name."""

    __path__: list[str] = []  # noqa: RUF012

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _nothing(name)


class _EmptyPackages(MetaPathFinder, Loader):
    """Finds the packages that are to be empty, with all that is below them."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = tuple(names)

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        below = any(fullname == name or fullname.startswith(f"{name}.") for name in self.names)
        return spec_from_loader(fullname, self, is_package=True) if below else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Empty(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        pass


def _cuda(sources: Path) -> None:
    """Whatever is moved to a GPU stays where it is."""
    torch.Tensor.cuda = lambda self, *a, **k: self  # type: ignore[method-assign]
    nn.Module.cuda = lambda self, *a, **k: self  # type: ignore[method-assign]


def _timm(sources: Path) -> None:
    """``to_2tuple``, ``trunc_normal_``, and ``DropPath``, which in eval mode is the identity."""

    class DropPath(nn.Identity):
        pass

    with suppress(ImportError):
        import_module("timm.layers")
    for name in ("timm.models.layers", "timm.layers"):
        module = import_module(name)
        module.to_2tuple = lambda x: x if isinstance(x, tuple) else (x, x)  # type: ignore[attr-defined]
        module.trunc_normal_ = nn.init.trunc_normal_  # type: ignore[attr-defined]
        module.DropPath = DropPath  # type: ignore[attr-defined]


def _clock_driven(release: str) -> Callable[[Path], None]:
    def shim(sources: Path) -> None:
        """``spikingjelly.clock_driven`` of a former release beside the modules of the installed one."""
        import spikingjelly

        folder = sources / f"spikingjelly-{release}" / "spikingjelly"
        if not folder.is_dir():
            raise FileNotFoundError(f"SpikingJelly {release} is missing: unpack its wheel to {folder.parent.name}/")
        spikingjelly.__path__.append(str(folder))
        _fill_configuration()

    return shim


def _fill_configuration() -> None:
    """Settings of the former releases that the installed one no longer has."""
    configure = import_module("spikingjelly.configure")
    for name, value in {"save_datasets_compressed": True, "save_spike_as_bool_in_neuron_kernel": False}.items():
        if not hasattr(configure, name):
            setattr(configure, name, value)


def _cupy(sources: Path) -> None:
    """``backend="cupy"``: the same neurons of ``clock_driven``, computed by PyTorch."""
    neurons = import_module("spikingjelly.clock_driven.neuron")
    for kind in (neurons.MultiStepLIFNode, neurons.MultiStepParametricLIFNode, neurons.MultiStepIFNode):
        kind.__init__ = _with_torch(kind.__init__)


def _with_torch(made: Callable[..., None]) -> Callable[..., None]:
    def init(self: Any, *args: Any, **kwargs: Any) -> None:
        made(self, *args, **{**kwargs, "backend": "torch"})

    return init


def _cext(sources: Path) -> None:
    """``spikingjelly.cext.neuron``: the same neurons in Python, of ``clock_driven`` (its CUDA code is not compiled)."""
    neurons = import_module("spikingjelly.clock_driven.neuron")
    package, module = ModuleType("spikingjelly.cext"), ModuleType("spikingjelly.cext.neuron")
    for name in ("MultiStepIFNode", "MultiStepLIFNode", "MultiStepParametricLIFNode"):
        setattr(module, name, getattr(neurons, name))
    package.neuron = module  # type: ignore[attr-defined]
    package.__path__ = []
    sys.modules |= {"spikingjelly.cext": package, "spikingjelly.cext.neuron": module}


_MADE: Mapping[str, Callable[[Path], None]] = {
    "cuda": _cuda,
    "cupy": _cupy,
    "timm.layers": _timm,
    "cext": _cext,
    **{name: _clock_driven(release) for name, release in RELEASES.items()},
}


def install(names: Iterable[str], sources: Path) -> None:
    """Put the shims in place, for as long as this process lives.

    Args:
        names: as the table of repositories has them.
        sources: the folder of the checked-out repositories.
    """
    import_module("spikingjelly.activation_based.functional")  # before a repository's own copy of it can be found
    names = tuple(names)
    empty = [name for name in names if name not in _MADE]
    if "timm.layers" in names:
        empty.append("timm")
    if any(name.startswith("clock_driven") for name in names):
        empty += ["cupy", "lava", "torch.utils.tensorboard"]
    sys.meta_path.insert(0, _EmptyPackages(empty))
    for name in sorted(names, key=lambda name: not name.startswith("clock_driven")):
        if name in _MADE:
            _MADE[name](sources)


def imported(folder: Path, module: str) -> ModuleType:
    """Import a module of a repository whose own imports start at ``folder``; no other repository may be in use."""
    project = Path(__file__).parents[2]
    sys.path[:] = [str(folder), *(part for part in sys.path if Path(part).resolve() not in (project, folder))]
    return import_module(module)


def definitions(file: Path, given: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What a script or a notebook imports and defines, without running the rest of it.

    Args:
        file: a ``.py`` or an ``.ipynb``.
        given: values of its other global names.
    """
    names: dict[str, Any] = {"__name__": file.stem, **(given or {})}
    own: set[str] = set()
    for text in _parts(file):
        for statement in _parsed(text):
            if isinstance(statement, ast.FunctionDef):
                own.add(statement.name)
            if _defines(statement, own):
                code = compile(ast.Module([statement], []), str(file), "exec")
                with suppress(*([] if isinstance(statement, ast.ClassDef | ast.FunctionDef) else [Exception])):
                    exec(code, names)
                names |= given or {}
    return names


def _parts(file: Path) -> list[str]:
    text = file.read_text(encoding="utf-8", errors="replace")
    if file.suffix != ".ipynb":
        return [text]
    return ["".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]


def _parsed(text: str) -> list[ast.stmt]:
    lines = [line for line in text.splitlines() if not line.lstrip().startswith(("%", "!"))]
    try:
        return ast.parse("\n".join(lines)).body
    except SyntaxError:
        return []


def _defines(statement: ast.stmt, own: set[str]) -> bool:
    """Whether to run a statement: an import, a definition, or a name for what no function of the script makes."""
    if isinstance(statement, ast.Assign):
        calls = [node.func for node in ast.walk(statement) if isinstance(node, ast.Call)]
        made = {function.id for function in calls if isinstance(function, ast.Name)}
        return all(isinstance(target, ast.Name) for target in statement.targets) and not made & own
    return isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.Import | ast.ImportFrom)
