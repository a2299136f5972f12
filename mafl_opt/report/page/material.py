"""All that a page shows, derived once: plans with their check, replays, comparison, classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from mafl_opt.core.certificate import is_large
from mafl_opt.core.check import check
from mafl_opt.core.errors import InputError
from mafl_opt.core.plan import Plan
from mafl_opt.core.scenario import Scenario
from mafl_opt.core.verdict import CheckReport
from mafl_opt.formulations.classify import BlockVerdict
from mafl_opt.report.page.replays import ReplayCurves
from mafl_opt.report.page.sources import Sources
from mafl_opt.solvers.base import Progress
from mafl_opt.solvers.compare import Comparison, Ending, Trial

__all__ = ["Material", "Subject", "gather"]

#: Above this many pairs of device and slot, classifying takes more than some seconds.
_MOST_CLASSIFIED = 3000


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One plan of the page.

    Attributes
    ----------
    name : str
    plan : Plan
    report : CheckReport
    derived : bool
        Whether its bound was derived from the certificate, as far as there is one.
    replays : tuple of ReplayCurves
    """

    name: str
    plan: Plan
    report: CheckReport
    derived: bool
    replays: tuple[ReplayCurves, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a page is made of.

    Attributes
    ----------
    scenario : Scenario
    subjects : tuple of Subject
    comparison : Comparison
        The same plans as trials, and the trials without one.
    classes : tuple of BlockVerdict or None
        ``None`` when they were left out.
    notes : tuple of str
        What was left out, and why.
    """

    scenario: Scenario
    subjects: tuple[Subject, ...]
    comparison: Comparison
    classes: tuple[BlockVerdict, ...] | None
    notes: tuple[str, ...]


def gather(
    sources: Sources, scenario: Scenario, *, certificate: bool, classes: bool | None,
    progress: Progress | None,
) -> Material:  # fmt: skip
    """Check every plan, find the replays of each, and classify the constraints.

    Parameters
    ----------
    sources : Sources
    scenario : Scenario
    certificate : bool
        Derive every bound, however long that takes.
    classes : bool or None
        Whether to classify; left open, where that takes some seconds.
    progress : callable or None

    Raises
    ------
    InputError
        When a replay that was named by itself is of none of the plans.
    """
    say = progress or (lambda _message, _fraction: None)
    notes = [f"{path} is neither a plan nor a replay and was left out" for path in sources.skipped]
    replays_of = _match(sources, notes)
    subjects = []
    for index, (name, plan) in enumerate(sources.plans):
        say(f"checking {name}", index / (len(sources.plans) + 1))
        held = plan.certificate
        derived = certificate or held is None or not is_large(scenario, held)
        subjects.append(
            Subject(
                name=name,
                plan=plan,
                report=check(scenario, plan, certificate=derived),
                derived=derived,
                replays=replays_of.get(name, ()),
            )
        )
    verdicts = None
    if classes is None:
        classes = scenario.num_devices * scenario.num_slots <= _MOST_CLASSIFIED
        if not classes:
            notes.append(
                "The constraints were not classified, which takes a while on a fleet of this "
                "size; ask for it with --classes."
            )
    if classes:
        # Brings cvxpy, which takes a second to import.
        from mafl_opt.solvers.dcp import classify

        say("classifying the constraints", len(subjects) / (len(subjects) + 1))
        verdicts = tuple(classify(scenario))
    return Material(
        scenario=scenario,
        subjects=tuple(subjects),
        comparison=_comparison(scenario, subjects, sources.trials),
        classes=verdicts,
        notes=tuple(notes),
    )


def _match(sources: Sources, notes: list[str]) -> dict[str, tuple[ReplayCurves, ...]]:
    """Return the replays of every plan by its name; say which ones are left."""
    if not sources.replays:
        return {}
    digests = {name: plan.sessions.sha256 for name, plan in sources.plans}
    for replay, alone in sources.replays:
        if replay.plan_sha256 not in digests.values():
            if alone:
                raise InputError(replay.name, "a replay of one of the plans", replay.plan_sha256)
            notes.append(f"The replay {replay.name} is of none of these plans and was left out.")
    return {
        name: tuple(r for r, _ in sources.replays if r.plan_sha256 == digest)
        for name, digest in digests.items()
    }


def _comparison(
    scenario: Scenario, subjects: Sequence[Subject], rows: Sequence[dict[str, Any]]
) -> Comparison:
    trials = [
        Trial(backend=s.name, ending=Ending.DONE, plan=s.plan, report=s.report) for s in subjects
    ]
    names = {subject.name for subject in subjects}
    for row in rows:
        if row["backend"] not in names:
            word, message = row.get("ending"), str(row.get("message") or "")
            ending = Ending(word) if word in list(Ending) else Ending.FAILED
            trials.append(Trial(backend=row["backend"], ending=ending, message=message))
    return Comparison(scenario_sha256=scenario.sha256, time_limit=None, trials=tuple(trials))
