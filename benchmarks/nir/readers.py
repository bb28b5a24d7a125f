"""Files read by other frameworks: ``python readers.py FOLDER``, in the environment of snnTorch, Norse and SpikingJelly.

FOLDER holds NAME.nir and NAME.npz (``x[N, T, ...]``, ``spikes[N, T, ...]``). Each is read by the framework's own
importer and run in float64. A line on stdout for each pair: a JSON object with how many positions differ, or why it is
refused.
"""

from __future__ import annotations

import functools
import io
import json
import logging
import sys
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import nir
import nirtorch
import numpy as np
import torch

DT = 1e-4
Runs = Callable[[Any], Any]
"""What a network fires for one sample, ``[T, ...]``."""


def main() -> int:
    """Read everything with everyone."""
    folder = Path(sys.argv[1])
    warnings.simplefilter("ignore")
    logging.disable()
    torch.set_default_dtype(torch.float64)
    torch.Tensor.float = torch.Tensor.double  # what importers make of weights, and surrogate functions of spikes
    for file in sorted(folder.glob("*.nir")):
        with np.load(file.with_suffix(".npz")) as held:
            x, spikes = torch.from_numpy(held["x"]).double(), held["spikes"]
        for reader, loads in READERS.items():
            told = {"name": file.stem, "reader": reader}
            try:
                with redirect_stdout(io.StringIO()):  # importers print
                    run = loads(file)
                    fired = torch.stack([run(sample) for sample in x]).detach().numpy()
                told["differing"] = int((fired.reshape(spikes.shape) != spikes).sum())
            except Exception as error:
                told["refused"] = (f"{error}".strip() or type(error).__name__).splitlines()[0][:200]
            print(json.dumps(told), flush=True)
    return 0


def _stepped(net: Any) -> Runs:
    """A network that is given its state, and gives it back; samples have no axis of a batch, which Flatten counts."""

    def run(sample: Any) -> Any:
        state, fired = None, []
        for x in sample:
            y, state = net(x, state)
            fired.append(y)
        return torch.stack(fired)

    return run


def spikingjelly(file: Path) -> Runs:
    """SpikingJelly's importer; its Flatten counts an axis of a batch that files do not have."""
    from spikingjelly.activation_based.nir_exchange import import_from_nir

    run = _stepped(import_from_nir(nir.read(file), dt=DT, dtype=torch.float64))
    return lambda sample: run(sample[:, None])


def snntorch(file: Path) -> Runs:
    """snnTorch's importer, whose neurons keep their state."""
    from snntorch import import_nir

    import_nir.nirtorch = _Doubles()
    net = import_nir.import_from_nir(nir.read(file))
    run = _stepped(net)

    def forgetting(sample: Any) -> Any:
        for module in net.modules():
            if hasattr(module, "reset_mem"):
                module.reset_mem()
        return run(sample)

    return forgetting


class _Doubles:
    """nirtorch, which makes networks of float32 where it is not told otherwise, and importers do not tell it."""

    nir_to_torch = staticmethod(functools.partial(nirtorch.nir_to_torch, dtype=torch.float64))


def norse(file: Path) -> Runs:
    """Norse's importer, with the dt of the file."""
    import norse.torch as nt

    return _stepped(nt.from_nir(nir.read(file), dt=DT))


READERS = {"SpikingJelly": spikingjelly, "snnTorch": snntorch, "Norse": norse}

if __name__ == "__main__":
    sys.exit(main())
