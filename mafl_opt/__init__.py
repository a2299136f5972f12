"""mafl-opt: plan asynchronous multi-model federated learning over a radio network.

    >>> import mafl_opt as mo
    >>> s = mo.Scenario.default()
    >>> plan = mo.solve(s, backend="conic")
    >>> mo.check(s, plan)
    >>> mo.replay(s, plan)

Names are imported on first use, so that ``import mafl_opt`` stays fast and light.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mafl_opt.core.check import CheckReport, check
    from mafl_opt.core.errors import InputError, MaflError
    from mafl_opt.core.plan import Plan, Sessions
    from mafl_opt.core.scenario import Scenario
    from mafl_opt.core.status import PointStatus, Termination
    from mafl_opt.formulations.problem import Problem
    from mafl_opt.report.bound_report import BoundReport, bound_report
    from mafl_opt.report.comparison import compare
    from mafl_opt.report.explain.analysis import explain
    from mafl_opt.report.explain.explanation import Explanation
    from mafl_opt.report.page.page import write_report
    from mafl_opt.solvers.dcp import classify
    from mafl_opt.solvers.registry import backends, solve
    from mafl_opt.studies.study import StudyResult, study
    from mafl_opt.validation.calibration.calibrate import Calibration, calibrate
    from mafl_opt.validation.federate import federate
    from mafl_opt.validation.history import History
    from mafl_opt.validation.replay import Replay, replay
    from mafl_opt.validation.stress import stress
    from mafl_opt.validation.uncertainty import Uncertainty

    __version__: str

_HOME = {
    "CheckReport": "core.check",
    "check": "core.check",
    "InputError": "core.errors",
    "MaflError": "core.errors",
    "Plan": "core.plan",
    "Sessions": "core.plan",
    "Scenario": "core.scenario",
    "PointStatus": "core.status",
    "Termination": "core.status",
    "Problem": "formulations.problem",
    "BoundReport": "report.bound_report",
    "bound_report": "report.bound_report",
    "classify": "solvers.dcp",
    "compare": "report.comparison",
    "Explanation": "report.explain.explanation",
    "explain": "report.explain.analysis",
    "write_report": "report.page.page",
    "backends": "solvers.registry",
    "solve": "solvers.registry",
    "StudyResult": "studies.study",
    "study": "studies.study",
    "Calibration": "validation.calibration.calibrate",
    "calibrate": "validation.calibration.calibrate",
    "History": "validation.history",
    "Replay": "validation.replay",
    "Uncertainty": "validation.uncertainty",
    "federate": "validation.federate",
    "replay": "validation.replay",
    "stress": "validation.stress",
}

__all__ = [
    "BoundReport",
    "Calibration",
    "CheckReport",
    "Explanation",
    "History",
    "InputError",
    "MaflError",
    "Plan",
    "PointStatus",
    "Problem",
    "Replay",
    "Scenario",
    "Sessions",
    "StudyResult",
    "Termination",
    "Uncertainty",
    "__version__",
    "backends",
    "bound_report",
    "calibrate",
    "check",
    "classify",
    "compare",
    "explain",
    "federate",
    "replay",
    "solve",
    "stress",
    "study",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name not in _HOME:
        from mafl_opt.core.arguments import did_you_mean

        near = did_you_mean(name, __all__)
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}" + (f"; {near}" if near else "")
        )
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def _version() -> str:
    """Return the version that was installed; it comes from the git tag while building."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("mafl-opt")
    except PackageNotFoundError:
        return "0+unknown"


def __dir__() -> list[str]:
    return sorted(__all__)
