"""Convex functions that touch a non-convex one at a point and are nowhere below it.

Model page, section 7.1. Successive convex approximation replaces every non-convex function of P by
such a surrogate. Variables come as one array of shape (variables, points), results as (points,).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["INTEGRALITY", "PRODUCT", "RATIO", "SURROGATES", "Surrogate", "product_tangent"]

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surrogate:
    """A non-convex function and its convex majorant.

    Attributes
    ----------
    name : str
    variables : tuple of str
        Rows of the arrays that the functions take.
    blocks : tuple of str
        Constraint blocks of P (`Problem.blocks`) that it makes convex.
    equation : str
        Function and majorant at a point with index 0.
    value : callable
        The function; ``(variables, points) -> (points,)``.
    gradient : callable
        ``(variables, points) -> (variables, points)``.
    above : callable
        ``above(at, v)``: the majorant that touches the function at `at`, evaluated at `v`.
    """

    name: str
    variables: tuple[str, ...]
    blocks: tuple[str, ...]
    equation: str
    value: Callable[[Floats], Floats]
    gradient: Callable[[Floats], Floats]
    above: Callable[[Floats, Floats], Floats]


def product_tangent(x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Tangent of the concave part -(x - y)^2 / 4 of (46) at a point.

    Returns
    -------
    slope, constant : same shape as `x`
        The tangent is ``constant - slope (x - y)``.
    """
    apart = x - y
    return 0.5 * apart, 0.25 * apart**2


def _product_above(at: Floats, v: Floats) -> Floats:
    slope, constant = product_tangent(at[0], at[1])
    return np.asarray(0.25 * (v[0] + v[1]) ** 2 + constant - slope * (v[0] - v[1]))


def _ratio_above(at: Floats, v: Floats) -> Floats:
    part, total = v[0] / at[0], at[1] / v[1]
    return np.asarray(0.5 * at[0] / at[1] * (part**2 + total**2))


def _integrality_above(at: Floats, v: Floats) -> Floats:
    return np.asarray((1.0 - 2.0 * at[0]) * v[0] + at[0] ** 2)


PRODUCT = Surrogate(
    name="product",
    variables=("x", "y"),
    blocks=("ratio", "energy"),
    equation="x y <= ((x + y)^2 + (x0 - y0)^2) / 4 - (x0 - y0) (x - y) / 2",
    value=lambda v: np.asarray(v[0] * v[1]),
    gradient=lambda v: np.stack([v[1], v[0]]),
    above=_product_above,
)
RATIO = Surrogate(
    name="ratio",
    variables=("N", "A"),
    blocks=("ratio",),
    equation="N / A <= N0 / (2 A0) ((N / N0)^2 + (A0 / A)^2)",
    value=lambda v: np.asarray(v[0] / v[1]),
    gradient=lambda v: np.stack([1.0 / v[1], -v[0] / v[1] ** 2]),
    above=_ratio_above,
)
INTEGRALITY = Surrogate(
    name="integrality",
    variables=("x",),
    blocks=("integral",),
    equation="x - x^2 <= (1 - 2 x0) x + x0^2",
    value=lambda v: np.asarray(v[0] - v[0] ** 2),
    gradient=lambda v: 1.0 - 2.0 * v,
    above=_integrality_above,
)
#: Every surrogate in use.
SURROGATES = (PRODUCT, RATIO, INTEGRALITY)
