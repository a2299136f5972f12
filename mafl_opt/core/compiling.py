"""Compiled functions: numba, which keeps what it compiled where there is a place to write."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba as nb

__all__ = ["compiled"]


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that compiles a function at its first call, without Python objects.

    Where nothing can be written, beside the code, in the user's cache or in NUMBA_CACHE_DIR, every
    process compiles anew.

    Parameters
    ----------
    **options
        Of `numba.njit`, but for ``cache``.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            return nb.njit(cache=True, **options)(function)
        except RuntimeError:
            # numba's word for: no place.
            return nb.njit(**options)(function)

    return decorate
