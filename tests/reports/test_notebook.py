"""What a notebook shows of each report: valid HTML, the numbers of its text, and no markup in names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

import neurocompile
from neurocompile.printable import printable
from neurocompile.reports import Report
from neurocompile.reports.html import html
from neurocompile.reports.page import PageReport
from neurocompile.reports.text import _WRITERS, text
from neurocompile.reports.text.parts import Table
from neurocompile.reports.validation import Validation
from neurocompile.verbs.demo import _bundled
from neurocompile.verbs.networks import DEMOS

SAMPLES = 4
NAME = "<img src=x onerror='alert(1)'>\x1b[31m&amp;"
VOID = ("br", "img", "meta", "input")


class Page(HTMLParser):
    """Text and tags; each tag must be closed in its place."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[dict[str, str | None]] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes.append(dict(attrs))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def shown(report: Report) -> Page:
    page: str = report._repr_html_()
    return Page(page)


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    """One of each type, but for the demo's."""
    folder = tmp_path_factory.mktemp("reports")
    model, (x, y) = _bundled(), DEMOS["digits"].data()
    x, y = x[:SAMPLES], y[:SAMPLES]
    program = neurocompile.compile(model)
    made: list[Any] = [
        neurocompile.check(model, "loihi"),
        neurocompile.demo(write_data=folder / "digits.npz"),
        neurocompile.explore(model, x, y, bits=(2, 3, 4), targets=["anp-i", "odin"], mixed=True, halving=True),
        neurocompile.export(model, folder / "out"),
        neurocompile.inspect(program),
        neurocompile.report(program, x, y, reference=model),
        neurocompile.simulate(program, x, y),
        neurocompile.targets(),
        neurocompile.validate(program, x, y, reference=model),
        neurocompile.zoo(),
    ]
    return {type(report).__name__: report for report in made}


def _texts(report: Report) -> Iterator[str]:
    for part in text(report):
        if isinstance(part, Table):
            yield from (part.title, *(column.head for column in part.columns))
            yield from (cell for row in part.rows for cell in row)
            yield from part.legend
        else:
            yield part


def says_what_the_text_says(report: Report) -> None:
    page = shown(report)
    # An empty line is one that takes its place.
    assert [each for each in page.text if each != "\xa0"] == [printable(each) for each in _texts(report) if each]
    assert set(page.tags) <= {"div", "table", "caption", "thead", "tbody", "tr", "th", "td", "p", "pre", "span"}


@pytest.mark.parametrize("kind", sorted(set(_WRITERS) - {"DemoReport", "PageReport"}))
def test_it_says_what_the_text_says(kind: str, reports: dict[str, Report]) -> None:
    says_what_the_text_says(reports[kind])


@pytest.mark.slow
def test_the_demo_says_what_its_text_says() -> None:
    says_what_the_text_says(neurocompile.demo(["anp-i", "loihi"]))


def test_a_file_keeps_its_lines() -> None:
    report = neurocompile.targets("loihi", toml=True)
    page = shown(report)
    assert page.tags == ["div", "pre"]
    assert page.text == list(text(report))


def test_a_page_is_framed_as_it_is(reports: dict[str, Report]) -> None:
    report = reports["PageReport"]
    assert isinstance(report, PageReport)
    page = shown(replace(report, program=NAME))
    assert page.tags == ["iframe"]
    (frame,) = page.attributes
    assert frame["srcdoc"] == html(replace(report, program=NAME)).decode()
    assert frame["sandbox"] == "allow-scripts allow-downloads"
    assert frame["title"] == printable(f"{NAME} on generic")


def test_names_are_no_markup(reports: dict[str, Report]) -> None:
    validation = reports["Validation"]
    assert isinstance(validation, Validation)
    first, *others = validation.stages
    page = shown(replace(validation, stages=[replace(first, against=NAME, asked=NAME), *others]))
    assert "img" not in page.tags
    assert printable(NAME) in page.text
    assert "\x1b" not in "".join(page.text)


def test_verdicts_have_their_colours(reports: dict[str, Report]) -> None:
    page = reports["Validation"]._repr_html_()
    assert '<span style="font-weight: bold; color: var(--jp-success-color1, #2e7d32)">PASSED</span>' in page


def test_pages_are_written_to_files_likewise(reports: dict[str, Report], tmp_path: Path) -> None:
    """What a notebook shows is what ``out`` would hold."""
    report = reports["PageReport"]
    (frame,) = shown(report).attributes
    written = neurocompile.report(
        neurocompile.compile(_bundled()), *(each[:SAMPLES] for each in DEMOS["digits"].data()),
        reference=_bundled(), out=tmp_path / "page.html",
    )  # fmt: skip
    assert written.path is not None
    assert frame["srcdoc"] == written.path.read_text()
