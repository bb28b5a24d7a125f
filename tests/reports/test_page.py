"""The page of ``neurocompile report``, opened as a user does: in a browser, on a desk and on a phone."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neurocompile
from neurocompile.errors import ToolFailed, UsageError
from neurocompile.reports.html import tables
from neurocompile.reports.page import PageReport
from neurocompile.simulator.execution import IntegerExecutor
from neurocompile.verbs.demo import _bundled
from neurocompile.verbs.networks import DEMOS

SAMPLES = 24
MOST_BYTES = 5_000_000


@pytest.fixture(scope="module")
def digits() -> tuple[Any, Any, Any]:
    x, y = DEMOS["digits"].data()
    return _bundled(), x[:SAMPLES], y[:SAMPLES]


@pytest.fixture(scope="module")
def program(digits: tuple[Any, Any, Any]) -> neurocompile.Program:
    return neurocompile.compile(digits[0], target="loihi")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("pages")


@pytest.fixture(scope="module")
def fine(program: neurocompile.Program, digits: tuple[Any, Any, Any], folder: Path) -> PageReport:
    """A network that is as it should be."""
    model, x, y = digits
    return neurocompile.report(program, x, y, reference=model, backend_samples=0, out=folder / "fine.html")


@pytest.fixture(scope="module")
def failed(program: neurocompile.Program, digits: tuple[Any, Any, Any], folder: Path) -> PageReport:
    """A chip on which two channels of a layer are exchanged."""
    _, x, y = digits
    spikes = IntegerExecutor(program).run({"x_seq": np.repeat(x[:, None], program.timesteps, 1)}).spikes
    order = np.arange(spikes["neuron2"].shape[2])
    order[[3, 7]] = 7, 3
    recorded = {"neuron1": spikes["neuron1"], "neuron2": spikes["neuron2"][:, :, order]}
    return neurocompile.report(program, x, y, recorded=recorded, backend_samples=0, out=folder / "failed.html")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, without a window."""
    programs = shutil.which("chromium"), shutil.which("chromedriver")
    if None in programs:
        assert os.environ.get("CI") != "true", "Chromium is missing: make system"
        pytest.skip("no Chromium here (make system)")
    webdriver = pytest.importorskip("selenium.webdriver")
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    for switch in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(switch)
    options.binary_location = programs[0]
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(programs[1]))
    yield driver
    driver.quit()


def opened(browser: Any, page: Path, width: int, dark: bool = False) -> dict[str, Any]:
    """What a browser makes of a page of such a width."""
    size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    for log in ("browser", "performance"):
        browser.get_log(log)
    browser.get(page.resolve().as_uri())
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [each["params"]["request"]["url"] for each in events if each["method"] == "Network.requestWillBeSent"]
    import axe_core_python

    (script,) = Path(axe_core_python.__file__).parent.rglob("axe.min.js")
    browser.execute_script(script.read_text())
    found = browser.execute_async_script("const done = arguments[arguments.length - 1]; axe.run().then(done)")
    drawn = "return [...document.querySelectorAll('.drawing svg')].map(s => s.getBoundingClientRect().height)"
    return {
        "console": browser.get_log("browser"),
        "asked": [url for url in asked if not url.startswith(("data:", page.resolve().as_uri()))],
        "wide": browser.execute_script("return document.documentElement.scrollWidth"),
        "drawn": browser.execute_script(drawn),
        "axe": [each["id"] for each in found["violations"] if each["impact"] in ("serious", "critical")],
        "shown": browser.execute_script("return document.body.innerText"),
    }


@pytest.mark.parametrize(("width", "dark"), [(1600, False), (360, True)])
@pytest.mark.parametrize("which", ["fine", "failed"])
def test_a_browser_shows_it(which: str, width: int, dark: bool, browser: Any, request: pytest.FixtureRequest) -> None:
    report: PageReport = request.getfixturevalue(which)
    assert report.path is not None
    seen = opened(browser, report.path, width, dark)
    assert (seen["console"], seen["asked"], seen["axe"]) == ([], [], [])
    assert seen["wide"] <= width
    assert len(seen["drawn"]) >= 6
    assert min(seen["drawn"]) > 20
    assert "Verdicts" in seen["shown"]


@pytest.mark.parametrize(
    ("name", "target"), [("vq-svae-small", "generic"), pytest.param("mpbn-resnet20", "loihi", marks=pytest.mark.slow)]
)
def test_hosts_and_large_networks_are_shown(name: str, target: str, browser: Any, tmp_path: Path) -> None:
    neurocompile.zoo(name, out=tmp_path / "model.pt")
    program = neurocompile.compile(tmp_path / "model.pt", target=target, chips=2)
    report = neurocompile.report(program, backend_samples=0, require=("quantization",), out=tmp_path / "page.html")
    assert report.bytes < MOST_BYTES
    seen = opened(browser, tmp_path / "page.html", 1600)
    assert (seen["console"], seen["asked"], seen["axe"]) == ([], [], [])
    assert min(seen["drawn"]) > 20
    assert "ActivationSparsity" in seen["shown"]


def test_keys_zoom(fine: PageReport, browser: Any) -> None:
    assert fine.path is not None
    opened(browser, fine.path, 1600)
    from selenium.webdriver.common.by import By

    drawing = browser.find_element(By.CSS_SELECTOR, ".drawing")
    box = "return document.querySelector('.drawing svg').getAttribute('viewBox').split(' ').map(Number)"
    before = browser.execute_script(box)
    drawing.send_keys("+")
    closer = browser.execute_script(box)
    assert closer[2] == pytest.approx(0.8 * before[2])
    drawing.send_keys("0")
    assert browser.execute_script(box) == before


def test_it_says_where_and_why(failed: PageReport) -> None:
    assert failed.path is not None
    assert failed.validation is not None
    (cause,) = failed.validation.stages[-1].causes
    assert (cause.layer, cause.names) == ("neuron2", ("channels-swapped",))
    page = failed.path.read_text()
    assert "channels 3, 7 in another order" in page
    assert page.index("recorded: failed") < page.index('<section id="divergence"') < page.index('<section id="energy"')
    assert failed.exit_code == 5


def test_it_is_small_and_the_same_each_time(
    fine: PageReport, program: neurocompile.Program, digits: tuple[Any, Any, Any], folder: Path
) -> None:
    model, x, y = digits
    again = neurocompile.report(
        program, x, y, reference=model, backend_samples=0, out=folder / "again.html", csv=folder / "csv"
    )
    assert fine.path is not None
    assert again.path is not None
    assert fine.path.read_bytes() == again.path.read_bytes()
    assert again.bytes == again.path.stat().st_size < MOST_BYTES
    assert len((Path(neurocompile.__file__).parent / "reports" / "html" / "script.js").read_bytes()) < 50_000
    written = {path.name: path.read_bytes() for path in (folder / "csv").iterdir()}
    assert written == tables(again)


def test_its_numbers_are_those_of_the_verbs(fine: PageReport, program: neurocompile.Program, digits: Any) -> None:
    _, x, y = digits
    known = neurocompile.simulate(program, x, y)
    rows = list(csv.DictReader(io.StringIO(tables(fine)["layers.csv"].decode())))
    assert {row["layer"]: int(row["SOPs"]) for row in rows if row["SOPs"]} == {
        layer.name: layer.totals.sops for layer in known.layers
    }
    (own,) = (row for row in csv.DictReader(io.StringIO(tables(fine)["energy.csv"].decode())) if row["chip"] == "loihi")
    assert float(own["pJ an inference"]) == known.per_sample.energy_pj


def test_names_are_no_markup(digits: tuple[Any, Any, Any], program: neurocompile.Program, folder: Path) -> None:
    _, x, _ = digits
    title = "<script>alert(1)</script>"
    report = neurocompile.report(
        program, x, title=title, require=("quantization",), backend_samples=0, out=folder / "odd.html"
    )
    assert report.path is not None
    page = report.path.read_text()
    assert title not in page
    assert "&lt;script&gt;alert(1)" in page


def test_nothing_is_written_over(fine: PageReport, program: neurocompile.Program, digits: tuple[Any, Any, Any]) -> None:
    with pytest.raises(UsageError, match="exists"):
        neurocompile.report(program, digits[1], reference=digits[0], out=fine.path)


def test_without_its_extra_it_says_what_to_install(
    program: neurocompile.Program, digits: tuple[Any, Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "jinja2", None)
    with pytest.raises(ToolFailed, match="neurocompile\\[report\\]"):
        neurocompile.report(program, digits[1], reference=digits[0])
