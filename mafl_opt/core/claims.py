"""What the header of a plan claims, compared with what was derived again."""

from __future__ import annotations

import math
from typing import Any

from mafl_opt.core.certificate import Report, certified_bound, is_large
from mafl_opt.core.errors import InputError
from mafl_opt.core.plan import Plan
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.status import Termination
from mafl_opt.core.verdict import CLAIM_TOLERANCE, TOLERANCE, Violation

__all__ = ["check_claims"]


def check_claims(
    scenario: Scenario, plan: Plan, objective: float, warnings: list[str], *, feasible: bool,
    foreign: bool, derive: bool | None, report: Report | None,
) -> tuple[float | None, list[Violation]]:  # fmt: skip
    """Return the certified bound and the false claims of a header; add to the warnings.

    Parameters
    ----------
    scenario : Scenario
    plan : Plan
    objective : float
        O derived again.
    warnings : list of str
    feasible : bool
        Whether the plan keeps every constraint.
    foreign : bool
        Whether the header names another scenario.
    derive, report
        As `certificate` and `report` of `mafl_opt.core.check.check`.
    """
    false: list[Violation] = []

    def deny(constraint: str, where: str, found: float, limit: float) -> None:
        amount = abs(found - limit)
        false.append(
            Violation(constraint=constraint, where=where, amount=amount, limit=limit, found=found)
        )

    stated, bound = plan.objective, plan.bound
    if stated is not None and not _close(stated, objective):
        deny("objective", "header objective", stated, objective)
    # A plan that breaks a constraint may well lie below a true bound.
    reach = objective if feasible else stated
    if bound is not None and reach is not None:
        if not bound <= reach + TOLERANCE * abs(reach):
            deny("bound", "header bound above the objective", bound, reach)
    elif bound is not None and math.isnan(bound):
        deny("bound", "header bound", bound, objective)
    if feasible and plan.termination is Termination.INFEASIBLE:
        deny("bound", "termination INFEASIBLE beside a feasible plan", math.inf, objective)
    if plan.termination is Termination.OPTIMAL and (bound is None or not _close(bound, objective)):
        deny("bound", "termination OPTIMAL", -math.inf if bound is None else bound, objective)
    certified: float | None = None
    if plan.certificate is None:
        if bound is not None:
            warnings.append("the bound comes without a certificate and is not derived again")
    elif derive is False or (derive is None and is_large(scenario, plan.certificate)):
        warnings.append(
            "the certificate was not derived again, which takes a while; "
            "`mafl-opt check --certificate` does"
        )
    else:
        try:
            certified = certified_bound(scenario, plan.certificate, report)
        except InputError as error:
            deny("bound", str(error), math.nan if bound is None else bound, -math.inf)
        else:
            if bound is not None and not bound <= certified + CLAIM_TOLERANCE * abs(bound):
                certificate: Any = plan.certificate
                if certificate["kind"] != "milp":
                    where = "header bound above what the certificate proves"
                    deny("bound", where, bound, certified)
                elif plan.termination is Termination.OPTIMAL:
                    deny("bound", "termination OPTIMAL on a solver's word", bound, certified)
                else:
                    warnings.append(
                        f"the bound is the word of {certificate['claimed_by']}; "
                        f"derived again is {certified:.8g}"
                    )
    if false and foreign:
        deny("scenario", "the plan's claims hold for another scenario", math.nan, math.nan)
    return certified, false


def _close(one: float, other: float) -> bool:
    return one == other or abs(one - other) <= CLAIM_TOLERANCE * abs(other)
