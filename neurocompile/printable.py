"""What users name their layers and files, as a terminal may be given it.

This is the one place where that is decided: messages, graphs and every line of a report go through it.
"""

from __future__ import annotations

__all__ = ["first_line", "printable"]


def printable(text: str, keep: str = "") -> str:
    r"""The same text, with ``\x1b`` and the like for whatever a terminal would act on instead of showing it.

    That is what Unicode counts among the controls, formats (marks that turn the direction of writing, say), surrogates
    and separators other than the space.

    Args:
        text: anything.
        keep: characters that stay as they are: a newline, where lines are wanted.
    """
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() or each in keep else each.encode("unicode_escape").decode() for each in text
    )


def first_line(error: BaseException, most: int = 200) -> str:
    """The first line of what another program's error says, where it says anything; else of what kind it is."""
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return printable(lines[0])[:most]
