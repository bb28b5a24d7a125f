"""Operations element by element."""

# mypy: disable-error-code="arg-type,index,misc,no-any-return"
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from neurocompile.frontends.pytorch.operations.lowering import Lowering
from neurocompile.frontends.pytorch.terms import Term
from neurocompile.frontends.pytorch.values import Value, aligned, is_time
from neurocompile.ir.ops import Array

__all__ = ["HANDLERS"]


def _elementwise(low: Lowering, operands: Sequence[Any], function: Callable[..., Term]) -> Value:
    given = [x if isinstance(x, Value) else numeric(x) for x in operands]
    axes, shape, columns = aligned(low.terms, given)
    made = [function(*parts) for parts in zip(*columns)]
    timed = any(is_time(name) for name in axes)
    return Value(axes, shape, tuple(made) if timed else made[0])


def numeric(x: Any) -> Array:
    return x.detach().double().numpy() if isinstance(x, torch.Tensor) else np.asarray(x, np.float64)


def weighted_sum(low: Lowering, *parts: tuple[Any, float]) -> Value:
    """A sum of operands times numbers."""

    def add(*terms: Term) -> Term:
        return low.terms.affine([(t, np.asarray(n)) for t, (_, n) in zip(terms, parts)], 0.0, terms[0].shape)

    return _elementwise(low, [x for x, _ in parts], add)


def add(low: Lowering, a: Any, b: Any, alpha: float = 1) -> Value:
    return weighted_sum(low, (a, 1.0), (b, float(alpha)))


def sub(low: Lowering, a: Any, b: Any, alpha: float = 1) -> Value:
    return weighted_sum(low, (a, 1.0), (b, -float(alpha)))


def mul(low: Lowering, a: Any, b: Any) -> Value:
    return _elementwise(low, (a, b), low.terms.mul)


def div(low: Lowering, a: Any, b: Any) -> Value:
    if isinstance(b, Value):
        return _function(low, "div", a, b)
    with np.errstate(divide="ignore"):
        return mul(low, a, 1.0 / numeric(b))


def neg(low: Lowering, x: Value) -> Value:
    return weighted_sum(low, (x, -1.0))


def lerp(low: Lowering, a: Any, b: Any, weight: Any) -> Value:
    return add(low, a, mul(low, sub(low, b, a), weight))


def addcmul(low: Lowering, x: Any, a: Any, b: Any, value: float) -> Value:
    product = mul(low, a, b) if isinstance(a, Value) or isinstance(b, Value) else numeric(a) * numeric(b)
    return weighted_sum(low, (x, 1.0), (product, float(value)))


def addcdiv(low: Lowering, x: Any, a: Any, b: Any, value: float) -> Value:
    if isinstance(b, Value):
        return _function(low, "addcdiv", x, a, b, numbers=(float(value),))
    return addcmul(low, x, a, 1.0 / numeric(b), value)


def _compare(strict: bool, turned: bool) -> Callable[..., Value]:
    def handler(low: Lowering, a: Any, b: Any) -> Value:
        def compared(x: Term, y: Term) -> Term:
            x, y = (y, x) if turned else (x, y)
            difference = low.terms.affine([(x, np.asarray(1.0)), (y, np.asarray(-1.0))], 0.0, x.shape)
            return low.terms.compare(difference, strict)

        place = low.terms.place
        if turned:  # what a line compares both ways (a sign) is no later step of itself
            low.terms.place = place._replace(site=f"{place.site} turned")
        made = _elementwise(low, (a, b), compared)
        low.terms.place = place
        low.terms.passed(low.call.turn, low.call.turns, (strict, turned), made.steps)
        return made

    return handler


def _equal(turned: bool) -> Callable[..., Value]:
    def handler(low: Lowering, a: Any, b: Any) -> Value:
        def equal(x: Term, y: Term) -> Term:
            if x.is_constant:
                x, y = y, x
            if not (x.binary and y.is_constant):
                return low.terms.func("ne" if turned else "eq", (x, y), (), x.shape)
            zero, one = (y.data.constant == 0).astype(float), (y.data.constant == 1).astype(float)
            if turned:
                zero, one = 1.0 - zero, 1.0 - one
            return low.terms.affine([(x, one - zero)], zero, x.shape)

        return _elementwise(low, (a, b), equal)

    return handler


def where(low: Lowering, mask: Any, a: Any, b: Any) -> Value:
    def choose(c: Term, x: Term, y: Term) -> Term:
        one = np.asarray(1.0)
        if not c.is_constant:
            return low.terms.affine([(low.terms.mul(c, x), one), (low.terms.mul(c, y), -one), (y, one)], 0.0, x.shape)
        chosen = c.data.constant != 0
        return low.terms.affine([(x, chosen.astype(float)), (y, (~chosen).astype(float))], 0.0, x.shape)

    return _elementwise(low, (mask, a, b), choose)


def masked_fill(low: Lowering, x: Any, mask: Any, value: Any) -> Value:
    return where(low, mask, value, x)


def heaviside(low: Lowering, x: Any, at_zero: Any) -> Value:
    if not isinstance(at_zero, Value) and np.isin(numeric(at_zero), (0, 1)).all():
        if np.all(numeric(at_zero) == 0):
            return _compare(True, False)(low, x, 0.0)
        if np.all(numeric(at_zero) == 1):
            return _compare(False, False)(low, x, 0.0)
    return _function(low, "heaviside", x, at_zero)


def sign(low: Lowering, x: Value) -> Value:
    return sub(low, _compare(True, False)(low, x, 0.0), _compare(True, True)(low, x, 0.0))


def _logical(name: str) -> Callable[..., Value]:
    def handler(low: Lowering, a: Any, b: Any) -> Value:
        def joined_(x: Term, y: Term) -> Term:
            if not (x.binary and y.binary):
                return low.terms.func(name, (x, y), (), x.shape)
            both, one = low.terms.mul(x, y), np.asarray(1.0)
            if name.endswith("and"):
                return both
            return low.terms.affine(
                [(x, one), (y, one), (both, -one * (2 if name.endswith("xor") else 1))], 0.0, x.shape
            )

        return _elementwise(low, (_truth(low, a), _truth(low, b)) if name.startswith("logical") else (a, b), joined_)

    return handler


def _truth(low: Lowering, x: Any) -> Any:
    if isinstance(x, Value):
        return x if all(t.binary for t in x.steps) else _equal(True)(low, x, 0.0)
    return (numeric(x) != 0).astype(np.float64)


def logical_not(low: Lowering, x: Value) -> Value:
    return weighted_sum(low, (1.0, 1.0), (_truth(low, x), -1.0))


def to(low: Lowering, x: Value, kind: str) -> Value:
    """Another kind of number: whole numbers and truth values are floats here, too."""
    if kind == "float" or all(t.binary for t in x.steps):
        return x
    if kind == "bool":
        return _truth(low, x)
    return _function(low, "trunc", x)


def _bounded(low: Lowering, x: Any, least: Any, most: Any) -> Value:
    """clamp: nothing changes where everything lies inside."""
    inside = isinstance(x, Value) and all(t.binary for t in x.steps)
    fits = all(not isinstance(b, Value) for b in (least, most))
    if inside and fits:
        low_end = -np.inf if least is None else numeric(least)
        high_end = np.inf if most is None else numeric(most)
        if np.all(low_end <= 0) and np.all(high_end >= 1):
            return x
    operands = [x, *(b for b in (least, most) if b is not None)]
    which = (least is not None, most is not None)
    return _function(low, "clamp", *operands, numbers=which)


def _of_binary(name: str) -> Callable[..., Value]:
    """A function that leaves 0 and 1 as they are."""

    def handler(low: Lowering, x: Value) -> Value:
        return x if all(t.binary for t in x.steps) else _function(low, name, x)

    return handler


def _extreme_of_two(name: str) -> Callable[..., Value]:
    logical = _logical("logical_or" if name == "maximum" else "logical_and")

    def handler(low: Lowering, a: Any, b: Any) -> Value:
        if all(isinstance(x, Value) and all(t.binary for t in x.steps) for x in (a, b)):
            return logical(low, a, b)
        return _function(low, name, a, b)

    return handler


def _function(low: Lowering, name: str, *operands: Any, numbers: tuple[Any, ...] = ()) -> Value:
    """An element-wise function that no equation can hold: a host computes it, if it is not part of a neuron."""
    return _elementwise(low, operands, lambda *terms: low.terms.func(name, terms, numbers, terms[0].shape))


def _named_function(name: str) -> Callable[..., Value]:
    def handler(low: Lowering, *args: Any) -> Value:
        operands = [x for x in args if isinstance(x, Value | torch.Tensor) or type(x) in (int, float)]
        texts = tuple(x for x in args if isinstance(x, str))
        return _function(low, name, *operands, numbers=texts)

    return handler


HANDLERS: dict[str, Callable[..., Any]] = {
    "add": add,
    "sub": sub,
    "mul": mul,
    "div": div,
    "neg": neg,
    "lerp": lerp,
    "addcmul": addcmul,
    "addcdiv": addcdiv,
    "ge": _compare(False, False),
    "gt": _compare(True, False),
    "le": _compare(False, True),
    "lt": _compare(True, True),
    "eq": _equal(False),
    "ne": _equal(True),
    "where": where,
    "masked_fill": masked_fill,
    "heaviside": heaviside,
    "sign": sign,
    "logical_not": logical_not,
    "bitwise_not": logical_not,
    **{
        name: _logical(name)
        for name in ("logical_and", "logical_or", "logical_xor", "bitwise_and", "bitwise_or", "bitwise_xor")
    },
    "maximum": _extreme_of_two("maximum"),
    "minimum": _extreme_of_two("minimum"),
    "clamp": _bounded,
    **{name: _of_binary(name) for name in ("abs", "relu", "floor", "ceil", "round", "trunc", "square", "sqrt")},
    **{
        name: _named_function(name)
        for name in (
            "reciprocal",
            "pow",
            "rsqrt",
            "exp",
            "log",
            "sigmoid",
            "tanh",
            "sin",
            "cos",
            "erf",
            "log1p",
            "expm1",
            "frac",
            "remainder",
            "fmod",
            "atan2",
            "leaky_relu",
            "div_rounded",
            "gelu",
            "silu",
            "elu",
            "softplus",
        )
    },
    "to": to,
}
