"""Sweeps over small networks: every figure is what export and simulate say, and nothing is left out in silence."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import neurocompile
from neurocompile.errors import BadInput, DoesNotFit, UsageError
from neurocompile.reports import plain
from neurocompile.reports.explore import ExploreReport
from neurocompile.verbs.explore import ExploreRequest, explore
from neurocompile.work import Here, Kept, Pool, Store
from tests.cli.helpers import done, npz, refused, run, saved, small_net

CHECKPOINT = Path(neurocompile.__file__).parent.parent / "models" / "checkpoints" / "digits.pt"
STEPS = 5


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(small_net(), tmp_path_factory.mktemp("explored") / "m.pt", layout="TN")


@pytest.fixture(scope="module")
def data(model: Path) -> Path:
    """Inputs, and what the reals say of them as labels: narrow weights get some wrong."""
    x = np.random.default_rng(3).random((96, 4))
    real = neurocompile.simulate(neurocompile.compile(model), x, real=True).outputs["output"]
    return npz(model.parent / "x.npz", x=x, y=real.argmax(1))


@pytest.fixture(scope="module")
def report(model: Path, data: Path) -> ExploreReport:
    return neurocompile.explore(
        model, data, bits=(2, 3, 8, 12), targets=("generic", "anp-i", "loihi", "nc1", "arith45"),
        placement=("usual", "snake", "refined"), scale=("max", "percentile"),
    )  # fmt: skip


def test_a_point_is_what_export_and_simulate_say(
    report: ExploreReport, model: Path, data: Path, tmp_path: Path
) -> None:
    wanted = {
        "loihi 3-bit max snake", "nc1 8-bit percentile refined", "anp-i 12-bit max usual", "generic 2-bit max usual",
        "loihi 2-bit percentile usual",
    }  # fmt: skip
    for number, name in enumerate(sorted(wanted)):
        target, bits, scale, placement = name.split()
        out, timed = tmp_path / str(number), [] if placement == "usual" else ["--placement", placement]
        exported = done("export", model, "-o", out, "--target", target, "--bits", bits.split("-")[0], "--scale", scale,
                        "--no-validate", "--json").json  # fmt: skip
        simulated = done("simulate", out, "--data", data, *timed, "--json").json
        point = json.loads(json.dumps(plain(report[name])))
        for key in ("neurocompile", "command", "ok"):
            simulated.pop(key)
        assert {key: point[key] for key in simulated} == simulated
        assert point["bits"] == int(bits.split("-")[0])
        assert point["mapping"] == {"scale": scale, "per": "channel", "placement": placement}
        if placement != "refined":
            assert point["cores"] == exported["cores"]


def test_every_combination_is_a_point_or_illegal(report: ExploreReport) -> None:
    illegal = sum(each.combinations for each in report.illegal)
    assert len(report.points) + illegal == 4 * 5 * 3 * 2
    assert len({point.name for point in report.points}) == len(report.points)
    why = {(each.target, each.bits, each.mapping.placement): each.problems[0].what for each in report.illegal}
    assert "price list" in why["arith45", None, None]
    assert "no weights of this width" in why["loihi", 12, None]
    assert "no placement matters" in why["anp-i", None, "snake"]
    assert "not placed so" in why["loihi", None, "refined"]


def test_what_is_shared_is_done_once(report: ExploreReport) -> None:
    """generic and anp-i compute alike: one compilation and one run of a width and a scale for both."""
    assert report.stages["compilations"] == 2 * (4 + 3 + 3)
    assert report.stages["runs"] == 2 * (4 + 3 * 2 + 3 * 3)
    generic, anp = report["generic 3-bit max usual"], report["anp-i 3-bit max usual"]
    assert generic.energy_pj is None
    assert anp.energy_pj is not None
    assert generic.run.totals == anp.run.totals


def test_the_figures_around_a_simulation(report: ExploreReport) -> None:
    for point in report.points:
        low, high = point.accuracy_bounds
        assert low <= point.accuracy <= high
        assert point.accuracy == point.right.mean()
    weights = 4 * 6 + 6 * 3
    assert report["generic 3-bit max usual"].weight_bytes == -(-weights * 3 // 8)
    assert report["nc1 8-bit max usual"].cores == 1


def test_the_same_bytes_from_every_engine(model: Path, data: Path, tmp_path: Path) -> None:
    request = ExploreRequest(
        model=model, data=data, bits=(2, 3, 6), targets=("anp-i", "truenorth", "nc1"),
        placement=("usual", "balanced"),
        mixed=True, halving=True,
    )  # fmt: skip
    store = Store(tmp_path / "cache")
    pool, first, second = Pool(2), Kept(Here(), store), Kept(Here(), store)
    said = [json.dumps(plain(explore(request, engine=engine))) for engine in (Here(), pool, first, second)]
    pool.close()
    assert len(set(said)) == 1
    assert first.done
    assert second.done == 0  # nothing is done again
    assert second.found == first.found + first.done


def test_shards_of_a_large_point_are_joined(model: Path, tmp_path: Path) -> None:
    """More samples than a task takes: the figures are those of one piece, with a clock and without."""
    rng = np.random.default_rng(1)
    x, y = rng.random((4300, 4)), rng.integers(0, 3, 4300)
    store = Store(tmp_path / "cache")
    engine = Kept(Here(), store)
    request = ExploreRequest(model=model, data=x, labels=y, bits=(4,), targets=("anp-i", "loihi"), scale=("max",))
    report = explore(request, engine=engine)
    assert engine.done == 2 + 2 + 2 + 1  # compilations, shards of each, and the sum of their times
    for name in ("anp-i", "loihi"):
        whole = neurocompile.simulate(neurocompile.compile(model, name, bits=4, scale="max"), x, y, workers=1)
        found = report[f"{name} 4-bit"].run
        assert plain(found) == plain(whole)


def test_halving_tells_what_it_drops_and_keeps_the_winner(model: Path, data: Path) -> None:
    """At two bits a network of digits is far behind, which few of them show."""
    from neurocompile.verbs.networks import DEMOS

    x, y = DEMOS["digits"].data()
    asked: dict[str, Any] = {"bits": (2, 6, 8), "targets": "generic", "timing": False}
    whole = neurocompile.explore(CHECKPOINT, x, y, **asked)
    halved = neurocompile.explore(CHECKPOINT, x, y, halving=True, **asked)
    assert halved.halving is not None
    dropped = {each.point for each in halved.halving.dropped}
    assert dropped
    assert {point.name for point in halved.points} | dropped == {point.name for point in whole.points}
    best = max(whole.points, key=lambda point: point.accuracy)
    assert best.name not in dropped
    assert halved.choice == whole.choice
    for point in halved.points:  # in whatever order samples were run
        assert point == whole[point.name]
        assert np.array_equal(point.right, whole[point.name].right)
    for each in halved.halving.dropped:
        assert each.accuracy < each.accuracy_by
        assert each.p < halved.halving.level
        assert whole[each.point].accuracy < best.accuracy
    assert halved.halving.samples_run == sum(
        new * alive for new, alive in zip((57, 113 - 57, 450 - 113), _alive(halved), strict=True)
    )
    assert halved.halving.samples_without == 450 * len(whole.points)
    assert halved.stages["samples"] == halved.halving.samples_run


def _alive(report: ExploreReport) -> list[int]:
    """How many points each round began with."""
    assert report.halving is not None
    lost = [sum(each.samples == size for each in report.halving.dropped) for size in report.halving.rounds]
    everything = len(report.points) + sum(lost)
    return [everything, everything - lost[0], len(report.points)]


def test_no_sample_is_run_twice_but_on_a_clock_that_remembers(model: Path, data: Path) -> None:
    """Where nothing is dropped, the figures are those without, but for the order in which energies are summed."""
    request = ExploreRequest(model=model, data=data, bits=(6, 8), targets=("loihi", "nc1"))
    whole, halved = (explore(replace(request, halving=halving)) for halving in (False, True))
    assert halved.halving is not None
    assert (halved.halving.rounds, halved.halving.dropped) == ((24,), ())
    assert halved.stages["samples"] == halved.halving.samples_run == 2 * 96 + 2 * (24 + 96)
    for point in halved.points:
        assert np.array_equal(point.right, whole[point.name].right)
        assert point.run.totals == whole[point.name].run.totals
        if point.target == "loihi":
            assert point.latency_ns == whole[point.name].latency_ns
            assert point.energy_pj == pytest.approx(whole[point.name].energy_pj, 1e-12)


def test_data_that_are_too_large_to_be_held(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.save(tmp_path / "x.npy", np.random.default_rng(0).random((70, 4)))
    np.save(tmp_path / "y.npy", np.zeros(70, int))
    asked = ["explore", model, "--data", tmp_path, "--bits", "3,4,8", "--targets", "anp-i"]
    monkeypatch.setattr("neurocompile.verbs.exploring.picked._MOST_BYTES", 70 * 4 * 8)
    assert done(*asked, "--halving", "--json").json["halving"]["rounds"] == [18]
    monkeypatch.setattr("neurocompile.verbs.exploring.picked._MOST_BYTES", 70 * 4 * 8 - 1)
    done(*asked)
    for option in ("--mixed", "--halving"):
        (error,) = refused(6, *asked, option)
        what = "samples from all over the data are picked, which holds all of them in memory"
        assert error["what"] == f"{what} ({option})"
        assert error["where"] == str(tmp_path)
        assert error["fix"] == f"give fewer samples, or leave out {option}"


def test_too_few_samples_to_drop_anything(model: Path) -> None:
    x = np.random.default_rng(0).random((20, 4))
    report = neurocompile.explore(model, x, np.zeros(20, int), bits=(2, 8), targets="anp-i", halving=True)
    assert report.halving is not None
    assert "too few" in report.halving.note
    assert len(report.points) == 2


def test_python_and_the_command_line(model: Path, data: Path, tmp_path: Path) -> None:
    report = neurocompile.explore(
        model, data, bits=(3, 12), targets=("anp-i", "loihi", "nc1", "arith45"), placement=("usual", "snake"),
        scale=("max", "percentile"),
    )  # fmt: skip
    said = done("explore", model, "--data", data, "--bits", "3,12", "--targets", "anp-i,loihi,nc1,arith45",
                "--placement", "usual,snake", "--scale", "max,percentile", "--json", "--csv",
                tmp_path / "p.csv", "--picture", tmp_path / "p.svg", "-o", tmp_path / "p.html").json  # fmt: skip
    body = json.loads(json.dumps(plain(report)))
    assert {key: said[key] for key in body} == body
    rows = list(csv.DictReader(io.StringIO((tmp_path / "p.csv").read_text())))
    assert [row["point"] for row in rows] == [point["name"] for point in body["points"]]
    assert {row["point"] for row in rows if row["front"] == "True"} == set(body["front"])
    assert (tmp_path / "p.svg").read_text().count("<svg") == 1
    page = (tmp_path / "p.html").read_text()
    assert report.choice.sentence.split(":")[0] in page
    assert "src=" not in page
    assert "http" not in page.replace("http://www.w3.org", "")


def test_what_a_person_reads(report: ExploreReport) -> None:
    html = report._repr_html_()
    assert all(point.name in html for point in report.points)
    assert report.choice.sentence.split(" (")[0] in html
    assert report.plot().axes
    table = report.table()
    assert list(table.index) == [point.name for point in report.points]
    assert table.loc["anp-i 3-bit max usual", "energy_pj"] == report["anp-i 3-bit max usual"].energy_pj
    assert table.loc["generic 3-bit max usual", "bits"] == 3


# -- what is asked for and cannot be -----------------------------------------------------------------------------------


def test_a_constraint_that_nothing_meets(model: Path, data: Path) -> None:
    ran = run("explore", model, "--data", data, "--bits", "3,8", "--targets", "anp-i,loihi", "--max-energy-uj", "1e-9",
              "--json")  # fmt: skip
    assert ran.code == 5
    assert ran.json["ok"] is False
    assert ran.json["choice"]["point"] is None
    assert len(ran.json["choice"]["nearest"]) == 3
    assert ran.json["points"]
    shown = run(
        "explore", model, "--data", data, "--bits", "3,8", "--targets", "anp-i,loihi", "--max-energy-uj", "1e-9"
    )
    assert shown.code == 5
    assert "nearest points" in shown.out
    assert "No point keeps to at most 1e-09 uJ" in " ".join(shown.out.split())


def test_no_legal_point(model: Path, data: Path) -> None:
    errors = refused(2, "explore", model, "--data", data, "--bits", "12", "--targets", "loihi,nc1")
    assert [error["where"] for error in errors] == ["loihi: --bits", "nc1: --bits"]
    with pytest.raises(DoesNotFit) as raised:
        neurocompile.explore(CHECKPOINT, np.zeros((4, 1, 8, 8)), np.zeros(4, int), bits=(8,), targets="odin")
    assert "does not hold so many neurons" in str(raised.value)


def test_bad_input(model: Path, data: Path, tmp_path: Path) -> None:
    errors = refused(2, "explore", model, "--data", data, "--targets", "lohi,anp-i,anp-x")
    assert {error["where"] for error in errors} == {"--targets"}
    assert [error["actual"] for error in errors] == ["lohi", "anp-x"]
    with np.load(data) as arrays:
        bare = npz(tmp_path / "bare.npz", x=arrays["x"])
        wrong = npz(tmp_path / "wrong.npz", x=arrays["x"], y=arrays["y"] + 7)
    assert "no labels" in refused(6, "explore", model, "--data", bare)[0]["what"]
    assert "do not match" in refused(6, "explore", model, "--data", wrong, "--bits", 8, "--targets", "anp-i")[0]["what"]
    assert "scale" in str(refused(2, "explore", model, "--data", data, "--scale", "best"))
    assert "3 widths" in str(refused(2, "explore", model, "--data", data, "--mixed", "--bits", "4,8"))
    assert ".png" in str(refused(2, "explore", model, "--data", data, "--picture", tmp_path / "p.jpg"))
    (tmp_path / "p.csv").write_text("mine")
    assert "exists" in str(refused(2, "explore", model, "--data", data, "--csv", tmp_path / "p.csv"))
    with pytest.raises(UsageError):
        neurocompile.explore(model, data, bits=())
    with pytest.raises(BadInput):
        neurocompile.explore(model, np.zeros((3, 4)))


def test_a_chip_of_ones_own(model: Path, data: Path, tmp_path: Path) -> None:
    toml = tmp_path / "mine.toml"
    toml.write_text(done("targets", "nc1", "--toml").out.replace("neurons_per_core = 256", "neurons_per_core = 8"))
    report = neurocompile.explore(model, data, bits=(8, {"0": 4, "2": 3}), targets=(str(toml), "nc1"))
    assert [point.name for point in report.points] == ["mine 8-bit", "mine by-layer-2", "nc1 8-bit", "nc1 by-layer-2"]
    assert report["mine 8-bit"].cores != report["nc1 8-bit"].cores
    assert report["nc1 by-layer-2"].weight_bytes == -(-(4 * 6 * 4 + 6 * 3 * 3) // 8)
    assert report["nc1 by-layer-2"].bits == {"0": 4, "2": 3}
