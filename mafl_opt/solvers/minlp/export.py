"""Models as files: P in natural form as .nl or .gms, the master as .mps."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TextIO

import numpy as np
import pyomo.environ as pyo
from pyomo.opt import ProblemFormat
from pyomo.repn.plugins.nl_writer import NLWriter

from mafl_opt.core.errors import InputError
from mafl_opt.core.files import atomic_path
from mafl_opt.formulations.boxes import box_rules
from mafl_opt.formulations.natural_model import natural_model
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.base import Options, Run
from mafl_opt.solvers.branching import objective_ceiling
from mafl_opt.solvers.improve import Improver
from mafl_opt.solvers.leaves import Leaf, reprice
from mafl_opt.solvers.minlp.search import LinearRelaxation, make_master
from mafl_opt.solvers.recovery import warm_up

__all__ = ["export_model"]

_NATURAL = (".nl", ".gms")
_MASTER = ".mps"


def export_model(problem: Problem, path: str | Path) -> None:
    """Write a model of a problem; the suffix says which.

    Parameters
    ----------
    problem : Problem
    path : path
        ``.nl`` or ``.gms``: P in natural form, whole (`formulations.natural_model` says what its
        variables and constraints are). Beside an .nl file stand one with the suffix ``.row`` and
        one with ``.col``: the names of its constraints, then its objective, and of its variables,
        a line each in the order of the .nl file. ``.mps``: the master, the mixed-integer relaxation
        of `minlp` on the whole range of A, its objective divided by the objective of the plan that
        a quick search finds and restricted to plans below it.

    Raises
    ------
    InputError
        For another suffix; for a master, when there is nothing to search: a task that has weight
        cannot be trained, or every plan is as good as any.
    """
    target = Path(path)
    if target.suffix not in (*_NATURAL, _MASTER):
        known = ", ".join((*_NATURAL, _MASTER))
        raise InputError(str(target), f"a name ending in {known}", target.suffix)
    if target.suffix == ".nl":
        _write_nl(natural_model(problem), target)
    elif target.suffix == ".gms":
        _write(natural_model(problem), target, ProblemFormat.gams)
    else:
        _write(_master(problem), target, ProblemFormat.mps)


def _write(model: pyo.ConcreteModel, target: Path, kind: ProblemFormat) -> None:
    with atomic_path(target) as temporary:
        model.write(str(temporary), format=kind, io_options={"symbolic_solver_labels": True})


def _write_nl(model: pyo.ConcreteModel, target: Path) -> None:
    """Write .nl, .row and .col, all of them or none.

    Pyomo's own names go together with comments in the .nl file, which some readers stumble over.
    """
    with ExitStack() as stack:
        streams: dict[str, TextIO] = {}
        for suffix in (".row", ".col", ".nl"):
            temporary = stack.enter_context(atomic_path(target.with_suffix(suffix)))
            # Text is on disk before the file gets its name.
            streams[suffix] = stack.enter_context(
                open(temporary, "w", encoding="utf-8", newline="\n")
            )
        # As it stands: no row left out, no variable eliminated.
        written = NLWriter().write(
            model, streams[".nl"], linear_presolve=False, scale_model=False,
            skip_trivial_constraints=False,
        )  # fmt: skip
        for suffix, parts in (
            (".row", [*written.constraints, *written.objectives]), (".col", written.variables),
        ):  # fmt: skip
            streams[suffix].writelines(f"{part.name}\n" for part in parts)


def _master(problem: Problem) -> pyo.ConcreteModel:
    if problem.untrainable_task is not None:
        raise InputError(
            "scenario", "one in which every task of positive weight can be trained",
            problem.untrainable_task,
        )  # fmt: skip
    run = Run(problem=problem, options=Options(gap=0.0))
    warm_up(run, Improver(problem, 0, run.stop))
    top = min(run.objective, objective_ceiling(problem))
    rules = box_rules(problem)
    low, high = rules.root(top)
    point = LinearRelaxation(problem, top).solve(rules.box(low, high, top), top, None)
    if point is None:
        raise InputError("scenario", "one whose linear relaxation can be solved", "a larger one")
    leaf = Leaf(low=low, high=high, bound=-np.inf, prices=point.prices)
    leaf = reprice(problem, rules, leaf, point.prices, top)
    if leaf.bound >= top:
        raise InputError("scenario", "one with a plan left to look for", "an optimal one at once")
    master = make_master(problem, rules, leaf, top)
    if master is None:
        raise InputError("scenario", "one whose integer program fits in memory", "a larger one")
    return master.model
