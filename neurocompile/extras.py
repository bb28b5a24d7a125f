"""What only some verbs need is installed as an extra; where it is missing, the error names the extra.

docs/dependencies.md says what each package is for.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module

from neurocompile.errors import Problem, ToolFailed

__all__ = ["EXTRAS", "needing", "require"]

EXTRAS = {
    "torch": ("torch", "spikingjelly"),
    "host": ("onnx", "onnxruntime", "onnxscript"),
    "onnx": ("onnx", "onnxruntime"),
    "data": ("sklearn",),
    "nir": ("h5py",),
    "netx": ("h5py",),
    "sanafe": ("yaml",),
    "report": ("jinja2", "matplotlib"),
    "recordings": ("faery", "pyarrow", "scipy"),
    "distance": ("elephant", "neo", "quantities"),
}
"""The packages of each extra, as they are imported."""

_FOR = {
    "torch": "reading and making PyTorch models",
    "host": "what the host computes of a network (docs/host.md)",
    "onnx": "writing .onnx files, and running them (docs/onnx.md)",
    "data": "the demo's handwritten digits",
    "nir": "reading and writing .nir files",
    "netx": "lava-dl's .net files",
    "sanafe": "architectures of SANA-FE's",
    "report": "pages of `neurocompile report`",
    "recordings": "recordings of chips (docs/recordings.md)",
    "distance": "distances of spike trains (docs/recordings.md)",
}


@contextmanager
def needing(where: str = "", extra: str = "") -> Iterator[None]:
    """Let what is imported within be missing: the error says what to install.

    Args:
        where: what of the user's needs it.
        extra: that it is for, where several have the package.

    Raises:
        ToolFailed: instead of ModuleNotFoundError, for any package but this one.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package in ("", "neurocompile"):
            raise
        of = [name for name, packages in EXTRAS.items() if package in packages]
        found = extra if extra in of else next(iter(of), "")
        what = f"{package} is not installed" + (f"; it is needed for {_FOR[found]}" if found else "")
        fix = f"pip install 'neurocompile[{found}]'" if found else f"pip install {package}"
        raise ToolFailed(Problem(what, where, fix=fix)) from error


def require(extra: str, where: str = "") -> None:
    """Import all packages of an extra.

    Raises:
        ToolFailed: if one of them is not installed.
    """
    with needing(where, extra):
        for package in EXTRAS[extra]:
            import_module(package)
