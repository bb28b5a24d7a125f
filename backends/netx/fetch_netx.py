"""Bring lava-dl's netx loader to where Lava's Python finds it: ``PYTHON fetch_netx.py FOLDER``.

PYTHON is one that has lava-nc; ``PYTHONPATH=FOLDER`` then makes ``lava.lib.dl.netx.hdf5`` importable there, since
``lava`` is a namespace that may lie in several folders. lava-dl itself wants torch, OpenCV and more, all for training:
of its wheel only the loader is unpacked, unchanged. Left out are netx's ``__init__``, which imports modules for torch,
and lava.lib.dl.slayer: of that the loader imports one function, for resonate-and-fire neurons, which stands here as one
that refuses.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

VERSION = "0.6.0"
_SHA256 = "bcb448f2bb85dc0da4b4dbbbae16543d2a978c1da7279acc522ad621fc68c437"
_NETX = "lava/lib/dl/netx/"
_LOADER = ("hdf5.py", "utils.py", "blocks/__init__.py", "blocks/models.py", "blocks/process.py")
_SLAYER = '''"""Stands in for lava-dl's slayer, which is not installed."""


def neuron_params(device_params):
    raise NotImplementedError("resonate-and-fire neurons need the whole of lava-dl")
'''


def fetch(folder: Path) -> None:
    """Fill the folder, complete or not at all; nothing is done if it is there."""
    if folder.exists():
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        scratch = Path(name)
        _unpack(_download(scratch), scratch / "tree")
        try:
            os.rename(scratch / "tree", folder)
        except OSError:
            # Another process was faster.
            if not folder.exists():
                raise


def _download(folder: Path) -> Path:
    subprocess.run(
        [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
         "--only-binary", ":all:", "--dest", str(folder), f"lava-dl=={VERSION}"],
        check=True,
    )  # fmt: skip
    (wheel,) = folder.glob("*.whl")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if digest != _SHA256:
        raise SystemExit(f"{wheel.name} is not the file that was tested: its SHA-256 is {digest}")
    return wheel


def _unpack(wheel: Path, tree: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in _LOADER:
            target = tree / _NETX / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with archive.open(_NETX + name) as source, open(target, "wb") as copy:
                shutil.copyfileobj(source, copy)
    slayer = tree / "lava/lib/dl/slayer/neuron/rf.py"
    slayer.parent.mkdir(parents=True)
    slayer.write_text(_SLAYER, "utf-8")


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
