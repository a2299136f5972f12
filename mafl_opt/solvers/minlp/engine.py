"""HiGHS behind Pyomo's persistent interface: one master, solved again and again as it grows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import highspy
import numpy as np
from numpy.typing import NDArray
from pyomo.contrib.appsi.base import TerminationCondition
from pyomo.contrib.appsi.solvers.highs import Highs

from mafl_opt.solvers.minlp.master import Master

__all__ = ["Answer", "Engine", "highs_version"]

Floats = NDArray[np.float64]
_EFFORT = 0.01
#: Told of a lower bound, or of the z of an improving point; true ends the solve.
Found = Callable[[float | None, Floats | None], bool]


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
        self._enough = False
        update = self._highs.update_config
        # Rows and variables come and go as a whole; none of them changes.
        update.update_constraints = update.update_vars = update.update_params = False
        update.update_named_expressions = update.check_for_new_objective = False
        update.update_objective = False
        update.treat_fixed_vars_as_params = True

    def solve(
        self, *, time_limit: float | None, gap: float = 1e-4, nodes: int | None = None,
        found: Found | None = None,
    ) -> Answer:  # fmt: skip
        """Solve the master.

        Parameters
        ----------
        time_limit : float or None, s
        gap : float
            Relative gap at which HiGHS may stop.
        nodes : int, optional
            Nodes of the search tree at which it must stop.
        found : callable, optional
            Told of what turns up on the way, from HiGHS's own thread.

        Raises
        ------
        KeyboardInterrupt
            When Ctrl-C stopped HiGHS.
        """
        highs = self._highs
        highs.config.time_limit = None if time_limit is None else max(time_limit, 0.01)
        highs.config.mip_gap = gap
        highs.highs_options = {
            # Plans come from the local search and the small master; the bound is what is wanted.
            "threads": 1, "mip_heuristic_effort": _EFFORT,
            "mip_max_nodes": nodes or highspy.kHighsIInf,
            "time_limit": highspy.kHighsInf if time_limit is None else max(time_limit, 0.01),
        }  # fmt: skip
        if highs._solver_model is None:
            highs.set_instance(self._master.model)
        solver = highs._solver_model
        if found is not None:
            self._listen(found)
        results = highs.solve(self._master.model)
        if found is not None:
            for event in (
                solver.cbMipImprovingSolution, solver.cbMipLogging, solver.cbMipInterrupt
            ):  # fmt: skip
                event.clear()
        ended = results.termination_condition
        bound, value = results.best_objective_bound, results.best_feasible_objective
        interrupted = solver.getModelStatus() == highspy.HighsModelStatus.kInterrupt
        if interrupted and not self._enough:
            raise KeyboardInterrupt
        return Answer(
            done=ended is TerminationCondition.optimal,
            infeasible=ended is TerminationCondition.infeasible,
            bound=bound if bound is not None and np.isfinite(bound) else None,
            value=value,
            values=None
            if value is None
            else self._values(np.array(solver.getSolution().col_value)),
        )

    def _listen(self, found: Found) -> None:
        """Pass on bounds and points that HiGHS finds on the way."""
        solver = self._highs._solver_model
        where = self._places(self._master.variables()["z"])

        def improving(event: Any) -> None:
            self._enough |= found(None, np.array(event.data_out.mip_solution)[where])

        def logging(event: Any) -> None:
            if np.isfinite(event.data_out.mip_dual_bound):
                self._enough |= found(float(event.data_out.mip_dual_bound), None)

        def asked(event: Any) -> None:
            if self._enough:
                event.interrupt()

        solver.cbMipImprovingSolution.subscribe(improving)
        solver.cbMipLogging.subscribe(logging)
        solver.cbMipInterrupt.subscribe(asked)

    def _values(self, column: Floats) -> dict[str, Floats]:
        return {
            name: column[self._places(entries)]
            for name, entries in self._master.variables().items()
        }

    def _places(self, entries: list[Any]) -> NDArray[np.int64]:
        """Columns of variables in HiGHS, which Pyomo keeps by identity."""
        place = self._highs._pyomo_var_to_solver_var_map
        return np.array([place[id(entry)] for entry in entries], dtype=np.int64)

    def start(self, z: Floats) -> None:
        """Give HiGHS a point to start from: z whole, the rest as it follows from z."""
        for entry, value in zip(self._master.variables()["z"], z, strict=True):
            entry.set_value(float(value), skip_validation=True)
        self._master.complete()
        self._highs.config.warmstart = True

    def duals(self, rows: list[Any]) -> Floats:
        """Dual values of rows of the linear relaxation."""
        found = self._highs.get_duals(rows)
        return np.array([found[row] for row in rows])


def highs_version() -> str:
    """Name and version, as a certificate states who claims a bound."""
    return f"HiGHS {version('highspy')}"
