"""Lava as an executor that a validation compares with."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from neurocompile.backends.lava.bundle import bundle_files
from neurocompile.backends.lava.runner import TIME_LIMIT_S, run_bundle
from neurocompile.ir.ops import Array
from neurocompile.program import Program

__all__ = ["LavaExecutor"]


@dataclass
class LavaExecutor:
    """Runs a Program's bundle: the one in ``folder``, or else one made for it."""

    program: Program
    python: Path
    folder: Path | None = None
    hardware: bool = False
    time_limit_s: float = TIME_LIMIT_S
    _made: tempfile.TemporaryDirectory[str] | None = field(default=None, init=False, repr=False)

    @property
    def name(self) -> str:
        """What the program is compared with."""
        where = "on Loihi" if self.hardware else "fixed-point simulation"
        return f"Lava, {where}"

    def run(self, inputs: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
        """Spikes, and membranes after the reset, ``[N, T, ...]`` by layer."""
        found = run_bundle(
            self._bundle(), inputs, self.python, hardware=self.hardware, time_limit_s=self.time_limit_s
        )
        kinds = {kind: {} for kind in ("spikes", "membranes")}  # type: dict[str, dict[str, Array]]
        for key, values in found.items():
            kind, _, name = key.partition("/")
            if kind in kinds:
                kinds[kind][name] = values
        return kinds["spikes"], kinds["membranes"]

    def _bundle(self) -> Path:
        if self.folder is not None and (self.folder / "run.py").exists():
            return self.folder
        if self._made is None:
            self._made = tempfile.TemporaryDirectory(prefix="neurocompile-bundle-")
            for name, content in bundle_files(self.program).items():
                path = Path(self._made.name) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
        return Path(self._made.name)
