"""The environments that this project is tried in: an interpreter, and versions of what it is installed beside."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["CELLS", "Cell"]

# Random networks are drawn from what 2.x has; the demo's has a batch norm of [T, N, C], which 0.0.0.0.14 refuses.
_NEW = (
    "tests/frontends/test_exact.py::test_a_slice_of_random_networks",
    "tests/simulator/test_counts.py",
    "tests/cli/test_results.py",
)
_BOTH = (
    "tests/frontends/test_spikingjelly_versions.py",
    "tests/frontends/test_old_names.py",
    "tests/versions/test_without_torch.py",
    "tests/test_program.py",
    "tests/test_save.py",
    "tests/cli/test_hosts.py",
    "tests/cli/test_extras.py::test_simulate_needs_none",
)
_WITHOUT = ("tests/versions/test_without_torch.py",)


@dataclass(frozen=True)
class Cell:
    """One environment.

    Attributes:
        name: of its folder.
        python: major and minor version.
        torch: a version; "newest": whatever pip finds; "": not installed, nor any other extra.
        spikingjelly: likewise.
        numpy: likewise.
        lowest: whether all other packages have the lowest versions that are allowed, or the newest.
        tests: what is run in it.
    """

    name: str
    python: str
    torch: str = "newest"
    spikingjelly: str = "2.0.0"
    numpy: str = "newest"
    lowest: bool = False
    tests: tuple[str, ...] = field(default=(*_NEW, *_BOTH))


def _plain(name: str, python: str, numpy: str, lowest: bool = False) -> Cell:
    return Cell(name, python, "", "", numpy, lowest, _WITHOUT)


CELLS = (
    Cell("py311-lowest", "3.11", "2.6.0", "0.0.0.0.14", "1.26.0", lowest=True, tests=_BOTH),
    Cell("py311-torch26", "3.11", "2.6.0", "2.0.0", "1.26.4"),
    Cell("py311-old-newest", "3.11", "newest", "0.0.0.0.14", tests=_BOTH),
    Cell("py311-newest", "3.11"),
    Cell("py312-torch26", "3.12", "2.6.0", "2.0.0", "1.26.4"),
    Cell("py312-newest", "3.12"),
    Cell("py313-newest", "3.13"),
    Cell("py313-old-newest", "3.13", "newest", "0.0.0.0.14", tests=_BOTH),
    Cell("py314-newest", "3.14"),
    _plain("py311-plain-lowest", "3.11", "1.26.0", lowest=True),
    _plain("py311-plain", "3.11", "newest"),
    _plain("py312-plain", "3.12", "1.26.4"),
    _plain("py313-plain", "3.13", "newest"),
    _plain("py314-plain", "3.14", "newest"),
)
