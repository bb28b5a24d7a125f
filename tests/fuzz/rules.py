"""Rules that are broken on purpose: each a line of the code and what is there instead (:mod:`tests.fuzz.broken`)."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["RULES", "Rule"]


@dataclass(frozen=True)
class Rule:
    """A text that occurs once in a module's source, or in a folder of C++, and what replaces it."""

    area: str
    name: str
    where: str
    old: str
    new: str


_P, _Q, _S, _B = "neurocompile.passes", "neurocompile.quantization", "neurocompile.simulator", "neurocompile.backends"

RULES: tuple[Rule, ...] = (
    # -- passes
    Rule("passes", "a negative gamma does not flip", f"{_P}.fold_mpbn", "np.logical_xor(op.flip, gamma < 0)",
         "np.logical_xor(op.flip, gamma < -9e9)"),
    Rule("passes", "the mean of a norm is left out of the threshold", f"{_P}.fold_mpbn",
         "norm.std / gamma + norm.mean", "norm.std / gamma + 0 * norm.mean"),
    Rule("passes", "a norm of zero gamma never fires", f"{_P}.fold_mpbn", "np.where(always, -np.inf, np.inf)",
         "np.where(always, np.inf, np.inf)"),
    Rule("passes", "a shift goes past a Concat unscaled", f"{_P}.fold_scale", "shifts.append(shift[None])",
         "shifts.append(0 * shift[None])"),
    Rule("passes", "a current keeps its unit under a scale", f"{_P}.fold_scale",
         "(op.input_bias + scale.shift) / scale.scale", "op.input_bias + scale.shift"),
    Rule("passes", "negative scales pass a max-pool", f"{_P}.fold_scale", "or np.any(channels <= 0)",
         "or np.any(channels == 0)"),
    Rule("passes", "a delay is a step shorter on the way to a synapse", f"{_P}.synapses",
         "delay=self.delay + steps, gains=gains", "delay=self.delay + max(steps - 1, 1), gains=gains"),
    Rule("passes", "gains of a delayed current are those of now", f"{_P}.synapses",
         "gains = np.concatenate((np.zeros(steps), gains))[: len(gains)]", "gains = gains * 1.0"),
    Rule("passes", "the reset's shift leaves the bias alone", f"{_P}.common_threshold",
         "op.bias + (op.decay - 1.0) * start", "op.bias + (op.decay - op.decay) * start"),
    # -- quantization
    Rule("quantization", "thresholds are in other units", f"{_Q}.integers", "value = _steps(threshold, unit)",
         "value = _steps(threshold * 1.5, unit)"),
    Rule("quantization", "a soft reset takes half", f"{_Q}.integers",
         "np.maximum(steps(op.amount), 1) if op.max_spikes > 1 else steps(op.amount)",
         "np.maximum(steps(op.amount), 1) if op.max_spikes > 1 else steps(op.amount / 2)"),
    Rule("quantization", "the first value is in other units", f"{_Q}.integers", "v_init=steps(op.v_init)",
         "v_init=steps(op.v_init * 2)"),
    Rule("quantization", "a current's decay has a bit less", f"{_Q}.integers",
         "current_decay=mantissa(op.current_decay)", "current_decay=mantissa(op.current_decay) // 2"),
    Rule("quantization", "the bias of a Gain is in other units", f"{_Q}.integers", "np.rint(op.bias / unit)",
         "np.rint(op.bias / unit / 2)"),
    Rule("quantization", "bounds forget negative weights", f"{_Q}.bounds",
         "else np.minimum(weight, 0.0)})", "else weight * 0.0})"),
    # -- the oracle and the reference
    Rule("reference", "nearest rounds halves away", f"{_S}.reference", "(value + (1 << (-shift - 1))) >> -shift",
         "(value + (1 << (-shift - 1)) - 1) >> -shift"),
    Rule("reference", "the deaf hear", f"{_S}.reference", "np.where(state[\"wait\"] != 0, 0, state[\"i\"]) if op.deaf",
         "np.where(state[\"wait\"] > 1, 0, state[\"i\"]) if op.deaf"),
    Rule("reference", "wraps once from a step further", f"{_S}.reference", "self._kept(value, how, -most, most + 1)",
         "self._kept(value, how, -most, most + 2)"),
    Rule("reference", "what is kept is not rounded", f"{_S}.reference", "self.decayed(h, op.keep) - op.amount * spikes",
         "self.decayed(h, op.keep) - op.amount"),
    Rule("reference", "a delay is a step too long from the third", f"{_S}.reference",
         "np.zeros((steps, self.batch, *shape))",
         "np.zeros((steps + (steps > 2), self.batch, *shape))"),
    Rule("reference", "refractory neurons wait a step less", "neurocompile.ir.interpret",
         "spikes != 0, op.refractory, np.maximum", "spikes != 0, max(op.refractory - 1, -1), np.maximum"),
    Rule("reference", "spikes of more than the amount are one", "neurocompile.ir.interpret",
         "np.minimum(amounts_in(op, h), op.max_spikes)", "np.minimum(amounts_in(op, h), op.max_spikes - 1)"),
    Rule("reference", "a max-pool looks at what is around, too", "neurocompile.ir.kernels", "fill=-np.inf", "fill=0.0"),
    # -- the engine's plan
    Rule("engine", "flipped limits are one off", f"{_S}.engine.neurons", "-threshold - (1 if op.strict else 2)",
         "-threshold - (1 if op.strict else 1)"),
    Rule("engine", "a parameter of each neuron is taken for one of the channel", f"{_S}.engine.neurons",
         "bool((whole == whole[:, :1]).all())", "bool((whole == whole[:, :1]).any())"),
    Rule("engine", "a decay of some neurons is that of all", f"{_S}.engine.neurons", "mantissas = np.unique(op.decay)",
         "mantissas = np.unique(op.decay)[:1]"),
    Rule("engine", "registers are proved from below alone", f"{_S}.engine.neurons",
         "proved = proved and least <= h[0] and h[1] <= most", "proved = proved and least <= h[0]"),
    Rule("engine", "neighbours meet the wrong tap", f"{_S}.engine.scatter", "j + pad - k * dilation)",
         "j + pad - k)"),
    Rule("engine", "a sum of spikes is taken for a spike", f"{_S}.engine.events",
         "return (0.0 if op.negative_threshold is None else -1.0), float(op.max_spikes)",
         "return (0.0 if op.negative_threshold is None else -1.0), 1.0"),
    # -- the engine's kernels
    Rule("kernels", "a half is not added before a shift", "simulator/engine/native",
         "kept = Simd::right(Simd::add32(v, half), u.decay_shift);", "kept = Simd::right(v, u.decay_shift);"),
    Rule("kernels", "what a soft reset leaves may leave its register", "simulator/engine/native",
         "            if constexpr (overflows) v = held(v, u.least, u.most, over);\n", ""),
    Rule("kernels", "no comparison is flipped", "simulator/engine/native",
         "Simd::greater(Simd::xor32(h, flip), threshold)", "Simd::greater(h, threshold)"),
    Rule("kernels", "membranes do not stay between pieces", "simulator/engine/native",
         "if (u.membrane) Simd::store32(u.membrane + own, v);", "if (u.membrane) Simd::store32(u.membrane + own, h);",
         ),
    # -- backends
    Rule("onnx", "a shift rounds down", f"{_B}.onnx.functions", 'self._node("Div", divisor, self._number(2))',
         'self._node("Div", divisor, self._number(4))'),
    Rule("onnx", "bytes are not signed", f"{_B}.onnx.products", "low = (rest + 128) % 256 - 128",
         "low = (rest + 127) % 256 - 127"),
    Rule("onnx", "a transposed kernel is not turned round", f"{_B}.onnx.products",
         "range(3, weight.ndim + 1))", "range(3, weight.ndim))"),
    Rule("onnx", "the current saturates as the membrane does", f"{_B}.onnx.functions", "else (-most - 1, most)",
         "else (-most, most)"),
    Rule("onnx", "a weighted sum over time begins at its end", f"{_B}.onnx.models",
         "name, body=graph, num_scan_inputs=len(scanned))",
         "name, body=graph, num_scan_inputs=len(scanned), scan_input_directions=[1] * len(scanned))"),
    Rule("nir", "a leak has the wrong sign", f"{_B}.nir.network", '"v_leak": bias / (1 - decay)',
         '"v_leak": -bias / (1 - decay)'),
    Rule("nir", "a gain stays out of r", f"{_B}.nir.network", '"r": gain * tau / DT', '"r": tau / DT'),
    Rule("lava", "a synapse of some delay waits a step more", f"{_B}.lava.plan", "synapse.delay - 1\n    alike",
         "synapse.delay - 1 + (synapse.delay > 0)\n    alike"),
    Rule("lava", "kernels are not flipped", f"{_B}.lava.bundle", "weight[:, :, ::-1, ::-1]", "weight[:, :, ::-1, :]"),
    Rule("lava", "weights keep their lowest bit", f"{_B}.lava.bundle", "return mantissas * 2, exponent",
         "return mantissas * 2 + 2, exponent"),
    Rule("netx", "weights are shifted once more", f"{_B}.netx.layers", "op.weight << further for",
         "op.weight << (further + 1) for"),
    Rule("rtl", "a soft reset takes what a hard one leaves", f"{_B}.rtl.image",
         'op.amount if op.reset == "by" else op.v_reset',
         "op.v_reset"),
    Rule("rtl", "strict thresholds are none", f"{_B}.rtl.image", "np.where(flip, -1, 1) if op.strict else 0", "0"),
    # -- clocks
    Rule("cycles", "an event of no word takes none", f"{_S}.timing.nc1",
         "words.append(routes.axon_words[chip.axons_of(core)])",
         "words.append(np.maximum(routes.axon_words[chip.axons_of(core)] - 1, 0))"),
    Rule("cycles", "the host sends to the next core", "neurocompile.targets.nc1.chip",
         "step = sample * self.steps + t + self.netlist.populations[name].depth",
         "step = sample * self.steps + t"),
    Rule("events", "a spike is sent a step late", f"{_S}.timing.events",
         "steps.append(sample * mapped.steps + t + population.depth)", "steps.append(sample * mapped.steps + t)"),
)  # fmt: skip
"""In the order of the way of the data."""
