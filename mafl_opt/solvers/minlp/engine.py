"""HiGHS behind Pyomo's persistent interface: one master, solved again and again as it grows."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import highspy
import numpy as np
from numpy.typing import NDArray
from pyomo.contrib.appsi.base import TerminationCondition
from pyomo.contrib.appsi.solvers.highs import Highs

from mafl_opt.solvers.minlp.master import Master

__all__ = ["DUAL_TOLERANCE", "TOLERANCE", "Answer", "Engine", "highs_version"]

Floats = NDArray[np.float64]

#: By how much HiGHS may miss a row of an integer program, in the master's scale.
TOLERANCE = 1e-8
#: By how much the sign of a reduced cost may be wrong.
DUAL_TOLERANCE = 1e-7
_EFFORT = 0.01
# Nodes of one solve, so that a search without a time limit ends.
_NODES = 20_000


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answer:
    """What HiGHS said of a master, in the master's scaled objective.

    done : bool
        Whether it met its own gap (or the linear relaxation is solved).
    infeasible : bool
    bound, value : float or None
        Lower bound, and objective of the best point.
    values : dict or None
        The best point, by name of the master's variables.
    """

    done: bool
    infeasible: bool
    bound: float | None
    value: float | None
    values: dict[str, Floats] | None


class Engine:
    """A master in HiGHS's memory.

    Parameters
    ----------
    master : Master
        Framed. It may be framed again and tightened between solves; HiGHS then gets the
        difference only.
    """

    def __init__(self, master: Master) -> None:
        self._master = master
        self._highs = Highs()
        self._highs.config.load_solution = False
        update = self._highs.update_config
        # Rows and variables come and go as a whole; none of them changes.
        update.update_constraints = update.update_vars = update.update_params = False
        update.update_named_expressions = update.check_for_new_objective = False
        update.update_objective = False
        update.treat_fixed_vars_as_params = True

    def solve(self, *, time_limit: float | None, gap: float = 1e-4) -> Answer:
        """Solve the master within some seconds, or to a relative gap.

        Raises
        ------
        KeyboardInterrupt
            When Ctrl-C stopped HiGHS.
        """
        highs = self._highs
        highs.config.time_limit = None if time_limit is None else max(time_limit, 0.01)
        highs.config.mip_gap = gap
        highs.highs_options = {
            # Plans come from the local search; the bound is what is wanted.
            "threads": 1, "mip_heuristic_effort": _EFFORT, "mip_max_nodes": _NODES,
            "mip_abs_gap": TOLERANCE, "mip_feasibility_tolerance": TOLERANCE,
            "time_limit": highspy.kHighsInf if time_limit is None else max(time_limit, 0.01),
        }  # fmt: skip
        results = highs.solve(self._master.model)
        solver = highs._solver_model
        if solver.getModelStatus() == highspy.HighsModelStatus.kInterrupt:
            raise KeyboardInterrupt
        ended = results.termination_condition
        bound, value = results.best_objective_bound, results.best_feasible_objective
        return Answer(
            done=ended is TerminationCondition.optimal,
            infeasible=ended is TerminationCondition.infeasible,
            bound=bound if bound is not None and np.isfinite(bound) else None,
            value=value,
            values=None
            if value is None
            else self._values(np.array(solver.getSolution().col_value)),
        )

    @property
    def has_duals(self) -> bool:
        """Whether the last solve, of a linear relaxation, left duals."""
        return bool(self._highs._solver_model.getSolution().dual_valid)

    def duals(self, rows: list[Any]) -> Floats:
        """Dual values of rows of the linear relaxation."""
        found = self._highs.get_duals(rows)
        return np.array([found[row] for row in rows])

    def _values(self, column: Floats) -> dict[str, Floats]:
        # Pyomo keeps the places of variables in HiGHS by identity.
        place = self._highs._pyomo_var_to_solver_var_map
        return {
            name: column[np.array([place[id(entry)] for entry in entries], dtype=np.int64)]
            for name, entries in self._master.variables().items()
        }


def highs_version() -> str:
    """Name and version, as a certificate states who claims a bound."""
    return f"HiGHS {version('highspy')}"
