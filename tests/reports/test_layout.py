"""Lines that fit a page: whatever the words, no line is too wide, and nothing is folded into letters."""

from __future__ import annotations

import numpy as np
import pytest

from neurocompile.printable import printable
from neurocompile.reports.text.layout import lines, wrapped
from neurocompile.reports.text.parts import Part, Styled, Table, table

WHOLE = 24
"""Words up to so long are never folded."""


def page(part: Part, width: int) -> list[str]:
    return ["".join(text for text, _ in line) for line in lines(part, width)]


def is_readable(part: Part, width: int) -> list[str]:
    """Check a part on a page; returns its lines."""
    shown = page(part, width)
    assert all(len(line) <= width for line in shown), [line for line in shown if len(line) > width]
    words = set(" ".join(shown).split())
    cells = [cell for row in part.rows for cell in row] if isinstance(part, Table) else [part]
    left_out = next((line for line in shown if "left out in" in line), "")
    for cell in cells:
        for word in printable(cell).split():
            if len(word) <= WHOLE and not left_out:
                assert any(word in each for each in words), (word, shown)
    return shown


def _word(draw: np.random.Generator) -> str:
    kind, size = draw.integers(5), int(draw.integers(1, 20))
    if kind == 0:
        return f"{int(draw.integers(10**9)):,}"
    letters = "".join(draw.choice(list("abcxyz"), size))
    return {1: letters, 2: f"{letters}.{letters}/{letters}_{letters}", 3: f"[{letters}]", 4: letters * 4}[int(kind)]


@pytest.mark.parametrize("seed", range(60))
def test_random_tables(seed: int) -> None:
    draw = np.random.default_rng(seed)
    count = int(draw.integers(1, 9))
    heads = [" ".join(_word(draw)[:9] for _ in range(draw.integers(1, 3))) + str(k) for k in range(count)]
    words = [head for head in heads if draw.random() < 0.5]
    optional = [head for head in heads[1:] if draw.random() < 0.3]
    made = table("a title of some words", *heads, words=words, optional=optional, legend=["what " * 40])
    for _ in range(draw.integers(0, 6)):
        texts = {head: " ".join(_word(draw) for _ in range(draw.integers(0, 7))) for head in words}
        made.add_row(*(texts.get(head, f"{int(draw.integers(10**6)):,}") for head in heads))
    for width in (40, 80, 120, 200):
        is_readable(made, width)


@pytest.mark.parametrize("seed", range(40))
def test_random_lines(seed: int) -> None:
    draw = np.random.default_rng(seed)
    line = " " * int(draw.integers(0, 5)) + " ".join(_word(draw) for _ in range(draw.integers(0, 40)))
    for width in (40, 80):
        shown = wrapped(line, width)
        assert all(len(each) <= width for each in shown)
        assert "".join("".join(shown).split()) == "".join(line.split()), "nothing is lost"
        is_readable(line, width)


def test_narrower_and_narrower() -> None:
    """As it is; folded between words; without what can be spared, which it says; as a list."""
    made = table("sizes", "layer", "what it is", "neurons", "spare", words=2, optional=("spare",))
    made.add_row("a.long.name.of.a.layer", "words that can be folded", "1,234,567", "89")
    assert page(made, 80)[3] == " a.long.name.of.a.layer  words that can be folded  1,234,567     89"
    assert page(made, 60)[3:5] == [
        " a.long.name.of.a.layer  words that can be  1,234,567     89",
        "                         folded",
    ]
    shown = page(made, 53)
    assert "89" not in " ".join(shown)
    assert shown[-2] == " (left out in 53 columns: spare)"
    assert page(made, 40) == [
        "sizes",
        " a.long.name.of.a.layer",
        "   what it is: words that can be folded;",
        "   neurons: 1,234,567; spare: 89",
        "",
    ]


def test_long_names_fold_at_their_joints_and_longer_ones_where_the_page_ends() -> None:
    assert wrapped("see features.block.conv.neuron_of_it/again", 40) == [
        "see", "  features.block.conv.neuron_of_it/again"
    ]  # fmt: skip
    assert wrapped("features.block.conv.neuron_of_it/again.and.more", 40) == [
        "features.block.conv.neuron_of_it/again.", "  and.more"
    ]  # fmt: skip
    assert [len(line) for line in wrapped("x" * 100, 40)] == [38, 40, 26]


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("[/foo]", "[/foo]"),
        ("[bold]x[/]", "[bold]x[/]"),
        ("a\nb\tc", "a\\nb\\tc"),
        ("\x1b[31mred\x1b[0m", "\\x1b[31mred\\x1b[0m"),
        ("half \ud800", "half \\ud800"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\u2028", "\\u2028"),
        ("\x9b2J", "\\x9b2J"),
        ("Größe שלום 層", "Größe שלום 層"),
    ],
)
def test_names_are_shown_and_never_obeyed(name: str, shown: str) -> None:
    assert printable(name) == shown
    made = table(name, name, "number", legend=[name])
    made.add_row(Styled(name, "bold"), "1")
    for part in (name, made):
        said = "\n".join(page(part, 80))
        assert shown in said
        assert printable(said, keep="\n") == said


def test_what_is_wide_on_a_terminal_counts_twice() -> None:
    assert wrapped("層" * 30, 40) == ["層" * 19, "  " + "層" * 11]
