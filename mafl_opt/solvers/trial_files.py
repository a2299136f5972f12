"""Finished trials of a comparison on disk, so that one that was cut short goes on from there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mafl_opt import __version__
from mafl_opt.core.check import check
from mafl_opt.core.errors import InputError
from mafl_opt.core.files import parse_json, read_text, write_text
from mafl_opt.core.plan import Plan
from mafl_opt.core.scenario import Scenario
from mafl_opt.solvers.trials import Ending, Trial

__all__ = ["SUFFIX", "TrialFiles"]

#: Of the names of the files in which trials are kept.
SUFFIX = ".trial.json"

_FACTS = ("message", "seconds", "cpu_seconds", "peak_memory_bytes")
# What is not a matter of luck; a backend that failed or crashed is tried again.
_FINISHED = (Ending.DONE, Ending.REFUSED, Ending.OVERRAN)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialFiles:
    """Where the trials of a comparison are kept: ``BACKEND.trial.json`` beside ``BACKEND.json``.

    Attributes
    ----------
    folder : Path
    scenario : Scenario
    """

    folder: Path
    scenario: Scenario

    def save(self, trial: Trial, options: Mapping[str, Any], end: float | None) -> None:
        """Keep a trial that is finished; its plan first, so that no trial lacks it."""
        if trial.ending not in _FINISHED:
            return
        if trial.plan is not None:
            trial.plan.save(self.folder / f"{trial.backend}.json")
        content = {name: getattr(trial, name) for name in _FACTS}
        content["ending"] = str(trial.ending)
        content["has_plan"] = trial.plan is not None
        content["identity"] = self._identity(trial.backend, options, end)
        text = json.dumps(content, indent=1, allow_nan=False) + "\n"
        write_text(self._path(trial.backend), text)

    def load(self, backend: str, options: Mapping[str, Any], end: float | None) -> Trial | None:
        """Return the trial of a backend, its plan checked again; None if there is none of this run.

        Raises
        ------
        InputError
            If the file is damaged.
        """
        path = self._path(backend)
        if not path.exists():
            return None
        content = parse_json(read_text(path), str(path))
        if not isinstance(content, dict):
            raise InputError(str(path), "a trial", content)
        if content.get("identity") != self._identity(backend, options, end):
            return None
        if content.get("ending") not in list(map(str, _FINISHED)):
            raise InputError(f"{path}: ending", " or ".join(_FINISHED), content.get("ending"))
        for name, kinds in zip(_FACTS, _KINDS, strict=True):
            if not isinstance(content.get(name), kinds) or isinstance(content[name], bool):
                raise InputError(f"{path}: {name}", "what a trial has there", content.get(name))
        plan = Plan.load(self.folder / f"{backend}.json") if content.get("has_plan") else None
        checked = plan is not None and plan.objective is not None
        return Trial(
            backend=backend, ending=Ending(content["ending"]), plan=plan,
            report=check(self.scenario, plan) if plan is not None and checked else None,
            **{name: content[name] for name in _FACTS},
        )  # fmt: skip

    def _path(self, backend: str) -> Path:
        return self.folder / f"{backend}{SUFFIX}"

    def _identity(self, backend: str, options: Mapping[str, Any], end: float | None) -> str:
        """Digest of what a trial depends on, besides the machine."""
        facts = [__version__, self.scenario.sha256, backend, dict(options), end]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


_KINDS: tuple[Any, ...] = ((str,), (int, float), (int, float, type(None)), (int, type(None)))
