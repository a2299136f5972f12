"""Learning systems by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from mafl_opt.core.arguments import require_known
from mafl_opt.core.errors import InputError
from mafl_opt.validation.systems.afl import Afl
from mafl_opt.validation.systems.base import System
from mafl_opt.validation.systems.fedasync import FedAsync
from mafl_opt.validation.systems.fedavg import FedAvg, FedProx
from mafl_opt.validation.systems.fedbuff import FedBuff
from mafl_opt.validation.systems.mafl import MaFl

__all__ = ["SYSTEMS", "make_system"]

#: Name to class, in the order in which they are listed.
SYSTEMS: Mapping[str, type[System]] = {
    kind.name: kind for kind in (MaFl, Afl, FedAvg, FedProx, FedAsync, FedBuff)
}


def make_system(name: str, settings: Mapping[str, Any] | None = None) -> System:
    """Return the system of a name with some settings changed.

    Raises
    ------
    InputError
        If there is no such system or setting, or a setting has the wrong type or value.
    """
    require_known("system", name, SYSTEMS)
    kind = SYSTEMS[name]
    known = {field.name: field for field in fields(kind)}
    given = dict(settings or {})
    for key, value in given.items():
        if key not in known:
            expected = "one of " + ", ".join(known)
            raise InputError(f"system.{key}", expected, key, f"{name} has no such setting")
        default = known[key].default
        if isinstance(default, str):
            good, words = isinstance(value, str), "a word"
        elif isinstance(default, float):
            good, words = isinstance(value, (int, float)), "a number"
        else:
            good, words = isinstance(value, int) or value is default, "an integer"
        if not good or isinstance(value, bool):
            raise InputError(f"system.{key}", words, value)
        if isinstance(default, float):
            given[key] = float(value)
    return kind(**given)
