"""Checkpoints: a plan file with the best plan so far and the certificate of its bound.

What is read is believed as little as a plan. Its sessions are offered as far as they exist and keep
the constraints, and every leaf of its tree is bounded anew at its multipliers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mafl_opt.core.errors import InputError
from mafl_opt.core.files import parse_json, read_text, write_text
from mafl_opt.core.plan import Plan, Sessions
from mafl_opt.core.proof.contents import read_certificate
from mafl_opt.core.status import PointStatus, Termination
from mafl_opt.solvers.base import Run
from mafl_opt.solvers.schedule import Schedule

if TYPE_CHECKING:
    from mafl_opt.solvers.prices.patterns.search import Search

__all__ = ["Journal"]

_EVERY_S = 30.0


@contextmanager
def _naming(source: str) -> Iterator[None]:
    """Put the name of a file before the path of what is wrong in it."""
    try:
        yield
    except InputError as error:
        error.path, error.args = f"{source}: {error.path}", (f"{source}: {error}",)
        raise


class Journal:
    """The file that a search is kept in.

    Parameters
    ----------
    run : Run
        Its options ``checkpoint`` (file to write) and ``resume`` (file to read, and to write if
        there is no other).

    Raises
    ------
    InputError
        If a name does not end in .json, or the file to resume from cannot be read or belongs to
        another scenario.
    """

    def __init__(self, run: Run) -> None:
        self._run = run
        self._path = run.options.checkpoint or run.options.resume
        if self._path is not None and Path(self._path).suffix != ".json":
            raise InputError(
                self._path, "a name ending in .json, as checkpoints of small fleets have",
                Path(self._path).suffix,
            )  # fmt: skip
        self._saved = time.perf_counter()
        self._found: Plan | None = None
        source = run.options.resume
        if source is not None:
            data = parse_json(read_text(source), source)
            with _naming(source):
                self._found = Plan.from_dict(data)
            sha256 = run.problem.scenario.sha256
            if self._found.scenario_sha256 != sha256:
                found = self._found.scenario_sha256 or None
                raise InputError(f"{source}: scenario_sha256", f"{sha256}, as this run has", found)

    def offer_plan(self) -> None:
        """Offer the plan of the file, if there is one."""
        if self._found is not None:
            sessions = self._found.sessions
            self._run.offer(Schedule.from_sessions(self._run.problem, sessions), "resumed")

    def restore(self, search: Search) -> bool:
        """Give a search the tree of the file; true if there is one."""
        if self._found is None or self._found.certificate is None:
            return False
        certificate = self._found.certificate
        with _naming(str(self._run.options.resume)):
            kind = read_certificate(self._run.problem.scenario, certificate).kind
            if kind != "patterns":
                raise InputError("certificate.kind", "'patterns'", kind)
            search.read(dict(certificate))
        return True

    def save_if_due(self, search: Search) -> None:
        """Write the file if the last time is a while ago."""
        if time.perf_counter() - self._saved >= _EVERY_S:
            self.save(search)

    def save(self, search: Search) -> None:
        """Write plan and tree, whole or not at all; nothing without a path."""
        if self._path is None:
            return
        run, best = self._run, self._run.best
        certificate: dict[str, Any] = search.certificate()
        plan = Plan(
            sessions=Sessions.empty() if best is None else best.sessions(), backend="prices",
            termination=Termination.INTERRUPTED,
            point=PointStatus.NONE if best is None else PointStatus.FEASIBLE,
            objective=None if best is None else run.problem.objective(best.sessions()),
            seconds=run.seconds, scenario_sha256=run.problem.scenario.sha256,
            trace=tuple(run.trace), certificate=certificate,
        )  # fmt: skip
        write_text(self._path, plan.to_json())
        self._saved = time.perf_counter()
