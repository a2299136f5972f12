"""What every backend is, and the run it keeps: clock, incumbent, bound and trace."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from mafl_opt.core.certificate import certified_bound
from mafl_opt.core.check import CLAIM_TOLERANCE, check
from mafl_opt.core.plan import Plan, Sessions
from mafl_opt.core.status import PointStatus, Termination
from mafl_opt.formulations.problem import Problem
from mafl_opt.solvers.schedule import Schedule

__all__ = ["Backend", "Given", "Incumbent", "Options", "Progress", "Run"]

#: Called with a message and the fraction done, or None when that is unknown.
Progress = Callable[[str, float | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Options of a solve; a backend reads those it accepts.

    Attributes
    ----------
    time_limit : float or None
        Seconds of wall clock after which the best plan so far is returned; None: no limit.
    gap : float
        Relative gap at which a backend that proves bounds may stop.
    seed : int
        Of every random draw; the same seed gives the same plan when no time limit cuts in.
    solver : str or None
        Name of the numerical solver inside, where a backend offers a choice.
    initial : str
        Where a backend that descends from a point sets out when it is given no plan: ``greedy`` or
        ``random``.
    pyomo_solver : str or None
        Name under which Pyomo knows a solver that is to take P in natural form.
    engine : str
        Who works out large fleets: ``local`` (threads), ``ray`` or ``torch`` (a CUDA device).
        Changes no number, but that ``torch`` may take another of equally good plans.
    checkpoint : str or None
        File to write now and then what a search needs to be resumed.
    resume : str or None
        Such a file to go on from, and to go on writing unless `checkpoint` names another.
    """

    time_limit: float | None = None
    gap: float = 1e-3
    seed: int = 0
    solver: str | None = None
    initial: str = "greedy"
    pyomo_solver: str | None = None
    engine: str = "local"
    checkpoint: str | None = None
    resume: str | None = None


class Incumbent(Protocol):
    """A feasible choice of sessions, as backends hold it while they work."""

    def objective(self) -> float:
        """O; inf while a weighted task is never trained."""
        ...

    def sessions(self) -> Sessions:
        """Return the choice as a table of sessions."""
        ...

    def copy(self) -> Incumbent:
        """Return one that later changes do not reach."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Given:
    """The sessions of a plan as they are, frequencies included."""

    problem: Problem
    given: Sessions

    def objective(self) -> float:
        """O; inf while a weighted task is never trained."""
        return self.problem.objective(self.given)

    def sessions(self) -> Sessions:
        """Return the sessions."""
        return self.given

    def copy(self) -> Given:
        """Return itself: nothing changes it."""
        return self


class Backend(Protocol):
    """A way to solve P. One file each; see `registry` for how it is found.

    Attributes
    ----------
    name, summary : str
    proves_bound : bool
        Whether its plans carry a lower bound.
    accepts : frozenset of str
        Options it can use: names of `Options` fields, and ``start``.
    """

    name: str
    summary: str
    proves_bound: bool
    accepts: frozenset[str]

    def missing(self) -> str:
        """Name what must be installed before it can run; empty when it can."""
        ...

    def solve(self, run: Run) -> Plan:
        """Solve ``run.problem``; bad luck is a status, not an exception."""
        ...


@dataclass(slots=True, kw_only=True, eq=False)
class Run:
    """One solve in progress. Keeps the best schedule, the bound and the trace.

    Attributes
    ----------
    problem : Problem
    options : Options
    start : Plan or None
        A plan to start from.
    progress : callable or None
    reserve : float
        Seconds of the time limit that a backend keeps for wrapping up; it may change on the way.
    """

    problem: Problem
    options: Options
    start: Plan | None = None
    progress: Progress | None = None
    best: Incumbent | None = None
    bound: float | None = None
    termination: Termination | None = None
    trace: list[dict[str, Any]] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)
    reserve: float = 0.0

    @property
    def seconds(self) -> float:
        """Wall-clock seconds since the solve began."""
        return time.perf_counter() - self.began

    @property
    def objective(self) -> float:
        """Objective of the best schedule; inf without one."""
        return self.best.objective() if self.best is not None else np.inf

    @property
    def schedule(self) -> Schedule | None:
        """The best choice, where it is one of columns."""
        return self.best if isinstance(self.best, Schedule) else None

    def stop(self) -> bool:
        """Whether the time limit, less the reserve, has come; sets the termination if so."""
        if self.termination is None and self.remaining() == 0.0:
            self.termination = Termination.TIME_LIMIT
        return self.termination is not None

    def remaining(self) -> float | None:
        """Seconds left until the time limit, less the reserve; None without a limit."""
        limit = self.options.time_limit
        return None if limit is None else max(limit - self.reserve - self.seconds, 0.0)

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """Turn Ctrl-C inside the body into a termination; the best plan so far stands."""
        try:
            yield
        except KeyboardInterrupt:
            self.termination = Termination.INTERRUPTED

    def offer(self, schedule: Incumbent, event: str) -> None:
        """Keep a schedule if it is feasible and better than the best so far."""
        objective = schedule.objective()
        if objective < self.objective:
            self.best = schedule.copy()
            self.note(event)

    def raise_bound(self, bound: float, event: str) -> None:
        """Keep a lower bound if it is higher than the one so far."""
        if self.bound is None or bound > self.bound:
            self.bound = float(bound)
            self.note(event)

    def say(self, message: str) -> None:
        """Tell a waiting person; the fraction done is that of the time limit, if there is one."""
        if self.progress is not None:
            limit = self.options.time_limit
            self.progress(message, min(self.seconds / limit, 1.0) if limit else None)

    def note(self, event: str, **more: float) -> None:
        """Add an entry to the trace, with finite numbers of the backend's own in `more`."""
        objective = self.objective
        entry = {
            "seconds": round(self.seconds, 3),
            "objective": objective if np.isfinite(objective) else None,
            "bound": self.bound,
            "event": event,
            **more,
        }
        self.trace.append(entry)
        shown = "no plan yet" if entry["objective"] is None else f"objective {objective:.6g}"
        self.say(f"{event}: {shown}" + ("" if self.bound is None else f", bound {self.bound:.6g}"))

    def plan(
        self, name: str, termination: Termination, certificate: dict[str, Any] | None = None,
        *, derive_s: float = np.inf, limit: str = "boxes of A_j and the multipliers on them",
    ) -> Plan:  # fmt: skip
        """Wrap up. A termination set on the way (time, Ctrl-C) wins over the one given here.

        `limit` is what gave up if the search stalled; the trace ends with it then.

        The bound printed is the one the checker's code derives from the certificate; where that
        takes longer than `derive_s`, which is for large fleets, it is the certificate's claim.
        """
        self._keep_start()
        feasible = self.best is not None
        sessions = self.best.sessions() if self.best is not None else Sessions.empty()
        objective = self.problem.objective(sessions) if feasible else None
        bound, derived = self.bound, None
        if bound is not None and objective is not None:
            bound = min(bound, objective)
        if certificate is not None:
            if objective is not None:
                # Attained, so a claim above it is round-off; a lower claim is as true.
                certificate = {**certificate, "bound": min(certificate["bound"], objective)}
            # What is printed is what the checker derives from the certificate, not what we think.
            derived = self._derive(certificate, derive_s)
            bound = certificate["bound"] if derived is None else derived
            if certificate["kind"] == "milp":
                # Beyond that, a solver's word, marked as such.
                bound = max(bound, certificate["bound"])
            bound = bound if np.isfinite(bound) else None
        ended = self.termination or self._supported(termination, objective, bound)
        if ended is Termination.OPTIMAL and certificate is not None and derived is None:
            # That word is for what has been derived.
            ended = Termination.GAP_REACHED
        if ended is Termination.STALLED:
            claimed = termination is not Termination.STALLED
            reason = "what the checker derives of the bound found" if claimed else limit
            self.note(f"stalled by {reason}")
        return Plan(
            sessions=sessions, backend=name, termination=ended,
            point=PointStatus.FEASIBLE if feasible else PointStatus.NONE,
            objective=objective, bound=bound, seconds=self.seconds,
            trace=tuple(self.trace), certificate=certificate,
        )  # fmt: skip

    def _keep_start(self) -> None:
        """Keep the plan given where the checker accepts it and nothing found is as good.

        A backend takes it over column by column, and limits that the plan meets by the checker's
        tolerance alone may cost it a session there.
        """
        if self.start is None:
            return
        sessions = self.start.sessions
        bare = Plan(
            sessions=sessions, backend="", termination=Termination.COMPLETED,
            point=PointStatus.FEASIBLE,
        )  # fmt: skip
        if not check(self.problem.scenario, bare).ok:
            return
        found = np.inf if self.best is None else self.problem.objective(self.best.sessions())
        if self.problem.objective(sessions) < found:
            self.best = Given(problem=self.problem, given=sessions)
            self.note("start")

    def _derive(self, certificate: dict[str, Any], seconds: float) -> float | None:
        """Derive a certificate's bound; None when it takes longer."""
        if seconds <= 0:
            return None
        begun = time.perf_counter()

        def watch(_message: str, _fraction: float | None) -> None:
            if time.perf_counter() - begun > seconds:
                raise TimeoutError

        try:
            return certified_bound(self.problem.scenario, certificate, watch)
        except TimeoutError:
            return None
        except KeyboardInterrupt:
            # The plan is there; its bound stays the certificate's claim.
            self.termination = Termination.INTERRUPTED
            return None

    def _supported(
        self, termination: Termination, objective: float | None, bound: float | None
    ) -> Termination:
        """Take back a word that the printed bound, lower than ours by its guards, does not bear."""
        if termination is Termination.INFEASIBLE and objective is not None:
            # There is a plan, so that proof was round-off.
            return Termination.NUMERICAL
        if objective is None or termination not in (Termination.OPTIMAL, Termination.GAP_REACHED):
            return termination
        distance = np.inf if bound is None else objective - bound
        slack = CLAIM_TOLERANCE * abs(objective)
        if termination is Termination.OPTIMAL and distance <= slack:
            return termination
        reached = distance <= self.options.gap * abs(objective) + slack
        return Termination.GAP_REACHED if reached else Termination.STALLED
