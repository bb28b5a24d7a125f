"""Small packages that other people could have written, and how they are installed and met."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["installed", "neurocompile"]

PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index")


def installed(name: str, folder: Path) -> Path:
    """A package of this folder, installed as pip does it; returns where."""
    site, source = folder / "site", folder / "source"
    shutil.copytree(Path(__file__).parent / name, source)
    command = [sys.executable, *PIP, "--no-build-isolation", "--target", str(site), str(source)]
    subprocess.run(command, check=True)
    return site


def neurocompile(site: Path, folder: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """The command line in a process that has such a package."""
    command = [sys.executable, "-c", "from neurocompile.cli import main; main()", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(site)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
