"""The eigenvalue of largest modulus of a symmetric matrix that is known by its products alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

__all__ = ["Extreme", "largest_eigenvalue"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Extreme:
    """Largest modulus of an eigenvalue, found by iteration.

    Attributes
    ----------
    value : float
        Modulus of the Ritz value: never above the largest modulus, up to rounding.
    residual : float
        Some eigenvalue is within this distance of the Ritz value.
    products : int
        Products with the matrix that were made.
    """

    value: float
    residual: float
    products: int


def largest_eigenvalue(
    product: Callable[[Tensor], Tensor],
    start: Tensor,
    *,
    products: int,
    tolerance: float,
) -> Extreme:
    """Iterate with a symmetric matrix until its largest eigenvalue in modulus settles.

    Power iteration with the Lanczos acceleration: the same products, but the best vector of all
    that they span instead of the last one, so that eigenvalues near each other, or of near
    modulus and other sign, do not stall it. The basis is orthogonalised in full.

    Parameters
    ----------
    product : callable
        v -> H v on vectors of shape (n,).
    start : (n,)
        Not zero; random, so that no eigenvector is missing in it.
    products : int
        Most products, at least 1.
    tolerance : float
        Stop when the residual is this small relative to the value.

    Returns
    -------
    extreme : Extreme
    """
    basis = [start / start.norm()]
    diagonal: list[float] = []
    beside: list[float] = []
    value = residual = 0.0
    for count in range(1, min(products, len(start)) + 1):
        image = product(basis[-1])
        diagonal.append(float(image @ basis[-1]))
        span = torch.stack(basis)
        # Twice is enough: once leaves what rounding brings back.
        for _ in range(2):
            image = image - span.T @ (span @ image)
        length = float(image.norm())
        ritz, vectors = np.linalg.eigh(np.diag(diagonal) + np.diag(beside, 1) + np.diag(beside, -1))
        top = int(np.abs(ritz).argmax())
        value = abs(float(ritz[top]))
        residual = length * abs(float(vectors[-1, top]))
        if residual <= tolerance * value or length <= np.finfo(np.float32).eps * value:
            return Extreme(value=value, residual=residual, products=count)
        beside.append(length)
        basis.append(image / length)
    return Extreme(value=value, residual=residual, products=len(diagonal))
