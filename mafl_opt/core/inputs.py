"""Scenarios and plans as arguments; what is none is refused with the way to one."""

from __future__ import annotations

import os

from mafl_opt.core.errors import InputError
from mafl_opt.core.plan import Plan
from mafl_opt.core.scenario import Scenario

__all__ = ["require_plan", "require_scenario"]


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
