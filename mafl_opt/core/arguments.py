"""What callers of the public functions may give; refused with path, expectation and a hint."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Iterable
from difflib import get_close_matches
from typing import Any

from mafl_opt.core.errors import InputError
from mafl_opt.core.plan import Plan
from mafl_opt.core.scenario import Scenario

__all__ = [
    "did_you_mean",
    "require_count",
    "require_instance",
    "require_known",
    "require_number",
    "require_path",
    "require_plan",
    "require_scenario",
]


def require_scenario(value: object, path: str = "scenario") -> None:
    """Refuse what is no `Scenario`, and say how to get one.

    Raises
    ------
    InputError
    """
    if isinstance(value, Scenario):
        return
    hint = "mo.Scenario.default(), mo.Scenario.load(file) or mo.Scenario.draw(...)"
    if isinstance(value, (str, os.PathLike)):
        hint = f"read it first: mo.Scenario.load({os.fspath(value)!r})"
    elif isinstance(value, dict):
        hint = "mo.Scenario.from_dict(...) makes one"
    elif isinstance(value, Plan):
        hint = "the scenario comes first, then the plan"
    elif isinstance(getattr(value, "scenario", None), Scenario):
        hint = f"it has one: give its attribute {path}"
    raise InputError(path, "a Scenario", value, hint)


def require_plan(value: object, path: str = "plan") -> None:
    """Refuse what is no `Plan`, and say how to get one.

    Raises
    ------
    InputError
    """
    if isinstance(value, Plan):
        return
    hint = "mo.solve(scenario) or mo.Plan.load(file)"
    if isinstance(value, (str, os.PathLike)):
        hint = f"read it first: mo.Plan.load({os.fspath(value)!r})"
    elif isinstance(value, dict):
        hint = "mo.Plan.from_dict(...) makes one"
    elif isinstance(value, Scenario):
        hint = "the scenario comes first, then the plan"
    raise InputError(path, "a Plan", value, hint)


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


def did_you_mean(value: object, known: Iterable[str]) -> str:
    """Return a hint with the known word nearest to a value, or nothing."""
    near = get_close_matches(value.lower(), list(known), n=1) if isinstance(value, str) else []
    return f"did you mean {near[0]}?" if near else ""


def _article(word: str) -> str:
    return ("an " if word[0] in "AEIOUaeiou" else "a ") + word
