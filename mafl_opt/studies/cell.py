"""One run of a study: its settings, its seed, and the digest that names it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from typing import Any

from mafl_opt import __version__

__all__ = ["LAYOUT", "Cell"]

#: Layout of run files, and of what the experiments write into them; a run of another is done anew.
LAYOUT = 1

#: Packages whose numbers end up in results.
_VERSIONED = ("numpy", "scipy", "highspy", "torch", "scikit-learn")


@cache
def _versions() -> dict[str, str]:
    return {name: version(name) for name in _VERSIONED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One run of a study.

    Attributes
    ----------
    study : str
    axes : dict
        Where in the study's grid the run lies; columns of the results.
    settings : dict
        What all runs of the study share.
    seed : int
        Of every draw in the run.
    data : str or None
        Folder of image files that takes the place of embedded data.
    """

    study: str
    axes: Mapping[str, Any]
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0
    data: str | None = None

    def __getitem__(self, name: str) -> Any:
        """Return an axis or a setting."""
        return self.axes[name] if name in self.axes else self.settings[name]

    def inputs(self, world: str) -> dict[str, Any]:
        """Return all that decides the result, as plain values.

        Parameters
        ----------
        world : str
            Digest of the scenario or the data, see `mafl_opt.studies.experiment.Experiment`.
        """
        return {
            "layout": LAYOUT,
            "mafl_opt": __version__,
            "versions": _versions(),
            "study": self.study,
            "axes": dict(self.axes),
            "settings": dict(self.settings),
            "seed": self.seed,
            "world": world,
        }

    def key(self, world: str) -> str:
        """SHA-256 of `inputs`; the folder of the data is not part of it, its contents are."""
        text = json.dumps(self.inputs(world), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    def __str__(self) -> str:
        words = [f"{name} {value}" for name, value in self.axes.items()]
        return ", ".join([*words, f"seed {self.seed}"])
