"""Tables of things by name: this package's own, and those of installed packages that announce them as entry points.

Nothing is imported before it is asked for. A package adds to a table in its own metadata; in setup.cfg::

    [options.entry_points]
    neurocompile.families =
        toychip = toychip:Toy
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from neurocompile.extras import needing

__all__ = ["Table"]

Entry = TypeVar("Entry")


class Table(Generic[Entry]):
    """Entries by name, each loaded when it is first asked for.

    Args:
        group: of the entry points that add to it.
        own: what this package has, ``module:attribute`` by name; no other package replaces these.
    """

    def __init__(self, group: str, own: Mapping[str, str]) -> None:
        self.group = group
        self._own = own
        self._loaded: dict[str, Entry] = {}

    @cached_property
    def _named(self) -> dict[str, str]:
        """Where each entry is, the own ones first, then the others by name."""
        found = {entry.name: entry.value for entry in entry_points(group=self.group)}
        return {**self._own, **{name: found[name] for name in sorted(found) if name not in self._own}}

    def __iter__(self) -> Iterator[str]:
        return iter(self._named)

    def __contains__(self, name: object) -> bool:
        return name in self._own or name in self._named

    def home(self, name: str) -> str:
        """The module of an entry, which is not imported."""
        return (self._own.get(name) or self._named[name]).partition(":")[0]

    def __getitem__(self, name: str) -> Entry:
        """The entry of a name.

        Raises:
            KeyError: if there is none.
            ToolFailed: if it needs a package that is not installed.
        """
        if name not in self._loaded:
            module, _, attribute = (self._own.get(name) or self._named[name]).partition(":")
            with needing(extra=name):
                loaded: Any = getattr(import_module(module), attribute)
            self._loaded[name] = loaded
        return self._loaded[name]
