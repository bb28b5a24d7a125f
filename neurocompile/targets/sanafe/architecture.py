"""What an architecture in SANA-FE's YAML says, as far as a chip's file can say it, too.

Its format is that of SANA-FE 2 (Boyle et al., IEEE TCAD 44(8), 2025, doi:10.1109/TCAD.2025.3537971). What would cost
other energy or time here than there is refused; what only changes what neurons compute, or is not simulated, is named.
Ranges in names (``core[0..3]``) are counted, and never expanded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from neurocompile.errors import BadInput, Problem
from neurocompile.files.yaml import Node, yaml_of
from neurocompile.keys import nearest
from neurocompile.targets.events import HOPS, PARTS
from neurocompile.targets.keys import MOST_PLACES

__all__ = ["KINDS", "Architecture", "Cost", "Note", "architecture_of"]

KINDS = ("dense", "sparse", "conv")
"""Kinds of synapses that have prices of their own, by words in the names of units."""


@dataclass(frozen=True)
class Cost:
    """Of an event, in pJ and ns; ``keys`` are the keys of the YAML that say it."""

    energy_pj: Decimal
    latency_ns: Decimal
    keys: tuple[str, str] = field(default=("", ""), compare=False)


_NOTHING = Cost(Decimal(0), Decimal(0))


@dataclass(frozen=True)
class Note:
    """Something that one of two files does not say, and what became of it."""

    what: str
    instead: str


@dataclass(frozen=True)
class Architecture:
    """A chip as SANA-FE describes it.

    Attributes:
        name: its own.
        file: the name of the file.
        width: columns of tiles that exist.
        height: rows of them.
        cores_per_tile: of each.
        neurons_per_core: the most that SANA-FE maps to one.
        link_depth: messages that wait in front of a link.
        barrier_us: the time between steps, by the number of tiles in use: from that many on; none if it says nothing.
        costs: of each event, by the names of :data:`neurocompile.targets.events.EVENTS`.
        unsaid: what it says that a target's file does not.
    """

    name: str
    file: str
    width: int
    height: int
    cores_per_tile: int
    neurons_per_core: int
    link_depth: int
    barrier_us: Mapping[int, Decimal]
    costs: Mapping[str, Cost]
    unsaid: tuple[Note, ...]

    @property
    def priced(self) -> bool:
        """Whether any event costs energy."""
        return any(cost.energy_pj for cost in self.costs.values())

    @property
    def timed(self) -> bool:
        """Whether anything takes time."""
        return any(cost.latency_ns for cost in self.costs.values()) or any(self.barrier_us.values())


def architecture_of(path: Path) -> Architecture:
    """What a file says.

    Raises:
        BadInput: with everything that is wrong in it, and all that no file of a target can say.
        ToolFailed: without PyYAML.
    """
    reading = _Reading(path)
    found = reading.architecture(yaml_of(path))
    if reading.problems or found is None:
        raise BadInput([problem for _, problem in sorted(reading.problems, key=lambda each: each[0])])
    return found


_Table = Mapping[str, Node]
_RANGE = re.compile(r"[^\[\]]*\[(\d{1,9})\.\.(\d{1,9})\]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d{1,3})?")
_PICO, _NANO, _MICRO = 12, 9, 6
"""Digits from joules to pJ, from seconds to ns and to us."""
_PLAIN_LOGS = ("log_energy", "log_latency")


@dataclass(frozen=True)
class _Unit:
    """One or more units of a core, and what they cost; ``broken`` if something in that is wrong."""

    name: str = field(compare=False)
    costs: tuple[Cost, ...]
    model: str
    broken: bool


@dataclass(frozen=True)
class _Core:
    neurons: int
    units: tuple[tuple[str, tuple[_Unit, ...]], ...]

    def of(self, section: str) -> tuple[_Unit, ...]:
        return dict(self.units)[section]


@dataclass(frozen=True)
class _Tile:
    hops: tuple[Cost, ...]
    cores: tuple[tuple[int, _Core], ...]


_SECTIONS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "axon_in": (("energy_message_in", "latency_message_in"),),
    "synapse": (("energy_process_spike", "latency_process_spike"),),
    "dendrite": (("energy_update", "latency_update"),),
    "soma": (
        ("energy_access_neuron", "latency_access_neuron"),
        ("energy_update_neuron", "latency_update_neuron"),
        ("energy_spike_out", "latency_spike_out"),
    ),
    "axon_out": (("energy_message_out", "latency_message_out"),),
}
"""The sections of a core, in the order of the pipeline, and the keys that price each of their events."""


# HOPS has the same order.
_HOPS = tuple((f"energy_{each}_hop", f"latency_{each}_hop") for each in ("north", "east", "south", "west"))
_REQUIRED = {key for pairs in (_HOPS, *_SECTIONS.values()) for pair in pairs for key in pair}
_REQUIRED |= {"width", "height", "link_buffer_size", "max_neurons_supported"}
"""Keys that have to be there."""


class _Reading:
    """Reads a file, and collects what is wrong and what is left behind."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[tuple[int, Problem]] = []
        self.unsaid: dict[Note, None] = {}

    def architecture(self, root: Node) -> Architecture | None:
        top = self._table(root, "the file")
        said = self._table(top["architecture"], "architecture") if "architecture" in top else {}
        if not said:
            self._wrong("there is no architecture", root, "nothing", "architecture:", "give a file of SANA-FE's arch/")
            return None
        mesh = self._attributes(said, root, "architecture")
        shape = [self._count(mesh, key, root, MOST_PLACES) for key in ("width", "height", "link_buffer_size")]
        width, height, link_depth = shape
        topology = self._text(mesh, "topology") or "mesh"
        if topology != "mesh":
            self._wrong("this topology is not simulated", mesh["topology"], topology, "mesh", "use another target")
        barrier = self._barrier(mesh)
        known = ("width", "height", "link_buffer_size", "topology", "sync_model", "latency_sync")
        self._left("architecture", mesh, known)
        tiles = [(self._copies(node), node, self._tile(node)) for node in self._list(said, "tile", root)]
        used = self._mesh(width, height, sum(many for many, _, _ in tiles), root) if tiles else None
        cores = [core for _, _, tile in tiles for core in tile.cores]
        if not cores:
            return None
        _, _, first = tiles[0]
        for _, node, tile in tiles if not self.problems else ():
            if tile != first:
                self._wrong("tiles differ", node, "other hops or cores", "tiles that are alike",
                            "a target has one kind: make a file for each")  # fmt: skip
        kinds = {core for _, core in first.cores}
        if len(kinds) > 1 and not self.problems:
            self._wrong("cores of a tile differ", tiles[0][1], f"{len(kinds)} kinds", "cores that are alike",
                        "a target has one kind: make a file for each")  # fmt: skip
        costs = self._costs(cores[0][1], first.hops, tiles[0][1])
        if self.problems or used is None:
            return None
        name = self._text(said, "name") or self.path.stem
        own = sum(many for many, _ in first.cores)
        return Architecture(name[:60], self.path.name, *used, own, cores[0][1].neurons, link_depth, barrier, costs,
                            tuple(self.unsaid))  # fmt: skip

    # -- chip and tiles

    def _mesh(self, width: int, height: int, tiles: int, root: Node) -> tuple[int, int] | None:
        """The columns and rows that tiles fill: they are numbered along y first."""
        if tiles > width * height:
            actual, limit = f"{tiles:,} tiles", f"at most {width * height:,}: width x height"
            self._wrong("there are more tiles than the mesh has places for", root, actual, limit, "make it larger")
            return None
        columns, rows = (1, tiles) if tiles <= height else (tiles // height, height)
        if columns * rows != tiles:
            self._wrong("the last column of tiles is not full", root, f"{tiles:,} tiles, {height} a column",
                        "whole columns", "a target's mesh has no gaps: say fewer tiles, or more")  # fmt: skip
            return None
        if (columns, rows) != (width, height):
            self._leave(f"the mesh is {width} x {height}, with {tiles:,} tiles on it",
                        f"a mesh of these alone, {columns} x {rows}: no way leads anywhere else")  # fmt: skip
        return columns, rows

    def _barrier(self, mesh: _Table) -> dict[int, Decimal]:
        """The time between steps by tiles in use, in us; as SANA-FE reads it."""
        kind, node = self._text(mesh, "sync_model") or "fixed", mesh.get("latency_sync")
        if kind not in ("fixed", "table"):
            self._wrong("this sync_model is none", mesh["sync_model"], kind, "fixed, table", "name one")
            return {}
        if node is None:
            if kind == "table":
                self._wrong("latency_sync is missing", mesh["sync_model"], "nothing", "a table", "say it")
            return {}
        if isinstance(node.value, str):
            return {1: self._scaled(node, "latency_sync", _MICRO)}
        if kind == "fixed":
            self._wrong("latency_sync is no number", node, "a list or a table", "a number", "or say sync_model: table")
            return {}
        pairs = node.value.items() if isinstance(node.value, dict) else [(str(n), v) for n, v in enumerate(node.value)]
        found: dict[int, Decimal] = {}
        for tiles, time in pairs:
            if not re.fullmatch(r"\d{1,7}", tiles):
                self._wrong("a key of latency_sync is no number of tiles", time, tiles, "a whole number", "change it")
                continue
            found[int(tiles)] = self._scaled(time, f"latency_sync.{tiles}", _MICRO)
        if not found:
            self._wrong("latency_sync is empty", node, "nothing", "a time for each number of tiles", "say one")
        return dict(sorted(found.items()))

    def _tile(self, node: Node) -> _Tile:
        table = self._table(node, "tile")
        said = self._attributes(table, node, "tile")
        hops = tuple(self._cost(said, pair, node) for pair in _HOPS)
        self._left("tile", said, [key for pair in _HOPS for key in pair])
        cores = tuple((self._copies(each), self._core(each)) for each in self._list(table, "core", node))
        return _Tile(hops, cores)

    # -- cores and their units

    def _core(self, node: Node) -> _Core:
        table = self._table(node, "core")
        said = self._attributes(table, node, "core")
        neurons = self._count(said, "max_neurons_supported", node, 1 << 30)
        self._buffer(said, node)
        self._left("core", said, ("max_neurons_supported", "buffer_position", "buffer_inside_unit"))
        self._left("core", table, ("name", "attributes", *_SECTIONS))
        units = {name: tuple(self._unit(name, each) for each in self._list(table, name, node)) for name in _SECTIONS}
        return _Core(neurons, tuple(units.items()))

    def _buffer(self, said: _Table, node: Node) -> None:
        """Messages wait for the next step before a neuron is updated: in front of the dendrites or of the soma."""
        inside = self._flag(said, "buffer_inside_unit")
        if "buffer_position" not in said:
            self._missing("buffer_position", node, "dendrite, soma")
            return
        place = self._text(said, "buffer_position")
        if place == "dendrite" or (place == "soma" and not inside):
            return
        actual = f"{place}, inside the unit" if inside else place
        self._wrong("neurons are updated by each message that reaches them", said["buffer_position"], actual,
                    "a buffer before the soma",
                    "here they are updated once a step: change a copy of the file, if it means that")  # fmt: skip

    def _unit(self, section: str, node: Node) -> _Unit:
        """A unit; energies and times are the same however many there are of it."""
        before = len(self.problems)
        table = self._table(node, section)
        self._copies(node)
        name, said = self._text(table, "name") or section, self._attributes(table, node, section)
        pairs = _SECTIONS[section]
        costs = tuple(self._cost(said, pair, node) for pair in pairs)
        broken = len(self.problems) > before
        modelled = section not in ("axon_in", "axon_out")
        if modelled and "model" not in said:
            self._missing("model", node, "the name of one of SANA-FE's models")
        model = self._text(said, "model") if modelled else ""
        if "plugin" in said:
            limit, fix = "a model of SANA-FE's own", "what it does and costs is code: keep a unit without one"
            self._wrong(f"{section} {name} is a plugin", said["plugin"], self._text(said, "plugin"), limit, fix)
        if self._flag(said, "update_every_timestep") and section == "synapse" and costs[0].energy_pj:
            self._wrong(f"synapses of {name} cost energy in every step", said["update_every_timestep"], "true", "false",
                        "here they cost what messages bring: change a copy of the file")  # fmt: skip
        if section == "dendrite" and (costs[0].energy_pj or costs[0].latency_ns):
            self._wrong(f"dendrite {name} costs energy or time", node,
                        f"{costs[0].energy_pj:g} pJ, {costs[0].latency_ns:g} ns", "0",
                        "no event here is a dendrite's: add it to synapse or soma in a copy of the file")  # fmt: skip
        if section == "dendrite" and model not in ("", "accumulator"):
            self._leave(f"dendrite {name} of the model {model}", "neurons have no dendrites; it costs nothing")
        keys = [key for pair in pairs for key in pair]
        self._left(f"{section} {name}", said, [*keys, "model", "plugin", "update_every_timestep"])
        return _Unit(name, costs, model, broken)

    def _costs(self, core: _Core, hops: Sequence[Cost], node: Node) -> dict[str, Cost]:
        """What each event costs; all units of a kind cost the same, but for synapses, which have three."""
        found = dict(zip(HOPS, hops))
        found["message_in"] = self._one(core.of("axon_in"), "axon_in", node)[0]
        found["message_out"] = self._one(core.of("axon_out"), "axon_out", node)[0]
        somas = core.of("soma")
        free = [unit for unit in somas if not any(cost.energy_pj or cost.latency_ns for cost in unit.costs)]
        given = [unit for unit in free if unit.model == "input"]
        if 0 < len(given) < len(somas):
            names = ", ".join(dict.fromkeys(unit.name for unit in given))
            self._leave(f"soma {names} of the model input, which costs nothing",
                        "inputs come from the host, and cost messages and synapses alone")  # fmt: skip
            somas = tuple(unit for unit in somas if unit not in given)
        found |= dict(zip(PARTS["soma"], self._one(somas, "soma", node)))
        for unit in dict.fromkeys(somas):
            if unit.model not in ("leaky_integrate_fire", "input"):
                self._leave(f"soma {unit.name} of the model {unit.model}",
                            "a neuron is updated where its membrane is not 0 or something arrived")  # fmt: skip
        return found | self._synapses(core.of("synapse"), node)

    def _synapses(self, units: Sequence[_Unit], node: Node) -> dict[str, Cost]:
        if len({unit.costs for unit in units}) <= 1 or any(unit.broken for unit in units):
            return dict.fromkeys((f"synapse_{kind}" for kind in KINDS), self._one(units, "synapse", node)[0])
        named = {kind: [unit for unit in units if kind in unit.name.lower()] for kind in KINDS}
        unnamed = [unit for unit in units if sum(kind in unit.name.lower() for kind in KINDS) != 1]
        if unnamed or not named["dense"]:
            self._several("synapse", units, node, "one with each of dense, sparse and conv in its name, or one alone")
            return {}
        found = {}
        for kind, each in named.items():
            if not each:
                self._leave(f"no synapse has {kind} in its name", "it costs what dense ones do")
            found[f"synapse_{kind}"] = self._one(each or named["dense"], f"synapse ({kind})", node)[0]
        return found

    def _one(self, units: Sequence[_Unit], section: str, node: Node) -> tuple[Cost, ...]:
        if not units or any(unit.broken for unit in units):  # told already
            return (_NOTHING,) * len(_SECTIONS["soma"])
        if len({unit.costs for unit in units}) > 1:
            self._several(section, units, node, "one")
        return units[0].costs

    def _several(self, section: str, units: Iterable[_Unit], node: Node, limit: str) -> None:
        names = ", ".join(dict.fromkeys(unit.name for unit in units))
        self._wrong(f"units of {section} have different prices, and each neuron there chooses one", node, names[:120],
                    limit, "keep one of them in a copy of the file, and make a copy for each")  # fmt: skip

    # -- single values

    def _table(self, node: Node, name: str) -> _Table:
        if isinstance(node.value, dict):
            return node.value
        self._wrong(f"{name} is no table", node, _shown(node), "keys and values", "see SANA-FE's arch/README.md")
        return {}

    def _list(self, table: _Table, key: str, node: Node) -> list[Node]:
        """What is listed under a key, or is there alone."""
        found = table.get(key)
        if found is None or found.value in ("", []):
            self._missing(key, node if found is None else found, "one at least")
            return []
        return found.value if isinstance(found.value, list) else [found]

    def _attributes(self, table: _Table, node: Node, name: str) -> _Table:
        if "attributes" in table:
            return self._table(table["attributes"], f"attributes of {name}")
        if table:
            near = nearest("attributes", table)
            self._missing("attributes", table[near] if near else node, "a table")
        return {}

    def _copies(self, node: Node) -> int:
        """How many there are by the range in the name; one, if it has none."""
        table = node.value if isinstance(node.value, dict) else {}
        if "name" not in table:
            self._missing("name", node, "a text")
            return 1
        name = self._text(table, "name")
        if ".." not in name:
            return 1
        found = _RANGE.fullmatch(name)
        first, last = map(int, found.groups()) if found else (1, 0)
        if first > last or last - first >= MOST_PLACES:
            limit = f"name[0..n], {MOST_PLACES:,} at most"
            self._wrong("the range in this name is none", table["name"], name[:60], limit, "change it")
            return 1
        return last - first + 1

    def _text(self, table: _Table, key: str) -> str:
        node = table.get(key)
        if node is None or isinstance(node.value, str):
            return "" if node is None else str(node.value)
        self._wrong(f"{key} is no text", node, _shown(node), "a text", "change it")
        return ""

    def _flag(self, table: _Table, key: str) -> bool:
        text = self._text(table, key).lower()
        if text not in ("", "true", "false", "0", "1"):
            self._wrong(f"{key} cannot be this", table[key], text[:60], "true or false", "change it")
        return text in ("true", "1")

    def _count(self, table: _Table, key: str, node: Node, most: int) -> int:
        if key not in table:
            self._missing(key, node, f"a whole number from 1 to {most:,}", table)
            return 1
        text = table[key].value
        if isinstance(text, str) and re.fullmatch(r"\d{1,12}", text) and 1 <= int(text) <= most:
            return int(text)
        limit = f"a whole number from 1 to {most:,}"
        self._wrong(f"{key} cannot be this", table[key], _shown(table[key]), limit, "change it")
        return 1

    def _cost(self, table: _Table, keys: tuple[str, str], node: Node) -> Cost:
        energy, latency = (
            self._scaled(table[key], key, digits) if key in table else self._nothing(key, node, digits, table)
            for key, digits in zip(keys, (_PICO, _NANO))
        )
        return Cost(energy, latency, keys)

    def _nothing(self, key: str, node: Node, digits: int, table: _Table) -> Decimal:
        self._missing(key, node, f"a number of {'joules' if digits == _PICO else 'seconds'}", table)
        return Decimal(0)

    def _scaled(self, node: Node, key: str, digits: int) -> Decimal:
        """A number of joules or seconds times 10 to a number of digits, exactly."""
        text = node.value
        if isinstance(text, str) and len(text) <= 40 and _NUMBER.fullmatch(text):
            number = Decimal(text)
            if 0 <= number <= 1:
                return number.scaleb(digits)
        unit, example = ("joules", "35.5e-12 is 35.5 pJ") if digits == _PICO else ("seconds", "3.8e-9 is 3.8 ns")
        limit, fix = f"a number of {unit} from 0 to 1", f"write it without a unit: {example}"
        self._wrong(f"{key} cannot be this", node, _shown(node), limit, fix)
        return Decimal(0)

    # -- what is told

    def _wrong(self, what: str, node: Node, actual: str, limit: str, fix: str) -> None:
        self.problems.append((node.line, Problem(what, f"{self.path}:{node.line}", actual, limit, fix)))

    def _missing(self, key: str, node: Node, limit: str, table: Mapping[str, Node] | None = None) -> None:
        near = nearest(key, [each for each in table or {} if each not in _REQUIRED])
        fix = f"it says {near}: is that meant?" if near else f"say {key}"
        self._wrong(f"{key} is missing", node, "nothing", limit, fix)

    def _leave(self, what: str, instead: str) -> None:
        self.unsaid[Note(what, instead)] = None

    def _left(self, of: str, said: _Table, known: Iterable[str]) -> None:
        """What else is said of something: logs, and what models compute with."""
        for key in said:
            if key in known:
                continue
            if key in _PLAIN_LOGS:
                self._leave(f"{of}: {key}", "reports say energy and time by part")
            else:
                self._leave(f"{of}: {key[:60]}", "what a model computes comes with the network, not with the chip")


def _shown(node: Node) -> str:
    return repr(node.value)[:60] if isinstance(node.value, str) else f"a {type(node.value).__name__}"
