"""YAML within limits: texts, lists and tables with the lines that they begin at, and nothing that is built or expanded.

Numbers stay texts, so that none is read in a way that its reader did not choose; there are no tags, and no aliases,
which let a small file become a large one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from neurocompile.errors import BadInput, Problem
from neurocompile.extras import needing
from neurocompile.files.reading import text_of

__all__ = ["Node", "yaml_of"]

_MOST_BYTES = 1 << 18
_DEEPEST = 32


@dataclass(frozen=True, eq=False)
class Node:
    """A text, a list or a table, and the line of the file at which it begins."""

    value: str | list[Node] | dict[str, Node]
    line: int


_Events: TypeAlias = Iterator[Any]


def yaml_of(path: Path) -> Node:
    """What a YAML file of one document holds.

    Args:
        path: of a file of 256 KiB at most.

    Raises:
        BadInput: if it is missing, too large, no YAML, nested too deeply, or has tags, aliases or a key twice.
        ToolFailed: without PyYAML.
    """
    text = text_of(path, _MOST_BYTES)
    with needing(str(path), "sanafe"):
        import yaml
    events = yaml.parse(text, Loader=yaml.BaseLoader)
    try:
        next(events), next(events)  # of the stream and of its document
        root = _node(next(events), events, path, 0)
        next(events)  # the end of the document
        if not isinstance(next(events), yaml.StreamEndEvent):
            raise _refused(path, "this holds several documents", fix="write each into a file of its own")
    except (yaml.YAMLError, StopIteration, ValueError, OverflowError) as error:  # ValueError: no such character
        mark = getattr(error, "problem_mark", None)
        what = getattr(error, "problem", None) or (str(error).splitlines() or ["it is empty"])[0]
        raise _refused(path, f"this is no YAML: {what}", mark) from error
    return root


def _node(event: Any, events: _Events, path: Path, depth: int) -> Node:
    kind = type(event).__name__
    if kind == "AliasEvent":
        fix = "write out what it stands for"
        raise _refused(path, f"there are no aliases here: *{event.anchor}", event.start_mark, fix)
    if kind not in ("ScalarEvent", "SequenceStartEvent", "MappingStartEvent"):  # an empty file
        raise _refused(path, "this is no YAML: it is empty")
    if event.tag is not None and event.tag != "!":
        raise _refused(path, f"there are no tags here: {event.tag}", event.start_mark, "leave it out")
    if depth > _DEEPEST:
        raise _refused(path, "it is nested too deeply", event.start_mark, f"nest at most {_DEEPEST} levels")
    line = event.start_mark.line + 1
    if kind == "ScalarEvent":
        return Node(str(event.value), line)
    if kind == "SequenceStartEvent":
        return Node([_node(each, events, path, depth + 1) for each in _until("SequenceEndEvent", events)], line)
    table: dict[str, Node] = {}
    for first in _until("MappingEndEvent", events):
        key = _node(first, events, path, depth + 1)
        if not isinstance(key.value, str):
            raise _refused(path, "a key is no text", first.start_mark)
        if key.value in table:
            what, fix = f"the key {key.value[:60]} is there twice", "leave one out"
            raise _refused(path, what, first.start_mark, fix)
        table[key.value] = _node(next(events), events, path, depth + 1)
    return Node(table, line)


def _until(end: str, events: _Events) -> _Events:
    for event in events:
        if type(event).__name__ == end:
            return
        yield event


def _refused(path: Path, what: str, mark: Any = None, fix: str = "check the file") -> BadInput:
    where = str(path) if mark is None else f"{path}:{mark.line + 1}"
    return BadInput(Problem(what, where, fix=fix))
