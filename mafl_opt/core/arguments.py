"""Refusals that any function may need: counts, numbers, names, classes, with the nearest word."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import Any

from mafl_opt.core.errors import InputError

__all__ = [
    "did_you_mean",
    "require_callable",
    "require_count",
    "require_instance",
    "require_known",
    "require_number",
    "require_path",
]


def require_instance(
    path: str, value: object, kind: type | tuple[type, ...], hint: str = ""
) -> None:
    """Refuse what is not of a class.

    Raises
    ------
    InputError
    """
    if not isinstance(value, kind):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        words = " or ".join(_article(one.__name__) for one in kinds)
        raise InputError(path, words, value, hint)


def require_count(path: str, value: object, least: int = 0) -> None:
    """Refuse what is no integer from `least` up.

    Raises
    ------
    InputError
    """
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InputError(path, f"an integer >= {least}", value)


def require_number(path: str, value: Any, least: float = 0.0) -> None:
    """Refuse what is no number from `least` up; infinity is one, NaN is not.

    Raises
    ------
    InputError
    """
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or math.isnan(value) or value < least:
        raise InputError(path, f"a number >= {least:g}", value)


def require_path(path: str, value: object) -> None:
    """Refuse what is no name of a file or folder.

    Raises
    ------
    InputError
    """
    if not isinstance(value, (str, os.PathLike)):
        raise InputError(path, "the name of a file or folder", value)


def require_known(path: str, value: object, known: Collection[str], hint: str = "") -> None:
    """Refuse a word that is not among those known, and name the nearest one.

    Raises
    ------
    InputError
    """
    if not isinstance(value, str) or value not in known:
        raise InputError(
            path, "one of " + ", ".join(known), value, hint or did_you_mean(value, known)
        )


def require_callable(path: str, value: object) -> None:
    """Refuse what is neither callable nor ``None``.

    Raises
    ------
    InputError
    """
    if value is not None and not callable(value):
        raise InputError(path, "a callable or None", value)


def did_you_mean(value: object, known: Iterable[str]) -> str:
    """Return a hint with the known word nearest to a value, or nothing."""
    if not isinstance(value, str):
        return ""
    words = list(known)
    near = get_close_matches(value, words, n=1) or get_close_matches(value.lower(), words, n=1)
    return f"did you mean {near[0]}?" if near else ""


def _article(word: str) -> str:
    return ("an " if word[0] in "AEIOUaeiou" else "a ") + word
