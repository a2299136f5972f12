"""Compiled functions: numba, which keeps what it compiled where there is a place to write."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba as nb

__all__ = ["compiled", "is_compiled"]

#: When the latest change to a file of compiled functions was, by folder.
_newest: dict[Path, float] = {}


def compiled(**options: Any) -> Callable[[Callable[..., Any]], Any]:
    """Return a decorator that compiles a function at its first call, without Python objects.

    Where nothing can be written, beside the code, in the user's cache or in NUMBA_CACHE_DIR, every
    process compiles anew. numba notices when the file of a function changes, but not when one that
    it calls into does; so a function is compiled anew when any file of compiled functions in its
    folder that was imported before has changed.

    Parameters
    ----------
    **options
        Of `numba.njit`, but for ``cache``.
    """

    def decorate(function: Callable[..., Any]) -> Any:
        try:
            dispatcher = nb.njit(cache=True, **options)(function)
        except RuntimeError:
            # numba's word for: no place.
            return nb.njit(**options)(function)
        source = _source(dispatcher)
        _newest[source.parent] = max(_newest.get(source.parent, 0.0), source.stat().st_mtime)
        for index, is_fresh in _kept(dispatcher):
            if not is_fresh:
                index.unlink(missing_ok=True)
        return dispatcher

    return decorate


def is_compiled(function: Any) -> bool:
    """Whether a compiled function is here or in numba's cache, or nothing can be kept there."""
    if function.signatures or function.stats.cache_path is None:
        return True
    return any(is_fresh for _, is_fresh in _kept(function))


def _kept(function: Any) -> list[tuple[Path, bool]]:
    """List what numba's cache holds of a function, and whether it is newer than what it calls."""
    source, name = _source(function), function.py_func.__name__
    found = Path(function.stats.cache_path).glob(f"{source.stem}.{name}-*.nbi")
    return [(index, index.stat().st_mtime >= _newest[source.parent]) for index in found]


def _source(function: Any) -> Path:
    return Path(function.py_func.__code__.co_filename)
