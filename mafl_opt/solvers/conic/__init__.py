"""Backend `conic`; see `backend`."""

from mafl_opt.solvers.conic.backend import Conic
from mafl_opt.solvers.conic.relaxation import ColumnPool, Relaxation

__all__ = ["ColumnPool", "Conic", "Relaxation"]
