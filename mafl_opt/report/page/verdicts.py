"""What the checker found, in a word and a sentence."""

from __future__ import annotations

from mafl_opt.report.page.material import Subject
from mafl_opt.report.page.parts import Verdict
from mafl_opt.report.table import format_number

__all__ = ["judge_certificate", "judge_plan"]


def judge_plan(subject: Subject) -> Verdict:
    """Return whether the plan keeps every constraint and its header tells the truth."""
    report = subject.report
    if report.ok:
        text = "Every constraint is met, and no claim of the header is false."
        return Verdict(level="good", word="Check passed", text=text)
    count = len(report.violations)
    return Verdict(
        level="bad",
        word="Check failed",
        text=f"{count} {'violation' if count == 1 else 'violations'}, listed below.",
    )


def judge_certificate(subject: Subject) -> Verdict:
    """Return what became of the lower bound in the header of the plan."""
    plan, report = subject.plan, subject.report
    derived = report.certified_bound
    if report.bound is None:
        text = "The plan claims no lower bound, so nothing says how far from the best it is."
        return Verdict(level="open", word="No bound", text=text)
    bound = format_number(report.bound, 8)
    if plan.certificate is None:
        text = f"The bound {bound} comes without a certificate: it is the backend's word."
        return Verdict(level="open", word="Claimed", text=text)
    if not subject.derived:
        text = (
            f"The bound {bound} was not derived again from its certificate, which takes a while "
            "on a plan of this size. Ask for it with --certificate, or run "
            "mafl-opt check --certificate."
        )
        return Verdict(level="open", word="Not derived", text=text)
    if derived is None:
        text = f"The certificate for the bound {bound} cannot be read."
        return Verdict(level="bad", word="Not proved", text=text)
    if report.is_proved:
        text = f"No feasible plan has an objective below {bound}: derived from the certificate."
        return Verdict(level="good", word="Proved", text=text)
    text = f"Derived from the certificate is {format_number(derived, 8)}; claimed is {bound}."
    level = "open" if report.ok else "bad"
    return Verdict(level=level, word="Partly proved", text=text)
