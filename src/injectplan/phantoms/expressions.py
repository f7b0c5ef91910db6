"""Formulas in phantom definitions: arithmetic on named numbers, nothing else."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable, Mapping

from injectplan.errors import BadInputError

_BINARY: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}  # fmt: skip
_CALLS: Mapping[str, Callable[..., float]] = {
    "sqrt": math.sqrt, "cos": math.cos, "sin": math.sin, "radians": math.radians, "min": min, "max": max,
}  # fmt: skip


def evaluate(formula: str | float, numbers: Mapping[str, float]) -> float:
    """Value of a formula such as "4/3*pi*radius_mm**3/1000"; else BadInputError is raised."""
    if isinstance(formula, int | float):
        return float(formula)
    try:
        return float(_value(ast.parse(formula, mode="eval").body, {**numbers, "pi": math.pi}))
    except (SyntaxError, ArithmeticError, ValueError, TypeError) as error:
        raise BadInputError(f"formula {formula!r} cannot be computed: {error}") from error


def _value(node: ast.expr, numbers: Mapping[str, float]) -> float:
    match node:
        case ast.Constant(value=int() | float() as value):
            return float(value)
        case ast.Name(id=name) if name in numbers:
            return numbers[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, numbers)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _BINARY[type(op)](_value(left, numbers), _value(right, numbers))
        case ast.Call(func=ast.Name(id=name), args=arguments) if name in _CALLS:
            return float(_CALLS[name](*[_value(a, numbers) for a in arguments]))
    raise ValueError(f"{ast.unparse(node)} is not arithmetic on {', '.join(sorted(numbers))}")
