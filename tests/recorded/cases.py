"""Every case by name."""

from __future__ import annotations

from functools import partial

import numpy as np

import neurocompile
from neurocompile.models.zoo import ZOO
from tests.cli.helpers import small_net
from tests.idioms.outcomes import CASES as IDIOMS
from tests.random_networks.modules import WANTED
from tests.recorded import graphs, refused
from tests.recorded import models as m
from tests.recorded.case import CASES, Given, both, case
from tests.targets.test_sanafe import ARCH
from tests.test_hosted import given as given_to_hosts
from tests.test_hosted import in_torch_layout, mixed
from tests.test_save import LAYOUTS, AsLaidOut

__all__ = ["CASES", "refused"]

# -- what needs no network ---------------------------------------------------------------------------------------------

VERBS = ("export", "simulate", "validate", "report", "check", "inspect", "targets", "zoo", "demo")
COMPILED = ("generic", "anp-i", "async28", "loihi", "loihi2", "nc1", "odin", "truenorth")
TARGETS = (*COMPILED, "arith45", "arith45-int8", "loihi-sanafe")

case("help", "", "--help", "-h", "--version", *(f"{verb} --help" for verb in VERBS), quick=True)
case(
    "targets",
    *both("targets"),
    *both(*(f"targets {target}" for target in TARGETS)),
    *both("targets nc1 --toml"),
    quick=True,
)
case(
    "targets-sanafe",
    Given("arch.yaml", lambda path: path.write_text(ARCH)),
    *both("targets --import-sanafe arch.yaml"),
    "targets --import-sanafe arch.yaml -o chip.toml",
    "targets --import-sanafe arch.yaml -o chip.toml --overwrite --json",
    *both("targets ./chip.toml"),
    quick=True,
)
case("zoo-list", *both("zoo", "zoo --size small", "zoo --size paper", "zoo sgad-small"), quick=True)
case("zoo-seed", "zoo sgad-small -o a.pt --seed 3 --samples 2 --json", "zoo sgad-small -o b.pt --seed 3 --samples 2",
     "zoo sgad-small -o a.pt", "zoo sgad-small -o a.pt --overwrite --json")  # fmt: skip
case("zoo-measure", *both("zoo dsr-vgg-digits-lif --measure --seed 1"))
case("demo", "demo --json", "demo --report page.html")
case("demo-targets", "demo --target anp-i --target loihi --bits 4", "demo --target truenorth --bits 6 --json")
case("demo-data", "demo --write-data d.npz", "demo --write-data d.npz --json", "demo --write-data d.npz --overwrite",
     "demo --write-model m.pt --json", quick=True)  # fmt: skip

# -- one small network, every option -----------------------------------------------------------------------------------

SMALL = (m.small(), m.arrays("x.npz", 12, 5, 4, labels=3))

for target in COMPILED:
    case(
        f"small-{target}",
        *SMALL,
        f"export m.pt --target {target} -o out --json",
        f"export m.pt --target {target} -o out --overwrite",
        *both("inspect out", f"inspect m.pt --target {target}"),
        "simulate out --data x.npz --json --spikes fired.npz",
        "simulate out --data x.npz",
        *both("simulate out --data x.npz --real", "simulate out --data x.npz --stream"),
        *both("validate out --reference m.pt --data x.npz --backend-samples 2"),
        "validate out --recorded fired.npz --data x.npz --backend-samples 0",
        "validate out --recorded fired.npz --data x.npz --backend-samples 0 --require lowering --require recorded",
        quick=True,
    )

for target, net in (("generic", small_net), ("loihi2", m.chip_net), ("nc1", small_net)):
    case(
        f"export-options-{target}",
        m.saved("m.pt", net, 5, 8, 4),
        m.arrays("x.npz", 9, 4),
        *both(*(f"export m.pt --target {target} -o {option.replace(' ', '-')[2:]} {option}" for option in (
            "--bits 2", "--bits 4", "--bits 16", "--per channel", "--per tensor", "--scale max", "--scale percentile",
            "--scale membrane", "--scale auto", "--input-bits 3", "--calibrate x.npz", "--chips 3", "--no-validate",
            "--stock-only",
            "--dry-run"))),
        f"export m.pt --target {target} --bits 3 --per tensor --scale percentile --input-bits 12 --no-validate --json",
        f"export m.pt --target {target}",
        f"export m.pt --target {target} --overwrite --input-bits 5 --debug",
        quick=target == "generic",
    )  # fmt: skip

PASSES = ("fold-mpbn", "unit-amplitude", "fold-scale", "quantize-inputs", "fold-scale-2", "synapses",
          "common-threshold", "quantize", "all")  # fmt: skip
for target in ("generic", "loihi"):
    case(
        f"passes-{target}",
        m.copied("m.pt", "checkpoints/digits.pt"),
        *(f"export m.pt --target {target} --dry-run --no-validate --json --print-ir-after {name}" for name in PASSES),
        f"export m.pt --target {target} --dry-run --print-ir-after all",
    )

case(
    "model-options",
    m.pickled("m.pt", small_net),
    m.pickled("state.pt", lambda: small_net().state_dict()),
    m.held("mynet.py", "from tests.cli.helpers import small_net\n"),
    m.arrays("x.npz", 6, 5, 4),
    *(f"""export m.pt --input-shape 4 --timesteps 5 --readout {read} -o {read} --json
        inspect m.pt --input-shape 4 --timesteps 5 --readout {read} --json
        check m.pt --input-shape 4 --timesteps 5 --readout {read} --json
        simulate {read} --data x.npz --json
        validate {read} --reference m.pt --input-shape 4 --timesteps 5 --readout {read} --data x.npz --json"""
      for read in ("mean", "sum", "last", "max", "sequence")),
    *(f"""export m.pt --input-shape 4 --timesteps 5 --input {kind} -o {kind}
        inspect m.pt --input-shape 4 --timesteps 5 --input {kind}
        check m.pt --input-shape 4 --timesteps 5 --input {kind}
        validate {kind} --reference m.pt --input-shape 4 --timesteps 5 --input {kind} --data x.npz"""
      for kind in ("real", "spikes")),
    "export m.pt --input-shape 3x4 --timesteps 7 -o wide --json",
    "export state.pt --arch mynet:small_net --input-shape 4 --timesteps 5 -o of-state --json",
    "validate of-state --reference state.pt --arch tests.cli.helpers:small_net --data x.npz --json",
    *both(*(command for verb in ("inspect", "check") for command in (
        f"{verb} m.pt --input-shape 4 --timesteps 5 --layout TN --readout sum --input spikes --trust --chips 2",
        f"{verb} state.pt --input-shape 4 --timesteps 5 --arch mynet:small_net"))),
)  # fmt: skip

PICKLED = "--trust --input-shape 4 --timesteps 5"
case(
    "layouts",
    *(m.pickled(f"{name}.pt", partial(AsLaidOut, name)) for name in LAYOUTS),
    m.arrays("x.npz", 6, 4),
    *(f"""export {name}.pt {PICKLED} --layout {name} -o {name} --json
        export {name}.pt {PICKLED} -o found-{name} --json
        inspect {name}.pt {PICKLED} --layout {name} --json
        check {name}.pt {PICKLED} --layout {name} --json
        simulate {name} --data x.npz --json
        validate {name} --reference {name}.pt --data x.npz {PICKLED} --layout {name} --json""" for name in LAYOUTS),
    *(f"{command} {PICKLED} --layout NCT.. --json"
      for command in ("export TN.pt", "inspect TN.pt", "check TN.pt", "validate TN --reference TN.pt --data x.npz")),
)  # fmt: skip

case(
    "simulate-options",
    *SMALL,
    "export m.pt -o out --no-validate --json",
    *both("simulate out --data x.npz --reference", "simulate out --data x.npz --threads 1"),
    "simulate out --data x.npz --threads 3 --json --no-timing",
    "simulate out --data x.npz --reference --stream --json --spikes a.npz",
    "simulate out --data x.npz --reference --json --spikes a.npz",
    "simulate out --data x.npz --reference --json --spikes a.npz --overwrite",
    "simulate out --data x.npz --real --stream --json --spikes b.npz",
    *both(*(f"simulate out --data x.npz --price-as {target}" for target in TARGETS)),
    quick=True,
)
for target in ("nc1", "loihi", "loihi2"):
    case(
        f"timing-{target}",
        m.saved("m.pt", m.chip_net, 5, 8, 4),
        m.arrays("x.npz", 4, 5, 4),
        f"export m.pt --target {target} -o out --json",
        *both("simulate out --data x.npz --timing", "simulate out --data x.npz --no-timing"),
        "simulate out --data x.npz --timeline t.json --json",
        "simulate out --data x.npz --timeline t.pftrace --json",
        *both(*(f"simulate out --data x.npz --timing --placement {name}"
                for name in ("in-order", "snake", "hilbert", "refined", "balanced"))),
        "simulate out --data x.npz --timing --stream --json",
        "simulate out --data x.npz --timing --real --json",
        "simulate out --data x.npz --timing --price-as loihi-sanafe --json",
        quick=target == "loihi",
    )  # fmt: skip

case(
    "validate-options",
    *SMALL,
    m.saved("other.pt", partial(small_net, seed=5), 5, 8, 4),
    "export m.pt -o out --json",
    "simulate out --data x.npz --spikes fired.npz",
    m.altered("flipped.npz", "fired.npz", lambda found: {**found, "3": 1 - found["3"]}),
    m.altered("part.npz", "fired.npz", lambda found: {"1": found["1"]}),
    *both("validate out --reference m.pt", "validate out --reference other.pt --data x.npz",
          "validate out --recorded fired.npz --data x.npz", "validate out --recorded flipped.npz --data x.npz",
          "validate out --recorded part.npz --data x.npz",
          "validate out --recorded fired.npz --reference m.pt --data x.npz"),
    quick=True,
)  # fmt: skip

EVENTS = "\n".join(["sample,t_us,neuron", *(f"{n % 12},{n % 5 * 1000},{n % 3}" for n in range(60))])
case(
    "report",
    *SMALL,
    "export m.pt -o out --json",
    "report out --reference m.pt --data x.npz -o page.html --json",
    "report out --reference m.pt --data x.npz --output page.html",
    "report out --reference m.pt --data x.npz -o page.html --overwrite --title A_title --target loihi --target odin",
    *both("report out --reference m.pt --data x.npz --csv numbers --target anp-i", "report out --data x.npz"),
    quick=True,
)
case(
    "validate-recordings",
    *SMALL,
    "export m.pt -o out --json",
    "simulate out --data x.npz --spikes fired.npz",
    m.altered("late.npz", "fired.npz", lambda found: {k: np.roll(v.reshape(-1, *v.shape[2:]), 2, 0).reshape(v.shape)
                                                      for k, v in found.items()}),
    m.altered("counts.npz", "fired.npz", lambda found: {f"{k}:counts": v.sum(1) for k, v in found.items()}),
    m.arrays("said.npz", output=np.arange(12) % 3),
    m.held("events.csv", EVENTS),
    m.held("unknown.csv", EVENTS.replace("t_us", "t")),
    m.held("markers.txt", "\n".join(str(7000 * n) for n in range(12))),
    *both(*(f"validate out --recorded late.npz --data x.npz --align {way}"
            for way in ("auto", "all", "time", "neurons", "none")),
          *(f"validate out --recorded late.npz --data x.npz --distance {kind}"
            for kind in ("victor-purpura", "van-rossum")),
          "validate out --recorded counts.npz --data x.npz", "validate out --recorded said.npz --data x.npz",
          "validate out --recorded events.csv --data x.npz --step-length 1ms",
          "validate out --recorded events.csv --data x.npz --recorded-layer 1",
          "validate out --recorded 1=events.csv --recorded said.npz --data x.npz",
          *(f"validate out --recorded unknown.csv --data x.npz --time-unit {unit}"
            for unit in ("step", "s", "ms", "us", "ns")),
          "validate out --recorded unknown.csv --data x.npz --time-unit us --markers markers.txt",
          "validate out --recorded unknown.csv --data x.npz --time-unit us --step-length 1ms --sample-length 5ms",
          "validate out --recorded unknown.csv --data x.npz --step-length 1ms"),
    quick=True,
)  # fmt: skip

# -- backends ----------------------------------------------------------------------------------------------------------

for target in ("loihi", "loihi2"):
    encode = "host" if target == "loihi" else "graded"
    case(
        f"lava-{target}",
        m.saved("m.pt", m.chip_net, 5, 8, 4),
        m.arrays("x.npz", 3, 5, 4),
        *(f"export m.pt --target {target} -o emit-{name.replace(',', '-')} --emit '{name}' --json"
          for name in ("lava", "netx", "lava,netx", "netx,lava,netx", "")),
        f"export m.pt --target {target} -o emitted --emit netx",
        *both(f"export m.pt --target {target} --encode host -o on-host --overwrite --stock-only"),
        f"export m.pt --target {target} --encode {encode} -o out --json",
        "validate out --data x.npz --json --backend-samples 2 --lava-python .venv-lava --time-limit 3000",
        "validate out --reference m.pt --backend-samples 1",
        m.damaged("out/lava/run.py", lambda code: code + b"\n# mine\n"),
        "validate out --data x.npz --backend-samples 1 --json",
        "validate out --data x.npz --backend-samples 1 --trust --json",
        "validate out --data x.npz --backend-samples 1 --hardware --time-limit 3000 --trust",
        "validate out --reference m.pt --json --lava-python nowhere",
    )  # fmt: skip
case(
    "rtl",
    *SMALL,
    "export m.pt --target nc1 --emit rtl -o out --json",
    "export m.pt --target nc1 --emit rtl -o again",
    "validate out --data x.npz --json --backend-samples 3",
    "validate out --reference m.pt --time-limit 3000",
)

# -- random networks ---------------------------------------------------------------------------------------------------

for seed, wanted in enumerate(WANTED):
    target = COMPILED[seed % len(COMPILED)]
    case(
        f"random-{wanted}",
        *m.random_model(seed, wanted),
        "export m.pt -o out --json",
        "simulate out --data x.npz --json --spikes fired.npz",
        "validate out --reference m.pt --data x.npz",
        f"export m.pt --target {target} -o on-{target} --json --no-validate",
        f"simulate on-{target} --data x.npz",
    )

for seed in range(12):
    case(
        f"deep-{seed}",
        *graphs.deep(seed),
        *(f"export m.pt --target {target} -o {target} --json" for target in ("generic", "loihi", "loihi2")),
        "simulate generic --data x.npz --json",
        "simulate loihi --data x.npz --json --spikes fired.npz",
        "simulate loihi2 --data x.npz",
        "export m.pt --target loihi2 --emit netx --dry-run --json",
        "inspect loihi",
    )
for seed in (19, 39, 46, 54):
    case(
        f"wired-{seed}",
        *graphs.wired(seed),
        *both("inspect m.pt --target loihi --chips 8", "export m.pt --target nc1 -o nc1"),
        "simulate nc1 --data x.npz --json --placement balanced",
        "simulate nc1 --data x.npz --placement refined",
    )
for seed in range(12):
    case(
        f"chip-{seed}",
        *graphs.chip(seed),
        "export m.pt --target nc1 -o out --json --no-validate",
        "simulate out --data x.npz --json --timeline t.json --placement balanced",
        "simulate out --data x.npz --reference",
        "validate out --reference m.pt --data x.npz --backend-samples 0 --json",
    )

# -- the papers' networks ----------------------------------------------------------------------------------------------

for number, (name, network) in enumerate(ZOO.items()):
    if network.size == "small":
        target = ("loihi", "nc1", "loihi2", "truenorth")[number % 4]
        case(
            f"zoo-{name}",
            f"zoo {name} -o m.pt --samples 4 --json",
            m.zoo_data(name),
            "export m.pt -o out --json",
            "simulate out --data x.npz --json --price-as anp-i",
            "validate out --reference m.pt --data x.npz",
            *both(f"export m.pt --target {target} --dry-run --no-validate --chips 999"),
            "inspect out",
        )

CHECKPOINTS = ("digits", "digits-2bit", "digits-4bit", "digits-spikingjelly")
for name in CHECKPOINTS:
    case(
        f"checkpoint-{name}",
        m.copied("m.pt", f"checkpoints/{name}.pt"),
        "demo --write-data d.npz",
        *(f"export m.pt --target {target} -o {target} --no-validate --json" for target in COMPILED),
        *(f"simulate {target} --data d.npz --json" for target in ("generic", "loihi", "loihi2")),
        "simulate generic --data d.npz --price-as truenorth",
        "simulate nc1 --data d.npz --no-timing",
        "export m.pt --bits 3 --calibrate d.npz -o calibrated --overwrite",
        quick=name == "digits",
    )
for name in ("dsr-vgg-digits-if", "dsr-vgg-digits-lif", "dsr-vgg11-digits-events-if", "fsvae-digits",
             "mpbn-resnet20-digits", "mpbn-vgg-digits", "sddpm-digits", "sddpm-tsm-digits", "sdid-digits",
             "sgad-digits", "spiking-gan-digits", "vq-svae-digits"):  # fmt: skip
    case(
        f"checkpoint-{name}",
        m.copied("m.pt", f"checkpoints/{name}.pt"),
        "export m.pt -o out --no-validate --json",
        "inspect out --json",
        "export m.pt --target loihi --chips 99 --dry-run --no-validate --json",
    )

case(
    "onnx",
    m.copied("m.pt", "checkpoints/digits.pt"),
    "demo --write-data d.npz",
    *both("export m.pt --emit onnx --onnx-arithmetic float32 --onnx-reals -o out --overwrite --no-validate"),
    "export m.pt --emit onnx --onnx-arithmetic int -o whole --no-validate --json",
    "validate out --data d.npz --backend-samples 4 --require onnx --json",
    "export m.pt --emit nir --onnx-reals -o none --json",
)

# -- networks of which the host computes parts -------------------------------------------------------------------------

case(
    "hosts",
    Given("m.pt", lambda path: neurocompile.save(mixed(), path, in_torch_layout(given_to_hosts()), layout="TN")),
    Given("x.npz", lambda path: np.savez(path, **given_to_hosts(12, seed=2))),
    *both(*(f"export m.pt --target {target} -o {target} --overwrite --no-validate" for target in COMPILED)),
    "export m.pt -o out",
    "export m.pt --target loihi --emit lava -o refused --json",
    "simulate out --data x.npz --json --spikes fired.npz",
    "simulate out --data x.npz",
    "simulate out --data x.npz --real --json",
    "simulate loihi --data x.npz --json --timing",
    "simulate nc1 --data x.npz --timeline t.json",
    *both("validate out --reference m.pt --data x.npz", "validate nc1 --data x.npz", "inspect out", "inspect m.pt"),
)

# -- files of earlier versions -----------------------------------------------------------------------------------------

for version, fired, given in ((1, "1", {"x": (6,)}), (2, "loop.inner.lif", {"x_seq": (5,), "index": (4,)}),
                              (3, "2", {"x": (5,)})):  # fmt: skip
    folder = f"old/program-v{version}"
    case(
        f"old-program-{version}",
        m.arrays(
            "x.npz", **{name: np.random.default_rng(1).integers(0, 2, (3, *s)) * 1.0 for name, s in given.items()}
        ),
        m.altered("fired.npz", f"{folder}-expected.npz", lambda found, fired=fired: {fired: found["spikes"]}),  # type: ignore[misc]
        *both(f"inspect {folder}", f"simulate {folder} --data x.npz", f"validate {folder} --recorded fired.npz"),
        quick=True,
    )
for name in ("model-v1", "model-v1-loop", "model-v1-hosts", "model-v1-registered"):
    case(f"old-{name}", f"export old/{name}.pt -o out --json", f"inspect old/{name}.pt", quick=True)

# -- files of NIR ------------------------------------------------------------------------------------------------------

_NIR = "net.nir --timesteps 5 --dialect snntorch-zero"
_READINGS = (
    "--reset hard --fire gt --spikes one --decay euler --gain file --start zero",
    "--reset soft --fire ge --spikes one --decay exp --gain one --start leak",
    "--reset soft-late --gain norm --start reset --dt 0.0002",
    "--reset hard-late",
    "--reset none --spikes many",
)
case(
    "nir-readings",
    m.copied("net.nir", "old/nir/snntorch-leaky-subtract-late-0.9.nir"),
    m.arrays("x.npz", x=np.random.default_rng(2).normal(0.5, 1, (3, 5, 12))),
    m.altered(
        "fired.npz",
        "old/nir/snntorch-leaky-subtract-late-0.9.npz",
        lambda found: {"x": found["x"], "1": found["spikes"]},
    ),
    "inspect net.nir --timesteps 5",
    *(f"inspect {_NIR} {reading} --json" for reading in _READINGS),
    *(f"export {_NIR} {reading} --calibrate x.npz -o out{k} --emit nir --json" for k, reading in enumerate(_READINGS)),
    *(f"validate out{k} --reference {_NIR} {reading} --data x.npz --json" for k, reading in enumerate(_READINGS)),
    *(f"check {_NIR} {reading} --target nc1 --chips 2 --json" for reading in _READINGS),
    *(f"{verb} net.nir --timesteps 5 --recorded fired.npz --json" for verb in ("check", "inspect")),
    "export net.nir --timesteps 5 --recorded fired.npz --emit nir --integers -o whole --json",
    f"export {_NIR} --reset soft --emit nir --approximate -o near --json",
    quick=True,
)

# -- what may stand in a forward ---------------------------------------------------------------------------------------

for name, each in IDIOMS.items():
    shape = ",".join(map(str, each.shape))
    case(
        f"idiom-{name}",
        m.idiom(each),
        f"export m.pt --trust --input-shape {shape} --timesteps {each.timesteps} --layout {each.layout} -o out --json",
    )
