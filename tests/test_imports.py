"""Imports go down only, and in no circle: all of them, those inside functions and those for types alone, too.

A string that names a module (in a table of :mod:`neurocompile.registry`, say) is an import as well. That a package is
imported before its modules is not counted, nor that one of these names it to say where its data lie.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import networkx as nx
import pytest

ROOT = Path(__file__).parents[1]
HOUSES = ("neurocompile", "backends", "models", "simulator")

# From the top down; rooms of one line may import each other.
ORDER = (
    ("models",),
    ("", "__main__", "api", "cli"),  # "": the package itself, which has the public names
    ("verbs",),
    ("reports", "validation", "labels", "judging"),
    ("backends", "simulator", "compiler"),
    ("recordings",),
    ("targets",),
    ("mapping",),
    ("program",),
    ("passes", "quantization", "frontends"),
    ("vocabulary", "hosted"),
    ("data",),
    ("files", "typed", "work"),
    ("ir",),
    ("arithmetic", "limits", "errors", "extras", "keys", "printable", "registry"),
)
LEVEL = {room: len(ORDER) - line for line, rooms in enumerate(ORDER) for room in rooms}

# What lies above the verbs, and families behind what a family is, are found through tables, and in no other way.
FOUND = {("verbs.networks", "models.digits"), ("verbs.networks", "models.zoo")}
FOUND |= {("targets.base", f"targets.{family}") for family in ("generic", "loihi", "nc1", "priced")}
# A report that is asked to show itself finds its writer, which reads reports, when it is asked.
FOUND |= {("reports.base", "reports.html.notebook"), ("reports.explore", "reports.html.fronts")}

# Those that go up still. None may be added; one that is gone must be struck off.
STANDING: set[tuple[str, str]] = set()

# Likewise, those that close a circle still.
ROUND: set[tuple[str, str]] = set()


def modules() -> dict[str, ast.Module]:
    """All modules by name, without the leading ``neurocompile.``."""
    found = {}
    for house in HOUSES:
        for file in sorted((ROOT / house).rglob("*.py")):
            if file.is_relative_to(ROOT / "backends" / "lava" / "runtime"):
                continue  # what a bundle holds, for an environment without this project
            parts = file.relative_to(ROOT).with_suffix("").parts
            parts = parts[1:] if house == "neurocompile" else parts
            parts = parts[:-1] if parts[-1:] == ("__init__",) else parts
            found[".".join(parts)] = ast.parse(file.read_text())
    return found


def imported(module: str, known: dict[str, ast.Module]) -> Iterator[str]:
    """The modules that one imports."""
    for node in ast.walk(known[module]):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide where they go"
            # The version is a number in the package itself: to ask for it imports nothing else.
            names = [f"{node.module}.{alias.name}" for alias in node.names if alias.name != "__version__"]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            name = node.value.partition(":")[0]
            inside = name.removeprefix("neurocompile.")
            names = [name] if inside != name and inside in known and not module.startswith(f"{inside}.") else []
        for name in names:
            package, _, inside = name.partition(".")
            if package != "neurocompile":
                continue
            while inside and inside not in known:  # what follows is a name within the module
                inside = inside.rpartition(".")[0]
            yield inside


@pytest.fixture(scope="module")
def known() -> dict[str, ast.Module]:
    return modules()


@pytest.fixture(scope="module")
def imports(known: dict[str, ast.Module]) -> nx.DiGraph:
    graph = nx.DiGraph()
    graph.add_nodes_from(known)
    graph.add_edges_from((name, other) for name in known for other in imported(name, known))
    graph.remove_edges_from([(name, name) for name in known])
    assert set(graph.edges) >= FOUND, "a table does not find this any more"
    graph.remove_edges_from(FOUND)
    return graph


def room(module: str) -> str:
    return module.partition(".")[0]


def test_imports_go_down_only(imports: nx.DiGraph) -> None:
    assert {room(module) for module in imports} <= set(LEVEL), "a room that ORDER does not know"
    up = {(a, b) for a, b in imports.edges if LEVEL[room(a)] < LEVEL[room(b)]}
    print(f"{len(up - STANDING)} imports go up ({len(up & STANDING)} more stand still)")
    assert up == STANDING


def test_no_import_goes_in_a_circle(imports: nx.DiGraph) -> None:
    for name, other in ROUND:
        assert nx.has_path(imports, other, name), "this closes no circle any more"
    without = nx.DiGraph(set(imports.edges) - STANDING - ROUND)
    circles = [sorted(part) for part in nx.strongly_connected_components(without) if len(part) > 1]
    print(f"{len(circles)} circles ({len(ROUND)} more stand still)")
    assert not circles


def test_no_rooms_go_in_a_circle(imports: nx.DiGraph) -> None:
    rooms = nx.DiGraph((room(a), room(b)) for a, b in set(imports.edges) - STANDING if room(a) != room(b))
    assert not [sorted(part) for part in nx.strongly_connected_components(rooms) if len(part) > 1]


def test_nothing_below_imports_models(imports: nx.DiGraph) -> None:
    assert {room(name) for name, other in imports.edges if room(other) == "models"} == {"models"}


def test_the_simulator_needs_no_torch(known: dict[str, ast.Module], imports: nx.DiGraph) -> None:
    below = nx.DiGraph(imports)
    below.remove_edges_from(STANDING)
    needed = set().union(*(nx.descendants(below, name) | {name} for name in known if room(name) == "simulator"))
    for name in needed:
        for node in ast.walk(known[name]):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [str(node.module)] if isinstance(node, ast.ImportFrom) else []
            assert not {each.partition(".")[0] for each in names} & {"torch", "spikingjelly"}, name
