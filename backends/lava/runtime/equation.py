"""The neuron equation in the chip's integers, in NumPy: for processes of our own, and for layers on the host.

Registers have 24 bits. A product with a decay (in 1 / 4096) is rounded towards zero; the current wraps once, the
membrane saturates.
"""

import numpy as np

LIMIT = 2**23


def decayed(value, mantissa):
    """A register times a decay, rounded towards zero."""
    product = value * mantissa
    return np.sign(product) * (np.abs(product) >> 12)


def at_rest(parameters, shape):
    """The state that a run starts from."""
    return {
        "u": np.zeros(shape, np.int64),
        "v": np.broadcast_to(parameters["v_init"], shape).astype(np.int64),
        "wait": np.zeros(shape, np.int64),
    }


def step(state, current, parameters):
    """One time step: the spikes for a synaptic ``current`` in steps of the membrane. ``state`` is changed in place."""
    p = parameters
    u = decayed(state["u"], p["current_decay"]) + current + p["input_bias"]
    u = np.where(u > LIMIT, u - 2 * LIMIT, np.where(u <= -LIMIT, u + 2 * LIMIT, u))
    heard = np.where(state["wait"] != 0, 0, u) if p["deaf"] else u
    h = _saturated(decayed(state["v"], p["decay"]) + heard + p["bias"])
    spikes = np.where(p["flip"], h <= p["threshold"], h >= p["threshold"]).astype(np.int64)
    if p["max_spikes"] > 1:  # as often as the amount can be taken
        spikes = spikes * np.minimum((h - p["threshold"]) // np.maximum(p["amount"], 1) + 1, p["max_spikes"])
    if p["signed"]:
        spikes = np.where((h <= p["negative_threshold"]) & (spikes == 0), -1, spikes)
    if p["refractory"]:
        spikes = np.where(state["wait"] != 0, 0, spikes)
        # A negative wait never ends.
        waited = np.maximum(state["wait"] - 1, np.minimum(state["wait"], 0))
        state["wait"] = np.where(spikes != 0, p["refractory"], waited)
    if p["deaf"]:
        state["wait"] = (spikes != 0).astype(np.int64)
    if p["reset"] == "to":
        h = np.where(spikes != 0, p["v_reset"], h)
    elif p["reset"] == "by":
        h = _saturated(np.where(spikes != 0, decayed(h, p["keep"]) - p["amount"] * spikes, h))
    state["u"], state["v"] = u, h
    return spikes


def _saturated(value):
    return np.clip(value, 1 - LIMIT, LIMIT - 1)
