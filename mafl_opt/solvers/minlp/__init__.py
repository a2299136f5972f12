"""Backend `minlp`; see `backend`."""

from mafl_opt.solvers.minlp.backend import Minlp
from mafl_opt.solvers.minlp.export import export_model

__all__ = ["Minlp", "export_model"]
