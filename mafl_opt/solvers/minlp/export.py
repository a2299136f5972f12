"""Models as files: P in natural form as .nl or .gms, the master as .mps."""

from __future__ import annotations

from pathlib import Path

from mafl_opt.core.errors import InputError
from mafl_opt.core.status import Termination
from mafl_opt.formulations.boxes import box_rules
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.base import Options, Run
from mafl_opt.solvers.branching import branch, objective_ceiling
from mafl_opt.solvers.improve import Improver
from mafl_opt.solvers.leaves import Leaf
from mafl_opt.solvers.minlp.natural import natural_model, write_model
from mafl_opt.solvers.minlp.relaxation import LinearRelaxation
from mafl_opt.solvers.minlp.search import make_master
from mafl_opt.solvers.recovery import warm_up

__all__ = ["FORMATS", "export_model"]

FORMATS = ("nl", "gms", "mps")
_PIECES = 4


def export_model(problem: Problem, path: str | Path) -> None:
    """Write a model of a problem; the suffix says which.

    Parameters
    ----------
    problem : Problem
    path : path
        ``.nl`` or ``.gms``: P in natural form, whole. ``.mps``: the master, the mixed-integer
        relaxation that `minlp` starts with, its objective divided by the objective of the plan
        that a quick search finds and restricted to plans below it.

    Raises
    ------
    InputError
        For another suffix, or when there is nothing to search: no task can be trained.
    """
    target = Path(path)
    if target.suffix != ".mps":
        write_model(natural_model(problem), target)
        return
    run = Run(problem=problem, options=Options(gap=0.0))
    improver = Improver(problem, 0, run.stop)
    warm_up(run, improver)
    leaves: list[Leaf] = []
    branch(run, improver, lambda top: LinearRelaxation(problem, top).solve, leaves, most_boxes=1)
    top = min(run.objective, objective_ceiling(problem))
    master = make_master(problem, box_rules(problem), leaves, top, _PIECES)
    if master is None:
        raise InputError("scenario", "one with a plan left to look for", Termination.OPTIMAL)
    write_model(master.model, target)
