"""Cases of what is refused, and of what is near to that: every command for people and for scripts."""

from __future__ import annotations

import numpy as np
from torch import nn

from tests.cli.helpers import small_net
from tests.recorded import models as m
from tests.recorded.case import Step, case
from tests.test_save import AsLaidOut

SMALL = (m.small(), m.arrays("x.npz", 12, 5, 4, labels=3))
EXPORTED = (*SMALL, "export m.pt -o out --no-validate --json", "simulate out --data x.npz --spikes fired.npz --json")
PICKLED = "--input-shape 4 --timesteps 5"
EACH = ("generic", "anp-i", "async28", "loihi", "loihi2", "nc1", "odin", "truenorth")


def refused(name: str, *steps: Step, quick: bool = False) -> None:
    """Commands without ``--json`` are run with it, too."""
    each: list[Step] = []
    for step in steps:
        each.append(step)
        if isinstance(step, str):
            lines = [line.strip() for line in step.strip().split("\n")]
            each[-1:] = [form for line in lines for form in ((line,) if "--json" in line else (line, f"{line} --json"))]
    case(f"refused-{name}", *each, quick=quick)


# -- files -------------------------------------------------------------------------------------------------------------

refused(
    "missing files",
    *EXPORTED,
    """export no.pt
    inspect no.pt
    simulate no --data x.npz
    validate no --reference m.pt
    simulate out
    simulate out --data no.npz
    validate out --data no.npz --reference m.pt
    validate out --recorded no.npz
    validate out --reference no.pt
    export m.pt --calibrate no.npz""",
)
refused(
    "no model at all",
    m.held("a.pt", b""),
    m.held("b.pt", "text\n" * 50),
    m.held("c.pt", b"PK\x03\x04" + bytes(99)),
    m.pickled("d.pt", lambda: 3),
    m.pickled("e.pt", lambda: {"epoch": 3}),
    f"""export a.pt
    export b.pt
    export c.pt
    export d.pt {PICKLED}
    inspect e.pt {PICKLED}
    export .
    inspect .""",
)
refused(
    "files in each other's places".replace("'", ""),
    *EXPORTED,
    """simulate m.pt --data x.npz
    export out
    export x.npz
    inspect x.npz
    validate m.pt
    simulate out --data m.pt
    validate out --reference x.npz --data x.npz
    validate out --reference out --data x.npz""",
)
refused(
    "damaged models",
    m.small(),
    m.damaged("m.pt", lambda content: content[: len(content) // 2]),
    "export m.pt",
    m.small("n.pt"),
    m.damaged("n.pt", lambda content: content.replace(b"LIFNode", b"LOFNode")),
    "export n.pt",
)
refused(
    "damaged programs",
    *EXPORTED,
    m.damaged("out/arrays.npz", lambda content: content[:200] + b"!" + content[201:]),
    """simulate out --data x.npz
    inspect out
    validate out --reference m.pt
    export m.pt -o out --overwrite --no-validate --json""",
    m.damaged("out/program.json", lambda content: content[:-300]),
    """simulate out --data x.npz
    inspect out
    export m.pt -o out --overwrite --no-validate --json""",
    m.damaged("out/program.json", lambda content: content.replace(b'"generic"', b'"loihi"')),
    """simulate out --data x.npz
    export m.pt -o out --overwrite --no-validate --json""",
    m.damaged("out/program.json", m.later_version),
    "simulate out --data x.npz",
    m.held("empty/a", ""),
    """simulate empty --data x.npz
    inspect empty""",
)
refused(
    "outputs that exist",
    *EXPORTED,
    m.held("mine/notes.txt", "mine"),
    """export m.pt -o out
    export m.pt -o m.pt
    export m.pt -o x.npz --overwrite
    export m.pt -o mine --overwrite
    export m.pt -o .
    export m.pt -o nowhere/deep/out
    zoo sgad-small -o m.pt
    simulate out --data x.npz --spikes nowhere/s.npz
    simulate out --data x.npz --spikes mine
    demo --write-data nowhere/d.npz""",
)

# -- words and numbers -------------------------------------------------------------------------------------------------

refused(
    "unknown words",
    *EXPORTED,
    """exprot m.pt
    export
    export m.pt --targt generic
    export m.pt --target lohi
    export m.pt --target ''
    export m.pt --print-ir-after fold
    export m.pt --target loihi --emit lava,nxsdk
    inspect m.pt --target ODIN
    simulate out --data x.npz --price-as truenort
    simulate out --data x.npz --placement zigzag
    targets anpi
    targets generic odin
    zoo vgg
    zoo -o other.pt
    zoo --measure
    zoo --size big
    demo --target asinc28""",
    quick=True,
)
refused(
    "wrong values",
    *EXPORTED,
    """export m.pt --bits 1
    export m.pt --bits 17
    export m.pt --bits many
    export m.pt --per row
    export m.pt --scale min
    export m.pt --input-bits 0
    export m.pt --input-bits 99
    export m.pt --chips 0
    export m.pt --encode none
    export m.pt --layout XY
    export m.pt --readout loudest
    export m.pt --input currents
    export m.pt --input-shape 4,x
    export m.pt --input-shape=-4
    export m.pt --timesteps 0
    simulate out --data x.npz --threads 0
    validate out --backend-samples -1
    validate out --time-limit 0
    zoo sgad-small --samples 0
    demo --bits 1
    demo --bits 40""",
)
refused(
    "wrong for the target",
    *SMALL,
    """export m.pt --target loihi --bits 16
    export m.pt --target loihi --encode graded
    export m.pt --target generic --encode host
    export m.pt --target generic --emit lava
    export m.pt --target loihi --emit rtl
    export m.pt --target nc1 --emit netx
    export m.pt --target nc1 --bits 16
    export m.pt --target odin --bits 8
    export m.pt --target loihi --stock-only
    export m.pt --target loihi2 --emit netx
    export m.pt --target arith45
    export m.pt --target loihi-sanafe
    inspect m.pt --target arith45-int8""",
)
refused(
    "a clock that there is not",
    *EXPORTED,
    """simulate out --data x.npz --timing
    simulate out --data x.npz --timeline t.json
    export m.pt --target nc1 -o nc1 --json
    simulate nc1 --data x.npz --timeline t.json --real
    simulate nc1 --data x.npz --timeline t.json --stream
    simulate nc1 --data x.npz --timeline nowhere/t.json""",
)
refused(
    "what a pickle does not say",
    m.pickled("m.pt", small_net),
    m.pickled("state.pt", lambda: small_net().state_dict()),
    f"""export m.pt
    export m.pt --timesteps 5
    export m.pt --input-shape 4
    export m.pt --timesteps 5 --input-shape 7
    export state.pt {PICKLED}
    export state.pt {PICKLED} --arch nonsense
    export state.pt {PICKLED} --arch tests.cli.helpers:none_such
    export state.pt {PICKLED} --arch tests.recorded.models:big_net""",
)
refused(
    "a saved model contradicted",
    m.small(),
    """export m.pt --timesteps 9
    export m.pt --input-shape 7
    inspect m.pt --layout NT
    export m.pt --readout sum -o sum --json
    export m.pt --input spikes -o spikes --json""",
)
case(
    "refused-with-debug",
    """export no.pt --debug
    simulate no --data x.npz --debug
    validate no --debug
    inspect no --debug
    check no --debug
    targets none --debug --json
    zoo none --debug
    demo --target none --debug --json""",
)

# -- data --------------------------------------------------------------------------------------------------------------

refused(
    "wrong data",
    *EXPORTED,
    m.arrays("shape.npz", 12, 5, 3),
    m.arrays("steps.npz", 12, 9, 4),
    m.arrays("nan.npz", x=np.full((6, 4), np.nan)),
    m.arrays("words.npz", x=np.full((6, 4), "a")),
    m.arrays("none.npz", images=np.zeros((3, 4))),
    m.arrays("empty.npz"),
    m.held("text.npz", "x,y\n1,2\n"),
    m.arrays("short.npz", 12, 4, y=np.zeros(11, int)),
    m.arrays("labels.npz", 4, 4, y=np.array([0, 1, 2, 3])),
    m.arrays("floats.npz", 4, 4, y=np.zeros(4)),
    """simulate out --data shape.npz
    simulate out --data steps.npz
    simulate out --data nan.npz
    simulate out --data words.npz
    simulate out --data none.npz
    simulate out --data empty.npz
    simulate out --data text.npz
    simulate out --data short.npz
    simulate out --data labels.npz
    simulate out --data floats.npz
    validate out --reference m.pt --data shape.npz
    export m.pt --calibrate nan.npz -o other""",
    quick=True,
)
refused(
    "wrong recordings",
    *EXPORTED,
    m.altered("layer.npz", "fired.npz", lambda found: {**found, "7": found["3"]}),
    m.altered("steps.npz", "fired.npz", lambda found: {**found, "3": found["3"][:, :-1]}),
    m.altered("samples.npz", "fired.npz", lambda found: {**found, "3": found["3"][:-1]}),
    m.altered("words.npz", "fired.npz", lambda found: {**found, "3": found["3"].astype(str)}),
    m.altered("nothing.npz", "fired.npz", lambda found: {}),
    """validate out --recorded layer.npz --data x.npz
    validate out --recorded steps.npz --data x.npz
    validate out --recorded samples.npz --data x.npz
    validate out --recorded words.npz --data x.npz
    validate out --recorded nothing.npz --data x.npz
    validate out --recorded fired.npz
    validate out --data x.npz""",
)
refused(
    "another model as the reference",
    *EXPORTED,
    m.pickled("wide.pt", lambda: AsLaidOut("TN")),
    m.pickled("n.pt", small_net),
    """validate out --reference wide.pt --trust --data x.npz
    validate out --reference n.pt --timesteps 9 --data x.npz
    validate out --reference n.pt --input-shape 7 --data x.npz""",
)

# -- networks ----------------------------------------------------------------------------------------------------------


def _without() -> nn.Module:
    """Layers that nothing stands for."""
    return nn.Sequential(nn.Linear(4, 6), nn.PReLU(), nn.RReLU(), nn.Hardshrink()).eval()


def _in_training() -> nn.Module:
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout()).train()


refused(
    "unsupported layers",
    m.pickled("m.pt", _without),
    m.pickled("train.pt", _in_training),
    m.pickled("lstm.pt", lambda: nn.Sequential(nn.LSTM(4, 6)).eval()),
    m.pickled("nan.pt", m.with_nan),
    m.pickled("code.pt", lambda: AsLaidOut("TN")),
    *(
        f"{verb} {name}.pt {PICKLED}"
        for name in ("m", "train", "lstm", "nan", "code")
        for verb in ("export", "inspect")
    ),
)
for what, net in (("a decay of currents", m.current_net), ("gains of steps", m.gains_net)):
    refused(
        f"{what} on each chip",
        m.saved("m.pt", net, 5, 8, 4),
        m.arrays("x.npz", 3, 5, 4),
        *(f"export m.pt --target {target} -o {target} --json" for target in EACH),
        *(f"simulate {target} --data x.npz --json" for target in EACH),
        "inspect m.pt --target loihi",
        "inspect m.pt --target nc1",
    )
refused(
    "too large",
    m.pickled("m.pt", m.big_net),
    m.arrays("x.npz", 2, 20),
    """export m.pt --input-shape 20 --timesteps 3 --target odin -o out
    export m.pt --input-shape 20 --timesteps 3 --target async28 -o out
    export m.pt --input-shape 20 --timesteps 3 --target async28 -o out --chips 2
    export m.pt --input-shape 20 --timesteps 3 --target async28 -o out --dry-run
    inspect m.pt --input-shape 20 --timesteps 3 --target odin
    export m.pt --input-shape 20 --timesteps 3 --target async28 -o out --chips 3 --json
    simulate out --data x.npz --price-as odin""",
)
SPIKES = "--input-shape 5000 --timesteps 2 --input spikes"
refused(
    "too many sources",
    m.pickled("m.pt", m.fan_in_net),
    m.small("n.pt"),
    m.arrays("x.npz", x=np.zeros((2, 5000), bool)),
    f"""export m.pt {SPIKES} --target nc1 -o out --json
    simulate out --data x.npz --timing
    simulate out --data x.npz
    export m.pt {SPIKES} --target nc1 --emit rtl -o rtl
    export m.pt {SPIKES} --target loihi -o loihi
    export m.pt {SPIKES} --target loihi -o loihi --dry-run
    inspect m.pt {SPIKES} --target loihi2
    export n.pt --target nc1 --input-bits 12 --emit rtl -o rtl""",
)
refused(
    "an overflow",
    m.pickled("m.pt", m.sinking_net),
    """export m.pt --input-shape 400 --timesteps 1000 --bits 16
    inspect m.pt --input-shape 400 --timesteps 1000""",
)
refused("biases beyond the registers", m.saved("m.pt", m.biased_net, 5, 8, 4), "export m.pt --target loihi")
