"""Runs the network in this folder in Lava: `python run.py --help`.

It needs Python 3.10 with what requirements.txt names, and nothing else.
"""

import argparse
import importlib.util
import json
import multiprocessing
import os
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

import equation  # noqa: E402

CHUNK = 64  # samples that follow one another in one run


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, help="X.npz with x [N, ...] or [N, T, ...] (default: the samples here)")
    parser.add_argument("--out", type=Path, help="write spikes [N, T, ...] of every layer, and the outputs")
    parser.add_argument("--samples", type=int, help="run only the first so many samples")
    parser.add_argument("--membranes", action="store_true", help="record every membrane as well")
    parser.add_argument("--hardware", action="store_true", help="run on Loihi (Loihi2HwCfg) instead of the simulation")
    parser.add_argument("--integers", action="store_true", help="the data are integers of the program already")
    options = parser.parse_args()
    if importlib.util.find_spec("lava") is None:
        parser.error("this Python has no Lava: install what requirements.txt names, with Python 3.10")
    if options.samples is not None and options.samples < 1:
        parser.error("--samples must be at least 1")
    bundle = load_bundle(HERE)
    source = options.data or HERE / "samples.npz"
    if not source.exists():
        missing = f"no such file: {source}" if options.data else "this folder brought no samples: give --data X.npz"
        parser.error(missing)
    given = _read(source, parser)
    inputs = {name: _sequence(bundle, name, _named(bundle, given, name)) for name in bundle["inputs"]}
    if not options.integers and options.data:
        inputs = {name: to_integers(bundle["inputs"][name], x) for name, x in inputs.items()}
    inputs = {name: x[: options.samples] for name, x in inputs.items()}
    if len({len(x) for x in inputs.values()}) > 1:
        sys.exit("the inputs have different numbers of samples: pair them up")
    started = time.perf_counter()
    found = run(HERE, bundle, inputs, options.membranes, options.hardware, progress=_progress)
    if options.out:
        np.savez_compressed(options.out, **found)
    samples = len(next(iter(inputs.values())))
    print(f"{samples} samples of {bundle['timesteps']} steps in {time.perf_counter() - started:.1f} s")
    for layer in bundle["layers"]:
        if not layer["readout"]:
            print(f"  {layer['name']}: fired at {(found['spikes/' + layer['name']] != 0).mean():.2%} of all places")
    labels = given.get("y") if "y" not in bundle["inputs"] else None
    if labels is not None and "outputs/output" in found:
        if labels.ndim == 1 and len(labels) >= samples:
            scores = found["outputs/output"].reshape(samples, -1)
            print(f"accuracy {(scores.argmax(1) == labels[:samples]).mean():.2%}")
        else:
            print(f"y has shape {list(labels.shape)}; labels are one whole number for each of the {samples} samples")
    if not options.data:
        sys.exit(_compare(found, given, samples))


def _progress(done, total):
    print(f"  {done} of {total} samples", file=sys.stderr, flush=True)


def _compare(found, given, samples):
    """Hold what Lava fired against what neurocompile's simulator fired."""
    differing = compared = 0
    for name, expected in given.items():
        if name.startswith("spikes/"):
            compared += expected[:samples].size
            differing += int((found[name] != expected[:samples]).sum())
    print(f"{differing} of {compared} spikes differ from neurocompile's simulator")
    return 1 if differing else 0


def load_bundle(folder):
    """What the folder says about its network."""
    return json.loads((folder / "bundle.json").read_text())


def _read(source, parser):
    try:
        with np.load(source, allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        parser.error(f"{source} cannot be read as an .npz of numbers: {error}")


def _named(bundle, given, name):
    key = name if name in given else "x"
    if key not in given or (key == "x" and len(bundle["inputs"]) > 1 and name != "x"):
        sys.exit(f"the data have no array {name!r} (found: {', '.join(given)})")
    return given[key]


def _sequence(bundle, name, x):
    """``[N, T, *shape]``; what has no time is the same at every step."""
    shape, steps = tuple(bundle["inputs"][name]["shape"]), bundle["timesteps"]
    if x.dtype.kind not in "fiub" or not np.isfinite(x).all() or not len(x):
        sys.exit(f"{name} holds NaN, infinite values, something that is no number, or no sample at all")
    if x.shape[1:] == shape:
        return np.broadcast_to(x[:, None], (len(x), steps, *shape))
    if x.shape[1:] != (steps, *shape):
        sys.exit(f"{name} has shape {list(x.shape)}; wanted: [N, {list(shape)}] or [N, {steps}, {list(shape)}]")
    return x


def to_integers(about, x):
    """Real inputs in the steps of the program; what is out of range is clipped."""
    whole = np.rint(x / float.fromhex(about["unit"]))
    return np.clip(whole, float.fromhex(about["low"]), float.fromhex(about["high"])).astype(np.int64)


def run(folder, bundle, inputs, membranes=False, hardware=False, progress=None):
    """Run samples.

    Args:
        folder: with network.py and arrays.npz.
        bundle: what `load_bundle` gave.
        inputs: integers `inputs[name][N, T, *shape]`.
        membranes: whether to record membranes too.
        hardware: run on the chip.
        progress: called with the samples that are done, and all.

    Returns:
        `spikes/LAYER` and `membranes/LAYER` (after the reset) `[N, T, *shape]`, `outputs/NAME` `[N, ...]` in real
        units; all in network time: the steps that Lava's synapses take are removed.
    """
    with np.load(folder / "arrays.npz", allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    network = _module(folder / "network.py")
    samples = len(next(iter(inputs.values())))
    # Delayed spikes of one sample would run into the next: then each has a run of its own.
    size = CHUNK if bundle["streams"] else 1
    parts = []
    for start in range(0, samples, size):
        chunk = {name: x[start : start + size] for name, x in inputs.items()}
        parts.append(_chunk(network, bundle, arrays, chunk, membranes, hardware))
        if progress:
            progress(min(start + size, samples), samples)
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _module(path):
    spec = importlib.util.spec_from_file_location("network", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _chunk(network, bundle, arrays, inputs, membranes, hardware):
    samples, steps = len(next(iter(inputs.values()))), bundle["timesteps"]
    total = samples * steps + bundle["latency"]
    layers = bundle["layers"]
    found, data = {}, {}
    for name, about in bundle["inputs"].items():
        data[name] = _to_lava(inputs[name], about["shape"], total)
    given = _known(bundle, arrays, inputs)
    for layer in layers:
        if layer["kind"] == "host":
            fired, left = encode(layer, arrays, given)
            for kind, values in (("spikes", fired), ("membranes", left)):
                found[f"{kind}/{layer['name']}"] = _from_order(values, layer["shape"])
            data[layer["name"]] = _to_lava(found[f"spikes/{layer['name']}"], layer["shape"], total)
        elif "current" in layer:
            found[f"written/{layer['name']}"] = written = current(layer["current"], arrays, given) << layer["shift"]
            data |= _written(layer, arrays, written, total)
    on_chip = [layer for layer in layers if layer["kind"] != "host"]
    if on_chip:
        recorded = _in_lava(network, arrays, data, steps, total, on_chip, membranes, hardware)
        for layer in on_chip:
            for kind in ("spikes", "membranes"):
                if "parts" in layer:
                    pieces = {name: recorded.get(f"{kind}/{name}") for name in layer["parts"]}
                    if all(values is not None for values in pieces.values()):
                        found[f"{kind}/{layer['name']}"] = _from_parts(pieces, arrays, layer, samples, steps)
                elif f"{kind}/{layer['name']}" in recorded:
                    values = recorded[f"{kind}/{layer['name']}"]
                    found[f"{kind}/{layer['name']}"] = _from_lava(values, layer, samples, steps)
    return _finished(bundle, arrays, found, membranes)


def _finished(bundle, arrays, found, membranes):
    result = {}
    for layer in bundle["layers"]:
        name = layer["name"]
        if layer["read"] == "u":
            # Nothing of such a membrane stays: it is the current and the bias.
            bias = _from_order(np.atleast_1d(arrays[f"{name}.bias"])[None, None], layer["shape"])[0, 0]
            if f"written/{name}" in found:
                bias = bias + _from_order(found[f"written/{name}"], layer["shape"])
            found[f"membranes/{name}"] = np.clip(
                found[f"membranes/{name}"] + bias, 1 - equation.LIMIT, equation.LIMIT - 1
            )
        if not layer["readout"]:
            result[f"spikes/{name}"] = found[f"spikes/{name}"].astype(np.int8)
        if membranes:
            result[f"membranes/{name}"] = found[f"membranes/{name}"].astype(np.int32)
    for output in bundle["outputs"]:
        y = found[f"membranes/{output['source']}"].astype(np.float64)
        result[f"outputs/{output['name']}"] = read_out(output, y, arrays)
    return result


def read_out(output, y, arrays):
    """What an output gives for the readout's membranes ``[N, T, *shape]``."""
    how = output["read"]
    if how == "weighted":  # one step after the other, as everywhere: another order would round otherwise
        read = sum(y[:, t] * weight for t, weight in enumerate(arrays[f"{output['name']}.weights"]))
    elif how == "max-abs":
        high, low = y.max(1), y.min(1)
        read = np.where(np.abs(high) > np.abs(low), high, low)
    elif how == "last":
        read = y[:, -1]
    elif how == "sequence":
        read = y
    else:
        read = getattr(y, how)(axis=1)
    return read * arrays[f"{output['name']}.unit"]


def _known(bundle, arrays, inputs):
    """Inputs, and max-pools of inputs, ``[N, T, elements]`` in Lava's order."""
    given = {name: _in_order(x, bundle["inputs"][name]["shape"]).astype(np.int64) for name, x in inputs.items()}
    for pool in bundle["pooled"]:
        x, windows = _delayed(given[pool["reads"]], pool["delay"]), arrays[f"{pool['name']}.windows"]
        least = np.iinfo(np.int64).min
        given[pool["name"]] = np.where(windows < 0, least, x[:, :, windows]).max(-1)
    return given


def current(term, arrays, given):
    """What a layer's weights make of what is given, in steps of a weight ``[N, T, neurons]``, in Lava's order."""
    if "sum" in term:
        return sum((current(each, arrays, given) for each in term["sum"]), np.zeros((1, 1, 1), np.int64))
    if "gain" in term:  # a quotient rounded towards zero, as the chip does
        gains = arrays[f"{term['gain']}.gains"].astype(np.int64)
        product = current(term["of"], arrays, given) * gains[None, :, None]
        return np.sign(product) * (np.abs(product) >> term["fraction"]) + arrays[f"{term['gain']}.bias"]
    x = _delayed(given[term["reads"]], term["delay"])
    weighted = _matrix(arrays, term) @ x.reshape(-1, term["inputs"]).T
    return weighted.T.reshape(*x.shape[:2], term["outputs"])


def _delayed(x, steps):
    return np.concatenate((np.zeros_like(x[:, :steps]), x[:, : x.shape[1] - steps]), 1) if steps else x


def encode(layer, arrays, given):
    """A layer on the host: spikes and membranes ``[N, T, neurons]``, in Lava's order."""
    parameters = {name: arrays[f"{layer['name']}.{name}"] for name in layer["parameters"]}
    parameters = {name: value if value.ndim else value.item() for name, value in parameters.items()}
    heard = current(layer["current"], arrays, given) << layer["shift"]
    state = equation.at_rest(parameters, heard[:, 0].shape)
    fired, left = [], []
    for t in range(heard.shape[1]):
        fired.append(equation.step(state, heard[:, t], parameters))
        left.append(state["v"])
    return np.stack(fired, 1), np.stack(left, 1)


def _matrix(arrays, term):
    from scipy.sparse import csr_matrix  # Lava brings it

    parts = tuple(arrays[f"{term['weights']}.{part}"].astype(np.int64) for part in ("data", "indices", "indptr"))
    return csr_matrix(parts, (term["outputs"], term["inputs"]))


def _written(layer, arrays, written, total):
    """What network.py is given of a layer that the host adds ``written`` to, step by step of Lava."""
    name, shape = layer["name"], layer["shape"]
    if layer["kind"] == "own":
        return {f"{name}.current": _at_depth(written, 0, layer["depth"], total).reshape(*_lava_shape(shape), total)}
    if layer["read"] == "u":
        return {}  # it is added where the current is read
    biases = np.broadcast_to(np.atleast_1d(arrays[f"{name}.bias"]), written.shape[2:])
    whole = _at_depth(biases + written, biases, layer["depth"], total) >> layer["bias_exponent"]
    if "parts" not in layer:
        return {f"{name}.bias": whole.reshape(*_lava_shape(shape), total)}
    flat = _from_order(whole.T[None], shape).reshape(total, -1).T
    return {f"{part}.bias": flat[arrays[f"{part}.neurons"]] for part in layer["parts"]}


def _at_depth(values, rest, depth, total):
    """``[N, T, neurons]`` as ``[neurons, steps of Lava]``, one sample after the other; ``rest`` before and after."""
    steps = values.reshape(-1, values.shape[2]).T
    found = np.broadcast_to(np.asarray(rest, np.int32).reshape(-1, 1), (len(steps), total)).copy()
    found[:, depth : depth + steps.shape[1]] = steps
    return found


def _in_lava(network, arrays, data, period, total, layers, membranes, hardware):
    """Build the network, run it, and read what its layers did: ``[*lava shape, steps]`` by ``kind/layer``."""
    from lava.magma.compiler.compiler_graphs import find_processes
    from lava.magma.core.run_conditions import RunSteps
    from lava.magma.core.run_configs import Loihi2HwCfg, Loihi2SimCfg
    from lava.proc.io import sink

    processes = network.build(arrays, data, period)
    probes = {}
    for layer in layers:
        for name in layer.get("parts", [layer["name"]]):
            process = processes[name]
            if not layer["readout"]:
                probe = sink.RingBuffer(shape=process.s_out.shape, buffer=total)
                process.s_out.connect(probe.a_in)
                probes[f"spikes/{name}"] = probe
            if membranes or layer["readout"]:
                probe = sink.Read(buffer=total)
                probe.connect_var(getattr(process, layer["read"]))
                probes[f"membranes/{name}"] = probe
    config = Loihi2HwCfg(select_tag="fixed_pt") if hardware else Loihi2SimCfg(select_tag="fixed_pt")
    found, waiting = {}, list(processes.values())
    while waiting:  # parts of a network that nothing connects are runs of their own
        first = waiting[0]
        part = {id(process) for process in find_processes(first)}
        waiting = [process for process in waiting if id(process) not in part]
        try:
            with _watched(first):
                first.run(condition=RunSteps(num_steps=total), run_cfg=config)
            found |= {name: probe.data.get() for name, probe in probes.items() if id(probe) in part}
        finally:
            first.stop()
    return found


@contextmanager
def _watched(process):
    """Ends the program, with their words, when processes of a run raise something: Lava would wait for ever."""
    done = threading.Event()

    def watch():
        while not done.wait(0.2):
            actors = _actors(process)
            raised = [actor.exception for actor in actors if actor.exception]
            if raised:
                said = dict.fromkeys(_in_short(each) for each in raised)
                print("a process of Lava raised:\n" + "\n".join(said), file=sys.stderr, flush=True)
                for child in multiprocessing.active_children():
                    child.kill()
                os._exit(1)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()


def _in_short(raised):
    """An exception and where it came from; all of it where the environment asks for tracebacks."""
    error, trace = raised if isinstance(raised, tuple) else (raised, "")
    if os.environ.get("LAVA_TRACEBACK"):
        return trace
    places = [line.strip() for line in trace.splitlines() if line.strip().startswith("File ")]
    return f"{type(error).__name__}: {error}" + (f"\n  at {places[-1]}" if places else "")


def _actors(process):
    runtime = getattr(process, "_runtime", None)
    infrastructure = getattr(runtime, "_messaging_infrastructure", None)
    return list(getattr(infrastructure, "actors", None) or [])


# -- orders ------------------------------------------------------------------------------------------------------------


def _lava_axes(shape):
    """The axes of a layer in Lava's order; None where it is flat there."""
    return tuple(range(len(shape)))[::-1] if len(shape) in (2, 3) else None


def _lava_shape(shape):
    if len(shape) == 3:
        return tuple(shape[::-1])
    return (shape[1], 1, shape[0]) if len(shape) == 2 else (int(np.prod(shape)),)


def _in_order(x, shape):
    """``[N, T, *shape]`` to ``[N, T, neurons]`` in Lava's order."""
    axes = _lava_axes(shape)
    if axes is not None:
        x = x.transpose(0, 1, *(axis + 2 for axis in axes))
    return x.reshape(*x.shape[:2], -1)


def _from_order(x, shape):
    """The way back."""
    axes = _lava_axes(shape)
    if axes is None:
        return np.broadcast_to(x, (*x.shape[:2], int(np.prod(shape)))).reshape(*x.shape[:2], *shape)
    x = np.broadcast_to(x, (*x.shape[:2], int(np.prod(shape)))).reshape(*x.shape[:2], *(shape[a] for a in axes))
    return x.transpose(0, 1, *(axis + 2 for axis in axes))


def _to_lava(x, shape, total):
    """``[N, T, *shape]`` to ``[*lava shape, steps]``, one sample after the other, silence at the end."""
    flat = _in_order(x, shape)
    steps = flat.reshape(-1, flat.shape[2]).T
    data = np.zeros((len(steps), total), np.int32)
    data[:, : steps.shape[1]] = steps
    return data.reshape(*_lava_shape(shape), total)


def _from_parts(pieces, arrays, layer, samples, steps):
    """The same for a layer of several processes."""
    neurons = int(np.prod(layer["shape"]))
    flat = np.zeros((neurons, samples * steps), np.int64)
    for name, values in pieces.items():
        flat[arrays[f"{name}.neurons"]] = values[:, layer["depth"] : layer["depth"] + samples * steps]
    return flat.T.reshape(samples, steps, *layer["shape"])


def _from_lava(values, layer, samples, steps):
    """``[*lava shape, steps]`` to ``[N, T, *shape]`` in network time."""
    flat = values.reshape(-1, values.shape[-1])[:, layer["depth"] : layer["depth"] + samples * steps]
    return _from_order(flat.T.reshape(samples, steps, -1), layer["shape"])


if __name__ == "__main__":
    main()
