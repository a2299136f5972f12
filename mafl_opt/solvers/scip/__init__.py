"""Backend `scip`; see `backend`."""

from mafl_opt.solvers.scip.backend import Scip

__all__ = ["Scip"]
