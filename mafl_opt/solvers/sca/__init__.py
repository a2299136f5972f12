"""Backend `sca`; see `backend`."""

from mafl_opt.solvers.sca.backend import Sca

__all__ = ["Sca"]
