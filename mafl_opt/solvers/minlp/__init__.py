"""Backend `minlp`; see `backend`. And P in natural form for other Pyomo solvers."""

from mafl_opt.solvers.minlp.backend import Minlp
from mafl_opt.solvers.minlp.export import export_model
from mafl_opt.solvers.minlp.natural import fix_plan, natural_model, violations

__all__ = ["Minlp", "export_model", "fix_plan", "natural_model", "violations"]
