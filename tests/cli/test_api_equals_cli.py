"""What the command line can do, Python can, with the same defaults and the same results."""

from __future__ import annotations

import inspect
import json
import pickle
from dataclasses import MISSING, fields
from importlib import import_module
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest

import neurocompile
from neurocompile import api
from neurocompile.cli.app import _COMMANDS
from neurocompile.errors import DoesNotFit, UsageError
from neurocompile.reports import Report, plain
from neurocompile.reports.simulate import SimulateReport
from tests.backends.lava.against import need_lava
from tests.backends.rtl.test_rtl import need
from tests.cli.helpers import Data, done, exported, npz, refused, run

CHECKPOINTS = Path(neurocompile.__file__).parent.parent / "models" / "checkpoints"

TERMINAL = {"--json", "--debug", "--help"}
"""What is about the terminal alone."""

FIELDS = {"--input": "carries", "--output": "out", "--per": "per_channel", "--no-validate": "validate",
          "demo --target": "targets", "report --target": "targets", "--time-limit": "time_limit_s",
          **{f"{verb} --recorded": "recording" for verb in ("explore", "export", "check", "inspect")}}  # fmt: skip
"""Fields of a request that are not called as the option is."""

KEYWORDS = {verb: {"data": "x", "labels": "y"} for verb in ("explore", "simulate", "validate", "report")}
"""Arguments of a function that are not called as the field is."""

IN_PYTHON = {"explore": {"labels"}, "simulate": {"labels"}, "validate": {"labels"}, "report": {"labels"}}
"""Fields without an option: a file of data has its labels with it."""

DEFAULTS = {("simulate", "spikes"): True}
"""Where Python's default is another: without a file, spikes have nowhere to stay in the shell."""


def _command(verb: str) -> click.Command:
    command: click.Command = import_module(f"neurocompile.cli.{verb}").command
    return command


def _option(parameter: click.Parameter) -> str:
    """The long name of an option; of an argument its name."""
    return max(parameter.opts, key=len)


def _defaults(verb: str) -> dict[str, Any]:
    """What the function of a command is given if nobody chooses anything."""
    needed = [
        f"{_option(p)}=some" if isinstance(p, click.Option) else "some" for p in _command(verb).params if p.required
    ]
    return _command(verb).make_context(verb, needed).params


@pytest.mark.parametrize("verb", _COMMANDS)
def test_every_option_is_a_field_and_a_keyword_with_the_same_default(verb: str) -> None:
    request = getattr(import_module(f"neurocompile.verbs.{verb}"), f"{verb.capitalize()}Request")
    known = {field.name: field for field in fields(request)}
    keywords = inspect.signature(getattr(api, verb)).parameters
    defaults = _defaults(verb)
    seen = set()
    for parameter in _command(verb).params:
        option = _option(parameter)
        if option in TERMINAL:
            continue
        name = FIELDS.get(option) or FIELDS.get(f"{verb} {option}") or option.lstrip("-").replace("-", "_")
        assert parameter.name == name
        assert name in known, f"{verb} {option} is no field of {request.__name__}"
        keyword = KEYWORDS.get(verb, {}).get(name, name)
        assert keyword in keywords, f"{verb} {option} is no argument of neurocompile.{verb}"
        seen.add(name)
        if parameter.required:
            assert known[name].default is MISSING
            assert keywords[keyword].default is inspect.Parameter.empty
            continue
        assert known[name].default == defaults[name], option
        assert keywords[keyword].default == DEFAULTS.get((verb, name), defaults[name]), option
    assert set(known) - seen == IN_PYTHON.get(verb, set())
    assert len(keywords) == len(known)


def test_compile_is_export_without_files() -> None:
    compiled, exported_ = (inspect.signature(each).parameters for each in (api.compile, api.export))
    assert set(compiled) < set(exported_)
    assert all(compiled[name].default == exported_[name].default for name in compiled)


# -- the same results --------------------------------------------------------------------------------------------------


def same(report: Any, *arguments: object) -> None:
    """A command says in JSON what a report does, and the report survives pickling."""
    assert isinstance(report, Report)
    printed = run(*arguments, "--json")
    assert printed.code == report.exit_code, printed
    said = printed.json
    assert said.pop("neurocompile") == neurocompile.__version__
    assert said.pop("command") == arguments[0]
    assert said.pop("ok") is (report.exit_code == 0)
    assert said == json.loads(json.dumps(plain(report)))
    pickled(report)


def pickled(report: Report) -> None:
    """A report is the same on the other side."""
    again = pickle.loads(pickle.dumps(report))
    assert again == report
    assert plain(again) == plain(report)
    if isinstance(report, SimulateReport):
        assert isinstance(again, SimulateReport)
        for before, after in ((report.outputs, again.outputs), (report.spikes, again.spikes)):
            assert before.keys() == after.keys()
            assert all(np.array_equal(before[name], after[name]) for name in before)
        assert np.array_equal(again.counts.total("sops"), report.counts.total("sops"))
        assert again.timeline == report.timeline


SIMULATED: list[tuple[str, dict[str, Any]]] = [
    ("", {}),
    ("--real", {"real": True}),
    ("--stream", {"stream": True}),
    ("--reference --threads 1", {"reference": True, "threads": 1}),
    ("--price-as anp-i", {"price_as": "anp-i"}),
    ("--price-as truenorth --no-timing", {"price_as": "truenorth", "timing": False}),
]


@pytest.mark.parametrize(("options", "keywords"), SIMULATED, ids=[options for options, _ in SIMULATED])
def test_simulate(program: Path, data: Data, options: str, keywords: dict[str, Any]) -> None:
    same(neurocompile.simulate(program, data.path, **keywords),
         "simulate", program, "--data", data.path, *options.split())  # fmt: skip
    given = neurocompile.simulate(neurocompile.load(program), data.x, data.y, **keywords)
    assert plain(given) == plain(neurocompile.simulate(program, data.path, **keywords))


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few of the digits."""
    folder = tmp_path_factory.mktemp("digits")
    done("demo", "--write-data", folder / "all.npz")
    with np.load(folder / "all.npz") as arrays:
        return npz(folder / "few.npz", x=arrays["x"][:3], y=arrays["y"][:3])


TIMED: list[tuple[str, str, dict[str, Any]]] = [
    ("nc1", "", {}),
    ("nc1", "--timing --placement balanced", {"timing": True, "placement": "balanced"}),
    ("nc1", "--no-timing", {"timing": False}),
    ("loihi", "--timing", {"timing": True}),
    ("loihi", "--price-as nc1", {"price_as": "nc1"}),
]


@pytest.fixture(scope="module", params=["nc1", "loihi"])
def timed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target: str = request.param
    return exported(CHECKPOINTS / "digits.pt", tmp_path_factory.mktemp("timed") / target, "--target", target)


def test_simulate_in_time(timed: Path, digits: Path, tmp_path: Path) -> None:
    for target, options, keywords in TIMED:
        if target == timed.name:
            report = neurocompile.simulate(timed, digits, **keywords)
            same(report, "simulate", timed, "--data", digits, *options.split())
            assert (report.timing is None) == (keywords.get("timing") is False or "price_as" in keywords)
    shown = neurocompile.simulate(timed, digits, timeline=tmp_path / "t.json", spikes=tmp_path / "s.npz")
    pickled(shown)
    same(shown, "simulate", timed, "--data", digits, "--timeline", tmp_path / "u.json", "--spikes", tmp_path / "r.npz")
    assert (tmp_path / "t.json").read_bytes() == (tmp_path / "u.json").read_bytes()
    assert (tmp_path / "s.npz").read_bytes() == (tmp_path / "r.npz").read_bytes()
    assert json.loads((tmp_path / "t.json").read_text()) == shown.timeline
    assert neurocompile.simulate(timed, digits, timeline=True).timeline == shown.timeline


EXPORTED: list[tuple[str, dict[str, Any]]] = [
    ("", {}),
    ("--bits 4 --per tensor --scale membrane", {"bits": 4, "per_channel": False, "scale": "membrane"}),
    ("--target loihi --emit lava,lava", {"target": "loihi", "emit": ["lava"]}),
    ("--target loihi --encode host --no-validate", {"target": "loihi", "encode": "host", "validate": False}),
    ("--target nc1 --chips 2 --input-bits 6", {"target": "nc1", "chips": 2, "input_bits": 6}),
    ("--dry-run --input real --readout last", {"dry_run": True, "carries": "real", "readout": "last"}),
]


@pytest.mark.parametrize(("options", "keywords"), EXPORTED, ids=[options for options, _ in EXPORTED])
def test_export(model: Path, tmp_path: Path, options: str, keywords: dict[str, Any]) -> None:
    out = tmp_path / "out"
    report = neurocompile.export(model, out, **keywords)
    written = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    same(report, "export", model, "-o", out, "--overwrite", *options.split())
    assert written == {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert {str(path.relative_to(out)) for path in written} == set(report.files)


def test_a_refusal_says_the_same(model: Path, tmp_path: Path) -> None:
    with pytest.raises(DoesNotFit) as raised:
        neurocompile.export(model, tmp_path / "out", "loihi", emit=["netx"])
    errors = refused(4, "export", model, "-o", tmp_path / "out", "--target", "loihi", "--emit", "netx")
    assert errors == [problem.as_json() for problem in raised.value.problems]
    assert not (tmp_path / "out").exists()


def test_export_of_what_does_not_fit(tmp_path: Path) -> None:
    report = neurocompile.export(CHECKPOINTS / "digits.pt", tmp_path / "out", "odin", dry_run=True)
    assert report.errors
    same(report, "export", CHECKPOINTS / "digits.pt", "--target", "odin", "--dry-run", "-o", tmp_path / "out")


def test_validate(program: Path, model: Path, data: Data, tmp_path: Path) -> None:
    given = "validate", program, "--data", data.path
    same(neurocompile.validate(program, data.path, reference=model), *given, "--reference", model)
    same(neurocompile.validate(program, reference=model), "validate", program, "--reference", model)
    fired = dict(neurocompile.simulate(program, data.path).spikes)
    fired["3"] = 1 - fired["3"]
    file = npz(tmp_path / "fired.npz", **fired)
    same(neurocompile.validate(program, data.path, recorded=file), *given, "--recorded", file)
    report = neurocompile.validate(neurocompile.load(program), data.x, data.y, recorded=fired)
    assert report == neurocompile.validate(program, data.path, recorded=file)
    assert report.exit_code == 5


@pytest.mark.parametrize("target", ["loihi", "nc1"])
def test_validate_where_something_else_runs_it(target: str, model: Path, data: Data, tmp_path: Path) -> None:
    if target == "loihi":
        need_lava()
    else:
        need("iverilog")
    out = exported(model, tmp_path / "out", "--target", target)
    given = "validate", out, "--data", data.path
    report = neurocompile.validate(out, data.path, backend_samples=2, time_limit_s=5000)
    assert [stage.samples for stage in report.stages] == [0, 0, 2, 2]
    same(report, *given, "--backend-samples", "2", "--time-limit", "5000")
    left_out = neurocompile.validate(out, data.path, reference=model, backend_samples=0)
    same(left_out, *given, "--reference", model, "--backend-samples", "0")
    assert left_out.stages[2].reason == "left out (--backend-samples 0)"


def test_nothing_to_compare_with(program: Path, data: Data) -> None:
    with pytest.raises(UsageError) as raised:
        neurocompile.validate(program, data.path)
    errors = refused(2, "validate", program, "--data", data.path)
    assert errors == [problem.as_json() for problem in raised.value.problems]


def test_inspect(model: Path, program: Path) -> None:
    same(neurocompile.inspect(model), "inspect", model)
    same(neurocompile.inspect(model, "loihi", chips=2), "inspect", model, "--target", "loihi", "--chips", "2")
    same(neurocompile.inspect(program), "inspect", program)
    assert neurocompile.inspect(neurocompile.load(program)) == neurocompile.inspect(program)


def test_check(model: Path) -> None:
    same(neurocompile.check(model), "check", model)
    same(neurocompile.check(model, "nc1", chips=2), "check", model, "--target", "nc1", "--chips", "2")


def test_targets() -> None:
    same(neurocompile.targets(), "targets")
    same(neurocompile.targets("loihi-sanafe"), "targets", "loihi-sanafe")


def test_zoo(tmp_path: Path) -> None:
    same(neurocompile.zoo(size="small"), "zoo", "--size", "small")
    same(neurocompile.zoo("mpbn-vgg-digits"), "zoo", "mpbn-vgg-digits")
    out = tmp_path / "model.pt"
    report = neurocompile.zoo("mpbn-vgg-digits", out, seed=1, samples=2)
    same(report, "zoo", "mpbn-vgg-digits", "-o", out, "--seed", "1", "--samples", "2", "--overwrite")


def test_demo(tmp_path: Path) -> None:
    data, model = tmp_path / "d.npz", tmp_path / "m.pt"
    given = "demo", "--write-data", data, "--write-model", model, "--overwrite"
    same(neurocompile.demo(write_data=data, write_model=model), *given)
    assert model.read_bytes() == (CHECKPOINTS / "digits.pt").read_bytes()
    shown = neurocompile.demo(["anp-i"], bits=6)
    pickled(shown)
    printed = done("demo", "--target", "anp-i", "--bits", "6", "--json").json
    expected = plain(shown)
    assert {key: printed[key] for key in expected if key != "seconds"} == json.loads(
        json.dumps({key: value for key, value in expected.items() if key != "seconds"})
    )
